"""Weights and biases that make up for rounding: nearer to full precision than calibrated ones, and still integers."""

import copy

import pytest
import torch
from torch import nn

from quantnas_sr.quantization import QuantConv2d, calibrate_on, compensate


class Twice(nn.Module):
    """A convolution that runs twice, and one that never runs."""

    def __init__(self):
        super().__init__()
        self.again = nn.Conv2d(6, 6, 3, padding=1)
        self.idle = nn.Conv2d(6, 6, 3)

    def forward(self, x):
        return self.again(torch.relu(self.again(x)))


MIDDLES = {
    "plain": lambda: nn.Conv2d(6, 6, 3, padding=1),
    "without bias": lambda: nn.Conv2d(6, 6, 3, padding=1, bias=False),
    "groups": lambda: nn.Conv2d(6, 6, 3, padding=1, groups=3),
    "depthwise": lambda: nn.Conv2d(6, 6, 5, padding=2, groups=6),
    "stride and dilation": lambda: nn.Conv2d(6, 6, (3, 5), stride=(2, 1), dilation=(1, 2), padding=(1, 4)),
    "reflected": lambda: nn.Conv2d(6, 6, 3, padding=1, padding_mode="reflect"),
    "same": lambda: nn.Conv2d(6, 6, (2, 4), padding="same"),
    "none": lambda: nn.Conv2d(6, 6, 3),
    "1x1": lambda: nn.Conv2d(6, 6, 1),
    "twice": Twice,
}


def smooth(seed):
    """Images of which neighbouring pixels are alike, as of photographs."""
    small = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(small, size=24, mode="bicubic").clamp(0, 1)


def pair(middle, bits):
    """A network in full precision, and the same quantized and calibrated, with its images."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 6, 3, padding=1), nn.LeakyReLU(0.1), middle(), nn.ReLU(), nn.Conv2d(6, 4, 3, padding=1)]
    baseline = nn.Sequential(*layers).eval()
    quantized = copy.deepcopy(baseline)
    for parent, name in [
        (quantized, "0"),
        (quantized, "2"),
        (quantized[2], "again"),
        (quantized[2], "idle"),
        (quantized, "4"),
    ]:
        layer = getattr(parent, name, None)
        if isinstance(layer, nn.Conv2d):
            setattr(parent, name, QuantConv2d.of(layer, bits, "lsq"))
    images = smooth(seed=0)
    calibrate_on(quantized, images)
    return baseline, quantized.eval(), images


@torch.no_grad()
def error(baseline, quantized, images):
    return float((baseline(images) - quantized(images)).square().mean())


@pytest.mark.parametrize("middle", MIDDLES)
@pytest.mark.parametrize("bits", [3, 8])
def test_the_network_comes_nearer_to_full_precision_also_on_other_images(middle, bits):
    baseline, quantized, images = pair(MIDDLES[middle], bits)
    others = smooth(seed=9)
    before = error(baseline, quantized, others)
    compensate(quantized, baseline, images)
    assert error(baseline, quantized, others) < {3: 0.65, 8: 0.9}[bits] * before


@pytest.mark.parametrize("middle", ["plain", "groups", "without bias"])
def test_weights_are_integers_times_their_step_and_stay_so(middle):
    baseline, quantized, images = pair(MIDDLES[middle], 4)
    compensate(quantized, baseline, images)
    for layer in quantized:
        if isinstance(layer, QuantConv2d):
            integers = layer.scaled_weight() / layer.weight_quantizer.step
            assert (integers - integers.round()).abs().max() < 1e-4
            torch.testing.assert_close(integers.round(), layer.weight_quantizer.to_int(layer.scaled_weight()))


def test_rounding_in_turn_is_better_than_to_the_nearest(monkeypatch):
    """Of a single layer with related inputs, for the same weights in full precision."""
    from quantnas_sr.quantization import compensation

    baseline, quantized, images = pair(MIDDLES["1x1"], 3)
    compensate(quantized, baseline, images)
    in_turn = error(baseline, quantized, images)

    def nearest(weight, steps, squares, low, high):
        return (weight / steps).round().clamp(low, high) * steps

    monkeypatch.setattr(compensation, "_rounded", nearest)
    baseline, quantized, images = pair(MIDDLES["1x1"], 3)
    compensate(quantized, baseline, images)
    assert in_turn < 0.9 * error(baseline, quantized, images)


def test_a_shift_of_the_mean_is_gone():
    baseline, quantized, images = pair(MIDDLES["plain"], 4)
    with torch.no_grad():
        quantized[4].bias += 1
    compensate(quantized, baseline, images)
    with torch.no_grad():
        assert (quantized(images) - baseline(images)).mean((0, 2, 3)).abs().max() < 0.02


def test_layers_that_do_not_quantize_run_or_see_anything_stay_as_they_are():
    baseline, quantized, images = pair(MIDDLES["twice"], 4)
    quantized[0].quantize = False
    with torch.no_grad():  # the last layer reads zeros
        for network in (baseline[2].again, quantized[2].again):
            network.bias.fill_(-100)
    before = {key: value.clone() for key, value in quantized.state_dict().items()}
    compensate(quantized, baseline, images)
    kept = [key for key, value in quantized.state_dict().items() if torch.equal(value, before[key])]
    assert {key.rpartition(".")[0].split(".weight_q")[0] for key in kept} >= {"0", "2.idle", "4"}
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in [*quantized.modules()])
