"""Times a network in a process of its own, so that its threads and its peak memory are not shared with anything else.

The process reads lines from its standard input, each with a number of runs, and answers each with a line of JSON.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Callable, ContextManager, Dict, Iterator, List, NamedTuple, Optional, Sequence, TextIO, Tuple

import numpy as np

from quantnas_sr.deploy.memory import forget_peak, process_peak
from quantnas_sr.deploy.packages import ALL_RUNTIMES
from quantnas_sr.deploy.runtimes import open_network
from quantnas_sr.errors import DataError
from quantnas_sr.images.units import converted
from quantnas_sr.system.processes import Outcome, reason_of
from quantnas_sr.values.arguments import check_word, parse_positive


class Turn(NamedTuple):
    """The measurements of one turn of a `timed_process`.

    Attributes:
        seconds: of each run.
        peak: peak memory of runtime and network so far, in bytes: that of the process less what it had before it opened
            them; None where the system does not say.
    """

    seconds: List[float]
    peak: Optional[int]


@contextmanager
def timed_process(path: Path, runtime: str, threads: int, size: Tuple[int, int]) -> Iterator[Callable[[int], Turn]]:
    """Start a process with one network in one runtime; it ends with the ``with`` block.

    Args:
        path: an ``.onnx`` or ``.tflite`` of ``quantnas export``.
        runtime: one of `packages.RUNTIMES_OF` of its suffix.
        threads: CPU threads.
        size: width and height of the image.

    Yields:
        A function of the number of runs: the network runs once to warm up, and then so many times. It raises a
        `DataError` if the runtime cannot run the network, or the process has ended.

    Raises:
        OptionError: there is no such runtime, or a number is not positive.
    """
    check_word(runtime, ALL_RUNTIMES, "runtime", "")
    for number, what in ((threads, "threads"), (size[0], "width"), (size[1], "height")):
        parse_positive(number, what)
    command = [sys.executable, "-m", __name__, *map(str, (path, runtime, threads, *size))]
    with tempfile.TemporaryFile(mode="w+", errors="replace") as log:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)

        def turn(runs: int) -> Turn:
            found = _ask(process, runs) or {"error": _end_of(process, log)}
            if "error" in found:
                raise DataError(f"{path} in {runtime} at {size[0]}x{size[1]}: {found['error']}")
            return Turn(**found)

        try:
            yield turn
        finally:
            process.kill()
            process.communicate()


def taking_turns(
    paths: Sequence[Path],
    runtime: str,
    threads: int,
    size: Tuple[int, int],
    turns: Sequence[int],
    around: Callable[[Path], ContextManager[None]] = nullcontext,
) -> List[Turn]:
    """Time networks alternately: a machine that slows down slows all of them. Every second round is in reverse order.

    Args:
        paths, runtime, threads, size: as of `timed_process`, whose errors are raised.
        turns: number of runs of each network in each round.
        around: makes a context for the turn of a network, from its path.

    Returns:
        For each network the seconds of all its turns, and the peak memory of the last one.
    """
    seconds: List[List[float]] = [[] for _ in paths]
    peaks: List[Optional[int]] = [None for _ in paths]
    with ExitStack() as stack:
        processes = [stack.enter_context(timed_process(path, runtime, threads, size)) for path in paths]
        for number, runs in enumerate(turns):
            order = range(len(paths))
            for i in order if number % 2 == 0 else reversed(order):
                with around(paths[i]):
                    turn = processes[i](runs)
                seconds[i] += turn.seconds
                peaks[i] = turn.peak
    return [Turn(*measured) for measured in zip(seconds, peaks)]


def _ask(process: subprocess.Popen, runs: int) -> Dict[str, Any]:
    """The answer of the process; empty if it has ended."""
    try:
        process.stdin.write(f"{runs}\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline() or "{}")
    except OSError:
        return {}


def _end_of(process: subprocess.Popen, log: TextIO) -> str:
    """Why a process has ended."""
    code = process.wait()
    log.seek(0)
    return reason_of(Outcome(code if code >= 0 else 128 - code, log.read()))


def _open(path: str, runtime: str, threads: str, width: str, height: str) -> Callable[[int], Turn]:
    """Open the network; returns a function that takes the number of runs and gives a `Turn`."""
    forget_peak()
    before = process_peak()
    network = open_network(path, runtime, int(threads))
    numbers = np.random.default_rng(0).random((1, 3, int(height), int(width)), dtype=np.float32)
    image = converted(numbers, network.pixels)

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
        except Exception as error:  # runtimes raise whatever a file leads them to
            answer = {"error": (str(error).splitlines() or [type(error).__name__])[-1]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    _answer(sys.argv[1:])
