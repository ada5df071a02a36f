"""Upscaled images to files, row by row where the format allows it."""

from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Dict, Iterator, List, Optional, Type

import numpy as np
from PIL import Image

from quantnas_sr.errors import DataError, OptionError, unknown
from quantnas_sr.files import written_aside
from quantnas_sr.upscaling.png import PngWriter


@dataclass(frozen=True)
class Layout:
    """What an image file is to hold.

    Attributes:
        height, width: in pixels.
        channels: 1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha.
        dtype: uint8 or uint16.
        icc, exif: see `Picture`.
    """

    height: int
    width: int
    channels: int
    dtype: np.dtype
    icc: Optional[bytes] = None
    exif: Optional[bytes] = None


class _Writer(ABC):
    """Takes the rows of an image from top to bottom."""

    def __init__(self, file: BinaryIO, layout: Layout, suffix: str) -> None:
        self.file, self.layout, self.suffix = file, layout, suffix

    @staticmethod
    def held(layout: Layout) -> int:
        """Bytes that each pixel of the image takes until the file is written."""
        return 0

    @abstractmethod
    def write(self, band: np.ndarray) -> None: ...

    @abstractmethod
    def close(self) -> None: ...


class _Png(_Writer):
    def __init__(self, file: BinaryIO, layout: Layout, suffix: str) -> None:
        super().__init__(file, layout, suffix)
        size = layout.height, layout.width, layout.channels
        self._png = PngWriter(file, *size, layout.dtype, layout.icc, layout.exif)

    def write(self, band: np.ndarray) -> None:
        self._png.write(band)

    def close(self) -> None:
        self._png.close()


class _Pillow(_Writer):
    """JPEG, WebP and BMP, of 8 bits: Pillow wants the whole image."""

    _KINDS = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
    _OPTIONS: Dict[str, Dict[str, Any]] = {
        "JPEG": {"quality": 95, "subsampling": 0},
        "WEBP": {"lossless": True},
        "BMP": {},
    }
    #: What JPEG can hold in one segment.
    _LONGEST_EXIF = 65500

    def __init__(self, file: BinaryIO, layout: Layout, suffix: str) -> None:
        super().__init__(file, layout, suffix)
        self._canvas = Image.new(self._KINDS[layout.channels], (layout.width, layout.height))
        self._top = 0

    @staticmethod
    def held(layout: Layout) -> int:
        return 1 if layout.channels == 1 else 4

    def write(self, band: np.ndarray) -> None:
        self._canvas.paste(Image.fromarray(band), (0, self._top))
        self._top += len(band)

    def close(self) -> None:
        name = {".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".bmp": "BMP"}[self.suffix]
        canvas = self._canvas.convert("RGBA") if name == "WEBP" and self._canvas.mode == "LA" else self._canvas
        extras = {}
        if self.layout.icc and name != "BMP":
            extras["icc_profile"] = self.layout.icc
        if self.layout.exif and name != "BMP" and len(self.layout.exif) < self._LONGEST_EXIF:
            extras["exif"] = b"Exif\0\0" + self.layout.exif
        canvas.save(self.file, name, **self._OPTIONS[name], **extras)


class _Tiff(_Writer):
    """TIFF of 8 or 16 bits, compressed without loss. No EXIF."""

    #: Above it, offsets of ordinary TIFF could be too short.
    _LARGE = 3 << 30

    def __init__(self, file: BinaryIO, layout: Layout, suffix: str) -> None:
        super().__init__(file, layout, suffix)
        self._bands: List[np.ndarray] = []

    @staticmethod
    def held(layout: Layout) -> int:
        return 2 * layout.channels * layout.dtype.itemsize

    def write(self, band: np.ndarray) -> None:
        self._bands.append(band)

    def close(self) -> None:
        import tifffile  # which scikit-image, and so BasicSR, depends on

        pixels = np.concatenate(self._bands)
        self._bands.clear()
        tifffile.imwrite(
            self.file,
            pixels,
            bigtiff=pixels.nbytes > self._LARGE,
            photometric="rgb" if self.layout.channels > 2 else "minisblack",
            planarconfig="contig" if pixels.ndim == 3 else None,
            extrasamples=["unassalpha"] if self.layout.channels in (2, 4) else None,
            compression="zlib",
            iccprofile=self.layout.icc,
            metadata=None,
        )


@dataclass(frozen=True)
class Format:
    """What a format can hold."""

    writer: Type[_Writer]
    alpha: bool
    deep: bool
    longest_side: int


_JPEG = Format(_Pillow, alpha=False, deep=False, longest_side=65535)
_TIFF = Format(_Tiff, alpha=True, deep=True, longest_side=2**31 - 1)
FORMATS: Dict[str, Format] = {
    ".png": Format(_Png, alpha=True, deep=True, longest_side=2**31 - 1),
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".webp": Format(_Pillow, alpha=True, deep=False, longest_side=16383),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".bmp": Format(_Pillow, alpha=False, deep=False, longest_side=2**31 - 1),
}
#: What a folder's images keep as their format: what loses nothing, alpha and 16 bits included.
LOSSLESS = (".png", ".tif", ".tiff")


def format_of(path: Path) -> Format:
    """The format of an output.

    Raises:
        OptionError: its suffix is none that is written.
    """
    if path.suffix.lower() not in FORMATS:
        raise OptionError(f"{path}: {unknown('suffix', path.suffix, FORMATS)}")
    return FORMATS[path.suffix.lower()]


def fitting(pixels: np.ndarray, path: Path, scale: int) -> np.ndarray:
    """An image (H, W[, C]) without an alpha channel that the format of ``path`` cannot hold and that hides nothing.

    Raises:
        DataError: the format cannot hold the image upscaled by ``scale``: sides too long, or transparency.
    """
    kind = format_of(path)
    height, width = (scale * side for side in pixels.shape[:2])
    if max(height, width) > kind.longest_side:
        raise DataError(f"{path}: {width}x{height} pixels; a side of {path.suffix} has at most {kind.longest_side}")
    if kind.alpha or pixels.ndim == 2 or pixels.shape[2] in (1, 3):
        return pixels
    if (pixels[..., -1] != np.iinfo(pixels.dtype).max).any():
        keepers = ", ".join(suffix for suffix, other in FORMATS.items() if other.alpha)
        raise DataError(f"{path}: {path.suffix} cannot hold the image's transparency. Allowed: {keepers}")
    return pixels[..., 0] if pixels.shape[2] == 2 else pixels[..., :3]


@contextmanager
def image_writer(path: Path, layout: Layout) -> Iterator[_Writer]:
    """Give a writer to fill from top to bottom; then, and only then, ``path`` has the whole image.

    Raises:
        OSError: the file cannot be written.
    """
    with written_aside(path) as aside, aside.open("wb") as file:
        writer = format_of(path).writer(file, layout, path.suffix.lower())
        yield writer
        writer.close()
