"""What transparent pixels hide never shows: neither as a fringe around what is visible, nor in any other way."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFilter
from upscaling import ModuleNetwork, checkpoint, derived

from quantnas_sr import cli
from quantnas_sr.images.picture import read_picture
from quantnas_sr.upscaling import transparency, upscale
from quantnas_sr.upscaling.transparency import spread_colours

SIDE = 48


class Blur(ModuleNetwork):
    """Bicubic interpolation: it mixes neighbours, rings at edges and leaves a constant colour as it is."""

    def __init__(self) -> None:
        super().__init__(torch.nn.Upsample(scale_factor=2, mode="bicubic"), 2, 3)


def disc(soft: float = 0, hole: bool = False) -> np.ndarray:
    """The alpha of a disc, (SIDE, SIDE), uint8."""
    mask = Image.new("L", (SIDE, SIDE))
    ImageDraw.Draw(mask).ellipse((8, 8, SIDE - 9, SIDE - 9), fill=255)
    if hole:
        ImageDraw.Draw(mask).ellipse((20, 20, 27, 27), fill=0)
    return np.asarray(mask.filter(ImageFilter.GaussianBlur(soft)) if soft else mask)


def hidden_black(alpha: np.ndarray, channels: int, dtype: type) -> np.ndarray:
    """White where anything shows, black where nothing does."""
    image = np.dstack([np.where(alpha > 0, 255, 0)] * (channels - 1) + [alpha])
    return (image / 255).astype(dtype) if dtype == np.float32 else (image * (np.iinfo(dtype).max // 255)).astype(dtype)


def on_white(image: np.ndarray) -> np.ndarray:
    white = 1.0 if image.dtype == np.float32 else np.iinfo(image.dtype).max
    image = image.astype(np.float64) / white
    alpha = image[..., -1:]
    return 255 * (image[..., :-1] * alpha + 1 - alpha)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("soft, hole", [(0, False), (1.5, False), (0, True), (1, True)])
@pytest.mark.parametrize("tile", [None, 20])
def test_white_on_transparent_black_has_no_dark_fringe_on_white(dtype, channels, soft, hole, tile):
    result = upscale(hidden_black(disc(soft, hole), channels, dtype), Blur(), tile)
    assert on_white(result).min() >= 249


def test_a_fringe_would_show():
    """That the test above could fail."""
    image = hidden_black(disc(), 4, np.uint8)
    network = Blur()
    colours = upscale(np.ascontiguousarray(image[..., :3]), network)
    alpha = upscale(image, network)[..., 3]
    assert on_white(np.dstack([colours, alpha])).min() < 200


@pytest.mark.parametrize("norm", ["batch", "adq"])
def test_hidden_colours_change_nothing(norm):
    """With ADQ every pixel depends on all others, hidden ones included."""
    network = ModuleNetwork(derived(norm=norm), 2, None)
    alpha = disc(hole=True)
    one, two = (np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 4), dtype=np.uint8) for seed in (1, 2))
    one[..., 3] = two[..., 3] = alpha
    two[alpha > 0] = one[alpha > 0]
    assert np.array_equal(upscale(one, network), upscale(two, network))


def test_visible_pixels_and_the_image_of_the_caller_stay_as_they_are():
    image = np.random.default_rng(0).integers(0, 256, (30, 20, 4), dtype=np.uint8)
    image[::3, :, 3] = 0
    before = image.copy()
    result = spread_colours(image)
    assert np.array_equal(image, before)
    assert np.array_equal(result[image[..., 3] > 0], image[image[..., 3] > 0])
    assert np.array_equal(result[..., 3], image[..., 3])


@pytest.mark.parametrize("alpha", [0, 255])
def test_nothing_hidden_or_nothing_visible_is_left_alone(alpha):
    image = np.random.default_rng(0).integers(0, 256, (9, 9, 4), dtype=np.uint8)
    image[..., 3] = alpha
    assert spread_colours(image) is image
    assert upscale(image, Blur()).shape == (18, 18, 4)


@pytest.mark.parametrize("shape", [(9, 9), (9, 9, 1), (9, 9, 3)])
def test_an_image_without_alpha_is_left_alone(shape):
    image = np.zeros(shape, np.uint8)
    assert spread_colours(image) is image


@pytest.mark.parametrize("size", [(1, 1), (1, 60), (60, 1), (37, 23), (400, 9)])
@pytest.mark.parametrize("strips", [False, True])
def test_hidden_pixels_get_the_colour_of_a_nearest_visible_one(size, strips, monkeypatch):
    if strips:
        monkeypatch.setattr(transparency, "_STRIP_BYTES", 0)
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (*size, 4), dtype=np.uint8)
    image[..., 3] *= generator.random(size) < 0.1
    image[size[0] // 2, size[1] // 2, 3] = 255
    result = spread_colours(image)
    seen = np.argwhere(image[..., 3] > 0)
    for place in np.argwhere(image[..., 3] == 0):
        distances = np.hypot(*(seen - place).T)
        colours = image[tuple(seen[distances <= 1.1 * distances.min() + 0.1].T)][:, :3]
        assert (colours == result[tuple(place)][:3]).all(axis=1).any()


@pytest.mark.parametrize("row", [0, 500, 999])
def test_everything_hidden_is_filled_however_far_it_is(row, monkeypatch):
    monkeypatch.setattr(transparency, "_STRIP_BYTES", 0)
    image = np.zeros((1000, 5, 4), np.uint8)
    image[row, 2] = 10, 20, 30, 255
    assert (spread_colours(image)[..., :3] == (10, 20, 30)).all()


@pytest.mark.parametrize("kind", ["RGBA", "LA", "palette", "16 bits", "transparent colour"])
def test_files_of_every_kind_have_no_fringe(tmp_path: Path, kind: str):
    alpha = disc()
    gray = np.where(alpha > 0, 255, 0).astype(np.uint8)
    source = tmp_path / "x.png"
    if kind == "RGBA":
        Image.fromarray(np.dstack([gray] * 3 + [alpha])).save(source)
    elif kind == "LA":
        Image.fromarray(np.dstack([gray, alpha])).save(source)
    elif kind == "16 bits":
        cv2.imwrite(str(source), np.dstack([gray] * 3 + [alpha]).astype(np.uint16) * 257)
    elif kind == "transparent colour":
        Image.fromarray(np.dstack([gray] * 3)).save(source, transparency=(0, 0, 0))
    else:
        palette = Image.fromarray(gray // 255)
        palette.putpalette([0, 0, 0, 255, 255, 255])
        palette.save(source, transparency=0)
    network = checkpoint(tmp_path / "net.pth", spreading())
    assert cli.main(["upscale", str(network), str(source), str(tmp_path / "out.png")]) == 0
    assert on_white(read_picture(tmp_path / "out.png").pixels).min() >= 249


def spreading() -> torch.nn.Module:
    """A network of positive weights whose every pixel is a mean of its 7x7 neighbours."""
    removed = dict.fromkeys(("body_0", "body_1", "skip", "tail_0", "tail_1"), ("zero", 32))
    network = derived(operation="simple_3x3", norm="none", **removed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.dim() == 4:
                # The body adds its input to itself, which doubles it once.
                parameter.fill_((0.5 if "upsample" in name else 1) / parameter[0].numel())
    return network
