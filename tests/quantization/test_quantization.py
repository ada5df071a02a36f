"""Quantizers: the numbers of the authors' code, the formulas, and that integers and dequantized values agree."""

import copy
import math
import types

import numpy as np
import pytest
import torch
from basicsr.models.base_model import BaseModel
from reference import golden_arrays
from torch.nn import functional as F

from quantnas_sr.cost import count
from quantnas_sr.errors import CalibrationError, OptionError
from quantnas_sr.quantization import (
    HWGQ,
    LSQActivation,
    LSQWeight,
    QNoise,
    QuantConv2d,
    calibrate_inputs,
    check_bits,
    hwgq_step,
    lsq_range,
    observe_inputs,
    optimal_step,
    set_quantize,
    unit_noise_std,
)
from quantnas_sr.quantization.channel_scale import scaled_weight

WEIGHT_BITS = range(2, 17)
ACTIVATION_BITS = range(1, 17)
AUTHORS_STEPS = {
    1: 1.0576462792297525,
    2: 0.6356366866203315,
    3: 0.3720645813370479,
    4: 0.21305606790772952,
    8: 0.020300567823662602,
    16: 9.714825915156693e-05,
}


def case_of(name):
    arrays = golden_arrays("quantizers.npz")
    return {key.partition("/")[2]: value for key, value in arrays.items() if key.partition("/")[0] == name}


def assert_close(actual, expected, tolerance=1e-6):
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


# --- LSQ


@pytest.mark.parametrize("clipped", ["", "_clipped"])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_lsq_computes_what_the_authors_code_computes(bits, clipped):
    case = case_of(f"lsq{bits}{clipped}")
    quantizer = LSQWeight(bits, len(case["weight"]))
    quantizer.set_step(case["step"])
    weight = case["weight"].clone().requires_grad_()
    output = quantizer(weight)
    output.backward(case["grad_output"])
    assert_close(output, case["output"])
    assert_close(weight.grad, case["grad_weight"])
    assert_close(quantizer.step_exponent.grad, case["grad_step"])


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_lsq_steps_start_where_the_authors_steps_start(bits):
    case = case_of(f"lsq{bits}")
    quantizer = LSQWeight(bits, len(case["weight"]))
    quantizer.init_step(case["weight"])
    assert_close(quantizer.step.detach(), case["step"])


