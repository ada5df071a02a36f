"""The sample of activations that steps are calibrated on: of all places of an image, the same in every run."""

import pytest
import torch
from torch import Tensor

from quantnas_sr.archs.quantized_arch import QuantizedArch
from quantnas_sr.export.rounded_outputs import RoundedConv, round_outputs
from quantnas_sr.quantization import LSQActivation, calibrate_inputs, observe_inputs
from quantnas_sr.quantization.calibration import RangeObserver, sample_positions

#: Channels, batch, and sides of the batches of usual trainings; a stride of these sizes sees few columns, or one.
BATCHES = [(64, 16, 32, 32), (64, 16, 48, 48), (64, 16, 64, 64), (32, 16, 32, 32), (48, 16, 32, 32), (36, 16, 32, 32)]
BATCHES += [(50, 8, 32, 32), (3, 16, 64, 64), (256, 4, 24, 40), (64, 1, 128, 96)]


@pytest.mark.parametrize("channels, batch, height, width", BATCHES)
def test_every_image_row_and_column_is_sampled_about_equally(channels, batch, height, width):
    count = 16 * 2**14 // channels
    place = torch.arange(batch * height * width)
    sampled = torch.cat([place[sample_positions(3, len(place), count // 16, seed)].flatten() for seed in range(16)])
    for found, length in (
        (sampled % width, width),
        (sampled // width % height, height),
        (sampled // (width * height), batch),
    ):
        expected = len(sampled) / length
        share = torch.bincount(found, minlength=length) / expected
        assert len(share) == length
        assert ((share - 1).abs() < 6 / expected**0.5).all()


@pytest.mark.parametrize("channels, batch, height, width", BATCHES)
@pytest.mark.parametrize("period", [2, 4, 8, 16, 32])
def test_columns_of_a_period_all_weigh_in_the_sample(channels, batch, height, width, period):
    values = (torch.arange(width) % period == 0).float().expand(batch, channels, height, width)
    observer = RangeObserver()
    for _ in range(8):
        observer.add(values)
    expected = float(values.mean())
    assert float(observer.mean_squares().mean()) == pytest.approx(expected, rel=0.2, abs=0.01)


def test_a_range_is_calibrated_on_all_columns():
    x = torch.rand(16, 64, 32, 32)
    x[..., 0] *= 0.01
    observer = RangeObserver()
    observer.add(x)
    step, _ = observer.least_error_range(4)
    assert 15 * float(step) > 0.8


def mean_squared_error(x: Tensor, step: Tensor, zero_point: Tensor, bits: int) -> float:
    integers = (x.double() / step).round().clamp(-zero_point, 2**bits - 1 - zero_point)
    return float((integers * step - x).square().mean())


@pytest.mark.parametrize("bits", [2, 3, 4, 8, 9, 12, 16])
@pytest.mark.parametrize(
    "values",
    [
        torch.randn(1, 4, 20, 20) ** 3,
        torch.randn(1, 4, 20, 20).relu(),
        -torch.rand(1, 2, 9, 9),
        torch.full((1, 9), 0.3),
    ],
    ids=["both signs", "none below 0", "none above 0", "constant"],
)
def test_no_narrower_range_has_a_smaller_error(values, bits):
    """Of those that are tried, by a look at every value; the error at the ends, which counts too, is a thousandth."""
    observer = RangeObserver()
    observer.add(values)
    step, zero_point = observer.least_error_range(bits)
    found = mean_squared_error(values, step, zero_point, bits)
    lowest, highest = values.amin().clamp_max(0), values.amax().clamp_min(0)
    of_ends = 1e-3 * max(float(lowest**2), float(highest**2))
    for down in torch.linspace(0.05, 1, 20) * lowest:
        for up in torch.linspace(0.05, 1, 20) * highest:
            tried = ((up - down) / (2**bits - 1)).clamp_min(1e-30)
            assert found <= mean_squared_error(values, tried, (-down / tried).round(), bits) + of_ends + 1e-12


def test_the_sample_of_a_small_tensor_is_all_of_it():
    for length in (1, 5, 1000):
        assert torch.equal(sample_positions(2, length, 1000, seed=0), torch.arange(length).expand(2, length))


@pytest.mark.parametrize("length, count", [(1000, 999), (2**20, 256), (2**24 + 1, 333), (3, 2), (10**6, 1)])
def test_positions_are_within_and_ascend(length, count):
    positions = sample_positions(4, length, count, seed=3)
    assert positions.shape == (4, count)
    assert positions.min() >= 0 and positions.max() < length
    assert (positions.diff() >= 0).all()


def test_positions_are_the_same_in_every_run_and_differ_by_batch():
    first, again, other = (sample_positions(2, 2**16, 256, seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other) and not torch.equal(first[0], first[1])
    assert first[0, :4].tolist() == [248, 437, 629, 1003]


def test_random_generators_are_left_as_they_are():
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    quantizer = LSQActivation(4)
    quantizer(torch.linspace(0, 1, 2**18).view(4, 64, 32, 32))
    assert torch.equal(torch.rand(1), expected)


def calibrated_network():
    torch.manual_seed(0)
    network = QuantizedArch({"type": "ESPCN", "upscale": 2}, bits=4)
    x = torch.rand(4, 3, 48, 48)
    observe_inputs(network)
    network(x)
    torch.rand(int(torch.randint(9, ())))  # another state of the generators
    network(x.flip(0))
    calibrate_inputs(network)
    return network, x


def test_two_calibrations_on_the_same_images_are_the_same():
    (first, _), (second, _) = calibrated_network(), calibrated_network()
    for key, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[key]), key


def test_rounded_outputs_have_ranges_of_the_whole_image():
    network, x = calibrated_network()
    network.eval()
    image = x[:1].clone()
    round_outputs(network, [image] * 3)
    inputs = {}
    rounded = [module for module in network.modules() if isinstance(module, RoundedConv)]
    for module in rounded:
        module.rounding.register_forward_pre_hook(lambda module, given: inputs.update({module: given[0]}))
    with torch.no_grad():
        network(image)
    assert len(rounded) == len(inputs) == 3
    for module, values in inputs.items():
        assert (module(values) - values).abs().max() < 0.05 * (values.max() - values.min())
