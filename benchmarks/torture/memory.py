"""Lets a search run for an hour and compares its memory at the end with that after five minutes.

    python benchmarks/torture/memory.py [--minutes 60] [--options search_plain_x4.yml] [--out FOLDER]

It validates, writes checkpoints and logs to TensorBoard all the while. Its memory is looked at once a second, without
what is mapped from files. Compared are the medians of the fifth and of the last minute. Its data loaders are forked
from it anew in every epoch; theirs is printed beside it. Then it is stopped by SIGTERM. Exit code 1 if it has grown by
more than 2 %, 0 otherwise. Linux only.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Iterator, List

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from project import Project  # noqa: E402

#: Grown by less, the memory of a run is said to have stayed as it was.
ALLOWED = 0.02
#: The minute that the last one is compared with: data loaders, optimizers and caches are there by then.
SETTLED = 5
#: What makes the shipped options a long run on small data.
LONG = {
    "name": "long",
    "train.total_iter": 10_000_000,
    "train.scheduler.periods": [10_000_000],
    "datasets.train.batch_size_per_gpu": 8,
    "datasets.train.num_worker_per_gpu": 2,
    "datasets.train.dataset_enlarge_ratio": 1000,  # data loaders stay, as they do with large data
    "logger.print_freq": 100,
    "logger.use_tb_logger": True,
    "logger.save_checkpoint_freq": 100,
    "logger.keep_checkpoints": 3,
    "val.val_freq": 100,
}


def _read(path: Path) -> str:
    """What a file of /proc holds; nothing if its process or thread has ended."""
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""


def family(process: int) -> Iterator[int]:
    """A process and all that descend from it."""
    yield process
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{process}/task"):
            for child in _read(Path(f"/proc/{process}/task/{thread}/children")).split():
                yield from family(int(child))


def memory_of(process: int) -> int:
    """Bytes of a process, shared with others or not, without what is mapped from files; swapped ones count, too."""
    lines = _read(Path(f"/proc/{process}/smaps_rollup")).splitlines()
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith(("Anonymous:", "Swap:")))


def watched(process: "subprocess.Popen[bytes]", minutes: int) -> List[float]:
    """The median of every minute, in bytes, of a process that is watched for so long."""
    medians: List[float] = []
    begin = time.monotonic()
    while len(medians) < minutes:
        seen: List[int] = []
        while not seen or time.monotonic() < begin + 60 * (len(medians) + 1):
            if process.poll() is not None:
                raise SystemExit(f"the search ended with exit code {process.returncode}")
            seen.append(memory_of(process.pid))
            time.sleep(1)
        medians.append(statistics.median(seen))
        started = [memory_of(child) / 2**20 for child in family(process.pid)][1:]
        print(f"| {len(medians)} | {medians[-1] / 2**20:.1f} | {', '.join(f'{m:.0f}' for m in started)} |", flush=True)
    return medians


def main() -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--options", default="search_plain_x4.yml", help="one of the files in options/")
    parser.add_argument("--out", type=Path, help="a folder for the project; a temporary one by default")
    args = parser.parse_args()
    if args.minutes <= SETTLED:
        parser.error(f"--minutes must be above {SETTLED}")
    with tempfile.TemporaryDirectory() as temporary:
        project = Project(args.out or Path(temporary))
        project.make_data()
        options = project.write("long.yml", project.options(args.options, LONG))
        command = [sys.executable, str(ROOT / "quantnas_sr/train.py"), "-opt", options]
        log = (project.folder / "long.log").open("wb")
        print("| minute | search, MiB | its data loaders, MiB |\n|---|---|---|")
        with (
            log,
            subprocess.Popen(
                command,
                cwd=project.folder,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            ) as process,
        ):
            try:
                medians = watched(process, args.minutes)
                process.send_signal(signal.SIGTERM)
                process.wait(300)
            finally:
                process.kill()
        (state,) = sorted((project.folder / "experiments/long/training_states").glob("*.state"), key=os.path.getmtime)[
            -1:
        ]
    settled, last = medians[SETTLED - 1] / 2**20, medians[-1] / 2**20
    grown = last / settled - 1
    print(
        f"minute {SETTLED}: {settled:.1f} MiB; minute {len(medians)}: {last:.1f} MiB: {grown:+.2%}; "
        f"{state.stem} iterations, exit code {process.returncode}"
    )
    return int(grown > ALLOWED)


if __name__ == "__main__":
    sys.exit(main())
