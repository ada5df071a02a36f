"""Decodes and encodes images; crops them, downscales them and cuts them into sub-images."""

import io
import zipfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Iterator, List, Optional, Tuple

import cv2
import numpy as np

from quantnas_sr.data.prepare.settings import GT_SIZE, STEP, THRESHOLD
from quantnas_sr.errors import DataError, OptionError
from quantnas_sr.images.bgr import decode_bgr
from quantnas_sr.images.limits import MOST_PIXELS
from quantnas_sr.images.opening import regular_file

#: Bytes of the largest member of an archive that is read.
MOST_BYTES = 2 << 30
FAST_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1]


class BrokenImageError(DataError):
    """An image file that cannot be read or decoded."""


@dataclass(frozen=True)
class ImageFile:
    """An image on disk: a file, or a member of a zip archive, which is read in place and never unpacked.

    Attributes:
        path, member: where it is.
        most_pixels: it is refused if it has more.
    """

    path: Path
    member: Optional[str] = None
    most_pixels: int = MOST_PIXELS

    def __str__(self) -> str:
        return str(self.path) if self.member is None else f"{self.path}: {self.member}"

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The encoded image. Raises a DataError when it cannot be read."""
        with regular_file(self.path) as file:
            if self.member is None:
                yield file
                return
            try:
                data = self._unpacked(file)
            except (OSError, KeyError, RuntimeError, NotImplementedError, zlib.error, zipfile.BadZipFile) as error:
                reason = getattr(error, "strerror", None) or error
                raise DataError(f"{self}: cannot be read ({reason})") from error
            yield io.BytesIO(data)

    def _unpacked(self, archive: BinaryIO) -> bytes:
        with zipfile.ZipFile(archive) as opened:
            size = opened.getinfo(self.member).file_size
            if size > MOST_BYTES:
                raise OSError(f"{size} bytes, too many to be an image")
            return opened.read(self.member)


def decode(file: ImageFile) -> Tuple[np.ndarray, bool]:
    """The pixels of ``file``, BGR, uint8, (height, width, 3), and whether an alpha channel was dropped.

    See `decode_bgr`. Raises BrokenImageError when the file does not decode as an image.
    """
    try:
        with file.open() as encoded:
            return decode_bgr(encoded, file, file.most_pixels)
    except DataError as error:
        raise BrokenImageError(str(error)) from error


def encode(pixels: np.ndarray) -> bytes:
    """``pixels`` (height, width, 3) as a PNG, at the compression level that BasicSR gives to LMDBs."""
    return cv2.imencode(".png", pixels, FAST_PNG)[1].tobytes()


def modcrop(pixels: np.ndarray, scale: int) -> np.ndarray:
    """``pixels`` (height, width, channels) without the bottom rows and right columns that ``scale`` does not divide."""
    height, width = pixels.shape[:2]
    return pixels[: height - height % scale, : width - width % scale]


def downscale(pixels: np.ndarray, scale: int) -> np.ndarray:
    """MATLAB-style bicubic, antialiased: uint8 (scale*h, scale*w, 3) to uint8 (h, w, 3), by BasicSR's ``imresize``."""
    from basicsr.utils.matlab_functions import imresize

    small = imresize(pixels.astype(np.float32) / 255, 1 / scale)
    return (small.clip(0, 1) * 255).round().astype(np.uint8)


@dataclass(frozen=True)
class SubImages:
    """How an image is cut into overlapping squares of ``gt_size``, ``step`` apart (BasicSR's extract_subimages).

    The last square of a row is moved back to end at the border if more than ``threshold`` pixels are left over.
    An image that is smaller than a square in one direction keeps its whole length there. All in GT pixels.
    """

    gt_size: int = GT_SIZE
    step: int = STEP
    threshold: int = THRESHOLD

    def check(self, scale: int) -> None:
        """Raise OptionError unless the squares fall on whole LR pixels."""
        for option, value in (("gt-size", self.gt_size), ("step", self.step)):
            if value < scale or value % scale:
                raise OptionError(f"--{option} {value}: must be a positive multiple of the scale {scale}")
        if self.threshold < 0:
            raise OptionError(f"--threshold {self.threshold}: must be 0 or more")

    def _starts(self, length: int) -> List[int]:
        if length <= self.gt_size:
            return [0]
        starts = list(range(0, length - self.gt_size + 1, self.step))
        if length - (starts[-1] + self.gt_size) > self.threshold:
            starts.append(length - self.gt_size)
        return starts

    def windows(self, height: int, width: int) -> Iterator[Tuple[slice, slice]]:
        """The (rows, columns) of each sub-image, row by row."""
        for top in self._starts(height):
            for left in self._starts(width):
                yield slice(top, min(top + self.gt_size, height)), slice(left, min(left + self.gt_size, width))


#: The usual sub-images of DIV2K.
USUAL_SUB_IMAGES = SubImages()


def shrink_slices(window: Tuple[slice, slice], scale: int) -> Tuple[slice, slice]:
    """The LR window that covers the same region as the GT ``window``."""
    rows, columns = window
    return slice(rows.start // scale, rows.stop // scale), slice(columns.start // scale, columns.stop // scale)
