"""The frames of a video through a network, as a whole or in tiles."""

import sys
from typing import Callable, Dict, Optional, Tuple

import numpy as np

from quantnas_sr.deploy.memory import MemoryUse
from quantnas_sr.deploy.network import Network
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

    def prepare(self, pixels: int) -> None:
        """Measure what has to be measured for frames of so many pixels, before other threads take memory."""
        if measures(self.network, self._tile, pixels):
            self._use()

    def __call__(self, planes: np.ndarray, bits: int) -> np.ndarray:
        """Upscale a frame.

        Args:
            planes: (1, 3, H, W) float32 in 0..1, RGB.
            bits: of the samples that it was decoded from.

        Returns:
            (3, s*H, s*W) float32, not clipped; or, of tiles, (s*H, s*W, 3) uint8 or uint16, which take less memory.

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
        return np.concatenate(list(bands))

    def _tile_for(self, size: Tuple[int, int], depth: int) -> Optional[Tuple[int, int]]:
        """Of frames of a size, some of which wait before and behind the network; None: they can be whole, in float."""
        pixels = size[0] * size[1]
        if not measures(self.network, self._tile, pixels):
            tile = tile_for(size, self.network, self._tile, None, self._memory)
            return None if tile[0] >= size[0] and tile[1] >= size[1] else tile
        use, frames, upscaled = self._use(), WAITING + 2, pixels * self.network.scale**2
        budget = self._memory - use.fixed - _FLOAT * pixels * frames
        if use.pixels(budget - _FLOAT * upscaled * frames) >= pixels:
            return None
        return tile_for(size, self.network, None, use, budget - 3 * depth * upscaled * frames)
