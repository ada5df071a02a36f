"""Image files come in through one door: every command refuses the same files, and before they take memory or time."""

import argparse
import io
import os
import struct
from pathlib import Path
from typing import Callable

import cv2
import numpy as np
import pytest
from PIL import Image

from quantnas_sr.commands.arguments import pixels
from quantnas_sr.data.folders import image_size
from quantnas_sr.data.prepare.images import ImageFile, decode
from quantnas_sr.deploy.memory import process_memory
from quantnas_sr.errors import DataError
from quantnas_sr.images.bgr import read_bgr, read_planes
from quantnas_sr.images.header import read_header
from quantnas_sr.images.limits import MOST_PIXELS, OPENCV_PIXELS
from quantnas_sr.images.metadata import read_metadata
from quantnas_sr.images.picture import read_picture

READERS = {
    "upscale": read_picture,
    "prepare": lambda path: decode(ImageFile(path)),
    "quantize, export, report": read_bgr,
    "calibration": read_planes,
    "the check of a run": lambda path: image_size(path, "datasets.train"),
    "the plan of upscale": read_header,
}
every_reader = pytest.mark.parametrize("reader", READERS)


def jpeg_of(height: int, width: int) -> bytes:
    """A small JPEG that says that it is larger."""
    data = io.BytesIO()
    Image.new("RGB", (16, 16)).save(data, "JPEG")
    start = data.getvalue().index(b"\xff\xc0") + 5
    return data.getvalue()[:start] + struct.pack(">HH", height, width) + data.getvalue()[start + 4 :]


def tiff_of(height: int, width: int) -> bytes:
    """A TIFF of 140 bytes without pixels."""
    tags = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1)]
    tags += [(278, 4, height), (279, 4, 4)]
    entries = b"".join(struct.pack("<HHIHxx" if kind == 3 else "<HHII", tag, kind, 1, n) for tag, kind, n in tags)
    return b"II*\0\x0c\0\0\0" + bytes(4) + struct.pack("<H", len(tags)) + entries + bytes(14)


def no_pixels(make: Callable[[int, int], bytes], height: int, width: int) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(make(height, width)) and None


