"""Runs seeded cases of one kind and counts how they end: taken, refused in one line, or anything else, a failure.

A case has a time and a memory limit. Cases run in forked children of a few hundred, so that one that kills its process
is counted too, and the next ones go on.
"""

import argparse
import contextlib
import io
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Callable, Dict, Iterator, List, Protocol, Sequence

import torch

from quantnas_sr.errors import QuantNASError

SECONDS = 10
MEGABYTES = 1000
LONGEST_LINE = 1500
BATCH = 250


class Kind(Protocol):
    """Files of one kind."""

    name: str

    def prepare(self, folder: Path) -> None:
        """Write what the cases are mutations of."""

    def case(self, rng: Random) -> Callable[[], Any]:
        """Write a mutated file; what is returned reads it as a user's command would."""


@dataclass
class Outcomes:
    """How cases ended; ``failures``: their number and what happened."""

    counts: "Counter[str]" = field(default_factory=Counter)
    failures: Dict[int, str] = field(default_factory=dict)

    def add(self, number: int, outcome: str) -> None:
        """Count a case."""
        known = outcome in ("accepted", "one line")
        self.counts[outcome if known else "failure"] += 1
        if not known:
            self.failures[number] = outcome


class TooSlow(BaseException):
    """A case has taken longer than it may."""


def outcome_of(kind: Kind, seed: int, number: int, seconds: float = SECONDS) -> str:
    """How one case ends: ``accepted``, ``one line``, or what is wrong."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with _limited(seconds), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            read = kind.case(Random(f"{kind.name} {seed} {number}"))
            read()
        outcome = "accepted"
    except QuantNASError as error:
        outcome = _of_line(str(error))
    except TooSlow:
        outcome = f"took more than {seconds} s"
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        place = next((f"{f.filename}:{f.lineno}" for f in reversed(frames) if "quantnas_sr" in f.filename), "")
        outcome = f"{type(error).__name__}: {str(error)[:200]!r} at {place}"
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return f"took {grown:.0f} MB, then: {outcome[:200]}" if grown > MEGABYTES else outcome


def _of_line(line: str) -> str:
    if len(line.splitlines()) != 1 or "\0" in line:
        return f"not one line: {line[:200]!r}"
    return "one line" if len(line) <= LONGEST_LINE else f"a line of {len(line)} characters: {line[:100]!r}"


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


def run_here(kind: Kind, numbers: Sequence[int], seed: int, outcomes: Outcomes) -> None:
    """Run cases in this process."""
    for number in numbers:
        outcomes.add(number, outcome_of(kind, seed, number))


def run_in_children(kind: Kind, count: int, seed: int, notes: Path) -> Outcomes:
    """Run cases in forked processes; one that dies is counted as the failure of the case that it was at."""
    outcomes, number = Outcomes(), 0
    while number < count:
        numbers = range(number, min(number + BATCH, count))
        notes.write_text("")
        child = os.fork()
        if not child:
            _child(kind, numbers, seed, notes)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        ended = [json.loads(line) for line in notes.read_text().splitlines()]
        for done, outcome in enumerate(ended, number):
            outcomes.add(done, outcome)
        number += len(ended)
        if len(ended) < len(numbers):
            outcomes.add(number, f"the process died: {status}")
            number += 1
        print(f"{kind.name}: {number} of {count}: {dict(outcomes.counts)}", file=sys.stderr, flush=True)
    return outcomes


def _child(kind: Kind, numbers: Sequence[int], seed: int, notes: Path) -> None:
    with notes.open("w") as stream:
        for number in numbers:
            stream.write(json.dumps(outcome_of(kind, seed, number)) + "\n")
            stream.flush()
    os._exit(0)


def main(kind: Kind, arguments: Sequence[str] = ()) -> None:
    """The command line of a kind; exits with 1 where a case failed."""
    parser = argparse.ArgumentParser(description=f"Reads mutated {kind.name} and counts how that ends.")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, metavar="N", help="run the case N alone, with its traceback")
    args = parser.parse_args(arguments or None)
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp())
    try:
        kind.prepare(folder)
        if args.only is not None:
            print(kind.case(Random(f"{kind.name} {args.seed} {args.only}"))())
            return
        start = time.monotonic()
        outcomes = run_in_children(kind, args.count, args.seed, folder / "notes")
        _report(kind, outcomes, args.seed, time.monotonic() - start)
        sys.exit(bool(outcomes.failures))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _report(kind: Kind, outcomes: Outcomes, seed: int, seconds: float) -> None:
    counts = ", ".join(f"{number:,d} {outcome}" for outcome, number in sorted(outcomes.counts.items()))
    print(f"{kind.name}: {sum(outcomes.counts.values()):,d} cases with the seed {seed} in {seconds:.0f} s: {counts}")
    kinds: Dict[str, List[int]] = {}
    for number, outcome in outcomes.failures.items():
        kinds.setdefault(outcome, []).append(number)
    for outcome, numbers in sorted(kinds.items(), key=lambda entry: -len(entry[1])):
        print(f"  {len(numbers)} times, such as --seed {seed} --only {numbers[0]}: {outcome}")