@pytest.mark.parametrize("bits", WEIGHT_BITS)
def test_lsq_forward_is_its_integers_times_its_step(bits):
    quantizer = LSQWeight(bits, 4)
    weight = torch.randn(4, 3, 3, 3)
    quantizer.init_step(weight)
    wide = weight * 2**bits
    integers = quantizer.to_int(wide)
    assert lsq_range(bits) == (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    assert (integers.min(), integers.max()) == lsq_range(bits)
    assert torch.equal(integers, integers.round())
    assert torch.equal(quantizer(wide), integers * quantizer.step)
    assert torch.equal(quantizer(weight), quantizer.to_int(weight) * quantizer.step)


def test_lsq_step_starts_at_twice_the_mean_over_the_root_of_qmax():
    weight = torch.tensor([1.0, -3.0, 0.5, 0.5]).reshape(2, 2, 1, 1)
    quantizer = LSQWeight(4, 2)
    quantizer.init_step(weight)
    assert_close(quantizer.step.flatten(), torch.tensor([2 * 2.0, 2 * 0.5]) / math.sqrt(7))


def test_lsq_of_a_channel_of_zeros_is_zeros():
    quantizer = LSQWeight(4, 2)
    weight = torch.zeros(2, 3, 3, 3)
    quantizer.init_step(weight)
    assert torch.equal(quantizer(weight), weight)


@pytest.mark.parametrize("bits", [2, 3, 8])
def test_lsq_step_gradient_is_the_numeric_slope_with_rounding_errors_held(bits):
    """Straight-through: ``round(u) = u + error`` where the error does not move with the step."""
    quantizer = LSQWeight(bits, 1).double()
    low, high = lsq_range(bits)
    step, size = 0.5, 64
    weight = torch.linspace(2 * low * step, 2 * high * step, size, dtype=torch.float64).reshape(1, size, 1, 1) + 1e-3
    inside = (weight / step).clamp(low, high)
    error = inside.round() - inside

    def surrogate(s):
        return s * ((weight / s).clamp(low, high) + error)

    weights_of_sum = torch.randn_like(weight)
    numeric = ((surrogate(step + 1e-6) - surrogate(step - 1e-6)) / 2e-6 * weights_of_sum).sum()
    quantizer.set_step(torch.full((1, 1, 1, 1), step, dtype=torch.float64))
    (quantizer(weight) * weights_of_sum).sum().backward()
    torch.testing.assert_close(
        quantizer.step_exponent.grad.sum(), numeric / math.sqrt(high * size), rtol=1e-6, atol=1e-8
    )


def test_lsq_weight_gradient_passes_inside_the_range_only():
    quantizer = LSQWeight(3, 1)
    weight = torch.tensor([-9.0, -4.0, -1.2, 0.0, 2.9, 3.0, 9.0]).reshape(1, 7, 1, 1).requires_grad_()
    quantizer(weight).sum().backward()
    assert weight.grad.flatten().tolist() == [0, 1, 1, 1, 1, 1, 0]


# --- LSQ of activations


def activations(signed, dtype=torch.float32):
    x = torch.randn(3, 4, 5, 6, dtype=dtype)
    return x if signed else x.abs()


def calibrated(bits, x, step=None):
    quantizer = LSQActivation(bits)
    with torch.no_grad():
        quantizer(x)
        if step is not None:
            quantizer.set_step(torch.tensor([float(step)]))
    return quantizer


def range_of(quantizer):
    low = -int(quantizer.zero_point)
    return low, low + 2**quantizer.bits - 1


def surrogate_lsq(x, step, low, high):
    """The LSQ paper's reference code: rounding and the step's gradient are straight-through by ``detach``."""
    scale = 1 / math.sqrt(max(high, -low - 1) * x[0].numel())
    step = (step - step * scale).detach() + step * scale
    inside = (x / step).clamp(low, high)
    return ((inside.round() - inside).detach() + inside) * step


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bits", WEIGHT_BITS)
def test_lsq_of_activations_has_the_values_and_gradients_of_the_lsq_paper(bits, signed):
    x = activations(signed, torch.float64).requires_grad_()
    quantizer = calibrated(bits, x.detach()).double()
    theirs, step = x.detach().clone().requires_grad_(), quantizer.step.detach().clone().requires_grad_()
    output, expected = quantizer(x), surrogate_lsq(theirs, step, *range_of(quantizer))
    weights_of_sum = torch.randn_like(output)
    (output * weights_of_sum).sum().backward()
    (expected * weights_of_sum).sum().backward()
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(x.grad, theirs.grad)
    torch.testing.assert_close(quantizer.step_exponent.grad, step.grad, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bits", WEIGHT_BITS)
def test_lsq_of_activations_is_its_integers_times_its_step(bits, signed):
    x = activations(signed)
    quantizer = calibrated(bits, x)
    wide = x * 2**bits * 10
    integers = quantizer.to_int(wide)
    assert torch.equal(integers, integers.round())
    low, high = range_of(quantizer)
    assert (integers.min(), integers.max()) == (low, high) if signed else (low == 0 and integers.max() == high)
    assert torch.equal(quantizer(wide), integers * quantizer.step)


@pytest.mark.parametrize("signed", [True, False])
def test_the_first_training_batch_sets_step_and_zero_point_of_activations(signed):
    x = activations(signed)
    quantizer = calibrated(4, x)
    assert int(quantizer.zero_point) in ((6, 7, 8, 9) if signed else (0,))
    state = copy.deepcopy(quantizer.state_dict())
    quantizer(-3 * x)
    assert all(torch.equal(value, state[key]) for key, value in quantizer.state_dict().items())


def test_the_range_is_of_all_that_was_seen_since_observing_began():
    quantizer, x = LSQActivation(8), activations(False)
    quantizer.full_precision(100 * x)
    quantizer.observe()
    for factor in (1, 5, 2):
        assert torch.equal(quantizer.full_precision(factor * x), factor * x)
    quantizer.calibrate()
    assert 255 * float(quantizer.step.detach()) == pytest.approx(5 * float(x.amax()), rel=0.15)
    quantizer.full_precision(100 * x)
    quantizer.calibrate()
    assert 255 * float(quantizer.step.detach()) == pytest.approx(5 * float(x.amax()), rel=0.15)


def test_the_zero_point_of_what_leaves_a_leaky_relu_wastes_few_integers():
    x = torch.nn.functional.leaky_relu(torch.randn(4, 8, 16, 16), 0.05)
    assert 1 <= int(calibrated(8, x).zero_point) < 24


def squared_error(quantizer, x, step, zero_point):
    low = -zero_point
    return float((((x / step).round().clamp(low, low + 2**quantizer.bits - 1) * step - x) ** 2).mean())


@pytest.mark.parametrize("spread", [0.01, 1, 300])
@pytest.mark.parametrize("slope", [0, 0.1, 1])
@pytest.mark.parametrize("bits", [2, 3, 4])
def test_activations_of_few_bits_start_where_hardly_any_other_range_loses_less(bits, slope, spread):
    x = torch.nn.functional.leaky_relu(torch.randn(1, 4, 32, 32), slope) * spread
    quantizer = calibrated(bits, x)
    step, zero_point = float(quantizer.step.detach()), int(quantizer.zero_point)
    ours = squared_error(quantizer, x, step, zero_point)
    others = [
        squared_error(quantizer, x, step * factor, point)
        for factor in (0.5, 0.7, 0.85, 1.2, 1.5, 2)
        for point in {0, zero_point, 2 ** (bits - 1)}
    ]
    assert ours <= 1.3 * min(others)


@pytest.mark.parametrize("slope", [0, 0.1, 1])
def test_activations_of_eight_bits_keep_what_goes_a_little_further(slope):
    x = torch.nn.functional.leaky_relu(torch.randn(1, 4, 64, 64), slope)
    quantizer = calibrated(8, x)
    for wider in (x, 1.2 * x):
        assert (quantizer(wider) - wider).norm() / wider.norm() < 0.02


@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8])
def test_steps_of_trained_weights_start_where_they_lose_least(bits):
    weight = torch.randn(6, 32, 3, 3) * torch.logspace(-3, 2, 6).view(6, 1, 1, 1)
    quantizer = LSQWeight(bits, 6, trained=True)
    quantizer.init_step(weight)
    ours = ((quantizer(weight) - weight) ** 2).mean(dim=(1, 2, 3))
    start = quantizer.step.detach().clone()
    for factor in (0.5, 0.8, 0.9, 1.1, 1.25, 2):
        quantizer.set_step(start * factor)
        assert (ours <= 1.1 * ((quantizer(weight) - weight) ** 2).mean(dim=(1, 2, 3))).all()