REFUSED = {
    "fifo": (lambda path: os.mkfifo(path), "not a file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "not a file"),
    "folder": (Path.mkdir, "not a file"),
    "nothing": (lambda path: None, "no such file"),
    "empty": (Path.touch, "the file is empty"),
    "a JPEG of 4 gigapixels": (no_pixels(jpeg_of, 65500, 65500), "more than .* pixels|too large"),
    "a TIFF of 4 gigapixels": (no_pixels(tiff_of, 65500, 65500), "more than .* pixels|too large"),
}


@every_reader
@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.skipif(os.name == "nt", reason="has neither fifos nor /dev")
def test_every_command_refuses_the_same(tmp_path, reader, what):
    make, line = REFUSED[what]
    make(tmp_path / "x.png")
    before = process_memory()
    with pytest.raises(DataError, match=f"x.png: ({line})") as caught:
        READERS[reader](tmp_path / "x.png")
    assert "\n" not in str(caught.value)
    assert process_memory() - before < 100 << 20


def test_a_tiff_without_pixels_is_refused_by_all_that_decode(tmp_path):
    """OpenCV took gigabytes and made an image of it."""
    (tmp_path / "x.png").write_bytes(tiff_of(9000, 9000))
    for reader in ("upscale", "prepare", "calibration"):
        with pytest.raises(DataError, match="x.png: cannot be decoded"):
            READERS[reader](tmp_path / "x.png")


def test_a_limit_is_what_it_says(tmp_path):
    Image.new("L", (30, 20)).save(tmp_path / "x.png")
    assert read_picture(tmp_path / "x.png", 600).pixels.shape == (20, 30)
    assert decode(ImageFile(tmp_path / "x.png", most_pixels=600))[0].shape == (20, 30, 3)
    for read in (read_picture, read_header, lambda path, most: decode(ImageFile(path, most_pixels=most))):
        with pytest.raises(DataError, match=r"x.png: more than 599 pixels, which .* allow with --max-pixels"):
            read(tmp_path / "x.png", 599)


def test_more_pixels_than_pillow_allows_can_be_allowed(tmp_path, monkeypatch):
    Image.new("L", (300, 200)).save(tmp_path / "x.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(DataError, match="more than 1000 pixels"):
        read_picture(tmp_path / "x.png", 1000)
    assert read_picture(tmp_path / "x.png", 60000).pixels.shape == (200, 300)
    assert Image.MAX_IMAGE_PIXELS == 1000


@pytest.mark.parametrize("text, number", [("300M", 300_000_000), ("5", 5), (str(OPENCV_PIXELS), OPENCV_PIXELS)])
def test_numbers_of_pixels(text, number):
    assert pixels(text) == number


@pytest.mark.parametrize("text", ["0", "-1", "x", "M", "1.5M", "2000M", ""])
def test_no_numbers_of_pixels(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is not allowed"):
        pixels(text)


@pytest.mark.parametrize("mode, least, most", [("RGB", 7, 12), ("L", 2, 7), ("RGBA", 8, 12)])
def test_memory_of_decoding_is_known_from_the_header(tmp_path, mode, least, most):
    Image.new(mode, (40, 30)).save(tmp_path / "x.png")
    assert least <= read_header(tmp_path / "x.png").decoding_bytes / 1200 <= most


def test_a_png_of_16_bits_takes_what_its_longest_chunk_says_that_it_is(tmp_path):
    cv2.imwrite(str(tmp_path / "x.png"), np.zeros((30, 40, 3), np.uint16))
    whole = read_header(tmp_path / "x.png").decoding_bytes
    content = (tmp_path / "x.png").read_bytes()
    place = content.index(b"IDAT") - 4
    (tmp_path / "x.png").write_bytes(content[:place] + (1 << 26).to_bytes(4, "big") + content[place + 4 :])
    assert whole < 1 << 20
    assert 1 << 26 <= read_header(tmp_path / "x.png").decoding_bytes < (1 << 26) + (1 << 20)


def test_an_upright_size_from_the_header(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(tmp_path / "x.jpg", exif=exif)
    header = read_header(tmp_path / "x.jpg")
    assert (header.height, header.width) == read_picture(tmp_path / "x.jpg").pixels.shape[:2] == (40, 30)


def test_a_link_to_an_image_is_an_image(tmp_path):
    Image.new("RGB", (4, 3)).save(tmp_path / "x.png")
    (tmp_path / "y.png").symlink_to(tmp_path / "x.png")
    assert read_bgr(tmp_path / "y.png").shape == (3, 4, 3)


def test_xmp_of_a_megabyte_takes_no_time(tmp_path):
    """Of every tag that had no end the rest of the packet was searched."""
    image = Image.new("RGB", (4, 3))
    image.info["xmp"] = b"<tiff:Orientation " * 60_000
    assert read_metadata(image, Image.Exif()).xmp == image.info["xmp"]


def test_a_member_of_an_archive_goes_the_same_way(tmp_path):
    import zipfile

    for name, data in (("bomb.png", jpeg_of(65500, 65500)), ("empty.png", b"")):
        with zipfile.ZipFile(tmp_path / "x.zip", "a") as archive:
            archive.writestr(name, data)
        with pytest.raises(DataError, match=rf"x.zip: {name}: (more than {MOST_PIXELS} pixels|not an image)"):
            decode(ImageFile(tmp_path / "x.zip", name))


def test_bgr_is_what_upscale_sees(tmp_path):
    rgba = np.random.default_rng(0).integers(0, 256, (9, 7, 4), dtype=np.uint8)
    Image.fromarray(rgba).save(tmp_path / "x.png")
    bgr, had_alpha = decode(ImageFile(tmp_path / "x.png"))
    assert had_alpha and np.array_equal(bgr, rgba[..., 2::-1])
