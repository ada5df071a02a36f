"""Quantization steps are positive by construction, can be trained from anywhere, and older checkpoints still load."""

import copy
import math
import types

import pytest
import torch
from networks import SHARED
from torch import nn

from quantnas_sr.archs.quantized_arch import QuantizedArch
from quantnas_sr.archs.quantized_supernet_arch import QuantizedSupernet
from quantnas_sr.checkpoints import load_network
from quantnas_sr.errors import CalibrationError
from quantnas_sr.models.own_rates import separate_steps, set_own_rates
from quantnas_sr.quantization import LSQActivation, LSQWeight, QuantConv2d, is_calibrated, lsq_range
from quantnas_sr.quantization.step_exponent import exponent_of, step_of

ESPCN = {"type": "ESPCN", "upscale": 2}


def lsq_conv(**kwargs):
    return QuantConv2d.of(nn.Conv2d(3, 6, 3, padding=1), 4, "lsq", **kwargs)


def steps_of(network):
    return [m.step.detach() for m in network.modules() if isinstance(m, (LSQWeight, LSQActivation))]


# --- positive by construction


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_exponent_gives_a_step_that_is_positive_and_finite(dtype):
    exponents = torch.tensor([-float("inf"), -6e4, -200, -15, -1, 0, 1, 15, 200, 6e4, float("inf")], dtype=dtype)
    steps = step_of(exponents)
    assert steps.dtype is dtype
    assert (steps > 0).all() and steps.isfinite().all()
    assert (steps.diff() >= 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_exponent_of_a_step_gives_the_step_again(dtype):
    steps = torch.logspace(-6, 6, 1000, dtype=dtype)
    again = step_of(exponent_of(steps))
    assert ((again / steps - 1).abs() < 16 * torch.finfo(dtype).eps).all()


def searched(space, bit_mixer):
    from quantnas_sr.search_space import Supernet

    return Supernet(space, num_feat=12, num_block=1, scale=2, bits=[4, 8], bit_mixer=bit_mixer)


NETWORKS = {
    "convolution, HWGQ": lambda: nn.Sequential(QuantConv2d(3, 6, 3, 4), QuantConv2d(6, 12, 3, 8), nn.PixelShuffle(2)),
    "any network, LSQ": lambda: QuantizedArch(ESPCN, bits=4),
    "any network, HWGQ": lambda: QuantizedArch(ESPCN, bits=4, activation_quantizer="hwgq"),
    "shared widths": lambda: QuantizedSupernet(ESPCN, bits=[4, 8], bit_mixer="shared"),
    "separate widths": lambda: QuantizedSupernet(ESPCN, bits=[4, 8], bit_mixer="separate"),
    "search, shared": lambda: searched("basic", "shared"),
    "search, separate": lambda: searched("basic", "separate"),
    "fixed convolutions of RFDN": lambda: searched("rfdn", "noise").derive(),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.SGD])
def test_fifty_steps_at_a_learning_rate_of_one_leave_positive_finite_steps(name, optimizer):
    network = NETWORKS[name]()
    x, target = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 16, 16)
    network(x)
    exponents = [p for key, p in network.named_parameters() if key.endswith("step_exponent")]
    before = [exponent.detach().clone() for exponent in exponents]
    assert exponents
    trained = optimizer(exponents, lr=1.0)
    for _ in range(50 if len(exponents) < 5 else 5):
        trained.zero_grad()
        (100 * (network(x) - target)).square().mean().backward()
        trained.step()
    assert any(not torch.equal(old, new) for old, new in zip(before, exponents))
    for step in steps_of(network):
        assert (step > 0).all() and step.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_steps_are_trained_in_float32_under_autocast(dtype):
    network = QuantizedArch(ESPCN, bits=4)
    x = torch.rand(1, 3, 8, 8)
    network(x)
    with torch.autocast("cpu", dtype):
        network(x).float().square().mean().backward()
    assert all(step.dtype is torch.float32 and (step > 0).all() for step in steps_of(network))
    for key, parameter in network.named_parameters():
        if key.endswith("step_exponent"):
            assert parameter.grad.dtype is torch.float32 and parameter.grad.isfinite().all()


