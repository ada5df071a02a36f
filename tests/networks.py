"""Networks and checkpoints that several tests use."""

from pathlib import Path

import pytest
import torch
from torch import nn

from quantnas_sr.archs.rfdn_arch import RFDN

SHARED = Path(__file__).resolve().parents[2] / "shared"


def saved(network: nn.Module, path: Path) -> str:
    """The path of a checkpoint as BasicSR writes it."""
    torch.save({"params": network.state_dict()}, path)
    return str(path)


def published() -> RFDN:
    """RFDN with the weights that its authors published; the test is skipped where they are absent."""
    weights = SHARED / "weights" / "RFDN_AIM.pth"
    if not weights.is_file():
        pytest.skip("the published weights are not here")
    network = RFDN()
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True), strict=True)
    return network.eval()
