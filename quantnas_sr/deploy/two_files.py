"""A network in two files, one of floats and one of bytes."""

import threading
from contextlib import ExitStack, contextmanager
from typing import Callable, Iterator, Optional

import numpy as np

from quantnas_sr.deploy.network import Network
from quantnas_sr.images.units import BYTES


class TwoFiles(Network):
    """Bytes go through the file of bytes, which is faster, and all other pixels through that of floats.

    Both are of the same network. What the one keeps from tile to tile is given back before the other one runs.

    Args:
        of_bytes: opened already.
        open_floats: opens the other one, when it is needed.
    """

    def __init__(self, of_bytes: Network, open_floats: Callable[[], Network]) -> None:
        self.scale, self.halo, self.size = of_bytes.scale, of_bytes.halo, of_bytes.size
        self._of_bytes, self._open_floats = of_bytes, open_floats
        self._of_floats: Optional[Network] = None
        self._latest = of_bytes
        self._lock = threading.Lock()
        self._when_opened: Callable[[Network], object] = lambda network: None

    def takes(self, kind: np.dtype) -> np.dtype:
        """Bytes as they are, and other pixels as floats."""
        return BYTES if kind == BYTES else self.pixels

    def __call__(self, x: np.ndarray) -> np.ndarray:
        with self._lock:
            network = self._for(x.dtype)
            if network is not self._latest:
                self._latest.free_memory()
                self._latest = network
        return network(x)

    def _for(self, kind: np.dtype) -> Network:
        if kind == BYTES:
            return self._of_bytes
        if self._of_floats is None:
            self._of_floats = self._open_floats()
            self._when_opened(self._of_floats)
        return self._of_floats

    @contextmanager
    def at_once(self, calls: int) -> Iterator[int]:
        """As the file of bytes can; that of floats too, also if it is opened meanwhile."""
        with ExitStack() as stack:
            self._when_opened = lambda network: stack.enter_context(network.at_once(calls))
            stack.callback(setattr, self, "_when_opened", lambda network: None)
            if self._of_floats is not None:
                self._when_opened(self._of_floats)
            yield stack.enter_context(self._of_bytes.at_once(calls))

    def free_memory(self) -> None:
        """Give back what the file that ran last keeps."""
        self._latest.free_memory()
