"""Networks that take only some sizes of image, or one channel: found out without values; padded and cropped."""

import copy

import pytest
import torch
import torch.nn.functional as F
from basicsr.archs.rrdbnet_arch import RRDBNet
from basicsr.archs.swinir_arch import SwinIR
from torch import nn

from quantnas_sr.archs.espcn_arch import ESPCN
from quantnas_sr.archs.quantized_arch import QuantizedArch
from quantnas_sr.archs.quantized_supernet_arch import QuantizedSupernet
from quantnas_sr.archs.rfdn_arch import RFDN
from quantnas_sr.cost import count
from quantnas_sr.errors import OptionError
from quantnas_sr.input_shapes import InputShape, input_channels, input_shape, run_fitting
from quantnas_sr.padding import run_padded

RRDB = {"num_in_ch": 3, "num_out_ch": 3, "num_feat": 4, "num_block": 1, "num_grow_ch": 2}
SWIN = {"upscale": 2, "in_chans": 3, "img_size": 16, "window_size": 8, "depths": [2], "embed_dim": 4, "num_heads": [2]}


class Halving(nn.Module):
    """An encoder and decoder whose output is larger than its input where a side is odd; no error says so."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(3, 4, 3, 2, 1), nn.ConvTranspose2d(4, 3, 2, 2)

    def forward(self, x):
        return self.up(self.down(x))


NETWORKS = {
    "pixel unshuffle, x2": (lambda: RRDBNet(scale=2, **RRDB), InputShape(3, 2, 2, 3)),
    "pixel unshuffle, x1": (lambda: RRDBNet(scale=1, **RRDB), InputShape(3, 4, 1, 3)),
    "none, x4": (lambda: RRDBNet(scale=4, **RRDB), InputShape(3, 1, 4, 3)),
    "windows": (lambda: SwinIR(upsampler="pixelshuffledirect", **SWIN), InputShape(3, 8, 2, 3)),
    "encoder and decoder": (Halving, InputShape(3, 2, 1, 3)),
    "one channel": (lambda: ESPCN(1, 1, num_feat=4, upscale=3), InputShape(1, 1, 3, 1)),
    "one channel out": (lambda: RFDN(3, 1, num_feat=4, num_block=1), InputShape(3, 1, 4, 1)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_what_a_network_takes_is_found_and_the_network_is_left_as_it_is(name, capfd):
    make, expected = NETWORKS[name]
    network = make().train()
    before = copy.deepcopy(network.state_dict())
    assert input_shape(network) == expected
    assert input_channels(network) == expected.channels
    assert network.training and all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert "Traceback" not in capfd.readouterr().err


def test_of_a_network_that_takes_no_image_nothing_is_found():
    assert input_shape(nn.Sequential(nn.Conv2d(7, 3, 3))) is None


@pytest.mark.parametrize("name", ["pixel unshuffle, x2", "pixel unshuffle, x1", "windows", "encoder and decoder"])
@pytest.mark.parametrize("size", [(21, 26), (16, 24), (3, 5), (2, 3)])
def test_an_image_of_any_size_is_padded_by_its_mirror_image_and_the_output_cropped(name, size):
    make, takes = NETWORKS[name]
    network, x = make().eval(), torch.rand(1, 3, *size)
    down, right = (-side % takes.multiple for side in size)
    mode = "reflect" if down < size[0] and right < size[1] else "replicate"
    with torch.no_grad():
        expected = network(F.pad(x, (0, right, 0, down), mode))
        output = run_fitting(network, x, lambda: input_shape(network).multiple)
    height, width = (takes.scale * side for side in size)
    assert torch.equal(output, expected[..., :height, :width])
    assert output.shape == (1, 3, height, width)


def test_a_network_that_takes_any_size_is_not_asked_what_it_takes():
    network = ESPCN(num_feat=4)
    run_fitting(network, torch.rand(1, 3, 7, 9), lambda: pytest.fail("asked"))


def test_an_error_that_is_not_of_the_size_stays():
    with pytest.raises(RuntimeError, match="channels"):
        run_fitting(RRDBNet(scale=2, **RRDB), torch.rand(1, 1, 8, 8), lambda: 2)


def test_without_padding_the_network_sees_the_image_itself():
    x = torch.rand(1, 3, 8, 8)
    assert run_padded(lambda image: image, x, 4, None) is x


@pytest.mark.parametrize("arch", [{"type": "RRDBNet", "scale": 2, **RRDB}, {"type": "RRDBNet", "scale": 1, **RRDB}])
def test_a_quantized_network_takes_odd_sizes_in_training_evaluation_and_counting(arch):
    scale = arch["scale"]
    network = QuantizedArch(arch)
    x = torch.rand(1, 3, 11, 14)
    assert network.train()(x).shape == (1, 3, 11 * scale, 14 * scale)
    assert network.eval()(x).shape == (1, 3, 11 * scale, 14 * scale)
    multiple = {2: 2, 1: 4}[scale]
    whole = network(F.pad(x, (0, -14 % multiple, 0, -11 % multiple), "reflect"))
    assert torch.equal(network(x), whole[..., : 11 * scale, : 14 * scale])
    even = QuantizedArch(arch)
    assert count(even, (11, 14)).macs == count(even, (12, 16 if multiple == 4 else 14)).macs


def test_a_search_of_bit_widths_takes_odd_sizes():
    network = QuantizedSupernet({"type": "RRDBNet", "scale": 2, **RRDB}, skip=["conv_last"])
    assert network(torch.rand(1, 3, 9, 7)).shape == (1, 3, 18, 14)


@pytest.mark.parametrize("arch", ["RFDN", "ESPCN"])
def test_networks_of_one_channel_are_counted_and_quantized(arch):
    options = {"type": arch, "num_in_ch": 1, "num_out_ch": 1, "num_feat": 4, "upscale": 2}
    network = QuantizedArch(options)
    first = count(network).layers[0]
    assert first.conv.in_channels == 1 and first.bits == 8
    assert network(torch.rand(1, 1, 16, 18)).shape == (1, 1, 32, 36)


@pytest.mark.parametrize("options", [{"num_feat": 1}, {"num_feat": 3}, {"img_range": 0}])
def test_an_rfdn_that_cannot_work_is_refused(options):
    with pytest.raises(OptionError, match=next(iter(options))):
        RFDN(**options)
