"""Runs the jobs of a sweep on this machine or a cluster, and shows their progress."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from threading import Event
from types import FrameType
from typing import Any, Iterator, List, Optional, Protocol, Sequence, Set, Tuple

from tqdm import tqdm

from quantnas_sr.cost import count
from quantnas_sr.errors import QuantNASError
from quantnas_sr.search_space import DerivedNetwork, Genotype
from quantnas_sr.sweep.job import SweepJob, run_job
from quantnas_sr.sweep.slurm import run_on_cluster
from quantnas_sr.sweep.state import STAGES
from quantnas_sr.system.cpus import available_cpus

POLL_SECONDS = 0.5


class Future(Protocol):
    """A job that was started: a future of `concurrent.futures` or of submitit."""

    def done(self) -> bool:
        """Whether it has ended."""

    def exception(self) -> Optional[BaseException]:
        """The exception that it ended with, if any."""


def run_sweep(
    jobs: Sequence[SweepJob], at_once: Optional[int], retries: int, slurm: Optional[Sequence[str]] = None
) -> None:
    """Run every stage of the jobs that is not done yet.

    Args:
        jobs: of `plan_jobs`.
        at_once: number of jobs at the same time; None: one on this machine, all of them on a cluster.
        retries: further attempts of a job that fails, before it is left out, see `collect`.
        slurm: ``key=value`` for Slurm; None runs on this machine.

    Raises:
        KeyboardInterrupt: Ctrl-C, or SIGTERM. What was started has been ended; the next call continues.
        QuantNASError: a job is being run by another process, or Slurm cannot be used.
    """
    with ExitStack() as stack:
        stack.enter_context(interrupted_by_signals())
        if slurm is None:
            futures = stack.enter_context(_run_here(jobs, at_once or 1, retries))
        else:
            futures = stack.enter_context(run_on_cluster(jobs, slurm, at_once, retries))
        _watch(jobs, futures)
    for job, future in zip(jobs, futures):
        error = future.exception()
        if error is not None:
            raise QuantNASError(f"{job.name}: {str(error).strip().splitlines()[-1]}") from error


@contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """Within the block, SIGTERM, and what a closed terminal sends, raise KeyboardInterrupt as Ctrl-C does.

    Windows has no SIGHUP but SIGBREAK.
    """

    def interrupt(number: int, frame: Optional[FrameType]) -> None:
        raise KeyboardInterrupt

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _run_here(jobs: Sequence[SweepJob], at_once: int, retries: int) -> Iterator[List[Future]]:
    stop = Event()
    threads = max(1, available_cpus() // at_once)
    with ThreadPoolExecutor(at_once) as pool:
        futures = [pool.submit(run_job, job, retries, threads, stop) for job in jobs]
        try:
            yield futures
        except BaseException:
            stop.set()
            for future in futures:
                future.cancel()
            raise


def _watch(jobs: Sequence[SweepJob], futures: Sequence[Future]) -> None:
    """A progress bar over all stages, and a line for each stage that ends, until every job has ended."""
    told: Set[Tuple[str, str]] = set()
    earlier = {(job.name, stage) for job in jobs for stage in STAGES if job.load().stages[stage].done}
    with tqdm(total=len(jobs) * len(STAGES), initial=len(earlier), unit="stage", smoothing=0) as bar:
        waiting = True
        while waiting:
            waiting = not all(future.done() for future in futures)
            for job, future in zip(jobs, futures):
                _tell(job, future, told, earlier, bar)
            if waiting:
                time.sleep(POLL_SECONDS)


def _tell(job: SweepJob, future: Future, told: Set[Tuple[str, str]], earlier: Set[Tuple[str, str]], bar: Any) -> None:
    state = job.load()
    for stage in STAGES:
        key = (job.name, stage)
        if state.stages[stage].done and key not in earlier | told:
            told.add(key)
            bar.write(f"{job.name}  {stage}  {state.stages[stage].seconds:.0f} s  {_result(job, stage)}".rstrip())
            bar.update()
    if state.failed and future.done() and (job.name, "failed") not in told:
        told.add((job.name, "failed"))
        bar.write(f"{job.name}  left out: {': '.join(state.failed)}")


def _result(job: SweepJob, stage: str) -> str:
    if stage == "search":
        genotype = Genotype.load(job.options("train")["network_g"]["genotype"])
        return f"{count(DerivedNetwork(genotype)).bitops / 1e9:.3f} GBitOps"
    if stage == "test":
        metrics = job.load().metrics
        return "; ".join(f"{name} " + ", ".join(f"{k} {v:.4g}" for k, v in of.items()) for name, of in metrics.items())
    return ""
