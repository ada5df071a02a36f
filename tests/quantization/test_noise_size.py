"""How large the noise in place of quantization is."""

import pytest
import torch

from quantnas_sr.errors import OptionError
from quantnas_sr.quantization import NOISE_SIZES, LSQWeight, RectifiedLSQActivation
from quantnas_sr.quantization.noise_size import root_mean_square
from quantnas_sr.search_space import Supernet
from quantnas_sr.search_space.mixing.multi_bit_conv import NoiseConv2d

ERROR, RANGE = NOISE_SIZES["error"], NOISE_SIZES["range"]
every_width = pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])


@every_width
def test_the_noise_of_a_weight_is_as_large_as_the_error_of_its_quantizer(bits):
    weight = torch.randn(16, 48, 3, 3) * 0.05
    quantizer = LSQWeight(bits, 16, trained=True)
    quantizer.init_step(weight)
    error = root_mean_square(quantizer(weight) - weight)
    assert float(ERROR.extent(weight)) * ERROR.weight(bits) == pytest.approx(float(error), rel=0.25)


@every_width
def test_the_noise_of_an_input_is_as_large_as_the_error_of_its_quantizer(bits):
    x = torch.relu(torch.randn(8, 16, 32, 32))
    quantizer = RectifiedLSQActivation(bits).train()
    error = root_mean_square(quantizer(x) - x)
    assert float(ERROR.extent(x)) * ERROR.activation(bits) == pytest.approx(float(error), rel=0.25)


def test_the_range_says_more_than_that():
    """Half a step of the range, as in eq. 6, is several times the error of a step of least error."""
    weight, x = torch.randn(20_000), torch.relu(torch.randn(300_000))
    assert RANGE.extent(weight) * RANGE.weight(4) > 2 * ERROR.extent(weight) * ERROR.weight(4)
    assert RANGE.extent(x) * RANGE.activation(4) > 3 * ERROR.extent(x) * ERROR.activation(4)


@pytest.mark.parametrize("bits", [4, 5, 6])
def test_the_noise_of_an_image_is_as_large_as_its_rounding(bits):
    image = torch.rand(4, 3, 64, 64)
    levels = 2**bits - 1
    error = root_mean_square((image * levels).round() / levels - image)
    assert float(ERROR.extent(image)) * ERROR.image(bits) == pytest.approx(float(error), rel=0.2)


@pytest.mark.parametrize("size", list(NOISE_SIZES))
@pytest.mark.parametrize("noise_mode", ["exact", "fast"])
def test_a_supernet_adds_noise_of_that_size(size, noise_mode):
    """One layer, one operation: the spread of the output around its mean, by formula and as computed."""
    torch.manual_seed(0)
    only = {"head": ["simple_3x3"], "body": ["simple_3x3"], "upsample": ["simple_3x3"]}
    net = Supernet("plain", candidates=only, num_feat=8, num_block=1, bits=[4], noise_mode=noise_mode, noise_size=size)
    layer = net.skeleton.body[0]
    conv = next(module for module in layer.modules() if isinstance(module, NoiseConv2d))
    x = torch.rand(2, 8, 12, 12)
    layer.selection = net._select("body_0", net.alphas["body_0"])
    outputs = torch.stack([layer(x) for _ in range(400)]).detach()
    of_input, of_weight = (NOISE_SIZES[size].extent(t) for t in (x, conv.weight))
    input_variance = (of_input * NOISE_SIZES[size].activation(4)) ** 2
    weight_variance = (of_weight * NOISE_SIZES[size].weight(4)) ** 2
    inside = (slice(None), slice(None), slice(2, -2), slice(2, -2))
    energy = torch.nn.functional.conv2d(x.square().sum(1, keepdim=True), torch.ones(1, 1, 3, 3), padding=1)
    expected = input_variance * conv.weight.detach().square().sum() / 8 + energy[inside] * weight_variance
    expected = expected + input_variance * weight_variance * 72
    assert float(outputs.var(0)[inside].mean()) == pytest.approx(float(expected.mean()), rel=0.1)


def test_each_space_has_its_own():
    def size(space):
        net = Supernet(space)
        return next(module for module in net.modules() if isinstance(module, NoiseConv2d)).extent

    assert (size("plain"), size("basic")) == (ERROR.extent, RANGE.extent)


def test_another_size_is_refused():
    with pytest.raises(OptionError, match="unknown noise_size 'step'.*Allowed: error, range"):
        Supernet("plain", noise_size="step")
