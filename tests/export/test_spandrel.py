"""Checkpoints in spandrel, as chaiNNer and others load them."""

import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY
from others import SWINIR, trained

from quantnas_sr.archs.quantized_arch import QuantizedArch
from quantnas_sr.checkpoints import describes_network
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


#: Networks whose own state dict spandrel knows.
KNOWN = {
    "SwinIR": SWINIR,
    "RRDBNet": {"type": "RRDBNet", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_block": 1, "num_grow_ch": 4},
    "SRVGGNetCompact": {"type": "SRVGGNetCompact_basicsr", "num_feat": 8, "num_conv": 2, "upscale": 2},
    "RCAN": {"type": "RCAN", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 16, "num_group": 1, "num_block": 1},
}


@pytest.fixture
def main_registry(monkeypatch):
    """A copy of spandrel's main registry, which a loader without a registry of its own would use."""
    registry = spandrel.MAIN_REGISTRY.copy()
    monkeypatch.setattr(spandrel, "MAIN_REGISTRY", registry)
    return registry


@pytest.mark.parametrize("name, key", [*((name, "params_ema") for name in KNOWN), ("SRVGGNetCompact", "params")])
def test_a_quantized_network_is_ours_though_spandrel_knows_its_names(name, key, main_registry, tmp_path):
    network = trained(KNOWN[name])
    torch.save({key: network.state_dict()}, tmp_path / "net.pth")
    for _ in range(2):
        add_to_spandrel()
        model = spandrel.ModelLoader(registry=main_registry).load_from_file(tmp_path / "net.pth")
        assert model.architecture.id == "QuantNAS" and isinstance(model.model, QuantizedArch)
    x = torch.rand(1, 3, 16, 24)
    with torch.no_grad():
        torch.testing.assert_close(model(x), network(x).clamp(0, 1))


@pytest.mark.parametrize(
    "extra",
    [
        torch.zeros(3),
        torch.tensor(list(b'{"step": 1}'), dtype=torch.uint8),
        {"scale": 1.0},
        None,
        b"{}",
        torch.zeros(()),
    ],
    ids=["floats", "JSON of others", "a dict", "None", "bytes", "a number"],
)
def test_the_extra_state_of_others_is_left_to_them(extra, main_registry, tmp_path):
    arch = dict(KNOWN["SRVGGNetCompact"])
    others = ARCH_REGISTRY.get(arch.pop("type"))(**arch)
    torch.save({**others.state_dict(), "_extra_state": extra}, tmp_path / "net.pth")
    add_to_spandrel()
    assert not describes_network({"_extra_state": extra})
    checkpoint = torch.load(tmp_path / "net.pth", weights_only=True)
    detected = next(s for s in main_registry.architectures("detection") if s.detect(checkpoint))
    assert detected.architecture.id == "Compact"


def test_architectures_that_were_added_before_ours_come_after_it(main_registry):
    class Greedy(spandrel.Architecture):
        def __init__(self):
            super().__init__(id="Greedy", detect=lambda state: True)

        def load(self, state_dict):
            raise AssertionError

    main_registry.add(spandrel.ArchSupport.from_architecture(Greedy(), before=("Compact",)))
    add_to_spandrel()
    state = trained({"type": "ESPCN", "num_feat": 4}).state_dict()
    assert main_registry.load(state).architecture.id == "QuantNAS"


def test_a_network_of_one_channel_says_so(main_registry):
    add_to_spandrel()
    model = main_registry.load(trained("GrayNetwork", channels=1).state_dict())
    assert (model.input_channels, model.output_channels, model.scale) == (1, 1, 2)


def test_the_main_registry_knows_it_once():
    add_to_spandrel()
    add_to_spandrel()
    assert [support.architecture.id for support in spandrel.MAIN_REGISTRY].count("QuantNAS") == 1


def test_without_spandrel_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "spandrel", None)
    with pytest.raises(MissingExtraError, match=r"quantnas_sr\[spandrel\]"):
        add_to_spandrel()
