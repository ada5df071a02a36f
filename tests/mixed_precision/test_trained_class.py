"""A checkpoint is rebuilt with the class that was trained, whatever else has its name."""

import json

import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from quantnas_sr.archs.quantized_arch import QuantizedArch
from quantnas_sr.archs.rfdn_arch import RFDN
from quantnas_sr.checkpoints import load_network
from quantnas_sr.errors import DataError, OptionError
from quantnas_sr.search_space.derived import EXTRA_STATE

SMALL = {"type": "RFDN", "num_feat": 8, "num_block": 1, "upscale": 2}


@pytest.fixture
def project_has_rfdn(monkeypatch):
    """From its call on, RFDN is a project's own network."""

    class Theirs(nn.Module):
        def __init__(self, width=4):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x):
            return self.conv(x)

    Theirs.__module__ = "bsrn.archs.rfdn_arch"
    return lambda: monkeypatch.setitem(ARCH_REGISTRY._obj_map, "RFDN", Theirs) or Theirs


def save(network: QuantizedArch, path, **changes) -> None:
    """As BasicSR saves; ``changes`` of what the checkpoint says of its network, None takes it out."""
    state = network.state_dict()
    said = {**json.loads(bytes(state[EXTRA_STATE].tolist())), **changes}
    said = {key: value for key, value in said.items() if value is not None}
    state[EXTRA_STATE] = torch.tensor(list(json.dumps(said).encode()), dtype=torch.uint8)
    torch.save({"params": state}, path)


@pytest.mark.parametrize("older", [False, True], ids=["", "of a version that did not say it"])
def test_ours_is_rebuilt_where_a_project_has_the_name(tmp_path, project_has_rfdn, older):
    save(QuantizedArch(SMALL), tmp_path / "net.pth", **({"arch_module": None} if older else {}))
    project_has_rfdn()
    network = load_network(tmp_path / "net.pth")
    assert type(network.network) is RFDN
    save(network, tmp_path / "again.pth")
    assert type(load_network(tmp_path / "again.pth").network) is RFDN


def test_the_projects_is_rebuilt_in_the_project_and_refused_elsewhere(tmp_path, project_has_rfdn, monkeypatch):
    with monkeypatch.context():
        theirs = project_has_rfdn()
        save(QuantizedArch({"type": "RFDN", "width": 3}), tmp_path / "net.pth")
        assert type(load_network(tmp_path / "net.pth").network) is theirs
        monkeypatch.undo()
    with pytest.raises(DataError, match="net.pth: arch: RFDN of bsrn.archs.rfdn_arch was trained"):
        load_network(tmp_path / "net.pth")


@pytest.mark.parametrize("said", [{}, {"arch_module": 5}, {"arch_module": "an.older.place"}])
def test_a_network_whose_name_is_nobody_elses_is_found_by_it(tmp_path, said):
    save(QuantizedArch({"type": "MSRResNet", "num_feat": 4, "num_block": 1}), tmp_path / "net.pth", **said)
    assert type(load_network(tmp_path / "net.pth").network).__name__ == "MSRResNet"


def test_options_of_ours_for_the_projects_network_name_both(project_has_rfdn):
    project_has_rfdn()
    with pytest.raises(
        OptionError, match=r"'num_feat'.*\(RFDN is bsrn.archs.rfdn_arch's here, ours is RFDN_quantnas\)"
    ):
        QuantizedArch(SMALL)
    assert type(QuantizedArch({**SMALL, "type": "RFDN_quantnas"}).network) is RFDN
