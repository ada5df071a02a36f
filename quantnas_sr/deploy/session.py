"""What an exported file offers once a runtime has opened it, whichever runtime that is."""

from abc import ABC, abstractmethod
from contextlib import contextmanager
from typing import Dict, Iterator, Mapping

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

    @contextmanager
    def at_once(self, calls: int) -> Iterator[int]:
        """As `Network.at_once`."""
        calls = self._possible(calls)
        if calls == 1:
            yield 1
            return
        self._be_ready(calls)
        try:
            yield calls
        finally:
            self._be_ready(1)

    def _possible(self, calls: int) -> int:
        """How many of so many calls it can compute at once."""
        return 1

    def _be_ready(self, calls: int) -> None:  # noqa: B027 (where only one call is possible, there is nothing to do)
        """From now on compute so many calls at once, each on one processor; one on all of them."""


def complaint(error: Exception) -> str:
    """The last line of a runtime's error message, which is the one that says what is wrong."""
    return ([line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__])[-1]
