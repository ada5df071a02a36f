"""How much memory a network takes for a tile: measured where the system allows it."""

import re
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional

from quantnas_sr.system.allocator import give_back_freed_memory

#: Memory limit of ``quantnas upscale`` for its whole process, and of `upscale` for a tile; in bytes.
DEFAULT_MEMORY = 2 << 30
#: Assumed where memory cannot be measured (Windows): a float32 network of 36 channels that runs at scale 4.
ASSUMED_BYTES_PER_PIXEL = 32 << 10
#: Sides of the tiles that are measured, until one takes measurably more than the first.
_SIDES = (64, 96, 128, 192, 256, 384, 512, 768, 1024)
#: How much more that is, in bytes.
_MEASURABLE = 32 << 20
#: The error that the measured peak of a tile may have, in bytes.
_ERROR = 16 << 20
#: Planned memory over measured memory: the allocator may need up to a third more from the second tile on.
_MARGIN = 1.5


def amount(size: float) -> str:
    """An amount of memory in a unit that is easy to read.

    >>> amount(1610612736)
    '1.5G'
    """
    return f"{size / 2**30:.2g}G" if size >= 2**30 else f"{size / 2**20:.0f}M"


def process_peak() -> Optional[int]:
    """Peak memory of this process in bytes; None where the system does not report it.

    Counted from its start, or from `forget_peak` where the system can reset it.
    """
    # getrusage on Linux starts from the peak of the parent process.
    with suppress(OSError, TypeError):
        return 1024 * int(re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))[1])
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def process_memory() -> int:
    """Memory of this process in bytes; 0 where the system does not report it."""
    with suppress(OSError, TypeError):
        return 1024 * int(re.search(r"VmRSS:\s*(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))[1])
    return 0


def forget_peak() -> None:
    """Reset the peak of this process to its current memory, where the system can do that (Linux).

    What the allocator holds though nothing uses it goes back to the system first: it would count in one measurement,
    and not in the next one if it went back in between.
    """
    give_back_freed_memory()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


@dataclass(frozen=True)
class MemoryUse:
    """Memory of a process that upscales: ``fixed`` bytes, and ``per_pixel`` bytes for each pixel of the tile."""

    fixed: int
    per_pixel: float

    @classmethod
    def of(cls, network: Any, upscale_tile: Callable[[int], object]) -> "MemoryUse":
        """Measure the peak of memory for tiles of growing size.

        Args:
            network: the `Network`, which reports the peak.
            upscale_tile: upscales a square tile with the network; its argument is the side in pixels.
        """
        first = None
        for side in (_SIDES[0], *_SIDES):  # the very first tile also takes what is needed once
            network.forget_peak_memory()
            before = network.peak_memory()
            if before is None:
                break
            upscale_tile(side)
            peak = network.peak_memory()
            if side == _SIDES[0]:
                first = before, peak
            # A runtime may keep memory from tile to tile, and a large process may give some back.
            more = max(peak - first[1], (peak - before) - (first[1] - first[0]))
            if more >= _MEASURABLE:
                per_pixel = more / (side**2 - _SIDES[0] ** 2)
                return cls(max(0, int(peak - per_pixel * side**2)) + _ERROR, _MARGIN * per_pixel)
        return cls(network.peak_memory() or 0, ASSUMED_BYTES_PER_PIXEL)

    def pixels(self, budget: float) -> int:
        """The number of pixels of the largest tile within ``budget`` bytes."""
        return max(0, int(budget / self.per_pixel))
