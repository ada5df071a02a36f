"""A search or a training in BasicSR's pipeline, which goes on where it was stopped, in any of several processes."""

import json
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, Dict, Iterator, Optional

import yaml

from quantnas_sr.errors import OptionError
from quantnas_sr.search_space import Genotype
from quantnas_sr.sweep.job import SAVE_SECONDS
from quantnas_sr.sweep.plan import first_changed_option
from quantnas_sr.sweep.process import run_logged
from quantnas_sr.system.files import written_aside
from quantnas_sr.system.locks import held
from quantnas_sr.system.processes import reason_of
from quantnas_sr.values.plain_yaml import read_yaml

TRAIN = Path(__file__).resolve().parents[2] / "quantnas_sr" / "train.py"


@dataclass(frozen=True)
class Run:
    """One run, in ``experiments/<name>`` of the working directory.

    Attributes:
        folder: for its options file, its log, and what is known of it.
        after: what must have ended before it can begin.
    """

    folder: Path
    options: Dict[str, Any]
    after: Optional["Run"] = None

    @property
    def name(self) -> str:
        """Of the run, and of all its files."""
        return str(self.options["name"])

    @property
    def network(self) -> Path:
        """The checkpoint that it ends with."""
        return self._file("models/net_g_latest.pth")

    @property
    def genotype(self) -> Path:
        """What a search ends with."""
        return self._file(Genotype.file_name)

    def _file(self, name: str) -> Path:
        return Path("experiments") / self.name / name

    @property
    def is_done(self) -> bool:
        """Whether it has ended."""
        return self.network.is_file()

    @property
    def facts(self) -> Dict[str, Any]:
        """What is known of it: seconds, and what was measured."""
        path = self.folder / f"{self.name}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def add_facts(self, **facts: Any) -> None:
        """Keep facts, beside those that there are."""
        with written_aside(self.folder / f"{self.name}.json") as aside:
            aside.write_text(json.dumps({**self.facts, **facts}), encoding="utf-8")

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Within the block, whether no other process has this run."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with held(self.folder / f".{self.name}.lock") as mine:
            yield mine

    def check(self) -> None:
        """Compare the options with those that the run has begun with.

        Raises:
            OptionError: an option is another one; the line names it.
        """
        path = self.folder / f"{self.name}.yml"
        difference = first_changed_option(read_yaml(path), self.options) if path.is_file() else ""
        if difference:
            raise OptionError(
                f"{path}: this run has begun with other options: {difference}. "
                "Change them back, or give another --output"
            )

    def carry_out(self, threads: int, stop: Event) -> Optional[str]:
        """Run it, or go on with it; returns why it failed, or None.

        Raises:
            Interrupted: ``stop`` was set.
        """
        path = self.folder / f"{self.name}.yml"
        with written_aside(path) as aside:
            aside.write_text(yaml.safe_dump(self.options, sort_keys=False), encoding="utf-8")
        seconds = saved = self.facts.get("seconds", 0.0)

        def tick(passed: float) -> None:
            nonlocal seconds, saved
            seconds += passed
            if seconds - saved > SAVE_SECONDS:
                saved = seconds
                self.add_facts(seconds=seconds)

        command = [sys.executable, str(TRAIN), "-opt", str(path), "--auto_resume"]
        try:
            outcome = run_logged(command, path.with_suffix(".log"), {"OMP_NUM_THREADS": str(threads)}, stop, tick)
        finally:
            self.add_facts(seconds=seconds)
        return reason_of(outcome) if outcome.code else None
