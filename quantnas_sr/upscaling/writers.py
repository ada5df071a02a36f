"""Upscaled images to files, row by row where the format allows it."""

from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Dict, Iterator, List, Type

import numpy as np
from PIL import Image

from quantnas_sr.errors import DataError, OptionError, QuantNASError, unknown
from quantnas_sr.images.metadata import COMMENT, Metadata, exif_bytes
from quantnas_sr.system.files import written_aside
from quantnas_sr.upscaling.png import PngWriter
from quantnas_sr.upscaling.tiff import write_tiff


class OutputError(QuantNASError):
    """The output cannot be written, and that of the next file could not be either."""


@dataclass(frozen=True)
class Layout:
    """Size, kind of pixels and metadata of an image file to be written.

    Attributes:
        height, width: in pixels.
        channels: 1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha.
        dtype: uint8 or uint16.
        metadata: written as far as the format has a place for it.
    """

    height: int
    width: int
    channels: int
    dtype: np.dtype
    metadata: Metadata = Metadata()


class _Writer(ABC):
    """Takes the rows of an image from top to bottom."""

    def __init__(self, file: BinaryIO, layout: Layout, suffix: str) -> None:
        self.file, self.layout, self.suffix = file, layout, suffix

    @staticmethod
    def held(layout: Layout) -> int:
        """Bytes per pixel of the image that are in memory until the file is written, or while it is."""
        return 0

    @abstractmethod
    def write(self, band: np.ndarray) -> None: ...

    @abstractmethod
    def close(self) -> None: ...


class _Png(_Writer):
    def __init__(self, file: BinaryIO, layout: Layout, suffix: str) -> None:
        super().__init__(file, layout, suffix)
        size = layout.height, layout.width, layout.channels
        self._png = PngWriter(file, *size, layout.dtype, layout.metadata)

    def write(self, band: np.ndarray) -> None:
        self._png.write(band)

    def close(self) -> None:
        self._png.close()


class _Pillow(_Writer):
    """JPEG and BMP, and WebP, of 8 bits. Pillow writes whole images only."""

    _KINDS = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
    _OPTIONS: Dict[str, Dict[str, Any]] = {
        "JPEG": {"quality": 95, "subsampling": 0},
        "WEBP": {"lossless": True},
        "BMP": {},
    }
    #: The largest EXIF data, XMP packet or comment that fits into a segment of JPEG.
    _LONGEST = 65500

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
        canvas.save(self.file, name, **self._OPTIONS[name], **self._extras(name))

    def _extras(self, name: str) -> Dict[str, Any]:
        """The metadata that a format holds, as Pillow's arguments."""
        metadata, extras = self.layout.metadata, {}
        if metadata.dpi and name != "WEBP" and round(max(metadata.dpi)) < 1 << 16:
            extras["dpi"] = metadata.dpi
        if name == "BMP":
            return extras
        exif = exif_bytes(metadata.exif_tags(resolution=name == "WEBP"))
        extras["icc_profile"] = metadata.icc
        extras["exif"] = exif and b"Exif\0\0" + exif
        extras["xmp"] = metadata.xmp
        extras["comment"] = metadata.text.get(COMMENT, "").encode("utf-8")
        long = [key for key in ("exif", "xmp", "comment") if len(extras[key] or b"") >= self._LONGEST]
        return {key: value for key, value in extras.items() if value and not (name == "JPEG" and key in long)}


class _Webp(_Pillow):
    """WebP, whose lossless encoder takes ten times the memory of the image."""

    @staticmethod
    def held(layout: Layout) -> int:
        return 44


class _Tiff(_Writer):
    """TIFF of 8 or 16 bits. tifffile compresses whole images only."""

    def __init__(self, file: BinaryIO, layout: Layout, suffix: str) -> None:
        super().__init__(file, layout, suffix)
        self._bands: List[np.ndarray] = []

    @staticmethod
    def held(layout: Layout) -> int:
        return 2 * layout.channels * layout.dtype.itemsize

    def write(self, band: np.ndarray) -> None:
        self._bands.append(band)

    def close(self) -> None:
        pixels = np.concatenate(self._bands)
        self._bands.clear()
        write_tiff(self.file, pixels, self.layout.metadata)


@dataclass(frozen=True)
class Format:
    """How a format is written and what it can hold.

    Attributes:
        writer: the class that writes it.
        alpha: whether it has transparency.
        deep: whether it has 16 bits per sample.
        longest_side: in pixels.
    """

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
    ".webp": Format(_Webp, alpha=True, deep=False, longest_side=16383),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".bmp": Format(_Pillow, alpha=False, deep=False, longest_side=2**31 - 1),
}
#: The formats that the images of a folder keep: they lose nothing, alpha and 16 bits included.
LOSSLESS = (".png", ".tif", ".tiff")


def format_of(path: Path) -> Format:
    """The format of an output.

    Raises:
        OptionError: no format that is written has its suffix.
    """
    if path.suffix.lower() not in FORMATS:
        raise OptionError(f"{path}: {unknown('suffix', path.suffix, FORMATS)}")
    return FORMATS[path.suffix.lower()]


def fitting(pixels: np.ndarray, path: Path, scale: int) -> np.ndarray:
    """An image (H, W[, C]) without its alpha channel if the format of ``path`` has none and all pixels are opaque.

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
    """Give a writer that takes the image from top to bottom. The file appears at ``path`` when it is whole.

    Raises:
        OSError: the file cannot be written.
    """
    with written_aside(path) as aside, aside.open("w+b") as file:
        writer = format_of(path).writer(file, layout, path.suffix.lower())
        yield writer
        writer.close()
