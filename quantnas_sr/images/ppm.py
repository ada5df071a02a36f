"""PPM and PGM files with more than 8 bits per sample, which Pillow reduces to 8 and OpenCV does not scale to white."""

import re
from typing import BinaryIO, Optional

import numpy as np

#: Bytes that are read to find the header.
_LONGEST_HEADER = 4096
_SPACE = rb"(?:\s|#[^\n]*\n)+"
#: P2 and P3 hold gray and RGB as text, P5 and P6 in binary; then width, height and the value of white.
_HEADER = re.compile(rb"P([2356])" + 3 * (_SPACE + rb"(\d{1,10})") + rb"\s")
#: Samples that are scaled at a time.
_AT_ONCE = 1 << 20


def _header(file: BinaryIO) -> Optional["re.Match[bytes]"]:
    file.seek(0)
    return _HEADER.match(file.read(_LONGEST_HEADER))


def ppm_white(file: BinaryIO) -> int:
    """The value of white in a PPM, PGM or PBM file; 1 for what has no such header."""
    header = _header(file)
    return int(header[4]) if header else 1


def read_deep_ppm(file: BinaryIO) -> np.ndarray:
    """The pixels of a PPM or PGM file whose white is above 255, scaled to a white of 65535.

    Returns:
        (H, W) or (H, W, 3), uint16.

    Raises:
        ValueError: the file has too few samples.
    """
    header = _header(file)
    kind, (width, height, white) = header[1], map(int, header.groups()[1:])
    shape = (height, width, 3) if kind in b"36" else (height, width)
    count = int(np.prod(shape))
    file.seek(header.end())
    if kind in b"56":
        samples = np.frombuffer(file.read(2 * count), ">u2", count=count)
    else:
        samples = np.array(re.sub(rb"#[^\n]*", b"", file.read()).split(), np.uint16)
    pixels = np.empty(len(samples), np.uint16)
    for start in range(0, len(samples), _AT_ONCE):
        scaled = samples[start : start + _AT_ONCE].astype(np.float32) * (65535 / white)
        pixels[start : start + _AT_ONCE] = scaled.round().clip(0, 65535)
    return pixels.reshape(shape)