# --- trained from anywhere


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("channels", [slice(0, 1), slice(None)], ids=["one channel", "all channels"])
def test_channels_of_zeros_learn_within_a_few_iterations(channels, trained):
    conv = nn.Conv2d(3, 4, 3, padding=1)
    conv.weight.data[channels] = 0
    quantized = QuantConv2d.of(conv, 8, "hwgq")
    quantized.weight_quantizer.trained = trained
    quantized.init_steps()
    x = torch.rand(4, 3, 8, 8)
    target = nn.functional.conv2d(x, torch.ones(4, 3, 3, 3) / 10, padding=1)
    optimizer = torch.optim.Adam(quantized.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = (quantized(x) - target)[:, channels].square().mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 10


def test_an_input_that_was_all_zero_at_the_calibration_is_quantized_usefully_later():
    quantizer = LSQActivation(8)
    assert torch.equal(quantizer(torch.zeros(1, 2, 3, 3)), torch.zeros(1, 2, 3, 3))
    x = torch.tensor([[-0.5, 0.25, 0.9]], requires_grad=True)
    y = quantizer(x)
    y.sum().backward()
    torch.testing.assert_close(y.detach(), x.detach(), atol=0.01, rtol=0)
    assert torch.equal(x.grad, torch.ones_like(x))


def test_weight_decay_leaves_the_steps_alone():
    conv = QuantConv2d(3, 4, 3, bits=4)
    optimizer = torch.optim.SGD(conv.parameters(), lr=0.1, weight_decay=0.5)
    separate_steps(optimizer, conv, None)
    before, weight = conv.weight_quantizer.step.detach().clone(), conv.weight.detach().clone()
    for parameter in conv.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert torch.equal(conv.weight_quantizer.step, before)
    torch.testing.assert_close(conv.weight.detach(), weight * 0.95)
    assert {group["lr"] for group in optimizer.param_groups} == {0.1}


def test_adam_changes_every_step_by_the_share_that_is_asked_for():
    conv = QuantConv2d(3, 4, 3, bits=4)
    conv.weight_quantizer.set_step(torch.tensor([1e-4, 1e-2, 1.0, 100.0]).view(4, 1, 1, 1))
    optimizer = torch.optim.Adam(conv.parameters(), lr=1e-5)
    separate_steps(optimizer, conv, 0.01)
    before = conv.weight_quantizer.step.detach().clone()
    for _ in range(3):
        conv.weight_quantizer.step_exponent.grad = torch.full((4, 1, 1, 1), -0.1)
        optimizer.step()
    torch.testing.assert_close(conv.weight_quantizer.step.detach(), before * 1.01**3, rtol=1e-4, atol=0)


# --- biases


@pytest.mark.parametrize("rate", [None, 0.01])
def test_biases_have_the_share_that_is_asked_for_and_steps_their_own(rate):
    network = nn.Sequential(QuantConv2d(3, 4, 3, bits=4, bias=True), nn.BatchNorm2d(4))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2, betas=(0.8, 0.9))
    set_own_rates(optimizer, network, {"step_lr": rate, "bias_lr": 0.1})
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    conv, norm = network
    assert [rates[id(p)] for p in (conv.weight, norm.weight)] == [1e-2, 1e-2]
    assert [rates[id(p)] for p in (conv.bias, norm.bias)] == pytest.approx([1e-3, 1e-3])
    assert rates[id(conv.weight_quantizer.step_exponent)] == pytest.approx(math.log2(1.01) if rate else 1e-2)
    assert len(rates) == len(list(network.parameters()))
    assert all(group["betas"] == (0.8, 0.9) for group in optimizer.param_groups)


def test_without_a_share_biases_stay_where_they_are():
    network = nn.Conv2d(3, 4, 3)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    set_own_rates(optimizer, network, {})
    assert len(optimizer.param_groups) == 1


# --- checkpoints of older versions, which trained the steps themselves


def older(state, negative=True):
    """The state dict as older versions wrote it; every other step below zero."""
    old = {}
    for key, value in state.items():
        head, _, name = key.rpartition(".")
        if name == "step_exponent":
            step = 2**value
            share = state.get(f"{head}.calibrated_share")
            if share is not None:
                step = step * share
            signs = torch.where(torch.arange(step.numel()) % 2 == 0, -1.0, 1.0).view(step.shape)
            old[f"{head}.step"] = step * signs if negative else step
        elif name == "calibrated_share":
            old[f"{head}.calibration"] = value
        else:
            old[key] = value
    return old


def older_weight(weight, step, bits):
    low, high = lsq_range(bits)
    return (weight / step).round().clamp(low, high) * step


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_an_old_negative_weight_step_rounds_to_the_same_values(bits):
    weight = 3 * torch.randn(6, 4, 3, 3)
    step = torch.tensor([0.1, -0.1, 0.5, -0.5, -2.0, 2.0]).view(6, 1, 1, 1)
    quantizer = LSQWeight(bits, 6)
    quantizer.load_state_dict({"step": step})
    torch.testing.assert_close(quantizer(weight), older_weight(weight, step, bits))
    integers = quantizer.to_int(weight)
    assert (integers >= quantizer.low).all() and (integers <= quantizer.high).all()
    torch.testing.assert_close(integers * quantizer.scale, quantizer(weight))
    assert (quantizer.step > 0).all()
    again = LSQWeight(bits, 6)
    again.load_state_dict(quantizer.state_dict())
    assert torch.equal(again(weight), quantizer(weight))
    again.load_state_dict(LSQWeight(bits, 6).state_dict())
    assert again.sign is None


