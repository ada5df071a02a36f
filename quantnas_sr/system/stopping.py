"""Signals on which a training finishes its iteration and saves before it ends; what its data loaders do with them."""

import os
import signal
import threading
import time
from types import FrameType
from typing import Any, Callable, ClassVar, Dict, Optional

import torch
from torch import distributed

from quantnas_sr.system.distributed import processes

#: Ctrl-C; what clusters and `kill` send; what Slurm warns with (``#SBATCH --signal=USR1@120``). Windows has no SIGUSR1.
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
#: Seconds in which a second signal is the first one once more: `torchrun` hands on Ctrl-C, which the terminal has sent.
ONCE_MORE = 2.0


class Stopping:
    """Notes the first signal; a second one acts as if nobody listened. One at a time listens in a process."""

    _listening: ClassVar[Optional["Stopping"]] = None

    def __init__(self) -> None:
        self.received: Optional[int] = None
        self._since = 0.0
        self._owner = 0
        self._before: Dict[int, Any] = {}
        self._asked: Optional[Any] = None

    def listen(self) -> None:
        """Listen from now on; once. Python allows it in the main thread only, and elsewhere nothing happens."""
        if self._owner or threading.current_thread() is not threading.main_thread():
            return
        self.release()
        Stopping._listening = self
        self._owner = os.getpid()
        self._before = {number: signal.signal(number, self._receive) for number in SIGNALS}

    def close(self) -> None:
        """Give the signals back to who had them before."""
        if threading.current_thread() is threading.main_thread():
            for number, handler in self._before.items():
                if signal.getsignal(number) == self._receive:
                    signal.signal(number, handler)
            self._before = {}

    @classmethod
    def release(cls) -> None:
        """Close the one that listens, if any: that of a training that failed."""
        if Stopping._listening is not None:
            Stopping._listening.close()
            Stopping._listening = None

    def _receive(self, number: int, frame: Optional[FrameType]) -> None:
        if os.getpid() != self._owner:  # a forked child: its parent decides
            return
        if self.received is None:
            self.received, self._since = number, time.monotonic()
            name = signal.Signals(number).name
            os.write(2, f"{name}: stopping after this iteration; a second signal stops at once\n".encode())
        elif time.monotonic() - self._since >= ONCE_MORE:
            self.close()
            os.kill(os.getpid(), number)

    def agreed(self) -> Optional[int]:
        """The signal on which all processes stop now; each must ask once in every iteration.

        One that a process has received is known to all of them in the next iteration, so that none has to wait.
        """
        if processes() == 1:
            return self.received
        number = None
        if self._asked is not None:
            work, answer = self._asked
            work.wait()
            number = int(answer) or None
        if number is None:
            answer = torch.tensor([self.received or 0], device="cuda" if distributed.get_backend() == "nccl" else "cpu")
            self._asked = distributed.all_reduce(answer, distributed.ReduceOp.MAX, async_op=True), answer
        return number


def patient(start: Optional[Callable[[int], None]], parent: int, worker: int) -> None:
    """The ``worker_init_fn`` of a data loader whose workers leave such signals to their parent, which alone ends them.

    Clusters and terminals signal all processes of a job, and an iteration can only end with its data.

    Args:
        start: the ``worker_init_fn`` in whose place this is.
        parent: the process whose data they load. A worker that was not forked from it may have another one above it.
        worker: its number.
    """
    for number in SIGNALS:
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_by, args=(parent,), daemon=True).start()
    if start is not None:
        start(worker)


def _end_by(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
