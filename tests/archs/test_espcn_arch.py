"""ESPCN: its wiring, its sizes, and the cost that the paper gives for it."""

import pytest
import torch
from torch.nn import functional as F

from quantnas_sr.archs.espcn_arch import ESPCN
from quantnas_sr.cost import count
from quantnas_sr.errors import OptionError


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_it_is_the_figure_of_its_paper(scale, activation):
    network = ESPCN(num_feat=8, upscale=scale, activation=activation)
    x, function = torch.rand(2, 3, 7, 9), getattr(torch, activation)
    y = function(F.conv2d(x, network.conv1.weight, network.conv1.bias, padding=2))
    y = function(F.conv2d(y, network.conv2.weight, network.conv2.bias, padding=1))
    y = F.conv2d(y, network.conv3.weight, network.conv3.bias, padding=1)
    assert torch.equal(network(x), F.pixel_shuffle(y, scale))
    assert network(x).shape == (2, 3, 7 * scale, 9 * scale)


def test_its_layers_have_the_published_sizes():
    shapes = [tuple(p.shape) for name, p in ESPCN().named_parameters() if name.endswith("weight")]
    assert shapes == [(64, 3, 5, 5), (32, 64, 3, 3), (48, 32, 3, 3)]


def test_images_of_one_channel():
    assert ESPCN(1, 1, num_feat=8)(torch.rand(1, 1, 4, 5)).shape == (1, 1, 16, 20)


def test_at_8_bits_it_costs_what_the_paper_says():
    """Table 1: 2.3 GBitOps at 8 bits for a 32x32 input, in units of 2^30."""
    macs = count(ESPCN()).macs
    assert macs == (4800 + 18432 + 13824) * 32 * 32
    assert round(macs * 8 * 8 / 2**30, 1) == 2.3


@pytest.mark.parametrize(
    "options, message",
    [
        ({"activation": "tan"}, "unknown activation 'tan', did you mean 'tanh'? Allowed: relu, tanh"),
        ({"upscale": 5}, "unknown upscale '5'. Allowed: 2, 3, 4"),
    ],
    ids=str,
)
def test_bad_values_are_named(options, message):
    with pytest.raises(OptionError) as caught:
        ESPCN(**options)
    assert str(caught.value) == message
