"""Cuts an image into tiles whose results, put together, are the result for the whole image."""

from typing import Callable, List, NamedTuple, Optional, Tuple

import numpy as np

from quantnas_sr.errors import OptionError

#: Overlap of tiles, on each side, for a network whose output depends on the whole image.
USUAL_OVERLAP = 16


class Window(NamedTuple):
    """The part of an axis that the network runs on, ``start`` to ``stop``, and the part of its result that is kept.

    In low-resolution pixels of the image; the stops are exclusive.
    """

    start: int
    stop: int
    keep_start: int
    keep_stop: int

    def kept(self, scale: int) -> slice:
        """Where the kept part is in the upscaled tile."""
        return slice((self.keep_start - self.start) * scale, (self.keep_stop - self.start) * scale)


def windows(length: int, tile: int, halo: int, whole: bool = False) -> List[Window]:
    """Windows of equal length, at most ``tile``, whose kept parts cover an axis of ``length`` pixels once.

    Each kept part has ``halo`` pixels on both sides, except at the ends of the axis, where the network pads as it does
    for the whole image. The number of windows is the smallest possible, and their length the shortest for that number;
    with ``whole`` it is ``tile``.

    >>> windows(10, 6, 1)
    [Window(start=0, stop=6, keep_start=0, keep_stop=5), Window(start=4, stop=10, keep_start=5, keep_stop=10)]

    Raises:
        OptionError: the tile has no pixels beside its halo.
    """
    if tile >= length:
        return [Window(0, length, 0, length)]
    check_tile(tile, halo)
    count = -(-(length - 2 * halo) // (tile - 2 * halo))
    tile = tile if whole else -(-(length + 2 * halo * (count - 1)) // count)
    found, kept = [], 0
    while kept < length:
        start = min(max(0, kept - halo), length - tile)
        keep_stop = length if start + tile == length else start + tile - halo
        found.append(Window(start, start + tile, kept, keep_stop))
        kept = keep_stop
    return found


def run_in_tiles(
    network: Callable[[np.ndarray], np.ndarray], x: np.ndarray, size: Tuple[int, int], halo: int, scale: int
) -> np.ndarray:
    """The output for an image that is at least as large as the only size that a network takes.

    Args:
        network: (1, C, H, W) -> (1, C', s*H, s*W) for this size.
        x: (1, C, h, w).
        size: height and width of the tiles.
        halo: see `windows`.
        scale: s.
    """
    across = windows(x.shape[3], size[1], halo, whole=True)

    def made(rows: Window, columns: Window) -> np.ndarray:
        tile = network(np.ascontiguousarray(x[:, :, rows.start : rows.stop, columns.start : columns.stop]))
        return tile[:, :, rows.kept(scale), columns.kept(scale)]

    bands = windows(x.shape[2], size[0], halo, whole=True)
    return np.concatenate([np.concatenate([made(rows, one) for one in across], axis=3) for rows in bands], axis=2)


def check_tile(tile: int, halo: int) -> None:
    """Raise an OptionError unless a tile has pixels of its own beside the halo on both sides."""
    if tile < smallest_tile(halo):
        raise OptionError(
            f"tile {tile} is too small: this network needs {halo} pixels around a tile. "
            f"Allowed: {smallest_tile(halo)} or more"
        )


def smallest_tile(halo: int) -> int:
    """The shortest side of a tile."""
    return 2 * halo + 1


def largest_tile(
    size: Tuple[int, int], halo: int, pixels: int, pixels_per_line: float = 0
) -> Optional[Tuple[int, int]]:
    """Height and width of the largest tile within a number of pixels, as square as the image allows.

    Args:
        size: height and width of the image.
        halo: see `windows`.
        pixels: the largest number of pixels.
        pixels_per_line: what each row of a tile takes beside its pixels, in pixels.

    Returns:
        None if even the smallest tile has more pixels.
    """
    height, width = size
    shortest = smallest_tile(halo)
    for side in range(max(height, width), 0, -1):
        tile = min(side, height), min(side, width)
        if tile[0] * (tile[1] + pixels_per_line) <= pixels:
            fits = all(a == whole or a >= shortest for a, whole in zip(tile, size))
            return tile if fits else None
    return None
