"""What every network that is ready to run offers, whatever runs it."""

from abc import ABC, abstractmethod
from contextlib import nullcontext
from typing import ContextManager, Optional, Tuple

import numpy as np

from quantnas_sr.deploy.memory import forget_peak, process_memory, process_peak


class Network(ABC):
    """A super-resolution network that is ready to run.

    Attributes:
        scale: s.
        halo: low-resolution pixels around a tile that the result depends on; None: it depends on the whole image.
        pixels: the kind of numbers that it computes from and makes: float32 in 0..1, or uint8.
        size: height and width of the tiles that it cuts all images into; None if it takes any size.
    """

    scale: int
    halo: Optional[int]
    pixels: np.dtype = np.dtype(np.float32)
    size: Optional[Tuple[int, int]] = None

    @abstractmethod
    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Upscale images: RGB, (N, 3, h, w) -> (N, 3, s*h, s*w).

        Either both in float32, in 0..1, the result not clipped; or both of its ``pixels``.
        """

    def takes(self, kind: np.dtype) -> np.dtype:
        """The kind of numbers in which pixels of a kind are given to it."""
        return self.pixels

    def at_once(self, calls: int) -> ContextManager[int]:
        """While this lasts, take calls from several threads at once and compute each of them on one processor.

        Together they take less time than one after the other on all processors, which would wait for each other.

        Args:
            calls: how many are wanted, at least 1.

        Returns:
            A context that gives how many there may be; 1 if the network takes them one by one, on all processors.
        """
        return nullcontext(1)

    def peak_memory(self) -> Optional[int]:
        """Peak memory so far in bytes, of the GPU or else of this process; None where the system does not report it."""
        return process_peak()

    def forget_peak_memory(self) -> None:
        """Reset `peak_memory` to what is in use now, where the system can do that."""
        forget_peak()

    def held_memory(self) -> int:
        """Bytes in use now where an image is decoded; 0 if they do not count, or the system does not report them."""
        return process_memory()

    def free_memory(self) -> None:  # noqa: B027 (most networks keep none)
        """Give back what is kept from tile to tile."""
