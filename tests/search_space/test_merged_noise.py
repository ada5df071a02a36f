"""A whole layer under noise: equation 5 for every operation, the sum of equation 7, and what ``fast`` keeps of it."""

import pytest
import torch
from torch.nn import functional as F

from quantnas_sr.quantization import NoisePool, draw, unit_noise_std
from quantnas_sr.search_space import Slot, Supernet
from quantnas_sr.search_space.mixing.bit_mixer import NoiseBitMixer
from quantnas_sr.search_space.mixing.merged_noise import NOISE_MODES, MergedNoise
from quantnas_sr.search_space.mixing.mixed_layer import MixedLayer
from quantnas_sr.search_space.mixing.selectors import Selection

#: Lists of candidates: single convolutions only, chains only, everything at once, and one alone.
CANDIDATES = {
    "single": ("simple_1x1", "simple_3x3", "simple_5x5_grouped_3", "simple_3x3_d2", "simple_3x3_grouped_full"),
    "chains": ("conv_5x1_1x5", "growth1_3x3", "decenc_3x3_2_g3", "DWS_3x3", "3x3_increase_2", "3x3_decrease_2"),
    "all": ("simple_3x3", "conv_3x1_1x3", "simple_5x5", "skip_connect", "zero", "growth2_3x3"),
    "one": ("simple_5x5",),
}
every_list = pytest.mark.parametrize("candidates", CANDIDATES.values(), ids=CANDIDATES)
every_mode = pytest.mark.parametrize("mode", NOISE_MODES)
every_order = pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])


class SameNoise:
    """The same numbers for every tensor of a shape."""

    def draw(self, like):
        values = torch.randn(like.shape, generator=torch.Generator().manual_seed(sum(like.shape)))
        return values.to(like)


class NoNoise:
    def draw(self, like):
        return torch.zeros_like(like)


class ImageNoiseOnly:
    """Noise for images, which are not quadratic in these tests, and none for kernels."""

    def draw(self, like):
        return torch.randn_like(like) if like.shape[2] > 7 else torch.zeros_like(like)


def layer_of(candidates, mode, c_in=6, c_out=6, bits=(2, 4), noise=None):
    noisy = MergedNoise(fast=mode == "fast")
    noisy.noise = noise or noisy.noise
    return MixedLayer(Slot("body", c_in, c_out), candidates, bits, 6, "noise", noisy)


def weights_of_edges(layer):
    return torch.linspace(0.05, 0.3, len(layer.operations) * len(layer.bits)).view(len(layer.operations), -1)


def run(layer, x, weights):
    layer.selection = Selection(weights)
    return layer(x)


def eq_5_and_7(layer, x, weights, noise):
    """As the paper writes it: operation by operation, convolution by convolution."""
    y = 0
    for (name, mixer), alphas in zip(layer.operations.items(), weights):
        total = alphas.sum()
        std = sum((a / total * unit_noise_std(b)) ** 2 for a, b in zip(alphas, layer.bits)).sqrt()
        h = x
        for conv in mixer.operation.children():
            h = torch.relu(h)
            h = h + noise.draw(h) * (h.max() - h.min()).detach() * std
            w = conv.weight
            w = w + noise.draw(w) * (w.max() - w.min()).detach() * std
            h = F.conv2d(h, w, None, 1, conv.padding, conv.dilation, conv.groups)
        y = y + total * (torch.zeros_like(h) if name == "zero" else h)
    return y


@every_order
@pytest.mark.parametrize(
    "candidates, channels, size",
    [*((names, (6, 6), (9, 11)) for names in CANDIDATES.values()), (("simple_1x1", "simple_5x5"), (18, 3), (8, 10))],
)
def test_exact_is_equation_5_for_every_operation_with_all_gradients(candidates, channels, size, order):
    torch.manual_seed(0)
    layer = layer_of(candidates, "exact", *channels, noise=SameNoise()).double().to(memory_format=order)
    x = torch.randn(2, channels[0], *size, dtype=torch.float64).contiguous(memory_format=order).requires_grad_()
    weights = weights_of_edges(layer).double().requires_grad_()
    inputs = [x, weights, *layer.parameters()]
    merged = run(layer, x, weights)
    literal = eq_5_and_7(layer, x, weights, SameNoise())
    torch.testing.assert_close(merged, literal, rtol=1e-5, atol=1e-6)
    direction = torch.randn_like(merged)
    gradients = (torch.autograd.grad(y, inputs, direction) for y in (merged, literal))
    for ours, theirs in zip(*gradients):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@every_mode
