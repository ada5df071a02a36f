"""Equations 3, 4 and 5."""

import pytest
import torch
from reference import golden_arrays
from torch.nn import functional as F

from quantnas_sr.quantization import HWGQ, LSQWeight, unit_noise_std
from quantnas_sr.search_space.mixing.bit_mixer import (
    BIT_MIXERS,
    NoiseBitMixer,
    SeparateBitMixer,
    SharedBitMixer,
    quantized_operation,
)

OPERATIONS = ("simple_3x3", "conv_3x1_1x3", "decenc_3x3_2_g3", "DWS_3x3", "skip_connect", "zero")
BITS = [(4,), (4, 8), (2, 4, 8), (32,), (8, 32)]

every_operation = pytest.mark.parametrize("operation", OPERATIONS)
every_bits = pytest.mark.parametrize("bits", BITS, ids=str)
every_mixer = pytest.mark.parametrize("mixer", BIT_MIXERS)


def image(channels=6, size=9):
    return torch.randn(2, channels, size, size)


def one_hot(bits, chosen):
    return torch.tensor([float(b == chosen) for b in bits])


# --- what the authors' code computes


def test_shared_computes_what_the_authors_code_computes():
    arrays = golden_arrays("quantizers.npz")
    mixer = SharedBitMixer("simple_3x3", 6, 8, 6, (4, 8))
    (conv,) = mixer.operation
    conv.weight.data.copy_(arrays["bitmixer_shared/weight"])
    for b in (4, 8):
        conv.weight_quantizers[str(b)].set_step(arrays[f"bitmixer_shared/step{b}"])
    output = mixer(arrays["bitmixer_shared/input"], arrays["bitmixer_shared/alphas"])
    torch.testing.assert_close(output, arrays["bitmixer_shared/output"], rtol=1e-6, atol=1e-6)


def test_separate_computes_what_the_authors_code_computes():
    arrays = golden_arrays("quantizers.npz")
    mixer = SeparateBitMixer("simple_3x3", 6, 8, 6, (4, 8))
    for b in (4, 8):
        (conv,) = mixer.branches[str(b)]
        conv.weight.data.copy_(arrays[f"bitmixer_separate/weight{b}"])
        conv.weight_quantizer.set_step(arrays[f"bitmixer_separate/step{b}"])
    output = mixer(arrays["bitmixer_separate/input"], arrays["bitmixer_separate/alphas"])
    torch.testing.assert_close(output, arrays["bitmixer_separate/output"], rtol=1e-6, atol=1e-6)


# --- the equations


def test_separate_is_eq_3(randomize):
    bits, alphas = (2, 4, 8), torch.tensor([0.2, 0.1, 0.4])
    mixer = SeparateBitMixer("conv_3x1_1x3", 6, 8, 6, bits)
    randomize(mixer)
    x = image()
    expected = sum(alpha * mixer.branches[str(b)](x) for alpha, b in zip(alphas, bits))
    torch.testing.assert_close(mixer(x, alphas), expected)


def test_shared_is_eq_4(randomize):
    bits, alphas = (2, 4, 8), torch.tensor([0.2, 0.1, 0.4])
    mixer = SharedBitMixer("simple_3x3", 6, 8, 6, bits)
    randomize(mixer)
    (conv,) = mixer.operation
    x, shares = image(), alphas / alphas.sum()
    weight = sum(share * conv.weight_quantizers[str(b)](conv.weight) for share, b in zip(shares, bits))
    mixed = sum(share * HWGQ(b)(x) for share, b in zip(shares, bits))
    torch.testing.assert_close(mixer(x, alphas), alphas.sum() * F.conv2d(mixed, weight, padding=1))


@every_operation
@every_bits
@pytest.mark.parametrize("mixer", ["shared", "separate"])
def test_one_hot_alphas_are_the_derived_operation_at_these_bits(mixer, bits, operation, randomize):
    mixed = BIT_MIXERS[mixer](operation, 6, 6, 6, bits)
    randomize(mixed)
    x = image()
    for b in bits:
        derived = quantized_operation(operation, 6, 6, 6, b)
        derived.load_state_dict(mixed.chosen_state(b))
        assert torch.equal(mixed(x, one_hot(bits, b)), derived(x))


