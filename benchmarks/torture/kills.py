"""Kills searches and trainings at random moments, resumes them, and compares the results with uninterrupted runs.

    python benchmarks/torture/kills.py [--kills 50] [--seed 0] [--out FOLDER]

Half of the kills wait for the moment at which a file is being written aside. Every killed run goes on with
``--auto_resume`` until it is killed again or ends; each of its results must have the digest of the uninterrupted one.
Then the disk fills, by a limit on the size of files, while a checkpoint is being written. Exit code 1 if any result
differs, 0 otherwise.
"""

import argparse
import random
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from project import Project, Started  # noqa: E402

import quantnas_sr  # noqa: E402, F401  (first, because it repairs BasicSR)
from quantnas_sr.pth import read_with_digest  # noqa: E402

SMALL = {"network_g.num_feat": 12, "network_g.num_block": 1, "logger.save_checkpoint_freq": 1, "val": None}
ITERATIONS = {"search": 6, "train": 12}
#: Runs a training whose files may grow to so many bytes from an iteration on: what a full disk does to it. What it
#: prints goes through a pipe, for the limit is on the file behind it, too.
FULL = """
import os, resource, subprocess, sys
printed = subprocess.Popen(["cat"], stdin=subprocess.PIPE).stdin.fileno()
os.dup2(printed, 1), os.dup2(printed, 2)
import quantnas_sr, basicsr.train
from quantnas_sr.models.experiment import ExperimentModel
step = ExperimentModel.optimize_parameters
def filled(self, current_iter):
    if current_iter == {iteration}:
        resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))
    step(self, current_iter)
ExperimentModel.optimize_parameters = filled
from quantnas_sr.cli import basicsr_main
sys.exit(basicsr_main(["train", *sys.argv[1:]]))
"""


class Struck(NamedTuple):
    """Where a kill struck: the run, its last whole state, and the file that was being written."""

    run: str
    seconds: float
    iteration: int
    writing: str


class Run:
    """A search or a training in a project, that can be started, killed and resumed."""

    def __init__(self, project: Project, kind: str) -> None:
        self.project, self.kind = project, kind
        self.folder = project.folder / "experiments" / kind
        total = ITERATIONS[kind]
        changes = {**SMALL, "name": kind, "train.total_iter": total, "train.scheduler.periods": [total]}
        if kind == "train":
            changes = {key: value for key, value in changes.items() if not key.startswith("network_g")}
            changes["network_g.genotype"] = "genotype.yml"
        else:
            changes["train.alpha_warmup"] = 0.2
        self.options = project.write(f"{kind}.yml", project.options(f"{kind}_basic_x4.yml", changes))

    def start(self, *arguments: str, script: str = str(ROOT / "quantnas_sr/train.py")) -> Started:
        """The run in a process of its own."""
        return Started(script, "-opt", self.options, *arguments, folder=self.project.folder)

    def result(self) -> List[Any]:
        """The digest of the last weights, and the genotype."""
        found: List[Any] = [read_with_digest(self.folder / "models/net_g_latest.pth")[1]]
        genotype = self.folder / "genotype.yml"
        return [*found, genotype.read_text(encoding="utf-8") if genotype.is_file() else None]

    def writing(self) -> str:
        """The file that is being written aside now; empty if there is none."""
        return next((path.name.rpartition(".")[0][1:] for path in self.folder.rglob(".*.????????")), "")

    def iteration(self) -> int:
        """That of the newest training state."""
        states = self.folder.glob("training_states/*.state")
        return max((int(path.stem) for path in states), default=0)

    def archive(self) -> None:
        """Start from nothing the next time."""
        shutil.rmtree(self.folder, ignore_errors=True)


def uninterrupted(run: Run) -> Tuple[List[Any], float]:
    """The result of a run, which two of them agree on, and the seconds that the second one took."""
    found = []
    for _ in range(2):
        run.archive()
        begin = time.monotonic()
        with run.start() as started:
            started.finished()
        seconds = time.monotonic() - begin
        found.append(run.result())
    assert found[0] == found[1], f"{run.kind}: two uninterrupted runs differ"
    return found[0], seconds