def test_trained_weights_that_are_all_zero_stay_so():
    quantizer = LSQWeight(4, 2, trained=True)
    quantizer.init_step(torch.zeros(2, 3, 3, 3))
    assert torch.equal(quantizer(torch.zeros(2, 3, 3, 3)), torch.zeros(2, 3, 3, 3))


def test_a_first_batch_of_zeros_leaves_finite_activations():
    quantizer = LSQActivation(8)
    assert torch.equal(quantizer(torch.zeros(1, 2, 3, 3)), torch.zeros(1, 2, 3, 3))
    assert quantizer(torch.ones(1, 2, 3, 3)).isfinite().all()


def test_activations_without_a_step_are_an_error_in_evaluation_until_a_checkpoint_brings_one():
    x = activations(True)
    trained, fresh = calibrated(4, x), LSQActivation(4).eval()
    with pytest.raises(CalibrationError):
        fresh(x)
    fresh.load_state_dict(trained.state_dict())
    assert torch.equal(fresh(x), trained(x))
    fresh.load_state_dict(LSQActivation(4).state_dict())
    with pytest.raises(CalibrationError):
        fresh(x)


@pytest.mark.parametrize("before", [0, 1, 50], ids="calibrated after {} updates".format)
def test_a_moving_average_has_the_geometric_mean_of_the_calibrated_steps(before):
    x, decay = activations(True), 0.999
    model = types.SimpleNamespace(net_g=LSQActivation(4), net_g_ema=LSQActivation(4).eval(), get_bare_model=lambda n: n)
    for _ in range(before):
        BaseModel.model_ema(model, decay)
    with pytest.raises(CalibrationError):
        model.net_g_ema(x)
    model.net_g(x)
    steps = [0.3, 0.4, 0.6]
    for step in steps:
        model.net_g.set_step(torch.tensor([step]))
        BaseModel.model_ema(model, decay)
    weights = [decay**2, decay, 1]
    mean = 2 ** (sum(w * math.log2(s) for w, s in zip(weights, steps)) / sum(weights))
    expected = calibrated(4, x, step=mean)
    torch.testing.assert_close(model.net_g_ema(x), expected(x), rtol=1e-3, atol=1e-3)
    loaded = LSQActivation(4)
    loaded.load_state_dict(model.net_g_ema.state_dict())
    assert loaded.calibrated_share == 1
    assert loaded.step.item() == pytest.approx(mean, rel=1e-3)


