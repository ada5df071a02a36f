"""Checkpoints in PyTorch, with the interface of `network.Network`."""

from functools import cached_property
from pathlib import Path
from typing import Optional

import numpy as np
import torch

from quantnas_sr.checkpoints import check_calibrated, load_network, scale_of
from quantnas_sr.deploy.luma import for_rgb
from quantnas_sr.deploy.network import Network
from quantnas_sr.deploy.receptive_field import halo


class TorchNetwork(Network):
    """A checkpoint in PyTorch, on a GPU if there is one. Scale and halo are found by running it."""

    def __init__(self, path: Path, threads: Optional[int]) -> None:
        network = load_network(path)
        check_calibrated(network, path)
        self._module = for_rgb(network)
        if threads:
            torch.set_num_threads(threads)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.scale = scale_of(self._module)
        self._module.to(self._device)

    @cached_property
    def halo(self) -> Optional[int]:  # noqa: D102 (of Network)
        return halo(self._module, self.scale)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return self._module(torch.from_numpy(x).to(self._device)).float().cpu().numpy()

    def peak_memory(self) -> Optional[int]:
        """Peak memory in bytes: of the GPU where the network runs on one, else of the process."""
        return torch.cuda.max_memory_allocated() if self._device.type == "cuda" else super().peak_memory()

    def forget_peak_memory(self) -> None:
        """Reset `peak_memory` to what is in use now."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        else:
            super().forget_peak_memory()

    def held_memory(self) -> int:
        """As of `Network`; on a GPU the limit of memory is one of the GPU, and each image has all of it."""
        return 0 if self._device.type == "cuda" else super().held_memory()
