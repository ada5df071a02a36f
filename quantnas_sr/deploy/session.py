"""What an exported file offers once a runtime has opened it, whichever runtime that is."""

from abc import ABC, abstractmethod
from contextlib import nullcontext
from typing import ContextManager, Dict, Mapping

import numpy as np


class Session(ABC):
    """An exported file in a runtime.

    Attributes:
        metadata: of the file.
        in_float: whether it is computed in float, because integers would overflow on this processor, see `overflow`.
        pixels: the kind of numbers of its images: float32, or uint8.
    """

    metadata: Mapping[str, str]
    pixels: np.dtype
    in_float: bool = False

    @abstractmethod
    def __call__(self, x: np.ndarray) -> Dict[str, np.ndarray]:
        """Compute the outputs, by name, of an image (N, 3, H, W) of its ``pixels``."""

    @abstractmethod
    def free_memory(self) -> None:
        """Give back what is kept for further images; they may take a little longer then."""

    def at_once(self, calls: int) -> ContextManager[int]:
        """As `Network.at_once`."""
        return nullcontext(1)


def complaint(error: Exception) -> str:
    """The last line of a runtime's error message, which is the one that says what is wrong."""
    return ([line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__])[-1]
