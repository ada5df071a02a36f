"""RFDN in full precision, and its attention."""

import pytest
import torch
import torch.nn.functional as F
from networks import SHARED, published
from torch import nn

from quantnas_sr.archs.rfdn_arch import RFDN
from quantnas_sr.search_space import ESA

SIZES = [(1, 1), (5, 5), (14, 40), (40, 14), (15, 15), (15, 16), (32, 48)]

every_size = pytest.mark.parametrize("size", SIZES, ids=str)


def test_the_published_weights_load_as_they_are():
    published()


def test_the_published_weights_upscale_as_published():
    """Mean PSNR on Set5 of the published weights in their authors' network."""
    cv2 = pytest.importorskip("cv2")
    from basicsr.metrics import calculate_psnr
    from basicsr.utils import img2tensor, tensor2img
    from reference import golden_json

    expected = golden_json("rfdn_aim_eval.json")["Set5/LRbicx4"]
    folder = SHARED / "data" / "eval" / "Set5"
    if not folder.is_dir():
        pytest.skip("the images of Set5 are not here")
    network, scores = published(), []
    for small in sorted((folder / "LRbicx4").glob("*.png")):
        (large,) = (folder / "GTmod4").glob(f"{small.stem.replace('x4', '')}*.png")
        x = img2tensor(cv2.imread(str(small)) / 255.0, bgr2rgb=True, float32=True)[None]
        with torch.no_grad():
            output = tensor2img(network(x))
        scores.append(calculate_psnr(output, cv2.imread(str(large)), crop_border=4, test_y_channel=True))
    assert len(scores) == expected["n"]
    assert sum(scores) / len(scores) == pytest.approx(expected["psnr_y"], abs=1e-3)


@pytest.mark.parametrize(
    "options, channels, scale",
    [
        ({}, 3, 4),
        ({"num_feat": 48, "num_block": 2, "upscale": 2}, 3, 2),
        ({"num_feat": 16, "num_block": 1, "upscale": 3}, 3, 3),
        ({"num_feat": 16, "num_in_ch": 1, "num_out_ch": 1}, 1, 4),
    ],
    ids=str,
)
def test_other_sizes_and_scales_build_and_run(options, channels, scale):
    with torch.no_grad():
        y = RFDN(**options)(torch.rand(1, channels, 18, 20))
    assert y.shape == (1, channels, 18 * scale, 20 * scale)


@every_size
def test_images_of_any_size_run(size):
    with torch.no_grad():
        assert RFDN(num_feat=16, num_block=1)(torch.rand(1, 3, *size)).shape == (1, 3, 4 * size[0], 4 * size[1])


def test_the_range_of_the_images_is_0_to_1_outside_and_the_weights_own_inside():
    network = RFDN(num_feat=16, num_block=1).eval()
    x = torch.rand(1, 3, 16, 16)
    unit = RFDN(num_feat=16, num_block=1, img_range=1.0).eval()
    unit.load_state_dict(network.state_dict())
    torch.testing.assert_close(network(x), unit(x * 255) / 255)


# --- ESA


def conv(in_channels, out_channels, kernel_size, **kwargs):
    return nn.Conv2d(in_channels, out_channels, kernel_size, **kwargs)


def attention(esa, x):
    """The figure of the paper, line by line, for inputs that need no padding."""
    a = esa.conv1(x)
    y = F.conv2d(a, esa.conv2.weight, esa.conv2.bias, stride=2)
    y = F.max_pool2d(y, 7, 3)
    y = F.relu(F.conv2d(y, esa.conv_max.weight, esa.conv_max.bias, padding=1))
    y = F.relu(F.conv2d(y, esa.conv3.weight, esa.conv3.bias, padding=1))
    y = F.conv2d(y, esa.conv3_.weight, esa.conv3_.bias, padding=1)
    y = F.interpolate(y, a.shape[2:], mode="bilinear", align_corners=False)
    return x * torch.sigmoid(esa.conv4(y + esa.conv_f(a)))


@pytest.mark.parametrize("size", [size for size in SIZES if min(size) >= 15], ids=str)
def test_attention_is_the_figure_where_no_padding_is_needed(size, randomize):
    esa = ESA(16, conv)
    randomize(esa)
    x = torch.randn(2, 16, *size)
    torch.testing.assert_close(esa(x), attention(esa, x))


@every_size
def test_attention_of_a_small_image_is_that_of_the_image_with_its_border_repeated(size):
    esa = ESA(8, conv)
    x = torch.randn(2, 8, *size)
    height, width = size
    padded = F.pad(x, (0, max(0, 15 - width), 0, max(0, 15 - height)), mode="replicate")
    assert esa(x).shape == x.shape
    torch.testing.assert_close(esa(x), attention(esa, padded)[..., :height, :width])


def test_every_part_of_the_attention_is_trained():
    esa = ESA(16, conv)
    esa(torch.randn(1, 16, 32, 32)).square().sum().backward()
    assert all(p.grad is not None and p.grad.ne(0).any() for p in esa.parameters())
