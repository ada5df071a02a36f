"""Images as BasicSR reads them: 8 bits, BGR, without transparency, upright."""

import io
from pathlib import Path
from typing import BinaryIO, Optional, Tuple, Union

import cv2
import numpy as np

from quantnas_sr.images.limits import MOST_PIXELS
from quantnas_sr.images.opening import regular_file
from quantnas_sr.images.picture import decode_picture

#: From the channels of a `Picture` to BGR.
_CODES = {2: cv2.COLOR_GRAY2BGR, 3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGR}


def read_bgr(path: Union[str, Path], most_pixels: int = MOST_PIXELS) -> np.ndarray:
    """The pixels of an image file: (H, W, 3), BGR, uint8.

    The name of the file may have any characters, unlike that of ``cv2.imread`` on Windows.

    Raises:
        DataError: as of `read_picture`: every command accepts and refuses the same files.
    """
    with regular_file(path) as file:
        return decode_bgr(file, path, most_pixels)[0]


def decode_bgr(
    file: Union[BinaryIO, bytes], name: object = "image", most_pixels: int = MOST_PIXELS
) -> Tuple[np.ndarray, bool]:
    """The pixels of an encoded image, (H, W, 3), BGR, uint8, and whether it had an alpha channel, which is dropped.

    As ``cv2.IMREAD_COLOR`` reads: gray becomes three equal channels, 16 bits become 8, EXIF orientation is applied.

    Args:
        file, name, most_pixels: as of `decode_picture`; or the encoded bytes.

    Raises:
        DataError: as of `decode_picture`.
    """
    pixels = decode_picture(io.BytesIO(file) if isinstance(file, bytes) else file, name, most_pixels).pixels
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    gray = np.ascontiguousarray(pixels[..., 0]) if channels == 2 else pixels
    return cv2.cvtColor(gray, _CODES[max(channels, 2)]), channels in (2, 4)


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
