"""Image files to pixels, whatever their format, bit depth, palette or transparency, with their metadata."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Iterator, Optional, Tuple

import cv2
import numpy as np
from PIL import Image, ImageCms

from quantnas_sr.errors import DataError
from quantnas_sr.images.header import exif_of, is_deep, orientation_of
from quantnas_sr.images.limits import MOST_PIXELS
from quantnas_sr.images.metadata import Metadata, read_metadata
from quantnas_sr.images.opening import opened, regular_file
from quantnas_sr.images.ppm import read_deep_ppm

#: Tags of TIFF, and a value of each.
_PHOTOMETRIC, _PLANES = 262, 284
_WHITE_IS_ZERO, _SEPARATE = 0, 2
#: Offset of a byte in a PNG file, and a value of it.
_PNG_COLOUR_TYPE = 25
_PNG_GRAY_AND_ALPHA = 4
#: The mode that an image of each of Pillow's modes is converted to.
_MODES = {
    **{"1": "L", "L": "L", "LA": "LA", "La": "LA", "RGB": "RGB", "RGBA": "RGBA", "RGBX": "RGB", "RGBa": "RGBA"},
    **{"P": "RGB", "PA": "RGBA", "YCbCr": "RGB", "CMYK": "RGB"},
}
_WITH_ALPHA = {"L": "LA", "RGB": "RGBA"}
#: Pixels that are converted at a time.
_STRIP_PIXELS = 1 << 20


@dataclass
class Picture:
    """A decoded image, upright.

    Attributes:
        pixels: (H, W) gray, or (H, W, C) with C = 2 (gray, alpha), 3 (RGB) or 4 (RGB, alpha); uint8 or uint16.
        metadata: what else is in the file and still true.
        frames: the number of images in the file; this is the first.
    """

    pixels: np.ndarray
    metadata: Metadata = Metadata()
    frames: int = 1


def read_picture(path: Path, most_pixels: int = MOST_PIXELS) -> Picture:
    """Decode the first image of a file; see `decode_picture`.

    Raises:
        DataError: the file is missing, empty, broken, no image, too large, or of a kind that is not read; one line.
    """
    with regular_file(path) as file:
        return decode_picture(file, path, most_pixels)


def decode_picture(file: BinaryIO, name: object, most_pixels: int = MOST_PIXELS) -> Picture:
    """Decode the first image of an encoded file.

    Palettes become RGB; transparency of any kind becomes alpha; CMYK becomes RGB, by its profile if it has one, which
    is not kept then. The orientation is applied.

    Args:
        file: the encoded image, seekable.
        name: what errors call it.
        most_pixels: an image with more pixels is refused before it is decoded.

    Raises:
        DataError: it is broken, no image, too large, or of a kind that is not read; one line.
    """
    with opened(file, name, most_pixels) as image:
        deep = is_deep(image, file)
        # Of 16-bit images too: OpenCV fills the missing part of some truncated files without an error.
        image.load()
        exif = exif_of(image)
        orientation = orientation_of(image, exif)
        metadata = read_metadata(image, exif)
        pixels = _read_deep(file, image, name) if deep else _read_plain(image, name)
        # Counting the images of a file moves to the last one, so it comes after the pixels of the first.
        frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    return Picture(_upright(pixels, orientation), metadata, frames)


def _read_deep(file: BinaryIO, image: Image.Image, name: object) -> np.ndarray:
    """The pixels of an image with 16 bits per sample, which Pillow has loaded as ``image`` and forgets here."""
    tags = dict(image.tag_v2) if image.format == "TIFF" else {}
    kind, mode, transparency = image.format, image.mode, image.info.get("transparency")
    image.im = None  # the pixels are held once
    if kind == "PPM":
        return read_deep_ppm(file)
    if mode != "I;16" and tags.get(_PLANES) == _SEPARATE:
        raise DataError(f"{name}: cannot be decoded (colours of 16 bits in separate planes are not read)")
    file.seek(0)
    data = np.frombuffer(file.read(), np.uint8)
    pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise DataError(f"{name}: cannot be decoded (samples of this kind are not read)")
    if pixels.ndim == 2:
        pixels = np.bitwise_not(pixels, out=pixels) if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else pixels
        return _with_transparent_value(pixels, transparency)
    if data[:4].tobytes() == b"\x89PNG" and data[_PNG_COLOUR_TYPE] == _PNG_GRAY_AND_ALPHA:
        return np.ascontiguousarray(pixels[..., [0, 3]])
    for strip in _strips(pixels.shape):
        pixels[strip, :, :3] = pixels[strip, :, 2::-1].copy()
    return pixels


def _with_transparent_value(pixels: np.ndarray, value: Optional[int]) -> np.ndarray:
    """Gray of 16 bits, (H, W), with the alpha that follows where one value of it is transparent: (H, W, 2)."""
    if value is None:
        return pixels
    return np.stack([pixels, np.where(pixels == value, 0, 65535).astype(np.uint16)], axis=-1)


def _read_plain(image: Image.Image, name: object) -> np.ndarray:
    """Pixels of 8 bits in gray or RGB, with or without alpha; copied in strips, so that they are held twice at most."""
    if image.mode not in _MODES:
        kinds = ", ".join(_MODES)
        raise DataError(f"{name}: pixels of the kind {image.mode} cannot be upscaled. Allowed: {kinds}, or 16 bits")
    if image.mode == "CMYK":
        image, mode = _from_cmyk(image), "RGB"
    else:
        mode = _MODES[image.mode]
        mode = _WITH_ALPHA.get(mode, mode) if "transparency" in image.info else mode
    shape = (image.height, image.width, *(() if mode == "L" else (len(mode),)))
    pixels = np.empty(shape, np.uint8)
    for strip in _strips(shape):
        pixels[strip] = np.asarray(image.crop((0, strip.start, image.width, strip.stop)).convert(mode))
    return pixels


def _strips(shape: Tuple[int, ...]) -> Iterator[slice]:
    """The rows of an image in strips of a few megabytes."""
    rows = max(1, _STRIP_PIXELS // shape[1])
    return (slice(top, min(top + rows, shape[0])) for top in range(0, shape[0], rows))


def _from_cmyk(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):
            pass  # a broken profile is as none
    return image.convert("RGB")


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Apply the EXIF orientation 1 to 8 (others count as 1) to (H, W) or (H, W, C)."""
    if orientation in (5, 6, 7, 8):
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
