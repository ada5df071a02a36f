"""Which files are read: what Pillow can decode, in every command, and the rest is named."""

import io
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, features

from quantnas_sr.data.prepare.images import ImageFile, decode
from quantnas_sr.errors import DataError
from quantnas_sr.images import formats
from quantnas_sr.images.bgr import decode_bgr, read_bgr, read_planes
from quantnas_sr.images.folders import files_in, left_out_line
from quantnas_sr.images.formats import image_suffixes, is_image, package_for
from quantnas_sr.images.picture import read_picture

RGB = Image.fromarray(cv2.resize(np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8), (40, 32)))
#: By suffix: Pillow's name of the format, and how to lose nothing.
WRITTEN = {
    **{".png": ("PNG", {}), ".bmp": ("BMP", {}), ".tif": ("TIFF", {}), ".webp": ("WEBP", {"lossless": True})},
    **{".jpg": ("JPEG", {}), ".jpeg": ("JPEG", {}), ".jpe": ("JPEG", {}), ".jfif": ("JPEG", {})},
    **{".ppm": ("PPM", {}), ".pnm": ("PPM", {}), ".pgm": ("PPM", {}), ".pbm": ("PPM", {})},
    **{".gif": ("GIF", {}), ".avif": ("AVIF", {"quality": 100, "subsampling": "4:4:4"})},
}
MODES = {".pgm": "L", ".pbm": "1"}


def write(path: Path) -> np.ndarray:
    """Write the picture in the format of a suffix; the pixels that are in the file, RGB."""
    name, options = WRITTEN[path.suffix.lower()]
    RGB.convert(MODES.get(path.suffix.lower(), "RGB")).save(path, name, **options)
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("suffix", WRITTEN)
@pytest.mark.parametrize("upper", [False, True])
def test_every_reader_reads_every_format(tmp_path, suffix, upper):
    if suffix == ".avif" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    path = tmp_path / f"x{suffix.upper() if upper else suffix}"
    pixels = write(path)
    assert is_image(path)
    picture = read_picture(path).pixels
    assert np.array_equal(picture if picture.ndim == 3 else np.dstack([picture] * 3), pixels)
    for bgr in (read_bgr(path), decode(ImageFile(path))[0]):
        assert np.abs(bgr[..., ::-1].astype(int) - pixels).max() <= (1 if "JPEG" in WRITTEN[suffix] else 0)
    planes = read_planes(path)
    assert planes.shape == (1, 3, 32, 40) and planes.dtype == np.float32 and planes.max() <= 1


@pytest.mark.parametrize("kind, channels", [(b"P6", 3), (b"P5", 1), (b"P3", 3), (b"P2", 1)])
@pytest.mark.parametrize("white", [100, 255, 1023, 65535])
def test_the_white_of_a_ppm_is_white(tmp_path, kind, channels, white):
    values = np.linspace(0, white, 20 * channels).round().astype(int)
    body = b" ".join(b"%d" % value for value in values)
    if kind in (b"P5", b"P6"):
        body = values.astype(">u2" if white > 255 else "u1").tobytes()
    path = tmp_path / "x.ppm"
    path.write_bytes(kind + b"\n# a comment with 9 9 9\n5 4\n%d\n" % white + body)
    pixels = read_picture(path).pixels
    most = 65535 if white > 255 else 255
    assert pixels.dtype == (np.uint16 if white > 255 else np.uint8)
    expected = values.reshape(4, 5, channels).squeeze() / white
    assert np.abs(pixels / most - expected).max() < 1 / most
    small = read_bgr(path)[..., ::-1]
    assert small.max() == 255 and np.abs(small / 255 - expected.reshape(4, 5, channels)).max() <= 1 / 255


@pytest.mark.parametrize("name", ["été 写真 😀.png", "x.png"])
def test_names_of_any_letters_are_read_without_opencv_opening_them(tmp_path, monkeypatch, name):
    """Windows' OpenCV cannot open them."""
    monkeypatch.setattr(cv2, "imread", lambda *arguments: None)
    RGB.save(tmp_path / name)
    assert np.array_equal(read_bgr(tmp_path / name)[..., ::-1], np.asarray(RGB))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".avif"])
