"""Networks of one channel on RGB images."""

import cv2
import numpy as np
import pytest
import torch
from basicsr.utils import rgb2ycbcr
from basicsr.utils.color_util import ycbcr2rgb
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn
from torch.nn import functional as F

from quantnas_sr.archs.quantized_arch import QuantizedArch
from quantnas_sr.deploy.luma import LumaNetwork, for_rgb
from quantnas_sr.deploy.runtimes import open_network

ESPCN = {"type": "ESPCN", "num_in_ch": 1, "num_out_ch": 1, "num_feat": 4, "upscale": 2}


class Unshuffled(nn.Module):
    """Doubles an image whose sides are even."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(12, 8, 3, padding=1), nn.Conv2d(8, 48, 3, padding=1)

    def forward(self, x):
        return F.pixel_shuffle(self.last(F.relu(self.first(F.pixel_unshuffle(x, 2)))), 4)


def trained(arch, channels):
    network = QuantizedArch(arch).train()
    for _ in range(3):
        network(torch.rand(2, channels, 16, 16))
    return network.eval()


@pytest.fixture
def network():
    return trained(ESPCN, channels=1)


def test_the_network_upscales_the_luma_and_bicubic_interpolation_the_colours(network):
    image = cv2.resize(np.random.default_rng(0).random((5, 6, 3), dtype=np.float32), (18, 15))
    with torch.no_grad():
        result = LumaNetwork(network)(torch.from_numpy(image.transpose(2, 0, 1))[None])[0].numpy().transpose(1, 2, 0)
        luma = network(torch.from_numpy(rgb2ycbcr(image, y_only=True))[None, None])[0, 0].numpy()
    ycbcr = cv2.resize(rgb2ycbcr(image), (36, 30), interpolation=cv2.INTER_CUBIC)
    ycbcr[..., 0] = luma
    inside = slice(4, -4), slice(4, -4)
    assert np.abs(rgb2ycbcr(result)[inside][..., 0] - luma[inside]).max() < 1e-4
    assert np.abs(result - ycbcr2rgb(ycbcr))[inside].max() < 2e-2  # OpenCV's cubic has another parameter


def test_a_gray_image_stays_gray(network):
    gray = torch.rand(1, 1, 9, 11).expand(1, 3, 9, 11)
    with torch.no_grad():
        result = LumaNetwork(network)(gray)
    assert torch.allclose(result[:, :1].expand_as(result), result, atol=1e-6)


def test_networks_of_rgb_are_left_as_they_are():
    network = QuantizedArch({**ESPCN, "num_in_ch": 3, "num_out_ch": 3})
    assert for_rgb(network) is network


def test_a_checkpoint_of_one_channel_opens_as_a_network_of_rgb(network, tmp_path):
    torch.save({"params": network.state_dict()}, tmp_path / "y.pth")
    opened = open_network(tmp_path / "y.pth")
    x = torch.rand(1, 3, 10, 12)
    with torch.no_grad():
        assert np.allclose(opened(x.numpy()), LumaNetwork(network)(x), atol=1e-6)
    assert opened.scale == 2 and opened.halo >= 2


@pytest.mark.parametrize(
    ("arch", "channels"), [(ESPCN, 1), ({"type": "Unshuffled"}, 3)], ids=["one channel", "pixel unshuffle"]
)
def test_exported_it_makes_the_same_images_of_any_size(arch, channels, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    from quantnas_sr.export.exporting import export

    monkeypatch.setitem(ARCH_REGISTRY._obj_map, "Unshuffled", Unshuffled)

    network = trained(arch, channels)
    torch.save({"params": network.state_dict()}, tmp_path / "net.pth")
    export(str(tmp_path / "net.pth"), str(tmp_path / "net.onnx"))
    x = np.random.default_rng(0).random((1, 3, 21, 18), dtype=np.float32)
    with torch.no_grad():
        expected = for_rgb(network)(torch.from_numpy(x)).numpy()
    found = open_network(tmp_path / "net.onnx", "onnxruntime")(x)
    assert found.shape == (1, 3, 42, 36)
    assert (np.abs(found - expected) > 1 / 255).mean() < 1e-3
