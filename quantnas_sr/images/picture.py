"""Image files to pixels, whatever their format, bit depth, palette or transparency, with their metadata."""

import io
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Optional, Tuple

import cv2
import numpy as np
from PIL import Image, ImageCms

from quantnas_sr.errors import DataError
from quantnas_sr.images.formats import readable_formats
from quantnas_sr.images.metadata import ORIENTATION, Metadata, read_metadata
from quantnas_sr.images.ppm import ppm_white, read_deep_ppm

#: Tags of TIFF, and values of the last two.
_BITS_PER_SAMPLE, _PHOTOMETRIC, _PLANES = 258, 262, 284
_WHITE_IS_ZERO, _SEPARATE = 0, 2
#: Offsets of two bytes in a PNG file, and a value of the second.
_PNG_DEPTH, _PNG_COLOUR_TYPE = 24, 25
_PNG_GRAY_AND_ALPHA = 4
#: The mode that an image of each of Pillow's modes is converted to.
_MODES = {
    **{"1": "L", "L": "L", "LA": "LA", "La": "LA", "RGB": "RGB", "RGBA": "RGBA", "RGBX": "RGB", "RGBa": "RGBA"},
    **{"P": "RGB", "PA": "RGBA", "YCbCr": "RGB", "CMYK": "RGB"},
}
_WITH_ALPHA = {"L": "LA", "RGB": "RGBA"}


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


def read_size(path: Path) -> Tuple[int, int]:
    """The sides of an image from its header alone; which of them is the height depends on the orientation.

    Raises:
        DataError: one line that names the file.
    """
    with _opened(path) as image:
        return image.size


def read_picture(path: Path) -> Picture:
    """Decode the first image of a file.

    Palettes become RGB; transparency of any kind becomes alpha; CMYK becomes RGB, by its profile if it has one, which
    is not kept then. The orientation is applied.

    Raises:
        DataError: the file is missing, empty, broken, no image, or of a kind that is not read; one line.
    """
    with _opened(path) as image:
        deep = _is_deep(image, path)
        # Of 16-bit images too: OpenCV fills the missing part of some truncated files without an error.
        image.load()
        exif = _exif(image)
        # Pillow and OpenCV apply the orientation of TIFF files themselves.
        orientation = 1 if image.format == "TIFF" else exif.get(ORIENTATION, 1)
        pixels = _upright(_read_deep(path, image) if deep else np.asarray(_plain(image, path)), orientation)
        frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
        return Picture(pixels, read_metadata(image, exif), frames)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """A file opened by Pillow. Every error while it is open becomes a DataError of one line."""
    if not path.is_file():
        raise DataError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
    formats = tuple(readable_formats())
    try:
        if path.stat().st_size == 0:
            raise DataError(f"{path}: the file is empty")
        with warnings.catch_warnings():
            # Users can do nothing about doubtful metadata; too many pixels are an error below.
            warnings.simplefilter("ignore")
            with Image.open(path, formats=formats) as image:
                yield image
    except DataError:
        raise
    except Image.UnidentifiedImageError:
        raise DataError(f"{path}: not an image of a format that is read: {', '.join(formats)}") from None
    except Image.DecompressionBombError:
        raise DataError(f"{path}: more than {2 * Image.MAX_IMAGE_PIXELS} pixels, too many to be an image") from None
    except MemoryError:
        raise DataError(f"{path}: not enough memory to decode it") from None
    except PermissionError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except Exception as error:  # decoders raise whatever a broken file leads them to
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"{path}: cannot be decoded ({reason})") from None


def _exif(image: Image.Image) -> Image.Exif:
    """The EXIF data of an image; none if they are damaged, which is no reason to give up the image."""
    try:
        return image.getexif()
    except Exception:
        return Image.Exif()


def _is_deep(image: Image.Image, path: Path) -> bool:
    """Whether samples have 16 bits, which Pillow reduces to 8 in colour images."""
    if image.format == "PNG":
        with path.open("rb") as file:
            return file.read(_PNG_COLOUR_TYPE)[_PNG_DEPTH] == 16
    if image.format == "PPM":
        return ppm_white(path) > 255
    return image.format == "TIFF" and 16 in np.atleast_1d(image.tag_v2.get(_BITS_PER_SAMPLE, 8))


def _read_deep(path: Path, image: Image.Image) -> np.ndarray:
    """The pixels of an image with 16 bits per sample, which Pillow has loaded as ``image``."""
    if image.format == "PPM":
        return read_deep_ppm(path)
    tags = image.tag_v2 if image.format == "TIFF" else {}
    if image.mode != "I;16" and tags.get(_PLANES) == _SEPARATE:
        raise DataError(f"{path}: cannot be decoded (colours of 16 bits in separate planes are not read)")
    data = np.fromfile(path, np.uint8)
    pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise DataError(f"{path}: cannot be decoded (samples of this kind are not read)")
    if pixels.ndim == 2:
        pixels = ~pixels if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else pixels
        return _with_transparent_value(pixels, image.info.get("transparency"))
    if data[:4].tobytes() == b"\x89PNG" and data[_PNG_COLOUR_TYPE] == _PNG_GRAY_AND_ALPHA:
        return np.ascontiguousarray(pixels[..., [0, 3]])
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)


def _with_transparent_value(pixels: np.ndarray, value: Optional[int]) -> np.ndarray:
    """Gray of 16 bits, (H, W), with the alpha that follows where one value of it is transparent: (H, W, 2)."""
    if value is None:
        return pixels
    return np.stack([pixels, np.where(pixels == value, 0, 65535).astype(np.uint16)], axis=-1)


def _plain(image: Image.Image, path: Path) -> Image.Image:
    """Pixels of 8 bits in gray or RGB, with or without alpha."""
    if image.mode not in _MODES:
        kinds = ", ".join(_MODES)
        raise DataError(f"{path}: pixels of the kind {image.mode} cannot be upscaled. Allowed: {kinds}, or 16 bits")
    if image.mode == "CMYK":
        return _from_cmyk(image)
    mode = _MODES[image.mode]
    return image.convert(_WITH_ALPHA.get(mode, mode) if "transparency" in image.info else mode)


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
