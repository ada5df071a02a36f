"""Runs seeded cases of one kind of file, and counts how they end: accepted, refused in one line, or a failure.

A forked process runs some hundred cases, so that a case is cheap. One that crashes, hangs or takes too much memory is a
failure with its number, and another process goes on with the next case.
"""

import argparse
import contextlib
import io
import json
import os
import re
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Protocol, Sequence

from quantnas_sr.errors import QuantNASError

#: Bytes of address space that a case may add.
BYTES = 3 << 30
#: Characters of the longest line that a user is shown.
LONGEST_LINE = 1500
ACCEPTED, ONE_LINE = "accepted", "one line"


class Limits(NamedTuple):
    """What a case may take.

    Attributes:
        seconds: on a busy machine.
        megabytes: by which the memory of the process may grow; None where its address space is limited alone.
        batch: cases of a process.
    """

    seconds: int = 60
    megabytes: Optional[int] = None
    batch: int = 500


#: Of files that describe something: reading them is quick and small.
OF_TEXT = Limits(seconds=10, megabytes=1000, batch=250)


class Kind(Protocol):
    """Files of one kind. One that has ``protected`` reads a case in another process when it has ended its own."""

    name: str
    limits: Limits

    def prepare(self, folder: Path) -> None:
        """Write what the cases are mutations of, and keep the folder."""

    def case(self, rng: Random) -> Callable[[], Any]:
        """Write a mutated file; what is returned reads it as a user's command would, and raises what that raises."""


class Case(NamedTuple):
    """A case and how it ended."""

    number: int
    outcome: str


class TooSlow(BaseException):
    """A case has taken longer than it may."""


def random_of(kind: Kind, seed: int, number: int) -> Random:
    """What a case is made by."""
    return Random(f"{kind.name} {seed} {number}")


def outcome_of(kind: Kind, seed: int, number: int) -> str:
    """How one case ends in this process: `ACCEPTED`, `ONE_LINE`, or what is wrong."""
    before = _peak()
    outcome = _ended(lambda: kind.case(random_of(kind, seed, number))(), kind.limits.seconds)
    grown = _peak() - before
    too_much = kind.limits.megabytes is not None and grown > kind.limits.megabytes
    return f"took {grown:.0f} MB, then: {outcome[:200]}" if too_much else outcome


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _ended(read: Callable[[], Any], seconds: float) -> str:
    try:
        with _limited(seconds), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            read()
        return ACCEPTED
    except QuantNASError as error:
        return _of_line(str(error))
    except TooSlow:
        return f"took more than {seconds} s"
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        place = next((f"{f.filename}:{f.lineno}" for f in reversed(frames) if "quantnas_sr" in f.filename), "")
        return f"{type(error).__name__}: {str(error)[:200]!r} at {place}"


def _of_line(line: str) -> str:
    if len(line.splitlines()) != 1 or "\0" in line:
        return f"not one line: {line[:200]!r}"
    return ONE_LINE if len(line) <= LONGEST_LINE else f"a line of {len(line)} characters: {line[:100]!r}"


@contextlib.contextmanager
def _limited(seconds: float) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def counts_of(cases: Sequence[Case]) -> "Counter[str]":
    """How many cases were accepted, refused in one line, or ``failed``."""
    return Counter(case.outcome if case.outcome in (ACCEPTED, ONE_LINE) else "failed" for case in cases)


def _in_words(cases: Sequence[Case]) -> str:
    counts = counts_of(cases)
    return ", ".join(f"{counts[word]} {word}" for word in (ACCEPTED, ONE_LINE, "failed"))


def run(kind: Kind, seed: int, count: int) -> List[Case]:
    """Run the cases 0 to ``count - 1`` in forked processes."""
    cases: List[Case] = []
    while len(cases) < count:
        cases += _in_a_process(kind, seed, len(cases), min(len(cases) + kind.limits.batch, count))
        print(f"{kind.name}: {len(cases)} of {count}: {_in_words(cases)}", file=sys.stderr, flush=True)
    return cases


def _in_a_process(kind: Kind, seed: int, start: int, stop: int) -> List[Case]:
    """Run cases up to the end, or to the one that ends the process."""
    readable, writable = os.pipe()
    child = os.fork()
    if not child:
        os.close(readable)
        _be_the_process(kind, seed, range(start, stop), writable)
    os.close(writable)
    cases: List[Case] = []
    with os.fdopen(readable, "rb", buffering=0) as results:
        waiting = b""
        while len(cases) < stop - start:
            there, _, _ = select.select([results], [], [], 2 * kind.limits.seconds)
            data = results.read(1 << 16) if there else b""
            if not data:
                os.kill(child, signal.SIGKILL)
                problem = None if there else f"took more than {kind.limits.seconds} s"
                break
            *lines, waiting = (waiting + data).split(b"\n")
            cases += [Case(*json.loads(line)) for line in lines]
    status = os.waitpid(child, 0)[1]
    if len(cases) < stop - start:
        number = start + len(cases)
        cases.append(Case(number, problem or _crashed(kind, seed, number, os.waitstatus_to_exitcode(status))))
    return cases


def _crashed(kind: Kind, seed: int, number: int, code: int) -> str:
    """The outcome of a case that has ended its process: what the protected reader of its kind says, if there is one."""
    protected = getattr(kind, "protected", None)
    if protected is not None:
        kind.case(random_of(kind, seed, number))
        return _ended(protected, kind.limits.seconds)
    return f"ended the process: {code}"


def _be_the_process(kind: Kind, seed: int, numbers: range, results: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limit = _address_space() + BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    for number in numbers:
        os.write(results, json.dumps([number, outcome_of(kind, seed, number)]).encode() + b"\n")
    os._exit(0)


def _address_space() -> int:
    text = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(re.search(r"VmSize:\s*(\d+) kB", text)[1])


def main(kind: Kind, arguments: Optional[Sequence[str]] = None) -> None:
    """The command line of a kind; exits with 1 if a case failed."""
    parser = argparse.ArgumentParser(description=f"Damages {kind.name}, reads them and counts how that ends.")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, metavar="N", help="run case N alone, with its traceback")
    args = parser.parse_args(arguments)
    if "torch" in sys.modules:  # whose threads a forked process would wait for
        sys.modules["torch"].set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        kind.prepare(Path(folder))
        if args.only is not None:
            print(kind.case(random_of(kind, args.seed, args.only))())
            return
        start = time.monotonic()
        cases = run(kind, args.seed, args.count)
        failed = _report(kind, cases, args.seed, time.monotonic() - start)
    sys.exit(bool(failed))


def _report(kind: Kind, cases: List[Case], seed: int, seconds: float) -> Dict[str, List[int]]:
    failed: Dict[str, List[int]] = {}
    for case in cases:
        if case.outcome not in (ACCEPTED, ONE_LINE):
            failed.setdefault(case.outcome, []).append(case.number)
    print(f"{kind.name}: {len(cases)} cases with seed {seed} in {seconds:.0f} s: {_in_words(cases)}")
    for outcome, numbers in sorted(failed.items(), key=lambda item: -len(item[1])):
        print(f"  {len(numbers)} times, --seed {seed} --only {numbers[0]}: {outcome}")
    return failed
