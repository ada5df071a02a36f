"""Bit widths of any network, searched: what is computed, what is learned, what is derived, which checkpoints load."""

import copy

import pytest
import torch
from test_quantized_arch import ARCHS, base_of, every_arch, images, load_network
from torch import nn

from quantnas_sr.archs.quantized_arch import QuantizedArch
from quantnas_sr.archs.quantized_supernet_arch import QuantizedSupernet
from quantnas_sr.cost import count, edge_costs
from quantnas_sr.errors import OptionError
from quantnas_sr.losses.hardware_cost_loss import HardwareCostLoss
from quantnas_sr.mixed_precision.mixed_conv import NoiseMixedConv2d, SharedMixedConv2d
from quantnas_sr.quantization import HWGQ, integer_bias, unit_noise_std
from quantnas_sr.search_space.mixing.selectors import Selection

ESPCN, RFDN = ARCHS["ESPCN"], ARCHS["RFDN"]
MIXERS = ("shared", "noise", "separate")
every_mixer = pytest.mark.parametrize("bit_mixer", MIXERS)
#: Every arch, and every mixer twice.
PAIRS = {"RFDN": "noise", "EDSR": "shared", "ESPCN": "separate", "MSRResNet": "noise", "own": "shared"}
every_arch_with_a_mixer = pytest.mark.parametrize(
    "arch, bit_mixer", [(ARCHS[name], mixer) for name, mixer in [*PAIRS.items(), ("own", "separate")]], ids=str
)


def choose(net: QuantizedSupernet) -> None:
    """One-hot alphas at a random width of every layer, also after a softmax."""
    for alphas in net.alphas.values():
        alphas.data.fill_(-1000.0)
        alphas.data[0, torch.randint(alphas.numel(), ())] = -1.0


def strided() -> nn.Conv2d:
    return nn.Conv2d(4, 6, (3, 5), stride=2, padding=(1, 2), groups=2, padding_mode="reflect")


# --- equations


@pytest.mark.parametrize("quantizer", ["lsq", "hwgq"])
def test_shared_is_one_convolution_of_the_mixed_input_weight_and_bias(quantizer):
    conv, x, shares = strided(), torch.randn(2, 4, 9, 9), torch.tensor([[0.3, 0.5, 0.2]])
    layer = SharedMixedConv2d(conv, (2, 4, 32), quantizer)
    layer.selection = Selection(shares)
    y = layer(x)
    inputs = [*(layer.input_quantizers[b](x) for b in "24"), x]
    weights = [*(layer.weight_quantizers[b](conv.weight) for b in "24"), conv.weight]
    quantizers = [(layer.input_quantizers[b], layer.weight_quantizers[b]) for b in "24"]
    biases = [*(integer_bias(conv.bias, *pair) for pair in quantizers), conv.bias]
    mixed = (sum(s * term for s, term in zip(shares[0], terms)) for terms in (inputs, weights, biases))
    expected = conv._conv_forward(*mixed)
    torch.testing.assert_close(y, expected)
    if quantizer == "hwgq":
        torch.testing.assert_close(inputs[1], HWGQ(4)(x))
    else:
        assert inputs[0].min() < 0


@pytest.mark.parametrize("quantizer", ["lsq", "hwgq"])
def test_noise_has_the_strength_of_the_mixed_widths_and_the_range_of_what_is_convolved(quantizer, monkeypatch):
    conv, x, shares = strided(), torch.randn(2, 4, 9, 9), torch.tensor([[0.3, 0.7]])
    layer = NoiseMixedConv2d(conv, (2, 4), quantizer)
    layer.selection = Selection(shares)
    for module in ("search_space.mixing.multi_bit_conv", "mixed_precision.mixed_conv"):
        monkeypatch.setattr(f"quantnas_sr.{module}.draw", lambda like: torch.ones_like(like))
    read = x if quantizer == "lsq" else x.relu()
    std = sum((s * unit_noise_std(b)) ** 2 for s, b in zip(shares[0], (2, 4))).sqrt()
    noisy = [t + std * (t.max() - t.min()) for t in (read, conv.weight)]
    torch.testing.assert_close(layer(x), conv._conv_forward(*noisy, conv.bias))


@every_arch
@pytest.mark.parametrize(
    "bit_mixer, bits, quantizer",
    [
        ("shared", (4, 8), "lsq"),
        ("separate", (8, 32), "lsq"),
        ("shared", (8, 32), "hwgq"),
        ("separate", (4, 8), "hwgq"),
    ],
    ids=str,
)
def test_at_one_hot_alphas_it_computes_what_the_quantized_network_computes(arch, bit_mixer, bits, quantizer, randomize):
    net = QuantizedSupernet(arch, bits, bit_mixer, activation_quantizer=quantizer)
    net(images())
    randomize(net.network)
    choose(net)
    net.eval()
    derived, x = net.derive(), images()
    assert isinstance(derived, QuantizedArch) and not derived.training
    found = net.genotype().bits
    assert {name: layer.bits for name, layer in derived.quantized_layers()} == {
        n: b for n, b in found.items() if b < 32
    }
    with torch.no_grad():
        torch.testing.assert_close(derived(x), net(x), rtol=1e-5, atol=1e-5)