def test_an_old_negative_weight_step_has_the_gradients_that_it_had():
    weight, step = torch.randn(2, 3, 3, 3), torch.tensor([-0.3, 0.3]).view(2, 1, 1, 1)
    quantizer, positive = LSQWeight(4, 2), LSQWeight(4, 2)
    quantizer.load_state_dict({"step": step})
    positive.load_state_dict({"step": step.abs()})
    ours, mirrored = weight.clone().requires_grad_(), (weight * step.sign()).requires_grad_()
    quantizer(ours).sum().backward()
    (positive(mirrored) * step.sign()).sum().backward()
    assert torch.equal(ours.grad, mirrored.grad * step.sign())
    assert torch.equal(quantizer.step_exponent.grad, positive.step_exponent.grad)


@pytest.mark.parametrize("step", [0.0, -0.0, 1e-45])
def test_an_old_step_of_zero_becomes_a_positive_one(step):
    quantizer = LSQWeight(4, 1)
    quantizer.load_state_dict({"step": torch.full((1, 1, 1, 1), step)})
    assert (quantizer.step > 0).all()
    assert quantizer(torch.randn(1, 2, 3, 3)).isfinite().all()


@pytest.mark.parametrize("share", [1, 0.25, 1e-3])
@pytest.mark.parametrize("sign", [-1, 1])
def test_an_old_step_of_activations_counts_by_its_size_and_by_its_share_of_the_average(share, sign):
    quantizer = LSQActivation(4).eval()
    state = {"step": torch.tensor([sign * share * 0.3]), "calibration": torch.tensor([float(share)])}
    quantizer.load_state_dict({**state, "zero_point": torch.tensor([3], dtype=torch.int32)})
    assert float(quantizer.step.detach()) == pytest.approx(0.3, rel=1e-5)
    x = torch.tensor([[-2.0, 0.31, 9.0]])
    torch.testing.assert_close(quantizer(x), torch.tensor([[-0.9, 0.3, 3.6]]))


def test_an_old_network_that_was_never_calibrated_still_is_not():
    network = QuantizedArch(ESPCN)
    network.load_state_dict(older(QuantizedArch(ESPCN).state_dict()))
    assert not is_calibrated(network)
    with pytest.raises(CalibrationError):
        network.eval()(torch.rand(1, 3, 8, 8))


def at_old_weights(network):
    """A copy that computes with the very numbers to which older versions rounded a weight at a negative step."""
    exact = copy.deepcopy(network)
    for module in exact.modules():
        if isinstance(module, LSQWeight):
            signs = torch.where(torch.arange(module.step.numel()) % 2 == 0, -1.0, 1.0).view(module.step.shape)
            step = (module.step * signs).detach()
            module.forward = types.MethodType(
                lambda self, weight, step=step: older_weight(weight, step, self.bits), module
            )
    return exact


@pytest.mark.parametrize("name", NETWORKS)
def test_every_kind_of_network_loads_an_old_checkpoint_and_computes_what_it_did(name):
    network, again = NETWORKS[name](), NETWORKS[name]()
    x = torch.rand(2, 3, 8, 8)
    network(x)
    again.load_state_dict(older(network.state_dict()), strict=True)
    image = at_old_weights(network).eval()(x)
    assert ((again.eval()(x) - image).abs() > 1e-3).float().mean() < 0.02


@pytest.mark.parametrize("bit_mixer", ["shared", "separate"])
def test_a_network_derived_from_an_old_search_computes_what_the_search_does(bit_mixer):
    supernet = QuantizedSupernet(ESPCN, bits=[4, 8], bit_mixer=bit_mixer)
    supernet(torch.rand(1, 3, 8, 8))
    supernet.load_state_dict(older(supernet.state_dict()))
    with torch.no_grad():
        for alphas in supernet.alphas_by_slot().values():
            alphas.copy_(torch.tensor([[100.0, -100.0]]))
    x = torch.rand(1, 3, 8, 8)
    derived = supernet.eval().derive()
    assert any(module.sign is not None for module in derived.modules() if isinstance(module, LSQWeight))
    torch.testing.assert_close(derived.eval()(x), supernet(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("key", ["params", "params_ema"])
def test_the_old_checkpoint_of_the_demo_loads_with_positive_steps(key):
    path = SHARED / "cases" / "files" / "demo_negative_steps.pth"
    if not path.is_file():
        pytest.skip("the demo's old checkpoint is not here")
    network = load_network(path, key)
    old = torch.load(path, map_location="cpu", weights_only=True)[key]
    for name, layer in network.named_modules():
        if isinstance(layer, QuantConv2d):
            assert (layer.weight_quantizer.step > 0).all()
            expected = older_weight(layer.weight, old[f"{name}.weight_quantizer.step"], layer.bits)
            torch.testing.assert_close(layer.weight_quantizer(layer.weight), expected)
