"""The networks of `examples/archs`: a user's own files for networks that others published."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Dict

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT.parent / "shared" / "weights"
PUBLISHED = {
    "SPAN": "SPAN_x4_NTIRE2026_baseline.pth",
    "RLFN": "RLFN_ntire_x4.pth",
    "EFDN": "EFDN_x4_NTIRE2025_baseline.pth",
    "SAFMN": "SAFMN_x4_NTIRE2023.pth",
}
SMALL = {
    "SPAN": {"num_feat": 8, "num_block": 2},
    "RLFN": {"num_feat": 8, "mid_feat": 10, "esa_feat": 4, "num_block": 1},
    "EFDN": {"num_feat": 8},
    "SAFMN": {"num_feat": 8, "num_block": 1},
}


def imported(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{name}_arch", ROOT / "examples" / "archs" / f"{name}_arch.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def archs() -> Dict[str, ModuleType]:
    """Modules by the name of their network; BasicSR registers each once."""
    return {name: imported(name.lower()) for name in PUBLISHED}


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("name", PUBLISHED)
def test_images_of_odd_sides_are_enlarged(name, scale, archs):
    network = getattr(archs[name], name)(upscale=scale, **SMALL[name]).eval()
    with torch.no_grad():
        assert network(torch.rand(2, 3, 17, 23)).shape == (2, 3, 17 * scale, 23 * scale)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_weights_load_as_they_are(name, archs):
    """Of an image of one colour the network makes an image of about that colour: the range is that of the weights."""
    if not (WEIGHTS / PUBLISHED[name]).is_file():
        pytest.skip("the published weights are not here")
    state = torch.load(WEIGHTS / PUBLISHED[name], map_location="cpu", weights_only=True)
    network = getattr(archs[name], name)()
    network.load_state_dict(state.get("params", state), strict=True)
    colour = torch.tensor([0.3, 0.5, 0.6]).view(1, 3, 1, 1)
    with torch.no_grad():
        made = network.eval()(colour.expand(1, 3, 32, 32))
    assert (made - colour)[..., 32:-32, 32:-32].abs().max() < 0.02


def test_branches_of_span_are_fused_where_they_are_loaded(archs):
    channels, wide, out = 3, 6, 4
    shapes = {"sk": (out, channels, 1, 1), "conv.0": (wide, channels, 1, 1), "conv.1": (2 * out, wide, 3, 3)}
    state = random_convs({**shapes, "conv.2": (out, 2 * out, 1, 1), "eval_conv": (out, channels, 3, 3)})
    module = archs["SPAN"].Conv3XC(channels, out)
    module.load_state_dict(state, strict=True)
    x = torch.randn(2, channels, 7, 9)
    y = F.pad(x, (1, 1, 1, 1))
    for i in range(3):
        y = F.conv2d(y, state[f"conv.{i}.weight"], state[f"conv.{i}.bias"])
    expected = y + F.conv2d(x, state["sk.weight"], state["sk.bias"])
    torch.testing.assert_close(module(x), expected, rtol=1e-4, atol=1e-4)


def test_edge_branches_of_efdn_are_fused_where_they_are_loaded(archs):
    channels = 4
    state = random_convs({"rep_conv": (channels, channels, 3, 3), "conv1x1": (channels, channels, 1, 1)})
    state["act.weight"] = torch.rand(channels)
    x = torch.randn(2, channels, 7, 9)
    expected = F.conv2d(x, state["rep_conv.weight"], state["rep_conv.bias"], padding=1)
    expected = expected + F.conv2d(x, state["conv1x1.weight"], state["conv1x1.bias"])
    for name in ("sbx", "sby", "lpl"):
        k0, b0 = torch.randn(channels, channels, 1, 1), torch.randn(channels)
        scale, bias = torch.randn(channels, 1, 1, 1), torch.randn(channels)
        mask = torch.randn(channels, 1, 3, 3)  # not an edge filter: of those, the bias of the 1x1 adds up to 0
        parts = {"k0": k0, "b0": b0, "scale": scale, "bias": bias, "mask": mask}
        state.update({f"conv1x1_{name}.{key}": tensor for key, tensor in parts.items()})
        padded = F.conv2d(F.pad(x, (1, 1, 1, 1)), k0, b0)  # the border of the 1x1's result is its bias
        expected = expected + F.conv2d(padded, scale * mask, bias, groups=channels)
    module = archs["EFDN"].EDBB(channels)
    module.load_state_dict(state, strict=True)
    torch.testing.assert_close(module(x), F.prelu(expected, state["act.weight"]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["SPAN", "EFDN"])
def test_a_fused_network_loads_what_it_saves(name, archs):
    first, second = (getattr(archs[name], name)(**SMALL[name]).eval() for _ in range(2))
    second.load_state_dict(first.state_dict(), strict=True)
    x = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(first(x), second(x))


def random_convs(shapes: Dict[str, tuple]) -> Dict[str, Tensor]:
    """Weights and biases of convolutions by their names."""
    weights = {f"{name}.weight": torch.randn(shape) for name, shape in shapes.items()}
    return {**weights, **{f"{name}.bias": torch.randn(shape[0]) for name, shape in shapes.items()}}
