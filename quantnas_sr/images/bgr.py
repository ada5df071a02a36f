"""Images as BasicSR reads them: 8 bits, BGR, without transparency, upright."""

import io
from contextlib import suppress
from pathlib import Path
from typing import Optional, Tuple, Union

import cv2
import numpy as np
from PIL import Image, ImageOps

from quantnas_sr.errors import DataError
from quantnas_sr.images.formats import readable_formats

#: Formats that not every OpenCV decodes, or not as the format says (PPM with another white than 255).
_BY_PILLOW = ("GIF", "PPM", "AVIF", "HEIF")


def read_bgr(path: Union[str, Path]) -> np.ndarray:
    """The pixels of an image file: (H, W, 3), BGR, uint8.

    The name of the file may have any characters, unlike that of ``cv2.imread`` on Windows.

    Raises:
        DataError: the file is missing or is not an image that can be read.
    """
    try:
        return decode_bgr(Path(path).read_bytes())[0]
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def decode_bgr(data: bytes) -> Tuple[np.ndarray, bool]:
    """The pixels of an encoded image, (H, W, 3), BGR, uint8, and whether it had an alpha channel, which is dropped.

    As ``cv2.IMREAD_COLOR`` reads: gray becomes three equal channels, 16 bits become 8, EXIF orientation is applied.

    Raises:
        DataError: the data are not an image that can be read. The message names no file.
    """
    has_alpha, pixels = False, None
    try:
        # Pillow does not know every TIFF that OpenCV decodes.
        with suppress(Image.UnidentifiedImageError, Image.DecompressionBombError):
            has_alpha, pixels = _by_pillow(data)
        if pixels is None:
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except MemoryError:
        raise
    except Exception as error:  # decoders raise whatever a broken file leads them to
        raise DataError("not an image that can be read") from error
    if pixels is None:
        raise DataError("not an image that can be read")
    return pixels, has_alpha


def _by_pillow(data: bytes) -> Tuple[bool, Optional[np.ndarray]]:
    """Whether an image has an alpha channel, and the pixels of a format that is left to Pillow.

    Raises:
        OSError: a JPEG ends too early. OpenCV 4 fills the missing part with gray without an error.
    """
    with Image.open(io.BytesIO(data), formats=tuple(readable_formats())) as image:
        pixels = None
        if image.format in _BY_PILLOW:
            pixels = _bgr(image)
        elif image.format == "JPEG":
            image.draft("L", (1, 1))
            image.load()
        return image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info, pixels


def _bgr(image: Image.Image) -> np.ndarray:
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):
        gray = (np.asarray(upright).clip(0, 65535) >> 8).astype(np.uint8)
        return cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR)
    return np.ascontiguousarray(np.asarray(upright.convert("RGB"))[..., ::-1])


def read_planes(path: Union[str, Path], crop: Optional[int] = None) -> np.ndarray:
    """An image file as a network takes it: (1, 3, H, W), RGB in 0..1, float32.

    Args:
        path: the file.
        crop: height and width of the part to take, from the middle; None takes the whole image.

    Raises:
        DataError: as `read_bgr`.
    """
    image = read_bgr(path)
    if crop:
        top, left = (max(0, (side - crop) // 2) for side in image.shape[:2])
        image = image[top : top + crop, left : left + crop]
    rgb = np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1))
    return rgb[None].astype(np.float32) / 255