@every_operation
def test_noise_at_32_bits_is_the_full_precision_operation(operation, randomize):
    for bits in [(32,), (8, 32)]:
        mixed = NoiseBitMixer(operation, 6, 6, 6, bits)
        randomize(mixed)
        derived = quantized_operation(operation, 6, 6, 6, 32)
        derived.load_state_dict(mixed.chosen_state(32))
        x = image()
        torch.testing.assert_close(mixed(x, one_hot(bits, 32)), derived(x))


@every_mixer
@every_bits
@every_operation
def test_output_has_the_slots_shape_and_gradients_reach_alphas_and_weights(mixer, bits, operation):
    mixed = BIT_MIXERS[mixer](operation, 6, 6, 6, bits)
    alphas = torch.full((len(bits),), 0.3, requires_grad=True)
    y = mixed(image(), alphas)
    assert y.shape == (2, 6, 9, 9)
    (y * torch.randn_like(y)).sum().backward()
    assert alphas.grad.isfinite().all()
    assert (operation == "zero") or alphas.grad.ne(0).all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in mixed.parameters())


@every_mixer
@every_operation
def test_the_sum_of_the_alphas_scales_the_output(mixer, operation):
    mixed = BIT_MIXERS[mixer](operation, 6, 6, 6, (4, 8))
    x, alphas = image(), torch.tensor([0.1, 0.3])
    torch.manual_seed(1)
    small = mixed(x, alphas)
    torch.manual_seed(1)
    torch.testing.assert_close(mixed(x, 2.5 * alphas), 2.5 * small)


@every_mixer
def test_alphas_that_have_all_vanished_give_zeros(mixer):
    mixed = BIT_MIXERS[mixer]("simple_3x3", 6, 6, 6, (4, 8))
    assert torch.equal(mixed(image(), torch.zeros(2)), torch.zeros(2, 6, 9, 9))


def test_shared_has_one_weight_and_trained_steps_for_every_width():
    mixer = SharedBitMixer("simple_3x3", 6, 8, 6, (4, 8, 32))
    (conv,) = mixer.operation
    assert sum(p.shape == conv.weight.shape for p in mixer.parameters()) == 1
    steps = [
        quantizer.step_exponent for quantizer in conv.weight_quantizers.values() if isinstance(quantizer, LSQWeight)
    ]
    assert len(steps) == 2
    mixer(image(), torch.tensor([0.2, 0.3, 0.5])).square().sum().backward()
    assert all(step.grad.ne(0).any() for step in steps)


def test_separate_has_weights_of_its_own_for_every_width():
    first, second = (branch[0].weight for branch in SeparateBitMixer("simple_3x3", 6, 8, 6, (4, 8)).branches.values())
    assert not torch.equal(first, second)


# --- search against noise


@pytest.mark.parametrize("bits", [(4,), (2, 4, 8), (4, 32)], ids=str)
def test_noise_averages_out_to_the_operation_without_noise(bits):
    mixer = NoiseBitMixer("simple_3x3", 3, 4, 4, bits)
    alphas = torch.full((len(bits),), 0.4)
    x = torch.rand(1, 3, 5, 5)
    with torch.no_grad():
        draws = torch.stack([mixer(x, alphas) for _ in range(2000)])
    expected = alphas.sum() * F.conv2d(x, mixer.operation[0].weight, padding=1)
    error = (draws.mean(0) - expected) / (draws.std(0) / 2000**0.5)
    assert draws.std(0).min() > 0
    assert error.abs().max() < 5


