"""Times training iterations of many configurations in one run, in turn, each in a process of its own.

A machine's speed drifts, so every round measures each configuration once, and the calibrating convolution between them;
medians over the rounds are compared. Its own process gives each configuration its own peak memory.
"""

import importlib
import multiprocessing
import resource
import statistics
import time
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

import torch
from torch import nn
from tqdm import tqdm

THREADS = 2


class Case(NamedTuple):
    """A configuration: ``module.function(**options)`` returns the function that computes one iteration."""

    name: str
    maker: Tuple[str, str]
    options: Dict[str, Any]


class Result(NamedTuple):
    """Seconds of an iteration in every round; peak memory of the process in GB, and what it was before the first."""

    case: Case
    seconds: List[float]
    peak: float
    before: float

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def _serve(case: Case, pipe: Any) -> None:
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    before = _peak()
    step: Callable[[], None] = getattr(importlib.import_module(case.maker[0]), case.maker[1])(**case.options)
    while pipe.recv() == "step":
        start = time.perf_counter()
        step()
        pipe.send(time.perf_counter() - start)
    pipe.send((_peak(), before))


def calibrating_convolution() -> Callable[[], None]:
    """Forward and backward, 48 -> 48 channels, 5x5, batch 8, 24x24, float32, channels-last: the unit c."""
    conv = nn.Conv2d(48, 48, 5, padding=2, bias=False).to(memory_format=torch.channels_last)
    x, gradient = (torch.randn(8, 48, 24, 24).contiguous(memory_format=torch.channels_last) for _ in range(2))
    x.requires_grad_()

    def step() -> None:
        x.grad = conv.weight.grad = None
        conv(x).backward(gradient)

    return step


def measure(cases: List[Case], rounds: int, warmup: int = 2) -> Tuple[List[Result], float]:
    """Results of the cases, and c in seconds.

    In every turn a process computes one iteration for its caches and one that counts.
    """
    context = multiprocessing.get_context("spawn")
    cases = [Case("c", (__name__, "calibrating_convolution"), {}), *cases]
    pipes, processes = [], []
    for case in cases:
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(case, theirs), daemon=True)
        process.start()
        pipes.append(ours)
        processes.append(process)
    seconds: List[List[float]] = [[] for _ in cases]
    for round_ in tqdm(range(warmup + rounds), desc="rounds"):
        for i, pipe in enumerate(pipes):
            turns = []
            for _ in range(20 if i == 0 else 2):
                pipe.send("step")
                turns.append(pipe.recv())
            if round_ >= warmup:
                seconds[i].append(statistics.median(turns[5:]) if i == 0 else turns[-1])
    results = []
    for case, pipe, process, times in zip(cases, pipes, processes, seconds):
        pipe.send("stop")
        peak, before = pipe.recv()
        process.join()
        results.append(Result(case, times, peak, before))
    return results[1:], results[0].median


def table(results: List[Result], c: float) -> str:
    """In Markdown."""
    lines = ["| | seconds (min to max) | c | peak memory |", "|---|---|---|---|"]
    for r in results:
        spread = f"{min(r.seconds):.3f} to {max(r.seconds):.3f}"
        lines.append(f"| {r.case.name} | {r.median:.3f} ({spread}) | {r.median / c:.1f} | {r.peak:.2f} GB |")
    rounds = len(results[0].seconds)
    lines.append(
        f"\nmedians of {rounds} rounds; c = {1e3 * c:.2f} ms, {THREADS} threads; memory of the whole process, "
    )
    lines[-1] += f"of which {results[0].before:.2f} GB after the imports"
    return "\n".join(lines)
