"""Times a network in a process of its own, so that its threads and its peak of memory are nobody else's.

The process reads a number of runs from a line of its input and answers with a line of JSON, until the input ends.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from quantnas_sr.deploy.memory import forget_peak, process_peak
from quantnas_sr.deploy.runtimes import open_network
from quantnas_sr.errors import DataError, QuantNASError
from quantnas_sr.sweep.process import Outcome, reason_of


class Turn(NamedTuple):
    """What one turn of a `TimedProcess` took.

    Attributes:
        seconds: of each run.
        peak: bytes of memory that runtime and network have taken at most so far, beyond what the process had before it
            opened them; None where the system does not say.
    """

    seconds: List[float]
    peak: Optional[int]


class TimedProcess:
    """A process with one network in one runtime, which runs it on request; use it in a ``with``.

    Args:
        path: an ``.onnx`` of ``quantnas export``.
        runtime: ``openvino`` or ``onnxruntime``.
        threads: of the processor.
        size: width and height of the image.
    """

    def __init__(self, path: Path, runtime: str, threads: int, size: Tuple[int, int]) -> None:
        self._what = f"{path} in {runtime} at {size[0]}x{size[1]}"
        arguments = map(str, (path, runtime, threads, *size))
        self._stack = ExitStack()
        self._errors = self._stack.enter_context(tempfile.TemporaryFile(mode="w+", errors="replace"))
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self._errors, "text": True}
        self._process = subprocess.Popen([sys.executable, "-m", __name__, *arguments], **streams)

    def __enter__(self) -> "TimedProcess":
        return self

    def __exit__(self, *error: Any) -> None:
        self._process.kill()
        self._process.communicate()
        self._stack.close()

    def turn(self, runs: int) -> Turn:
        """Run the network once to warm up, and then ``runs`` times.

        Raises:
            DataError: the runtime cannot do it, or its process has ended.
        """
        try:
            self._process.stdin.write(f"{runs}\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except OSError:
            answer = ""
        found = json.loads(answer) if answer else {"error": self._reason()}
        if "error" in found:
            raise DataError(f"{self._what}: {found['error']}")
        return Turn(**found)

    def _reason(self) -> str:
        code = self._process.wait()
        self._errors.seek(0)
        return reason_of(Outcome(code if code >= 0 else 128 - code, self._errors.read()))


def _open(path: str, runtime: str, threads: str, width: str, height: str) -> Any:
    """A function of the number of runs that gives a `Turn`."""
    forget_peak()
    before = process_peak()
    network = open_network(path, runtime, int(threads))
    image = np.random.default_rng(0).random((1, 3, int(height), int(width)), dtype=np.float32)

    def turn(runs: int) -> Turn:
        network(image)
        seconds = []
        for _ in range(runs):
            start = time.perf_counter()
            network(image)
            seconds.append(time.perf_counter() - start)
        return Turn(seconds, None if before is None else process_peak() - before)

    return turn


def _answer(arguments: List[str]) -> None:
    # Whatever a runtime prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    turn = None
    for line in sys.stdin:
        answer: Dict[str, Any]
        try:
            turn = turn or _open(*arguments)
            answer = turn(int(line))._asdict()
        except (QuantNASError, MemoryError, RuntimeError) as error:
            answer = {"error": (str(error).splitlines() or [type(error).__name__])[-1]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    _answer(sys.argv[1:])
