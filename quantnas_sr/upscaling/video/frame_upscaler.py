"""The frames of a video through a network, as a whole or in tiles."""

import sys
from contextlib import contextmanager
from typing import Callable, Dict, Iterator, Optional, Tuple

import numpy as np

from quantnas_sr.deploy.memory import MemoryUse
from quantnas_sr.deploy.network import Network
from quantnas_sr.system.cpus import available_cpus
from quantnas_sr.upscaling.pixels import measures, run_network, tile_for, upscaled_bands

#: Frames that wait for the network, and results that wait for the encoder.
WAITING = 2
#: Bytes of a decoded frame per pixel, and of an upscaled one.
_FLOAT = 12


class FrameUpscaler:
    """Upscales frames.

    Args:
        network: the network.
        use: measures its memory.
        tile: longest side of a tile; by default what ``memory`` allows.
        memory: memory limit in bytes, beside what decoder and encoder take.
        warning: printed once if frames are cut into tiles that show.
    """

    def __init__(
        self, network: Network, use: Callable[[], MemoryUse], tile: Optional[int], memory: int, warning: str
    ) -> None:
        self.network, self._use, self._tile, self._memory = network, use, tile, memory
        self._warning: Optional[str] = warning if network.halo is None else None
        self._tiles: Dict[Tuple[int, int, int], Optional[Tuple[int, int]]] = {}
        self._count = 1

    @contextmanager
    def ready(self, pixels: int) -> Iterator[int]:
        """Be ready for frames of so many pixels; gives how many may go through the network at once.

        What has to be measured is measured here, before other threads take memory.
        """
        wanted = 1 if self._tile is not None else available_cpus()
        if measures(self.network, self._tile, pixels):
            self._use()
            wanted = max((count for count in range(1, wanted + 1) if self._fit_whole(count, pixels)), default=1)
        self._tiles.clear()
        with self.network.at_once(wanted) as self._count:
            try:
                yield self._count
            finally:
                self._count = 1

    def __call__(self, planes: np.ndarray, bits: int) -> np.ndarray:
        """Upscale a frame.

        Args:
            planes: (1, 3, H, W), RGB, float32 in 0..1 or bytes that the network takes.
            bits: of the samples that it was decoded from.

        Returns:
            (3, s*H, s*W) of the same kind, not clipped; or, of tiles, uint8 or uint16, which take less memory.

        Raises:
            DataError: the network fails.
            OptionError: the tile or the memory is too small for the network.
        """
        height, width = size = planes.shape[2:]
        depth = 1 if bits <= 8 else 2
        if (height, width, depth) not in self._tiles:
            self._tiles[height, width, depth] = self._tile_for(size, depth)
        tile = self._tiles[height, width, depth]
        if tile is None:
            return run_network(self.network, planes)[0]
        if self._warning is not None and (tile[0] < height or tile[1] < width):
            print(self._warning, file=sys.stderr)
            self._warning = None
        bands = upscaled_bands(planes[0].transpose(1, 2, 0), self.network, tile, dtype=np.dtype(f"u{depth}"))
        return np.concatenate(list(bands)).transpose(2, 0, 1)

    def _tile_for(self, size: Tuple[int, int], depth: int) -> Optional[Tuple[int, int]]:
        """Of frames of a size, some of which wait before and behind the network; None: they can be whole, in float."""
        pixels = size[0] * size[1]
        if not measures(self.network, self._tile, pixels):
            tile = tile_for(size, self.network, self._tile, None, self._memory)
            return None if tile[0] >= size[0] and tile[1] >= size[1] else tile
        if self._fit_whole(self._count, pixels):
            return None
        use, frames = self._use(), _frames(1)
        held = frames * pixels * (_FLOAT + 3 * depth * self.network.scale**2)
        return tile_for(size, self.network, None, use, self._memory - use.fixed - held)

    def _fit_whole(self, count: int, pixels: int) -> bool:
        """Whether so many frames can be in the network at once, each as a whole and in float."""
        use, held = self._use(), _frames(count) * pixels * _FLOAT * (1 + self.network.scale**2)
        return use.pixels(self._memory - use.fixed - held) >= count * pixels


def _frames(count: int) -> int:
    """Frames that are held, and as many results, where so many are in the network at once."""
    return WAITING + 1 + count + (count > 1)
