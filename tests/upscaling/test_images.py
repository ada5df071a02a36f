"""Image files: what is read of them, what is written, and that the one finds what the other wrote."""

import io
import itertools

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from quantnas_sr.errors import DataError
from quantnas_sr.images.metadata import Metadata
from quantnas_sr.images.picture import read_picture
from quantnas_sr.upscaling.writers import FORMATS, Layout, fitting, image_writer

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
ORIENTATION = 0x0112


def noise(height: int, width: int, channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


def write(path, pixels, bands=1, **extras):
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    layout = Layout(*pixels.shape[:2], channels, pixels.dtype, Metadata(**extras))
    with image_writer(path, layout) as writer:
        for band in np.array_split(pixels, bands):
            writer.write(band)
    return path


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_lossless_formats_keep_every_pixel(tmp_path, suffix, channels, dtype):
    if (suffix, channels, dtype) == (".tif", 2, np.uint16):
        pytest.skip("Pillow does not read it; tifffile does, see below")
    pixels = noise(37, 150, channels, dtype)
    profile = SRGB if channels > 2 else None
    picture = read_picture(write(tmp_path / f"x{suffix}", pixels, bands=3, icc=profile))
    assert picture.pixels.dtype == dtype
    assert np.array_equal(picture.pixels, pixels)
    assert picture.metadata.icc == profile and picture.frames == 1


def test_a_tiff_of_gray_and_alpha_in_16_bits(tmp_path):
    import tifffile

    pixels = noise(5, 7, 2, np.uint16)
    assert np.array_equal(tifffile.imread(write(tmp_path / "x.tif", pixels)), pixels)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (129, 2)])
def test_other_programs_read_our_png(tmp_path, channels, dtype, size):
    pixels = noise(*size, channels, dtype)
    read = cv2.imread(str(write(tmp_path / "x.png", pixels)), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(read if channels == 1 else read[..., [2, 1, 0, 3][:channels]], pixels)
    with Image.open(tmp_path / "x.png") as image:
        image.verify()


def test_a_png_is_compressed(tmp_path):
    ramp = np.add.outer(np.arange(256), np.arange(256)).astype(np.uint8)
    path = write(tmp_path / "x.png", np.dstack([ramp] * 3))
    assert path.stat().st_size < 0.05 * 3 * 256**2


@pytest.mark.parametrize("suffix, channels", [(".jpg", 3), (".jpg", 1), (".webp", 3), (".webp", 4), (".bmp", 3)])
def test_formats_of_8_bits(tmp_path, suffix, channels):
    pixels = cv2.resize(noise(4, 4, channels), (40, 30)).reshape(30, 40, *([channels] if channels > 1 else []))
    picture = read_picture(write(tmp_path / f"x{suffix}", pixels, bands=2, icc=SRGB))
    error = np.abs(picture.pixels.astype(int) - pixels)
    assert error.max() <= (8 if suffix == ".jpg" else 0)
    assert picture.metadata.icc == (None if suffix == ".bmp" else SRGB)


def test_webp_has_no_gray(tmp_path):
    pixels = noise(8, 9, 2)
    picture = read_picture(write(tmp_path / "x.webp", pixels))
    assert np.array_equal(picture.pixels[..., 3], pixels[..., 1])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_orientation_is_applied_and_its_tag_dropped(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[ORIENTATION], exif[0x010F] = orientation, "maker"
    image = Image.fromarray(cv2.resize(noise(3, 4), (48, 32)))
    image.save(tmp_path / f"x{suffix}", exif=exif, **({"lossless": True} if suffix == ".webp" else {}))
    picture = read_picture(tmp_path / f"x{suffix}")
    with Image.open(tmp_path / f"x{suffix}") as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(picture.pixels, expected)
    with Image.open(write(tmp_path / "out.png", picture.pixels, exif=picture.metadata.exif)) as written:
        kept = written.getexif()
    assert kept[0x010F] == "maker" and ORIENTATION not in kept


@pytest.mark.parametrize("orientation", [3, 6])
def test_orientation_of_16_bits(tmp_path, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    pixels = noise(6, 9, 3, np.uint16)
    path = write(tmp_path / "x.png", pixels, exif=exif.tobytes()[6:])
    assert np.array_equal(read_picture(path).pixels, np.rot90(pixels, k={3: 2, 6: -1}[orientation]))


def test_exif_keeps_what_stays_true(tmp_path):
    exif = Image.Exif()
    exif[0x8298], exif[0x0110] = "somebody", "camera"
    exif.get_ifd(0x8769).update({0xA002: 40, 0xA003: 30, 0x9003: "2024:01:01 00:00:00"})
    exif.get_ifd(0x8825)[1] = "N"
    Image.fromarray(noise(30, 40)).save(tmp_path / "x.jpg", exif=exif)
    picture = read_picture(tmp_path / "x.jpg")
    for suffix in (".png", ".jpg", ".webp"):
        with Image.open(write(tmp_path / f"out{suffix}", picture.pixels, exif=picture.metadata.exif)) as image:
            kept = image.getexif()
        assert (kept[0x8298], kept[0x0110]) == ("somebody", "camera")
        assert dict(kept.get_ifd(0x8769)) == {0x9003: "2024:01:01 00:00:00"}, "not the size that it had"
        assert kept.get_ifd(0x8825)[1] == "N"


def test_opaque_alpha_may_go_and_transparency_may_not(tmp_path):
    opaque = np.dstack([noise(4, 5), np.full((4, 5), 255, np.uint8)])
    assert np.array_equal(fitting(opaque, tmp_path / "x.jpg", 2), opaque[..., :3])
    assert fitting(opaque, tmp_path / "x.png", 2) is opaque
    for suffix, channels in itertools.product((".jpg", ".bmp"), (2, 4)):
        with pytest.raises(DataError, match=rf"\{suffix} cannot hold.*transparency. Allowed: .png, .webp, .tif"):
            fitting(noise(4, 5, channels), tmp_path / f"x{suffix}", 2)


@pytest.mark.parametrize("suffix, most", [(".jpg", 65535), (".webp", 16383)])
def test_sides_that_a_format_cannot_hold(tmp_path, suffix, most):
    fitting(noise(1, most // 4), tmp_path / f"x{suffix}", 4)
    with pytest.raises(DataError, match=f"has at most {most}$"):
        fitting(noise(most // 4 + 1, 1), tmp_path / f"x{suffix}", 4)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_failure_leaves_nothing(tmp_path, suffix):
    with pytest.raises(RuntimeError), image_writer(tmp_path / f"x{suffix}", Layout(8, 8, 3, np.dtype(np.uint8))) as w:
        w.write(noise(4, 8))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_cmyk_goes_by_its_profile_and_the_profile_goes(tmp_path):
    image = Image.fromarray(noise(8, 8)).convert("CMYK")
    image.save(tmp_path / "plain.tif")
    assert np.array_equal(read_picture(tmp_path / "plain.tif").pixels, np.asarray(image.convert("RGB")))
    image.save(tmp_path / "broken.tif", icc_profile=b"no profile")
    broken = read_picture(tmp_path / "broken.tif")
    assert np.array_equal(broken.pixels, np.asarray(image.convert("RGB"))) and broken.metadata.icc is None


def test_a_palette_of_a_gif_becomes_rgb(tmp_path):
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[:, 3:] = (255, 0, 10)
    data = io.BytesIO()
    Image.fromarray(pixels).quantize(4).save(data, "GIF")
    (tmp_path / "x.gif").write_bytes(data.getvalue())
    assert np.array_equal(read_picture(tmp_path / "x.gif").pixels, pixels)