@pytest.mark.parametrize("bits, alphas", [((4,), [0.7]), ((4, 8), [0.1, 0.3]), ((2, 3, 32), [0.2, 0.5, 0.1])], ids=str)
def test_strength_of_weight_noise_is_the_root_of_the_sum_of_squares(bits, alphas):
    """On an image of one colour the activations have no noise, and a 1x1 convolution adds up the weights' noise."""
    mixer = NoiseBitMixer("simple_1x1", 64, 1024, 64, bits)
    weight = mixer.operation[0].weight
    alphas = torch.tensor(alphas)
    sigma = torch.tensor([0.0 if b == 32 else unit_noise_std(b) for b in bits])
    strength = (weight.max() - weight.min()) * ((alphas / alphas.sum()) ** 2 * sigma**2).sum().sqrt()
    x = torch.ones(1, 64, 1, 1)
    with torch.no_grad():
        noise = torch.stack([mixer(x, alphas) / alphas.sum() - F.conv2d(x, weight) for _ in range(10)])
    assert noise.std().item() == pytest.approx(8 * strength.item(), rel=0.03)
    assert abs(noise.mean().item()) < 0.05 * noise.std().item()


def test_strength_of_activation_noise_is_the_root_of_the_sum_of_squares():
    """With equal weights the weights have no noise, and a 1x1 convolution of one channel shows that of the pixels."""
    bits, alphas = (3, 4), torch.tensor([0.1, 0.3])
    mixer = NoiseBitMixer("simple_1x1", 1, 1, 1, bits)
    mixer.operation[0].weight.data.fill_(2.0)
    x = torch.randn(1, 1, 100, 100)
    sigma = torch.tensor([unit_noise_std(b) for b in bits])
    strength = x.max() * ((alphas / alphas.sum()) ** 2 * sigma**2).sum().sqrt()
    with torch.no_grad():
        noise = mixer(x, alphas) / alphas.sum() / 2 - torch.relu(x)
    assert noise.std().item() == pytest.approx(strength.item(), rel=0.03)


def test_noise_is_drawn_anew_in_every_pass():
    mixer = NoiseBitMixer("simple_1x1", 3, 3, 3, (4, 8))
    x, alphas = image(3), torch.tensor([0.5, 0.5])
    assert not torch.equal(mixer(x, alphas), mixer(x, alphas))


@pytest.mark.parametrize("operation", ["simple_1x1", "simple_3x3_grouped_3_d2", "skip_connect"])
def test_alphas_gradient_under_noise_is_the_slope_of_the_very_noise_that_was_drawn(operation):
    mixer = NoiseBitMixer(operation, 6, 6, 6, (2, 4, 8)).double()
    x = image().double()

    def output(alphas):
        torch.manual_seed(3)
        return mixer(x, alphas)

    alphas = torch.tensor([0.2, 0.3, 0.1], dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(output, alphas)


def test_alphas_gradient_comes_through_the_strength_of_the_noise_too():
    mixer = NoiseBitMixer("simple_3x3", 6, 6, 6, (2, 8))
    alphas = torch.tensor([0.5, 0.5], requires_grad=True)
    mixer(image(), alphas).square().sum().backward()
    few_bits, many_bits = alphas.grad.tolist()
    assert few_bits > many_bits * 1.01


def test_noise_leaves_the_gradient_of_relu_and_convolution_alone():
    """Of a 1x1 convolution with one input channel it is the same at every pixel above 0, the brightest among them."""
    mixer = NoiseBitMixer("simple_1x1", 1, 5, 5, (2,))
    x = image(1).requires_grad_()
    mixer(x, torch.ones(1)).sum().backward()
    positive = x.grad[x > 0]
    torch.testing.assert_close(positive, positive[:1].expand_as(positive))
    assert positive[0] != 0
    assert x.grad[x < 0].eq(0).all()


def test_noise_leaves_the_gradient_of_the_weight_alone():
    """With one pixel of one colour every weight has the same gradient, the largest and the smallest among them."""
    mixer = NoiseBitMixer("simple_1x1", 4, 3, 4, (2,))
    mixer(torch.ones(1, 4, 1, 1), torch.ones(1)).sum().backward()
    torch.testing.assert_close(mixer.operation[0].weight.grad, torch.ones(3, 4, 1, 1))