@every_arch
def test_under_noise_at_32_bits_it_is_the_network_itself(arch):
    base, net = base_of(arch).eval(), QuantizedSupernet(arch, [32], "noise").eval()
    net.load_state_dict(base.state_dict())
    x = images()
    torch.testing.assert_close(net(x), base(x))


@pytest.mark.parametrize("quantizer", ["lsq", "hwgq"])
def test_derived_from_noise_it_has_the_weights_and_starts_its_steps_from_the_last_batch(quantizer):
    net = QuantizedSupernet(RFDN, [8], "noise", activation_quantizer=quantizer)
    net(images() * 100)
    x = images()
    net(x)
    derived = net.derive().eval()
    fresh = QuantizedArch(RFDN, 8, activation_quantizer=quantizer)
    fresh.load_state_dict(net.derive().state_dict() if quantizer == "hwgq" else plain_state(net))
    with torch.no_grad():
        fresh(x)
        derived(x)
    first = derived.network.fea_conv
    torch.testing.assert_close(first.weight_quantizer.step, fresh.network.fea_conv.weight_quantizer.step)
    if quantizer == "lsq":
        torch.testing.assert_close(
            first.input_quantizer.step, fresh.network.fea_conv.input_quantizer.step, rtol=0.1, atol=0
        )


def plain_state(net: QuantizedSupernet):
    return {key: value for key, value in net.network.state_dict().items() if not key.endswith("input_sample")}


# --- learning


@every_arch_with_a_mixer
def test_gradients_reach_all_alphas_and_weights(arch, bit_mixer):
    net = QuantizedSupernet(arch, bit_mixer=bit_mixer)
    y = net(torch.rand(2, 3, 32, 32))
    (y * torch.randn_like(y)).sum().backward()
    for name, alphas in net.alphas_by_slot().items():
        assert alphas.shape == (1, 2)
        assert alphas.grad.isfinite().all() and alphas.grad.ne(0).all(), name
    assert all(weight.grad is not None for weight in net.weights())
    assert all(layer.selection is None for _, layer in net.places())
    copy.deepcopy(net)


@pytest.mark.parametrize("selector", ["softmax", "gumbel", "hard_gumbel"])
@every_mixer
def test_every_selector_and_mixer_goes_forward_and_back(bit_mixer, selector):
    net = QuantizedSupernet(ESPCN, bit_mixer=bit_mixer, selector=selector)
    net(images()).sum().backward()
    assert all(alphas.grad.isfinite().all() for alphas in net.alphas.values())
    assert net.eval()(images()).isfinite().all()


def test_every_layer_has_alphas_by_its_own_name_and_a_layer_in_two_places_has_one():
    net = QuantizedSupernet(ARCHS["own"])
    names = ["down", "network.0", "twice"]
    assert list(net.probabilities()) == list(net.edge_names()) == list(net.genotype().bits) == names
    assert list(net.alphas) == ["down", "network/0", "twice"]
    assert net.network.again is net.network.twice
    assert net.edge_names()["network.0"] == ["4bit", "8bit"]


def test_the_largest_alpha_of_a_layer_is_its_width():
    net = QuantizedSupernet(RFDN)
    net.alphas_by_slot()["B1.c1_d"].data[0, 1] = 1.0
    assert {name for name, bits in net.genotype().bits.items() if bits == 8} == {"B1.c1_d"}


# --- cost


@pytest.mark.parametrize("cost", ["bitops", "macs", "params"])
def test_the_cost_of_the_edges_is_the_cost_of_the_derived_network(cost):
    net = QuantizedSupernet(RFDN, skip=["fea_conv"])
    choose(net)
    tables = edge_costs(net, cost, (16, 16))
    found = net.genotype().bits
    edges = sum(table[0, net.bits.index(found[name])].item() for name, table in tables.items())
    layers = [layer for layer in count(net.derive(), (16, 16)).layers if layer.name != "network.fea_conv"]
    expected = {"bitops": "bitops", "macs": "macs", "params": "weights"}[cost]
    assert edges == sum(getattr(layer, expected) for layer in layers)


def test_a_layer_that_runs_twice_costs_twice_and_has_its_weights_once():
    net = QuantizedSupernet(ARCHS["own"])
    macs, params = (edge_costs(net, cost, (20, 24))["twice"] for cost in ("macs", "params"))
    run = 10 * 12 * 8 * 8 * 3  # "down" leaves 10 x 12 of 20 x 24
    assert macs.tolist() == [[2 * run] * 2]
    assert params.tolist() == [[8 * 8 * 3] * 2]


def test_the_hardware_loss_prefers_few_bits():
    net = QuantizedSupernet(ESPCN)
    loss = HardwareCostLoss(loss_weight=0.1)
    loss.attach(net)
    value = loss(net.probabilities())
    assert value.item() == pytest.approx(0.1)
    value.backward()
    for alphas in net.alphas.values():
        assert alphas.grad[0, 0] < 0 < alphas.grad[0, 1]


