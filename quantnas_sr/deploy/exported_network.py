"""A file of ``quantnas export`` in a runtime, with the interface of `network.Network`."""

from pathlib import Path
from typing import ContextManager, Tuple

import numpy as np

from quantnas_sr.deploy.network import Network
from quantnas_sr.deploy.onnx.onnx_format import OUTPUT, Facts
from quantnas_sr.deploy.session import Session
from quantnas_sr.errors import DataError
from quantnas_sr.images.tiles import run_in_tiles, smallest_tile
from quantnas_sr.images.units import converted
from quantnas_sr.padding import run_padded


class ExportedNetwork(Network):
    """A file of ``quantnas export``; scale, halo and a fixed size are read from its metadata.

    Raises:
        DataError: another program wrote the file.
    """

    def __init__(self, path: Path, session: Session) -> None:
        self._path, self._session, self.pixels = path, session, session.pixels
        try:
            self.scale, self.halo, self.multiple, self.size = Facts.of(session.metadata)
        except (KeyError, ValueError):
            raise DataError(f"{path}: was not written by quantnas export") from None

    def __call__(self, x: np.ndarray) -> np.ndarray:
        given = converted(x, self.pixels)
        if self.size is None:
            return converted(run_padded(self._run, given, self.multiple, _pad), x.dtype)
        return converted(np.concatenate([self._in_tiles(one[None], self.size) for one in given]), x.dtype)

    def _run(self, x: np.ndarray) -> np.ndarray:
        return self._session(x)[OUTPUT]

    def _in_tiles(self, x: np.ndarray, size: Tuple[int, int]) -> np.ndarray:
        """One image in tiles of a size, of which none is smaller; an image that is smaller is padded."""
        sides = x.shape[2:]
        if sides != size and (self.halo is None or any(tile < smallest_tile(self.halo) for tile in size)):
            need = "the whole image" if self.halo is None else f"{self.halo} pixels around it"
            where = f"{self._path}: takes images of {size[1]}x{size[0]} pixels only"
            raise DataError(f"{where}, and this one has {sides[1]}x{sides[0]}: a pixel of the result depends on {need}")
        down, right = (max(0, tile - side) for tile, side in zip(size, sides))
        padded = _pad(x, down, right, down < sides[0] and right < sides[1]) if down or right else x
        large = run_in_tiles(self._run, padded, size, self.halo or 0, self.scale)
        return large[..., : self.scale * sides[0], : self.scale * sides[1]]

    def at_once(self, calls: int) -> ContextManager[int]:
        """As the runtime can."""
        return self._session.at_once(calls)

    def free_memory(self) -> None:
        """Give back what the runtime keeps from tile to tile."""
        self._session.free_memory()


def _pad(x: np.ndarray, down: int, right: int, mirrors: bool) -> np.ndarray:
    return np.pad(x, ((0, 0), (0, 0), (0, down), (0, right)), "reflect" if mirrors else "edge")