def test_processes_that_train_together_start_from_the_range_of_the_first(monkeypatch):
    def broadcast(tensor, src):
        assert src == 0
        tensor.fill_(3)

    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "broadcast", broadcast)
    quantizer = calibrated(4, activations(False))
    assert (int(quantizer.zero_point), float(quantizer.step.detach())) == (3, pytest.approx(3))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_activations_of_a_mixed_precision_pass_are_quantized_in_float32(dtype):
    x = activations(True).to(dtype).requires_grad_()
    quantizer = calibrated(8, x.detach())
    y = quantizer(x)
    assert torch.equal(y, quantizer(x.float()))
    y.sum().backward()
    assert x.grad.dtype is dtype


# --- HWGQ


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_hwgq_computes_what_the_authors_code_computes(bits):
    case = case_of(f"hwgq{bits}")
    x = case["input"].clone().requires_grad_()
    quantizer = HWGQ(bits)
    output = quantizer(x)
    output.backward(case["grad_output"])
    assert quantizer.step == pytest.approx(float(case["step"]), rel=1e-12)
    assert_close(output, case["output"])
    assert_close(x.grad, case["grad_input"])


@pytest.mark.parametrize("bits", ACTIVATION_BITS)
def test_hwgq_forward_is_its_integers_times_its_step(bits):
    quantizer = HWGQ(bits)
    x = torch.randn(2, 3, 16, 16) * quantizer.step * 2**bits
    integers = quantizer.to_int(x)
    assert (integers.min(), integers.max()) == (0, 2**bits - 1)
    assert torch.equal(integers, integers.round())
    assert torch.equal(quantizer(x), integers * quantizer.step)