def test_an_image_is_upright_for_every_reader(tmp_path, orientation, suffix):
    if suffix == ".avif" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    exif = Image.Exif()
    exif[0x0112] = orientation
    RGB.save(tmp_path / f"x{suffix}", exif=exif)
    difference = read_picture(tmp_path / f"x{suffix}").pixels.astype(int) - read_bgr(tmp_path / f"x{suffix}")[..., ::-1]
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("data", [b"", b"no image", b"GIF89a" + bytes(20), b"P6\n5 4\n255\n", b"P5\n"])
def test_what_is_no_image_is_one_line(tmp_path, data):
    (tmp_path / "x.png").write_bytes(data)
    for read in (read_bgr, read_picture):
        with pytest.raises(DataError, match="x.png: ") as caught:
            read(tmp_path / "x.png")
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="absent.png: no such file"):
        read_bgr(tmp_path / "absent.png")


def test_transparency_of_a_gif_is_noticed():
    data = io.BytesIO()
    RGB.quantize(4).save(data, "GIF", transparency=1)
    assert decode_bgr(data.getvalue())[1]


def test_only_what_pillow_can_decode_is_an_image(monkeypatch):
    monkeypatch.setattr(features, "check_module", lambda name: False)
    monkeypatch.setattr(formats, "_registered", lambda name, plug_in: False)
    assert not is_image("x.avif") and not is_image("x.heic") and not is_image("x.webp") and is_image("X.PNG")
    assert package_for(".HEIC") == ("pillow-heif",) and package_for(".avif") == ("pillow-avif-plugin",)
    assert left_out_line([Path("x.heic")]).endswith("x.heic; pip install pillow-heif to read .heic")


def test_a_plug_in_for_heic_is_used(monkeypatch):
    monkeypatch.setattr(formats, "_registered", lambda name, plug_in: plug_in == "pillow_heif")
    assert is_image("IMG_0001.HEIC") and ".heif" in image_suffixes() and package_for(".heic") == ()


# Folders


def names(folder: Path, **options: object) -> list:
    return sorted(str(path.relative_to(folder)) for path in files_in(folder, **options))


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_linked_folders_are_followed_once_and_by_their_own_path(tmp_path):
    touch(tmp_path / "in" / "z" / "a.png", tmp_path / "else" / "b.png")
    (tmp_path / "in" / "a link to z").symlink_to(tmp_path / "in" / "z")
    (tmp_path / "in" / "else").symlink_to(tmp_path / "else")
    (tmp_path / "in" / "again").symlink_to(tmp_path / "else")
    (tmp_path / "in" / "z" / "loop").symlink_to(tmp_path / "in")
    (tmp_path / "else" / "back").symlink_to(tmp_path / "in" / "z")
    (tmp_path / "in" / "nowhere").symlink_to(tmp_path / "absent")
    assert names(tmp_path / "in") == ["again/b.png", "nowhere", "z/a.png"]
    (tmp_path / "linked").symlink_to(tmp_path / "in")
    assert names(tmp_path / "linked") == ["again/b.png", "nowhere", "z/a.png"]


def test_hidden_files_and_the_output_are_not_looked_at(tmp_path):
    touch(tmp_path / ".a.png", tmp_path / ".cache" / "b.png", tmp_path / "out" / "c.png", tmp_path / "d" / "e.png")
    (tmp_path / "d" / "out").symlink_to(tmp_path / "out")
    assert names(tmp_path, excluded=tmp_path / "out") == ["d/e.png"]
    assert names(tmp_path) == ["d/e.png", "out/c.png"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everywhere")
def test_a_folder_that_may_not_be_read_is_said(tmp_path):
    (tmp_path / "secret").mkdir(mode=0)
    with pytest.raises(DataError, match="secret: the folder cannot be read"):
        names(tmp_path)


def test_many_files_left_out_are_counted_by_kind():
    line = left_out_line([Path(f"{number:03}.txt") for number in range(30)] + [Path("a.json"), Path("b")])
    assert line.startswith("left out: 32 files that cannot be read as an image or a video: 000.txt, 001.txt")
    assert line.endswith("and 12 more (10 .txt, 1 .json, 1 without a suffix)")