def killed(run: Run, started: Started, draw: random.Random, longest: float) -> Optional[Struck]:
    """Kill a run at a random moment, or while it writes; None where it has ended before."""
    begin = time.monotonic()
    moment, waits = begin + draw.uniform(0.1, 0.9) * longest, draw.random() < 0.5
    while started.process.is_alive():
        writing = run.writing()
        if time.monotonic() >= moment and (writing or not waits):
            started.process.kill()
            started.process.join()
            return Struck(run.kind, time.monotonic() - begin, run.iteration(), run.writing() or writing)
        time.sleep(0.001)
    return None


def tortured(run: Run, kills: int, draw: random.Random, expected: List[Any], longest: float) -> List[Any]:
    """Kill a run so many times, each time on its way to its end. Returns rows: where it struck, and the verdict."""
    rows: List[Any] = []
    pending: List[Struck] = []
    while len(rows) + len(pending) < kills or pending:
        resumes = ["--auto_resume"] if run.iteration() else []
        with run.start(*resumes) as started:
            enough = len(rows) + len(pending) >= kills
            struck = None if enough else killed(run, started, draw, longest)
            if struck is not None:
                pending.append(struck)
                print(*struck, flush=True)
                continue
            started.finished()
        leftovers = [str(path) for path in run.folder.rglob(".*.????????")]
        same = run.result() == expected
        verdict = "same" if same and not leftovers else f"DIFFERENT {leftovers}"
        print(f"{run.kind}: {len(pending)} kills on the way, {verdict}", flush=True)
        rows += [(struck, verdict) for struck in pending]
        pending = []
        run.archive()
    return rows


def full_disk(run: Run, expected: List[Any], size: int, iteration: int) -> str:
    """Let the disk fill up in an iteration, resume, and compare."""
    run.archive()
    script = run.project.folder / "full.py"
    script.write_text(FULL.format(size=size, iteration=iteration), encoding="utf-8")
    with run.start(script=str(script)) as started:
        started.process.join(300)
        time.sleep(1)  # for the other end of the pipe
        code, printed = started.process.exitcode, started.output.read_text(encoding="utf-8", errors="replace")
    line = next((line for line in printed.splitlines() if "cannot be written" in line), "no line")
    with run.start("--auto_resume") as started:
        started.finished()
    verdict = "same" if run.result() == expected and code == 1 else "DIFFERENT"
    return f"| {run.kind} | files of {size} bytes from iteration {iteration} | exit {code} | {line[:100]} | {verdict} |"


def table(rows: List[Any]) -> str:
    """In Markdown."""
    lines = ["| run | after s | newest state | writing | result |", "|---|---|---|---|---|"]
    for struck, verdict in rows:
        writing = re.sub(r"\d+", "N", struck.writing) or "-"
        lines.append(f"| {struck.run} | {struck.seconds:.2f} | {struck.iteration} | {writing} | {verdict} |")
    return "\n".join(lines)


def main() -> int:
    """Run it all; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a folder for the project; a temporary one by default")
    args = parser.parse_args()
    draw = random.Random(args.seed)
    folder = args.out or Path(tempfile.mkdtemp(prefix="kills_"))
    project = Project(folder)
    project.make_data()
    rows: List[Any] = []
    full: List[str] = []
    counts: Dict[str, int] = {"search": args.kills // 2, "train": args.kills - args.kills // 2}
    for kind, kills in counts.items():
        run = Run(project, kind)
        expected, longest = uninterrupted(run)
        if kind == "search":
            shutil.copyfile(run.folder / "genotype.yml", folder / "genotype.yml")
        run.archive()
        rows += tortured(run, kills, draw, expected, longest)
        full += [full_disk(run, expected, size, iteration) for size, iteration in ((20_000, 3), (2_000, 2))]
    print(table(rows), *full, sep="\n")
    same = sum(verdict == "same" for _, verdict in rows)
    print(
        f"{same} of {len(rows)} kills end as the uninterrupted run; {sum('| same |' in row for row in full)} of "
        f"{len(full)} full disks"
    )
    if args.out is None:
        shutil.rmtree(folder)
    return int(same < len(rows) or any("| same |" not in row for row in full))


if __name__ == "__main__":
    sys.exit(main())