def test_hwgq_leaves_its_input_as_it_is():
    x = torch.randn(100)
    before = x.clone()
    HWGQ(4)(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("bits", sorted(AUTHORS_STEPS))
def test_hwgq_steps_are_the_authors_where_they_give_one(bits):
    assert hwgq_step(bits) == HWGQ(bits).step == AUTHORS_STEPS[bits]


def half_wave_error(step, bits):
    """Mean squared error on a half-wave Gaussian by the trapezoidal rule."""
    x = np.linspace(0, 12, 2**20 + 1)
    quantized = np.clip(np.rint(x / step), 0, 2**bits - 1) * step
    return float(np.sum((x - quantized) ** 2 * np.exp(-(x**2) / 2)))


@pytest.mark.parametrize("bits", [b for b in ACTIVATION_BITS if b not in AUTHORS_STEPS])
def test_other_hwgq_steps_are_a_minimum_of_the_squared_error(bits):
    step = hwgq_step(bits)
    best = half_wave_error(step, bits)
    for factor in (0.9, 0.97, 1.03, 1.1):
        assert best < half_wave_error(step * factor, bits)


@pytest.mark.parametrize("bits, step", [(4, 0.19325), (8, 0.016528)])
def test_optimal_step_is_the_known_optimum(bits, step):
    assert optimal_step(bits) == pytest.approx(step, rel=3e-5)


def test_steps_shrink_with_every_bit():
    for step in (hwgq_step, optimal_step):
        steps = [step(bits) for bits in ACTIVATION_BITS]
        assert steps == sorted(steps, reverse=True)
        assert len(set(steps)) == len(steps)


# --- noise


@pytest.mark.parametrize("bits", [4, 8])
def test_noise_is_as_strong_as_the_authors(bits):
    case = case_of(f"qnoise{bits}")
    strength = float(case["input_range"]) * unit_noise_std(bits)
    assert strength == pytest.approx(float(case["noise_std"]), rel=5e-3)
    assert abs(float(case["noise_mean"])) < 0.02 * strength


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_noise_is_half_a_step_strong_for_a_range_of_one(bits):
    assert unit_noise_std(bits) == 1 / (2**bits - 1) / 2


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_noise_has_its_standard_deviation(bits):
    x = torch.rand(200_000) * 6 - 2
    step = float(x.max() - x.min()) / (2**bits - 1)
    noise = QNoise(bits)(x)
    assert float(noise.std()) == pytest.approx(step / 2, rel=0.01)
    assert abs(float(noise.mean())) < 0.01 * step


def test_noise_carries_no_gradient_to_the_tensor():
    x = torch.randn(50, requires_grad=True)
    assert not QNoise(4)(x).requires_grad
    (x + QNoise(4)(x)).sum().backward()
    assert torch.equal(x.grad, torch.ones(50))


# --- roundings as plain numbers


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_the_rounding_of_hwgq_is_what_it_computes(bits):
    x = torch.randn(2, 3, 16, 16) * HWGQ(bits).step * 2**bits
    rounding = HWGQ(bits).rounding()
    assert torch.equal(rounding.to_int(x), HWGQ(bits).to_int(x))
    assert_close(rounding.from_int(rounding.to_int(x)), HWGQ(bits)(x))
    assert (rounding.highest, rounding.storage_bits) == (2**bits - 1, 8 if bits <= 8 else 16)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bits", [2, 4, 8, 16])
def test_the_rounding_of_lsq_is_what_it_computes(bits, signed):
    x = activations(signed)
    quantizer = calibrated(bits, x)
    rounding = quantizer.rounding()
    assert torch.equal(rounding.to_int(3 * x) - rounding.zero_point, quantizer.to_int(3 * x))
    assert_close(rounding.from_int(rounding.to_int(3 * x)), quantizer(3 * x).detach())
    assert hash(rounding) == hash(quantizer.rounding()) and rounding == quantizer.rounding()


# --- the convolution


@pytest.mark.parametrize("bits", [4, 8])
def test_quantized_convolution_computes_and_costs_what_the_authors_does(bits):
    case = case_of(f"qaconv{bits}")
    conv = QuantConv2d(6, 8, 3, bits)
    conv.weight.data.copy_(case["weight"])
    conv.weight_quantizer.set_step(case["step"])
    assert_close(conv(case["input"]), case["output"])
    assert count(conv, tuple(case["input"].shape[2:]), channels=6).bitops == float(case["bitops"])


def test_quantized_convolution_is_eq_2():
    conv = QuantConv2d(4, 6, (3, 1), bits=4, bias=True)
    x = torch.randn(2, 4, 5, 7)
    expected = F.conv2d(HWGQ(4)(x), conv.weight_quantizer(conv.weight), conv.quantized_bias(), padding=(1, 0))
    assert torch.equal(conv(x), expected)
    assert expected.shape == (2, 6, 5, 7)


@pytest.mark.parametrize("activation_quantizer", ["hwgq", "lsq"])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_the_bias_is_a_sum_of_integers_with_the_gradient_of_the_bias(bits, activation_quantizer):
    conv = QuantConv2d(4, 6, 3, bits, bias=True, activation_quantizer=activation_quantizer)
    x = torch.randn(2, 4, 5, 7)
    output = conv(x)
    quantizer = conv.input_quantizer
    unit = (conv.weight_quantizer.step.flatten() * quantizer.step).detach()
    bias = conv.quantized_bias()
    assert_close((bias / unit).round(), bias / unit)
    assert ((bias - conv.bias).abs() <= 0.501 * unit).all()
    output.sum().backward()
    assert_close(conv.bias.grad, torch.full((6,), 2.0 * 5 * 7))


def test_a_bias_that_is_no_32_bit_multiple_of_the_steps_is_as_it_is():
    conv = QuantConv2d(4, 6, 3, bits=8, bias=True)
    conv.weight.data[2] = 0
    steps = conv.weight_quantizer.step.detach().clone()
    steps[2] = 1e-38
    conv.weight_quantizer.set_step(steps)
    assert conv.quantized_bias()[2] == conv.bias[2]
    assert torch.isfinite(conv(torch.randn(1, 4, 5, 5))).all()


def test_32_bits_are_the_weight_as_it_is_after_prelu():
    conv = QuantConv2d(4, 6, 3, bits=32)
    x = torch.randn(2, 4, 5, 7)
    assert_close(conv(x), F.conv2d(F.leaky_relu(x, 0.1), conv.weight, padding=1))


def test_steps_are_parameters_and_follow_the_weight_they_start_from():
    conv = QuantConv2d(4, 6, 3, bits=4)
    assert {name for name, _ in conv.named_parameters()} == {"weight", "weight_quantizer.step_exponent"}
    mean = conv.weight.abs().mean(dim=(1, 2, 3)) * 2 / math.sqrt(7)
    assert_close(conv.weight_quantizer.step.flatten(), mean)


def test_switched_off_a_network_computes_in_full_precision_and_keeps_its_parameters():
    network = torch.nn.Sequential(QuantConv2d(3, 4, 3, bits=4), QuantConv2d(4, 3, 1, bits=32))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    x = torch.randn(1, 3, 6, 6)
    set_quantize(network, False)
    first = F.conv2d(torch.relu(x), network[0].weight, padding=1)
    assert_close(network(x), F.conv2d(F.leaky_relu(first, 0.1), network[1].weight))
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_switched_on_the_steps_start_anew_and_a_network_that_is_on_is_left_alone():
    conv = QuantConv2d(3, 4, 3, bits=4)
    start = conv.weight_quantizer.step.detach().clone()
    conv.weight_quantizer.set_step(3 * start)
    set_quantize(conv, True)
    assert_close(conv.weight_quantizer.step.detach(), 3 * start)
    set_quantize(conv, False)
    conv.weight.data.mul_(2)
    set_quantize(conv, True)
    assert_close(conv.weight_quantizer.step.detach(), 2 * start)


def test_a_convolution_with_lsq_on_both_sides_is_eq_2_without_an_activation_function():
    x = torch.randn(2, 4, 5, 7)
    for bits in (4, 32):
        conv = QuantConv2d(4, 6, 3, bits, activation_quantizer="lsq")
        inside = conv.input_quantizer(x), conv.weight_quantizer(conv.weight)
        assert torch.equal(conv(x), F.conv2d(*inside, padding=1))
        set_quantize(conv, False)
        assert torch.equal(conv(x), F.conv2d(x, conv.weight, padding=1))


def test_switched_on_the_step_of_the_input_waits_for_the_next_batch():
    x = torch.randn(2, 3, 6, 6)
    conv = QuantConv2d(3, 4, 3, bits=4, activation_quantizer="lsq")
    conv(x)
    start = conv.input_quantizer.step.detach().clone()
    set_quantize(conv, False)
    set_quantize(conv, True)
    conv(5 * x)
    assert_close(conv.input_quantizer.step.detach(), 5 * start)


def uneven(channels):
    """Images whose channels reach to between 1 and 100."""
    return torch.randn(4, channels, 12, 12) * torch.logspace(0, 2, channels).view(-1, 1, 1)


def with_channel_scale(conv, x):
    observe_inputs(conv)
    conv(x)
    calibrate_inputs(conv)
    return conv


def trained_conv(groups=1, bits=8):
    return QuantConv2d.of(torch.nn.Conv2d(8, 12, 3, padding=1, groups=groups), bits, "lsq")


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("bits", [4, 8])
def test_channels_that_reach_far_and_near_lose_less_with_factors_of_their_own(groups, bits):
    x, conv = uneven(8), trained_conv(groups, bits)
    # the channels that do not reach far are heard as well as the others
    conv.weight.data = scaled_weight(conv.weight.data, 1 / torch.logspace(0, 2, 8), groups)
    expected = F.conv2d(x, conv.weight, conv.bias, padding=1, groups=groups)
    with_factors = (with_channel_scale(conv, x)(x) - expected).square().mean()
    assert (conv.channel_scale != 1).all()
    plain = QuantConv2d.of(conv, bits, "lsq")
    without = (plain(x) - expected).square().mean()
    assert with_factors < without / 4


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_factors_change_nothing_but_rounding(groups):
    x = uneven(8)
    conv = trained_conv(groups, bits=16)
    conv.channel_scale.copy_(torch.rand(8) + 0.5)
    conv.input_quantizer.observe()
    conv.input_quantizer.full_precision(x)
    conv.input_quantizer.calibrate(conv.channel_scale)
    conv.weight_quantizer.init_step(conv.scaled_weight())
    expected = F.conv2d(x, conv.weight, conv.bias, padding=1, groups=groups)
    torch.testing.assert_close(conv(x), expected, rtol=0, atol=0.05)
    assert_close(conv.scaled_input(conv.scaled_input(x), inverse=True), x)


def test_an_image_of_integers_is_read_without_error():
    x = torch.randint(0, 256, (4, 3, 24, 24)).float()
    x[0, :, 0, 0], x[0, :, 0, 1] = 0, 255
    conv = with_channel_scale(QuantConv2d.of(torch.nn.Conv2d(3, 8, 3, padding=1), 8, "lsq"), x)
    assert_close(conv.scaled_input(conv.input_quantizer(conv.scaled_input(x)), inverse=True), x, 1e-4)


def test_factors_of_channels_that_are_always_zero_are_finite():
    x = uneven(8)
    x[:, 3] = 0
    conv = trained_conv()
    conv.weight.data[:, 5] = 0
    assert with_channel_scale(conv, x)(x).isfinite().all()
    assert (conv.channel_scale > 0).all() and conv.channel_scale.isfinite().all()


def test_a_state_without_channel_scale_has_none_and_one_with_it_keeps_it_also_by_its_old_name():
    x, conv = uneven(8), trained_conv()
    state = with_channel_scale(conv, x).state_dict()
    again = trained_conv()
    again.load_state_dict(state)
    assert torch.equal(again(x), conv(x))
    again.load_state_dict({key: value for key, value in state.items() if key != "channel_scale"})
    assert (again.channel_scale == 1).all()
    again.load_state_dict({key.replace("channel_scale", "smoothing"): value for key, value in state.items()})
    assert torch.equal(again(x), conv(x))
    set_quantize(conv, False)
    set_quantize(conv, True)
    assert (conv.channel_scale == 1).all()


@pytest.mark.parametrize("bits", [*WEIGHT_BITS, 32])
def test_bit_widths_that_can_be_built_are_allowed(bits):
    assert check_bits(bits) == bits
    assert QuantConv2d(3, 4, 3, bits)(torch.randn(1, 3, 6, 6)).shape == (1, 4, 6, 6)


@pytest.mark.parametrize("bits", [0, 1, 17, 31, 33, -4, 4.0, "8", True, None, [4]])
def test_other_bit_widths_are_refused_by_key_and_value(bits):
    with pytest.raises(OptionError) as caught:
        check_bits(bits, where="network_g.bits")
    assert str(caught.value).startswith(f"network_g.bits: {bits!r} is not a bit width. Allowed: 2 to 16, or 32")
