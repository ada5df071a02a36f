"""What the header of an image file says: its size, and the memory that decoding it takes."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from quantnas_sr.images.limits import MOST_PIXELS
from quantnas_sr.images.opening import opened, regular_file
from quantnas_sr.images.ppm import ppm_white

#: Tag of TIFF.
_BITS_PER_SAMPLE = 258
#: Offset of a byte in a PNG file.
_PNG_DEPTH = 24
#: Bytes of a PNG before its first chunk, and those of a chunk beside its content.
_PNG_SIGNATURE, _PNG_AROUND_CHUNK = 8, 12
#: Bytes per pixel of decoding, measured and rounded up: the array that is returned with what converts it; all of an
#: image with 16 bits; and what the decoders of some formats take beside Pillow's image (of JPEG, progressive ones).
_RESULT_BYTES, _DEEP_BYTES = 5, 20
_DECODER_BYTES = {"JPEG": 4, "MPO": 4, "WEBP": 14, "TIFF": 5, "AVIF": 8, "HEIF": 8}
_ONE_BYTE_MODES = ("1", "L", "P")
#: Formats whose files are in memory as a whole while they are decoded.
_READ_WHOLE = ("WEBP", "AVIF", "HEIF", "TIFF")
ORIENTATION = 0x0112
#: Orientations of EXIF that exchange height and width.
_SIDEWAYS = (5, 6, 7, 8)


@dataclass(frozen=True)
class Header:
    """What is known of an image before it is decoded.

    Attributes:
        height, width: upright, as decoded.
        decoding_bytes: memory that decoding takes at its peak, the pixels included; more than was ever measured.
    """

    height: int
    width: int
    decoding_bytes: int


def read_header(path: Path, most_pixels: int = MOST_PIXELS) -> Header:
    """Read the header of an image file.

    Raises:
        DataError: as of `opened` and `regular_file`.
    """
    with regular_file(path) as file, opened(file, path, most_pixels) as image:
        width, height = image.size
        # Pillow would decode a PNG to look for EXIF data behind the pixels.
        if "exif" in image.info and orientation_of(image, exif_of(image)) in _SIDEWAYS:
            width, height = height, width
        return Header(height, width, _decoding_bytes(image, file))


def exif_of(image: Image.Image) -> Image.Exif:
    """The EXIF data of an image; none if they are damaged, which is no reason to give up the image."""
    try:
        return image.getexif()
    except Exception:
        return Image.Exif()


def orientation_of(image: Image.Image, exif: Image.Exif) -> int:
    """The orientation that is still to be applied: Pillow and OpenCV apply that of TIFF files themselves."""
    orientation = exif.get(ORIENTATION, 1)
    return orientation if image.format != "TIFF" and isinstance(orientation, int) else 1


def is_deep(image: Image.Image, file: BinaryIO) -> bool:
    """Whether samples have 16 bits, which Pillow reduces to 8 in colour images."""
    if image.format == "PNG":
        position = file.tell()
        file.seek(0)
        found = file.read(_PNG_DEPTH + 1)[_PNG_DEPTH] == 16
        file.seek(position)
        return found
    if image.format == "PPM":
        position = file.tell()
        found = ppm_white(file) > 255
        file.seek(position)
        return found
    return image.format == "TIFF" and 16 in np.atleast_1d(image.tag_v2.get(_BITS_PER_SAMPLE, 8))


def _longest_chunk(file: BinaryIO) -> int:
    """The longest chunk of a PNG by what it says itself: OpenCV takes the memory for it, whether it is there or not."""
    longest, place = 0, _PNG_SIGNATURE
    while True:
        file.seek(place)
        start = file.read(8)
        if len(start) < 8 or not start[4:].isalpha():  # not the name of a chunk
            return longest
        length = int.from_bytes(start[:4], "big")
        longest = max(longest, length)
        place += _PNG_AROUND_CHUNK + length


def _decoding_bytes(image: Image.Image, file: BinaryIO) -> int:
    whole_file = os.fstat(file.fileno()).st_size
    pixels = image.width * image.height
    if is_deep(image, file):
        return _DEEP_BYTES * pixels + max(whole_file, _longest_chunk(file) if image.format == "PNG" else 0)
    per_pixel = _RESULT_BYTES + (1 if image.mode in _ONE_BYTE_MODES else 4)
    if image.format not in ("JPEG", "MPO") or "progressive" in image.info:
        per_pixel += _DECODER_BYTES.get(image.format, 0)
    if image.mode == "CMYK":
        per_pixel += 4  # a second image, in RGB
    return per_pixel * pixels + (whole_file if image.format in _READ_WHOLE else 0)
