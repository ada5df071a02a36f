"""PPM and PGM files with more than 8 bits per sample, which Pillow reduces to 8 and OpenCV does not scale to white."""

import re
from pathlib import Path

import numpy as np

#: Bytes that are read to find the header.
_LONGEST_HEADER = 4096
_SPACE = rb"(?:\s|#[^\n]*\n)+"
#: P2 and P3 hold gray and RGB as text, P5 and P6 in binary; then width, height and the value of white.
_HEADER = re.compile(rb"P([2356])" + 3 * (_SPACE + rb"(\d+)") + rb"\s")


def ppm_white(path: Path) -> int:
    """The value of white in a PPM, PGM or PBM file; 1 for what has no such header."""
    with path.open("rb") as file:
        header = _HEADER.match(file.read(_LONGEST_HEADER))
    return int(header[4]) if header else 1


def read_deep_ppm(path: Path) -> np.ndarray:
    """The pixels of a PPM or PGM file whose white is above 255, scaled to a white of 65535.

    Returns:
        (H, W) or (H, W, 3), uint16.

    Raises:
        ValueError: the file has too few samples.
    """
    data = path.read_bytes()
    header = _HEADER.match(data)
    kind, (width, height, white) = header[1], map(int, header.groups()[1:])
    if kind in b"56":
        samples = np.frombuffer(data, ">u2", offset=header.end(), count=width * height * (3 if kind == b"6" else 1))
    else:
        samples = np.array(re.sub(rb"#[^\n]*", b"", data[header.end() :]).split(), np.uint16)
    pixels = (samples.astype(np.float32) * (65535 / white)).round().clip(0, 65535).astype(np.uint16)
    return pixels.reshape((height, width, 3) if kind in b"36" else (height, width))
