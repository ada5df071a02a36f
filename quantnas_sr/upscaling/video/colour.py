"""Samples of a video to red, green and blue and back, by the matrix and the range that the video names.

A video stores R'G'B' (gamma is left as it is) as luma and two colour differences (ITU-R BT.601, BT.709, BT.2020):

    Y' = kr R' + kg G' + kb B',  Cb = (B' - Y') / (2 - 2 kb),  Cr = (R' - Y') / (2 - 2 kr)

as integers of 8 bits or more, in the limited range (of 8 bits: Y' 16..235, Cb and Cr 16..240) or in the full one. Cb
and Cr may have fewer columns and rows. They are taken to lie on the even columns and between the rows, as MPEG-2, H.264
and HEVC have it.
"""

from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence, Tuple

import cv2
import numpy as np

from quantnas_sr.images.units import BYTES, FLOATS, WHITE

#: kr and kb of the matrices, by the numbers of ITU-T H.273 (FFmpeg's ``AVColorSpace``).
MATRICES: Dict[int, Tuple[float, float]] = {
    1: (0.2126, 0.0722),  # BT.709
    4: (0.30, 0.11),  # FCC
    5: (0.299, 0.114),  # BT.601, 625 lines
    6: (0.299, 0.114),  # BT.601, 525 lines
    7: (0.212, 0.087),  # SMPTE 240M
    9: (0.2627, 0.0593),  # BT.2020
}
BT709, BT601, RGB, UNSPECIFIED = 1, 6, 0, 2
#: The ranges, as FFmpeg numbers them (``AVColorRange``).
LIMITED, FULL = 1, 2
#: OpenCV's numbers of the kinds of pixels.
_DEPTHS = {BYTES: cv2.CV_8U, FLOATS: cv2.CV_32F}
#: Rows that are converted at a time; few enough for the processor's cache.
_STRIP = 32


#: A plane, and its weight.
_Term = Tuple[np.ndarray, float]


@dataclass(frozen=True)
class Samples:
    """How the planes of a frame stand for colours.

    Attributes:
        bits: of a sample.
        family: ``yuv``, ``rgb`` (planes green, blue, red) or ``gray`` (one plane of luma).
        across, down: one sample of Cb and Cr for so many columns and rows.
        matrix: a key of `MATRICES`.
        full: whether the range is the full one.
    """

    bits: int = 8
    family: str = "yuv"
    across: int = 2
    down: int = 2
    matrix: int = BT709
    full: bool = False

    @property
    def _luma(self) -> Tuple[float, float]:
        """The sample of black, and the distance from it to white."""
        return (0.0, 2.0**self.bits - 1) if self.full else (16.0 * 2 ** (self.bits - 8), 219.0 * 2 ** (self.bits - 8))

    @property
    def _difference(self) -> Tuple[float, float]:
        """The sample of gray, and the distance from the lowest to the highest sample."""
        return 2.0 ** (self.bits - 1), 2.0**self.bits - 1 if self.full else 224.0 * 2 ** (self.bits - 8)

    @property
    def _weights(self) -> Tuple[float, float, float]:
        kr, kb = MATRICES[self.matrix]
        return kr, 1 - kr - kb, kb


def to_rgb(planes: Sequence[np.ndarray], samples: Samples, kind: np.dtype = FLOATS) -> np.ndarray:
    """Planes of integers -> (3, H, W), red first: float32 in 0..1, or uint8, rounded."""
    height, width = planes[0].shape
    rgb = np.empty((3, height, width), kind)
    if samples.family == "rgb":
        for channel, plane in zip((1, 2, 0), planes):
            _fill(rgb[channel], 0, (plane.astype(np.float32), 1 / (2**samples.bits - 1)))
        return rgb
    (black, span), luma = samples._luma, planes[0].astype(np.float32)
    if samples.family == "gray":
        for channel in rgb:
            _fill(channel, -black / span, (luma, 1 / span))
    else:
        _add_colour(luma, [_enlarged(plane, samples, width, height) for plane in planes[1:]], samples, rgb)
    return np.clip(rgb, 0, 1, out=rgb) if kind == FLOATS else rgb


def _fill(place: np.ndarray, offset: float, term: _Term, other: Optional[_Term] = None) -> None:
    """Fill pixels with ``offset`` and one or two weighted planes, whose sum is 0..1; integers are rounded."""
    (plane, weight), (second, its_weight) = term, other or (term[0], 0)
    white, depth = WHITE[place.dtype], _DEPTHS[place.dtype]
    cv2.addWeighted(plane, weight * white, second, its_weight * white, offset * white, dst=place, dtype=depth)