# --- which layers


@every_mixer
def test_skipped_layers_stay_as_they_are_and_are_in_the_genotype_at_32_bits(bit_mixer, tmp_path):
    net = QuantizedSupernet(RFDN, bit_mixer=bit_mixer, skip=["fea_conv", "*.esa.*"])
    skipped = {name for name, bits in net.genotype().bits.items() if bits == 32}
    assert skipped == {n for n in QuantizedSupernet(RFDN).genotype().bits if n == "fea_conv" or ".esa." in n}
    assert not skipped & net.probabilities().keys()
    assert type(net.network.fea_conv) is nn.Conv2d
    net.genotype({"seed": 3}).save(tmp_path / "bits_by_layer.yml")
    read = QuantizedArch(RFDN, bits_by_layer=tmp_path / "bits_by_layer.yml")
    assert {name: layer.bits for name, layer in read.quantized_layers()} == dict.fromkeys(net.probabilities(), 4)
    assert "seed: 3" in (tmp_path / "bits_by_layer.yml").read_text()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"bits": 8}, "bits: 8 is not a list of at least one bit width"),
        ({"bits": [4, 4]}, "bits: [4, 4] names a bit width twice"),
        ({"bit_mixer": "nois"}, "unknown bit_mixer 'nois', did you mean 'noise'? Allowed: noise, separate, shared"),
        ({"activation_quantizer": "lqs"}, "unknown activation_quantizer 'lqs', did you mean 'lsq'?"),
        ({"selector": "sofmax"}, "unknown selector 'sofmax', did you mean 'softmax'?"),
        ({"temperature": 1}, "temperature: 1 is not two numbers above 0"),
        ({"skip": ["fea_con"]}, "skip: unknown layer 'fea_con', did you mean 'fea_conv'?"),
        ({"skip": ["*"]}, "skip: ['*'] leaves no layer of RFDN to search"),
        ({"arch": {"type": "RFDM"}}, "arch: unknown type 'RFDM', did you mean 'RFDN'?"),
        ({"arch": {"type": "ArchWithoutConvolutions"}}, "arch: ArchWithoutConvolutions has no nn.Conv2d to quantize"),
    ],
    ids=str,
)
def test_what_cannot_be_used_is_one_line_that_says_which_argument(options, message):
    with pytest.raises(OptionError) as caught:
        QuantizedSupernet(**{"arch": RFDN, **options})
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


# --- checkpoints


@pytest.mark.parametrize("arch", [ARCHS[name] for name in ("EDSR", "ESPCN", "own")], ids=lambda arch: arch["type"])
@every_mixer
@pytest.mark.parametrize("quantizer", ["lsq", "hwgq"])
def test_weights_of_the_network_in_full_precision_load_strictly(arch, bit_mixer, quantizer, tmp_path, randomize):
    base, net = base_of(arch), QuantizedSupernet(arch, bit_mixer=bit_mixer, activation_quantizer=quantizer)
    randomize(base)
    net(images())
    load_network(net, base.state_dict(), tmp_path)
    assert all(alphas.eq(0).all() for alphas in net.alphas.values())
    derived = QuantizedArch(arch, 4, activation_quantizer=quantizer)
    derived.load_state_dict(base.state_dict())
    found = net.derive().state_dict()
    assert found.keys() == derived.state_dict().keys()
    del found["_extra_state"]
    assert all(torch.equal(value, derived.state_dict()[key]) for key, value in found.items())


@every_arch_with_a_mixer
def test_its_own_checkpoint_loads_strictly_and_computes_the_same(arch, bit_mixer, tmp_path):
    first, second = (QuantizedSupernet(arch, bit_mixer=bit_mixer) for _ in range(2))
    first(images())
    for alphas in first.alphas.values():
        alphas.data.normal_()
    load_network(second, first.state_dict(), tmp_path)
    assert second.genotype() == first.genotype()
    x = images()
    outputs = []
    for net in (first.eval(), second.eval()):
        torch.manual_seed(1)
        outputs.append(net(x))
    assert torch.equal(*outputs)
    assert all(torch.equal(a, b) for a, b in zip(first.derive().parameters(), second.derive().parameters()))


@pytest.mark.parametrize("change", ["missing", "unknown", "other size", "missing alphas"])
def test_a_checkpoint_of_another_network_is_refused(change):
    net = QuantizedSupernet(RFDN, bit_mixer="noise")
    state = base_of(RFDN).state_dict()
    if change == "missing":
        del state["fea_conv.weight"]
    elif change == "unknown":
        state["fea_conv_2.weight"] = state["fea_conv.weight"]
    elif change == "other size":
        state["fea_conv.weight"] = torch.zeros(3)
    else:
        state = net.state_dict()
        del state["alphas.fea_conv"]
    with pytest.raises(RuntimeError, match="fea_conv"):
        net.load_state_dict(state)


def test_deriving_draws_no_random_numbers():
    net = QuantizedSupernet(ESPCN)
    before = torch.get_rng_state()
    net.derive()
    assert torch.equal(torch.get_rng_state(), before)
