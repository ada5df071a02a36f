"""One job of a sweep: its folder, its state, its three stages."""

import json
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, Dict, Iterator, Optional

from quantnas_sr.errors import OptionError, QuantNASError
from quantnas_sr.sweep.process import run_logged
from quantnas_sr.sweep.state import STAGES, Metrics, State, metrics_of, read_state, write_state
from quantnas_sr.system.locks import held
from quantnas_sr.system.processes import reason_of
from quantnas_sr.values.kinds import MAPPING
from quantnas_sr.values.plain_yaml import PlainYamlError, read_yaml

PACKAGE = Path(__file__).resolve().parents[1]
#: Seconds between two saves of the time that a stage has taken: so much may be missing after a SIGKILL.
SAVE_SECONDS = 5.0


@dataclass(frozen=True)
class SweepJob:
    """A folder with ``search.yml``, ``train.yml``, ``test.yml``, their logs and ``state.json``."""

    folder: Path

    @property
    def name(self) -> str:
        """Such as ``p0.0001_s0``."""
        return self.folder.name

    def options_file(self, stage: str) -> Path:
        """The options that a stage runs with."""
        return self.folder / f"{stage}.yml"

    def options(self, stage: str) -> Dict[str, Any]:
        """The options of a stage as plain data.

        Raises:
            OptionError: the file is missing, or not a mapping in YAML.
        """
        path = self.options_file(stage)
        try:
            return MAPPING.checked(read_yaml(path), str(path))
        except (OSError, PlainYamlError):
            raise OptionError(f"{path}: the options of this job cannot be read") from None

    def load(self) -> State:
        """The saved state, or a new one if the job has not begun.

        Raises:
            OptionError: the state file is not that of a job.
        """
        path = self.folder / "state.json"
        return read_state(path) if path.is_file() else State()

    def save(self, state: State) -> None:
        """Write the state, in one step."""
        write_state(self.folder / "state.json", state)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Within the block no other process can run this job.

        Raises:
            QuantNASError: another process is running it.
        """
        with held(self.folder / ".lock") as mine:
            if not mine:
                raise QuantNASError(f"{self.folder}: another process is running this job")
            yield


def run_job(job: SweepJob, retries: int, threads: int, stop: Optional[Event] = None) -> None:
    """Run the stages that are not done yet. A job that fails ``retries`` times and once more is left out.

    Raises:
        Interrupted: ``stop`` was set; the next call continues from the saved state.
        QuantNASError: another process is running this job.
    """
    with job.locked():
        state = job.load()
        state.failed = None
        for stage in STAGES:
            while not state.stages[stage].done:
                reason = _attempt(job, state, stage, threads, stop or Event())
                if reason and not retries:
                    state.failed = [stage, reason]
                    job.save(state)
                    return
                retries -= bool(reason)


def _attempt(job: SweepJob, state: State, stage: str, threads: int, stop: Event) -> Optional[str]:
    """Run a stage; returns why it failed, or None."""
    mine = state.stages[stage]
    kind = "test" if stage == "test" else "train"
    command = [sys.executable, str(PACKAGE / f"{kind}.py"), "-opt", str(job.options_file(stage))]
    if kind == "train" and mine.started:
        command.append("--auto_resume")
    mine.started = True
    job.save(state)
    saved = mine.seconds

    def tick(seconds: float) -> None:
        nonlocal saved
        mine.seconds += seconds
        if mine.seconds - saved > SAVE_SECONDS:
            saved = mine.seconds
            job.save(state)

    environment = {"OMP_NUM_THREADS": str(threads)} if threads else {}
    try:
        outcome = run_logged(command, job.folder / f"{stage}.log", environment, stop, tick)
        reason = reason_of(outcome) if outcome.code else _finish(job, state, stage)
        mine.done = reason is None
    finally:
        job.save(state)
    return reason


def _finish(job: SweepJob, state: State, stage: str) -> Optional[str]:
    if stage != "test":
        return None
    path = Path("results") / job.options(stage)["name"] / "metrics.json"
    state.metrics = read_metrics(path)
    return None if state.metrics else f"the test wrote no metrics to {path}"


def read_metrics(path: Path) -> Metrics:
    """The metrics that a test run has written to its ``metrics.json``; empty where that file is not one of metrics."""
    if not path.is_file():
        return {}
    try:
        datasets = json.loads(path.read_text(encoding="utf-8"))["datasets"]
        return metrics_of({name: entry["metrics"] for name, entry in datasets.items()}, "metrics")
    except (OptionError, OSError, AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return {}