def _add_colour(luma: np.ndarray, differences: List[np.ndarray], samples: Samples, rgb: np.ndarray) -> None:
    (black, span), (gray, reach), (kr, kg, kb) = samples._luma, samples._difference, samples._weights
    cb, cr = differences
    red, blue = (2 - 2 * kr) / reach, (2 - 2 * kb) / reach
    _fill(rgb[0], -black / span - gray * red, (luma, 1 / span), (cr, red))
    _fill(rgb[2], -black / span - gray * blue, (luma, 1 / span), (cb, blue))
    red, blue = red * kr / kg, blue * kb / kg
    green = cv2.addWeighted(cr, -red, cb, -blue, gray * (red + blue) - black / span)
    _fill(rgb[1], 0, (luma, 1 / span), (green, 1))


def _enlarged(plane: np.ndarray, samples: Samples, width: int, height: int) -> np.ndarray:
    """Cb or Cr for every pixel, bilinear: float32 (H, W)."""
    plane = plane.astype(np.float32)
    if samples.across == samples.down == 1:
        return plane
    from_here = np.float32([[1 / samples.across, 0, 0], [0, 1 / samples.down, 0.5 / samples.down - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(plane, from_here, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def from_rgb(rgb: np.ndarray, samples: Samples, planes: Sequence[np.ndarray]) -> None:
    """Fill planes of integers with an image, rounded.

    Args:
        rgb: (3, H, W), red first: float, which is clipped to 0..1, uint8 or uint16.
        samples: of the planes; of the family ``yuv``; Cb and Cr have every or every other column and row.
        planes: where they go.
    """
    height, (kr, kg, kb) = planes[0].shape[0], samples._weights
    (black, span), (gray, reach) = samples._luma, samples._difference
    for start in range(0, height, _STRIP):
        strip = slice(start, min(start + _STRIP, height))
        pixels = _strip_of(rgb, strip)
        (red, green, blue), white = pixels, WHITE[pixels.dtype]
        luma = cv2.addWeighted(red, kr, green, kg, 0, dtype=cv2.CV_32F)
        luma = cv2.addWeighted(luma, 1, blue, kb, 0, dst=luma, dtype=cv2.CV_32F)
        planes[0][strip] = _rounded(luma, span / white, black, samples)
        small = slice(strip.start // samples.down, -(-strip.stop // samples.down))
        for plane, colour, weight in ((planes[1], blue, kb), (planes[2], red, kr)):
            difference = _reduced(cv2.subtract(colour, luma, dtype=cv2.CV_32F), samples)
            plane[small] = _rounded(difference, reach / (2 - 2 * weight) / white, gray, samples)


def _strip_of(rgb: np.ndarray, rows: slice) -> np.ndarray:
    """Rows of an image: three planes (rows, W) float32, clipped, or integers as they are."""
    if rgb.dtype.kind == "f":
        return np.clip(rgb[:, rows], 0, 1).astype(np.float32, copy=False)
    return np.ascontiguousarray(rgb[:, rows])


def _reduced(difference: np.ndarray, samples: Samples) -> np.ndarray:
    """The mean over the rows of a sample, and (1, 2, 1) / 4 over the columns around it."""
    if samples.down == 2:
        if len(difference) % 2:
            difference = np.concatenate([difference, difference[-1:]])
        difference = cv2.addWeighted(difference[::2], 0.5, difference[1::2], 0.5, 0)
    if samples.across == 2:
        if difference.shape[1] % 2:
            difference = np.concatenate([difference, difference[:, -1:]], axis=1)
        even, odd = cv2.split(difference.reshape(len(difference), -1, 2))
        difference = cv2.addWeighted(even, 0.5, odd, 0.25, 0)
        cv2.scaleAdd(odd[:, :-1], 0.25, difference[:, 1:], dst=difference[:, 1:])
        difference[:, 0] += np.float32(0.25) * even[:, 0]
    return difference


def _rounded(values: np.ndarray, factor: float, offset: float, samples: Samples) -> np.ndarray:
    """``factor * values + offset`` as integers, within their range."""
    depth = cv2.CV_8U if samples.bits == 8 else cv2.CV_16U
    values = cv2.addWeighted(values, factor, values, 0, offset, dtype=depth)  # which rounds and saturates
    return values if samples.bits == 8 else np.minimum(values, 2**samples.bits - 1)
