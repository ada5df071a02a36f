"""Frames of PyAV as arrays: which sample is where, what it stands for, and how the picture is turned."""

import re
import struct
from typing import Any, Dict, List, Tuple

import numpy as np

from quantnas_sr.errors import DataError
from quantnas_sr.upscaling.video.colour import BT601, BT709, FULL, MATRICES, RGB, UNSPECIFIED, Samples

#: Formats whose planes are read as they are. FFmpeg turns the others into one of them, without touching colours.
_PLANAR = re.compile(r"yuvj?4(?:20|22|44|40|11|10)p(?:\d+le)?|gbrp(?:\d+le)?|gray(?:\d+le)?")
#: Rows from which a video that does not name its matrix is taken for BT.709, as players do.
_HIGH_DEFINITION = 720
#: A flip from left to right or none, and then so many quarters counter-clockwise.
Turn = Tuple[int, bool]
#: By the signs of a display matrix (a, b, c, d), which moves (x, y) to (a x + c y, b x + d y), y downwards.
_TURNS: Dict[Tuple[int, ...], Turn] = {
    (1, 0, 0, 1): (0, False),
    (0, -1, 1, 0): (1, False),
    (-1, 0, 0, -1): (2, False),
    (0, 1, -1, 0): (3, False),
    (-1, 0, 0, 1): (0, True),
    (0, 1, 1, 0): (1, True),
    (1, 0, 0, -1): (2, True),
    (0, -1, -1, 0): (3, True),
}


def samples_of(frame: Any) -> Samples:
    """What the samples of a decoded frame stand for.

    Raises:
        DataError: its matrix or its format is none that is known.
    """
    name, form = _planar_name(frame.format), frame.format
    bits = int(re.search(r"(\d+)le$", name)[1]) if name.endswith("le") else 8
    if name.startswith("gbrp"):
        return Samples(bits, "rgb", 1, 1, full=True)
    full = name.startswith("yuvj") or int(frame.color_range) == FULL
    if name.startswith("gray"):
        return Samples(bits, "gray", 1, 1, full=full or int(frame.color_range) == 0)
    across, down = (round(64 / side(64)) for side in (form.chroma_width, form.chroma_height))
    return Samples(bits, "yuv", across, down, _matrix_of(frame), full)


def _matrix_of(frame: Any) -> int:
    matrix = int(frame.colorspace)
    if matrix in (UNSPECIFIED, RGB):
        return BT709 if min(frame.width, frame.height) >= _HIGH_DEFINITION else BT601
    if matrix == 10:  # BT.2020 with constant luminance, which nothing writes, and which readers take for the other
        return 9
    if matrix not in MATRICES:
        raise DataError(f"its colour matrix (number {matrix} of H.273) is not known. Allowed: BT.601, BT.709, BT.2020")
    return matrix


def _planar_name(form: Any) -> str:
    if _PLANAR.fullmatch(form.name):
        return form.name
    deep = max(component.bits for component in form.components)
    if form.is_rgb or form.has_palette:
        return "gbrp16le" if deep > 8 and not form.has_palette else "gbrp"
    suffix = "" if deep <= 8 else f"{min((b for b in (9, 10, 12, 14, 16) if b >= deep), default=16)}le"
    if len(form.components) < 3:
        return f"gray{suffix}"
    across, down = (round(64 / side(64)) for side in (form.chroma_width, form.chroma_height))
    kinds = {(2, 2): "420", (2, 1): "422", (1, 1): "444", (1, 2): "440", (4, 1): "411", (4, 4): "410"}
    return f"yuv{kinds.get((across, down), '444')}p{suffix}"


def planes_of(frame: Any) -> List[np.ndarray]:
    """The planes of a decoded frame, as `samples_of` describes them: (rows, columns) uint8 or uint16 each.

    Raises:
        DataError: FFmpeg cannot turn its format into one with planes.
    """
    name = _planar_name(frame.format)
    if name != frame.format.name:
        try:
            frame = frame.reformat(format=name)
        except Exception:  # of FFmpeg, which cannot read all formats that it decodes
            raise DataError(f"its pixels ({frame.format.name}) cannot be read") from None
    return arrays_of(frame)


def arrays_of(frame: Any) -> List[np.ndarray]:
    """The memory of the planes of a frame whose format is planar, (rows, columns) uint8 or uint16 each."""
    dtype = np.uint16 if frame.format.name.endswith("le") else np.uint8
    found = []
    for plane in frame.planes:
        rows = np.frombuffer(plane, dtype).reshape(plane.height, -1)
        found.append(rows[:, : plane.width])
    return found


def turn_of(frame: Any) -> Turn:
    """How a decoded frame is to be turned before it is shown."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return 0, False
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(matrix))
    largest = max(map(abs, (a, b, c, d)), default=0)
    signs = tuple(0 if 2 * abs(part) < largest else (part > 0) - (part < 0) for part in (a, b, c, d))
    return _TURNS.get(signs, (0, False))


def turned(rgb: np.ndarray, turn: Turn) -> np.ndarray:
    """(3, H, W) -> upright."""
    turns, flipped = turn
    if flipped:
        rgb = rgb[:, :, ::-1]
    return np.ascontiguousarray(np.rot90(rgb, turns, axes=(1, 2)))
