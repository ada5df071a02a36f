"""PNG files written from top to bottom, so that no more than a few rows need be in memory.

Neither Pillow nor OpenCV writes a part of an image, or 16-bit colour together with a profile.
"""

import struct
import zlib
from typing import BinaryIO

import numpy as np
from PIL import PngImagePlugin

from quantnas_sr.images.metadata import XMP_KEYWORD, Metadata

#: Colour type of the format by number of channels.
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
_SUB, _UP = 1, 2
_ROWS_AT_ONCE = 64
_COMPRESSION = 4
_METRES_PER_INCH = 0.0254
#: The largest integer of the format, and the length of a keyword.
_LARGEST, _LONGEST_KEYWORD = 2**31 - 1, 79
#: Text of more bytes is compressed.
_LONG_TEXT = 1024
_NONE = Metadata()


class PngWriter:
    """Writes one image (PNG, third edition: the chunks IHDR, iCCP, pHYs, eXIf, tEXt, zTXt, iTXt, IDAT and IEND).

    Args:
        file: open for writing.
        height, width: of the image.
        channels: 1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha.
        dtype: uint8 or uint16.
        metadata: written before the pixels.
    """

    def __init__(
        self,
        file: BinaryIO,
        height: int,
        width: int,
        channels: int,
        dtype: np.dtype,
        metadata: Metadata = _NONE,
    ) -> None:
        self._file = file
        self._depth = np.dtype(dtype).itemsize
        self._bytes_per_pixel = channels * self._depth
        self._last = np.zeros((1, width * self._bytes_per_pixel), np.uint8)
        self._compressor = zlib.compressobj(_COMPRESSION, strategy=zlib.Z_FILTERED)
        file.write(b"\x89PNG\r\n\x1a\n")
        self._chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8 * self._depth, _COLOUR_TYPES[channels], 0, 0, 0))
        self._metadata(metadata)

    def write(self, band: np.ndarray) -> None:
        """The next rows: (rows, width) or (rows, width, channels)."""
        for start in range(0, len(band), _ROWS_AT_ONCE):
            rows = band[start : start + _ROWS_AT_ONCE]
            rows = np.ascontiguousarray(rows, rows.dtype.newbyteorder(">")).view(np.uint8).reshape(len(rows), -1)
            self._data(self._compressor.compress(self._filtered(rows)))

    def close(self) -> None:
        """The end of the file."""
        self._data(self._compressor.flush())
        self._chunk(b"IEND", b"")

    def _metadata(self, metadata: Metadata) -> None:
        if metadata.icc:
            self._chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(metadata.icc))
        if metadata.dpi:
            per_metre = [min(round(value / _METRES_PER_INCH), _LARGEST) for value in metadata.dpi]
            self._chunk(b"pHYs", struct.pack(">IIB", *per_metre, 1))
        if metadata.exif:
            self._chunk(b"eXIf", metadata.exif)
        for keyword, text in metadata.text.items():
            self._text(keyword.encode("latin-1", "replace")[:_LONGEST_KEYWORD], text)
        if metadata.xmp:
            self._chunk(b"iTXt", XMP_KEYWORD.encode() + b"\0\0\0\0\0" + metadata.xmp)

    def _text(self, keyword: bytes, text: str) -> None:
        """A text chunk: iTXt for what was one or is not Latin-1, otherwise tEXt, or zTXt for long text."""
        international = isinstance(text, PngImagePlugin.iTXt)
        try:
            data = text.encode("latin-1")
        except UnicodeEncodeError:
            international = True
        if international:
            language, translated = (str(getattr(text, name, None) or "") for name in ("lang", "tkey"))
            header = b"\0\0\0" + language.encode("ascii", "ignore") + b"\0" + translated.encode() + b"\0"
            self._chunk(b"iTXt", keyword + header + text.encode("utf-8", "replace"))
        elif len(data) > _LONG_TEXT:
            self._chunk(b"zTXt", keyword + b"\0\0" + zlib.compress(data))
        else:
            self._chunk(b"tEXt", keyword + b"\0" + data)

    def _filtered(self, rows: np.ndarray) -> bytes:
        """Each row as differences to the left or to above, whichever are smaller, after the number of that filter."""
        above = np.concatenate([self._last, rows[:-1]])
        left = np.pad(rows, ((0, 0), (self._bytes_per_pixel, 0)))[:, : rows.shape[1]]
        self._last = rows[-1:].copy()
        candidates = {_SUB: rows - left, _UP: rows - above}
        sizes = [np.abs(c.view(np.int8).astype(np.int16)).sum(axis=1, dtype=np.int64) for c in candidates.values()]
        up = (sizes[1] < sizes[0])[:, None]
        kind = np.where(up, np.uint8(_UP), np.uint8(_SUB))
        return np.concatenate([kind, np.where(up, candidates[_UP], candidates[_SUB])], axis=1).tobytes()

    def _data(self, compressed: bytes) -> None:
        if compressed:
            self._chunk(b"IDAT", compressed)

    def _chunk(self, kind: bytes, data: bytes) -> None:
        self._file.write(struct.pack(">I", len(data)) + kind)
        self._file.write(data)
        self._file.write(struct.pack(">I", zlib.crc32(data, zlib.crc32(kind))))
