"""Checkpoints in spandrel, as chaiNNer and others load them."""

import pytest
import torch

from quantnas_sr.archs.quantized_arch import QuantizedArch
from quantnas_sr.errors import MissingExtraError
from quantnas_sr.search_space import Choice, DerivedNetwork, Genotype, get_search_space

spandrel = pytest.importorskip("spandrel")

from quantnas_sr.deploy.spandrel import add_to_spandrel  # noqa: E402


def derived(norm):
    slots = get_search_space("basic").slots(3, 12, 1)
    return DerivedNetwork(Genotype("basic", 3, 12, 1, norm, {name: Choice("simple_3x3", 4) for name in slots}))


@pytest.mark.parametrize(
    ("network", "scale", "tiling"),
    [
        (derived("batch"), 3, spandrel.ModelTiling.SUPPORTED),
        (derived("adq"), 3, spandrel.ModelTiling.DISCOURAGED),
        (QuantizedArch({"type": "ESPCN", "upscale": 2}), 2, spandrel.ModelTiling.SUPPORTED),
    ],
    ids=["batch", "adq", "ESPCN"],
)
def test_a_checkpoint_loads_with_no_word_about_it(network, scale, tiling, tmp_path):
    network(torch.rand(1, 3, 16, 16))
    torch.save({"params": network.state_dict()}, tmp_path / "net.pth")
    registry = spandrel.ArchRegistry()
    add_to_spandrel(registry)
    model = spandrel.ModelLoader(registry=registry).load_from_file(tmp_path / "net.pth")
    x = torch.rand(1, 3, 11, 14)
    with torch.no_grad():
        expected = network.eval()(x).clamp(0, 1)
    torch.testing.assert_close(model(x), expected)
    assert (model.scale, model.purpose, model.tiling) == (scale, "SR", tiling)


def test_the_main_registry_knows_it_once():
    add_to_spandrel()
    add_to_spandrel()
    assert [support.architecture.id for support in spandrel.MAIN_REGISTRY].count("QuantNAS") == 1


def test_without_spandrel_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "spandrel", None)
    with pytest.raises(MissingExtraError, match=r"quantnas_sr\[spandrel\]"):
        add_to_spandrel()
