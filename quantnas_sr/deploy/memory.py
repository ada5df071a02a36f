"""How much memory a network takes for a tile: measured, not guessed."""

import re
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional

#: What ``quantnas upscale`` may take in all, and what the tiles of `upscale` may take.
DEFAULT_MEMORY = 2 << 30
#: Of a network whose memory cannot be measured (Windows): that of 36 channels at four times the size, all float32.
ASSUMED_BYTES_PER_PIXEL = 32 << 10
#: Sides of the tiles that are measured, until two in a row show in the peak of memory.
_SIDES = (64, 96, 128, 192, 256, 384, 512, 768, 1024)
#: The least that counts as shown, and so what a measurement may be wrong by.
_SHOWS = 16 << 20
#: What is planned with beyond the measured, for the allocator's sake.
_MARGIN = 1.25
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def amount(size: float) -> str:
    """Bytes as a user reads them.

    >>> amount(1610612736)
    '1.5G'
    """
    return f"{size / _UNITS['G']:.2g}G" if size >= _UNITS["G"] else f"{size / _UNITS['M']:.0f}M"


def process_peak() -> Optional[int]:
    """The most bytes of memory that this process has had; None where the system does not say.

    Since its start, or since `forget_peak` where the system can do that.
    """
    # getrusage on Linux counts what the program had that started this one.
    with suppress(OSError, TypeError):
        return 1024 * int(re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[1])
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def forget_peak() -> None:
    """Start the peak of this process anew from what it has now, where the system can do that (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


@dataclass(frozen=True)
class MemoryUse:
    """Memory of a process that upscales: ``fixed`` bytes, and ``per_pixel`` for each pixel of the tile."""

    fixed: int
    per_pixel: float

    @classmethod
    def of(cls, network: Any, upscale_tile: Callable[[int], object]) -> "MemoryUse":
        """Upscale tiles of growing size and see how the peak of memory moves.

        Args:
            network: the `Network`, which knows that peak.
            upscale_tile: upscales a tile of so many pixels a side with it.
        """
        last = None
        for side in _SIDES:
            network.forget_peak_memory()
            before = network.peak_memory()
            if before is None:
                break
            upscale_tile(side)
            peak = network.peak_memory()
            if peak - before < _SHOWS:
                last = None
            elif last is None:
                last = side, peak
            else:
                per_pixel = (peak - last[1]) / (side**2 - last[0] ** 2)
                # What does not show in a measurement may still be there on another day.
                return cls(max(0, int(peak - per_pixel * side**2)) + _SHOWS, _MARGIN * per_pixel)
        return cls(network.peak_memory() or 0, ASSUMED_BYTES_PER_PIXEL)

    def pixels(self, budget: float) -> int:
        """The pixels of a tile that may take ``budget`` bytes."""
        return max(0, int(budget / self.per_pixel))