@pytest.mark.parametrize(
    "candidates, c_in, c_out",
    [
        *((names, 6, 6) for names in CANDIDATES.values()),
        (("simple_1x1", "simple_3x3", "simple_3x3_grouped_3", "conv_5x1_1x5", "growth2_3x3"), 3, 6),
        (("simple_1x1", "simple_5x5_d2", "simple_3x3_grouped_3", "conv_5x1_1x5", "growth2_3x3"), 6, 3),
        (("simple_1x1", "simple_5x5_d2", "simple_3x3_grouped_3", "conv_5x1_1x5", "DWS_5x5"), 9, 12),
        (("simple_1x1", "simple_5x5", "growth3_5x5"), 18, 3),
    ],
)
def test_without_noise_both_modes_are_the_weighted_sum_of_the_operations(candidates, c_in, c_out, mode):
    layer = layer_of(candidates, mode, c_in, c_out, noise=NoNoise())
    x, weights = torch.randn(2, c_in, 10, 12), weights_of_edges(layer)
    torch.testing.assert_close(run(layer, x, weights), eq_5_and_7(layer, x, weights, NoNoise()), rtol=1e-4, atol=1e-5)


def variance_of_merged_noise(layer, x, weights):
    """Of single convolutions without noise of the weights: z passes through the kernel sum_i total_i s_i W_i."""
    kernel = torch.zeros(layer.slot.out_channels, layer.slot.in_channels, 5, 5)
    for mixer, alphas in zip(layer.operations.values(), weights):
        (conv,) = mixer.operation
        std = sum((a * unit_noise_std(b)) ** 2 for a, b in zip(alphas, layer.bits)).sqrt()
        k = conv.kernel_size[0]
        kernel += F.pad(conv.weight.detach() * std, [(5 - k) // 2] * 4)
    extent = torch.relu(x).max() - torch.relu(x).min()
    return F.conv2d(torch.ones_like(x[:1]), (kernel * extent) ** 2, padding=2)


@every_mode
@pytest.mark.parametrize("c_in", [3, 9, 18])
def test_mean_and_variance_of_every_output_element_are_those_of_equation_5(c_in, mode):
    """The border included, where a part of the kernel meets padding, which has no noise."""
    torch.manual_seed(0)
    layer = layer_of(("simple_1x1", "simple_3x3", "simple_5x5"), mode, c_in, 4, noise=ImageNoiseOnly())
    x, weights = torch.randn(1, c_in, 8, 10), weights_of_edges(layer)
    n = 6000
    with torch.no_grad():
        y = torch.cat([run(layer, x.expand(60, -1, -1, -1), weights) for _ in range(n // 60)])
    expected = variance_of_merged_noise(layer, x, weights)[0]
    ratio = y.var(0) / expected
    assert (ratio - 1).abs().max() < 5 * (2 / n) ** 0.5
    assert ratio.mean().item() == pytest.approx(1, abs=0.005)
    error = (y.mean(0) - eq_5_and_7(layer, x, weights, NoNoise())[0]) / (expected / n).sqrt()
    assert error.abs().max() < 5


@pytest.mark.parametrize("candidates", [CANDIDATES["chains"], CANDIDATES["all"]], ids=["chains", "all"])
def test_both_modes_have_the_same_mean_and_variance_in_every_element(candidates):
    """With everything that is random: noise of weights and images, of chains too."""
    torch.manual_seed(0)
    exact, fast = (layer_of(candidates, mode, 12, 12) for mode in NOISE_MODES)
    fast.load_state_dict(exact.state_dict())
    x, weights, n = torch.randn(1, 12, 6, 7), weights_of_edges(exact), 500
    with torch.no_grad():
        ours, theirs = (torch.cat([run(layer, x, weights) for _ in range(n)]) for layer in (exact, fast))
    ratio = ours.var(0) / theirs.var(0)
    assert ratio.log().abs().max() < 6 * (4 / n) ** 0.5
    assert ratio.log().mean().abs() < 0.03
    error = (ours.mean(0) - theirs.mean(0)) / ((ours.var(0) + theirs.var(0)) / n).sqrt()
    assert error.abs().max() < 5.5


@every_mode
@pytest.mark.parametrize("candidates", [CANDIDATES["single"], CANDIDATES["one"]], ids=["single", "one"])
def test_gradients_are_the_slopes_of_the_very_noise_that_was_drawn(candidates, mode):
    torch.manual_seed(0)
    layer = layer_of(candidates, mode, noise=SameNoise()).double()
    x = torch.randn(1, 6, 8, 9, dtype=torch.float64)
    weights = weights_of_edges(layer).double().requires_grad_()
    torch.autograd.gradcheck(lambda w: run(layer, x, w), weights)
    direction = torch.randn(1, 6, 8, 9, dtype=torch.float64)

    def loss():
        return (run(layer, x, weights) * direction).sum()

    for p in layer.parameters():
        # the range has no gradient, so the largest and the smallest weight stay
        step = 1e-6 * torch.randn_like(p) * ((p != p.max()) & (p != p.min()))
        (gradient,) = torch.autograd.grad(loss(), p)
        with torch.no_grad():
            p += step
            above = loss()
            p -= 2 * step
            below = loss()
            p += step
        assert (2 * gradient * step).sum().item() == pytest.approx((above - below).item(), rel=1e-4, abs=1e-10)


@every_mode
def test_an_image_without_anything_above_0_has_no_noise_and_finite_gradients(mode):
    layer = layer_of(("simple_3x3", "simple_5x5"), mode, 9, 9)
    weights = weights_of_edges(layer).requires_grad_()
    y = run(layer, -torch.rand(1, 9, 8, 8), weights)
    assert y.abs().max() < 1e-8
    y.sum().backward()
    assert all(p.grad.isfinite().all() for p in (weights, *layer.parameters()))


def test_the_modes_share_their_state_and_can_be_exchanged():
    nets = [Supernet("basic", num_feat=12, num_block=1, noise_mode=m) for m in NOISE_MODES]
    assert list(nets[0].state_dict()) == list(nets[1].state_dict())


def test_with_32_bits_among_the_widths_every_operation_computes_itself():
    net = Supernet("basic", num_feat=12, num_block=1, bits=(8, 32), noise_mode="fast")
    assert all(layer.noisy_layer is None for _, layer in net.places())
    assert net(torch.rand(1, 3, 8, 8)).isfinite().all()


# --- the numbers


@every_order
def test_drawn_noise_is_standard_normal_in_the_order_of_the_tensor(order):
    like = torch.empty(4, 8, 50, 50).contiguous(memory_format=order)
    for noise in (draw(like), NoisePool().draw(like)):
        assert noise.shape == like.shape
        assert noise.stride() == like.stride()
        assert noise.mean().abs() < 5 / like.numel() ** 0.5
        assert noise.std().item() == pytest.approx(1, abs=5 / like.numel() ** 0.5)


def test_a_pool_gives_other_numbers_every_time_and_is_drawn_anew(monkeypatch):
    monkeypatch.setattr(NoisePool, "SIZE", 1000)
    pool, like = NoisePool(), torch.empty(10, 10)
    first = pool.draw(like)
    assert not torch.equal(first, pool.draw(like))
    values = pool._values[torch.float32]
    for _ in range(200):
        pool.draw(like)
    assert pool._values[torch.float32] is not values


def test_a_pool_grows_with_what_is_asked_for(monkeypatch):
    monkeypatch.setattr(NoisePool, "SIZE", 1000)
    assert NoisePool().draw(torch.empty(40, 50)).std().item() == pytest.approx(1, abs=0.1)


def test_a_pool_does_not_keep_the_noise_of_very_large_images(monkeypatch):
    monkeypatch.setattr(NoisePool, "SIZE", 1000)
    monkeypatch.setattr(NoisePool, "LARGEST", 2000)
    pool = NoisePool()
    assert pool.draw(torch.empty(40, 100)).std().item() == pytest.approx(1, abs=0.1)
    assert not pool._values


def test_a_pool_serves_every_type():
    pool = NoisePool()
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        assert pool.draw(torch.empty(3, 4, dtype=dtype)).dtype is dtype


def test_a_layer_alone_computes_eq_5_as_its_bit_mixers_do_without_noise():
    layer = layer_of(("simple_3x3",), "exact", noise=NoNoise())
    x, alphas = torch.randn(1, 6, 8, 8), torch.tensor([[0.2, 0.5]])
    mixer = layer.operations["simple_3x3"]
    assert isinstance(mixer, NoiseBitMixer)
    expected = 0.7 * F.conv2d(torch.relu(x), mixer.operation[0].weight, padding=1)
    torch.testing.assert_close(run(layer, x, alphas), expected)
