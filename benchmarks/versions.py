"""Installs the package beside the oldest and the newest of what it builds on, and runs tests in each environment.

    python benchmarks/versions.py [--only NAME ...] [--tests PATH ...] [--master SOURCE] [--out FOLDER]
    python benchmarks/versions.py --lock

Environments: the oldest torch and BasicSR that setup.py admits; the newest ones in every Python from 3.9 to 3.13 that
is found as ``python3.N``; the master of BasicSR. Each is made anew with what README says (an hour and 7 GB each, where
torch brings CUDA), and removed when its tests have ended; ``FOLDER/NAME.txt`` keeps the versions and what was printed.
The table says what passed. Exit code 1 if anything failed, 0 otherwise.

``--lock`` writes ``requirements.lock``: the versions in the environment of ``make test``, which runs this script then.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = tuple(f"python3.{minor}" for minor in range(9, 14))
MASTER = "basicsr @ git+https://github.com/XPixelGroup/BasicSR"
#: What touches most of torch and of BasicSR: all patches, a search, a training, a test, exports, images.
TESTS = ["tests/compat", "tests/training/test_pipeline.py", "tests/export/test_export.py", "tests/upscaling"]


class Environment(NamedTuple):
    """A Python and what is installed into it, as requirements of pip."""

    python: str
    torch: Sequence[str]
    basicsr: str


def environments(master: str) -> Dict[str, Environment]:
    """All of them, by name."""
    newest = ("torch>=2.4", "torchvision>=0.19")
    return {
        "oldest": Environment(PYTHONS[0], ("torch==2.4.0", "torchvision==0.19.0"), "basicsr==1.3.4.9"),
        **{f"newest-{python[6:]}": Environment(python, newest, "basicsr") for python in PYTHONS},
        "master": Environment(PYTHONS[2], newest, master),
    }


def frozen(python: Path) -> List[str]:
    """The versions of what is installed beside ``python``, as requirements of pip."""
    command = [str(python), "-m", "pip", "list", "--format", "freeze", "--exclude-editable"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return sorted(line for line in lines if not line.startswith("pip=="))


def install(folder: Path, wanted: Environment) -> Path:
    """Make the environment; returns its Python.

    Raises:
        CalledProcessError: a package cannot be installed.
    """
    subprocess.run([wanted.python, "-m", "venv", str(folder)], check=True)
    python = folder / "bin/python"
    pip = [str(python), "-m", "pip", "install"]
    subprocess.run([*pip, *wanted.torch], check=True)
    subprocess.run([str(python), str(ROOT / "install_basicsr.py"), wanted.basicsr], check=True)
    subprocess.run([*pip, "--no-build-isolation", "-e", f"{ROOT}[test]"], check=True)
    return python


def _is_there(python: str) -> bool:
    """Whether it runs; pyenv has commands that do not."""
    return shutil.which(python) is not None and subprocess.run([python, "-c", ""], check=False).returncode == 0


def tried(name: str, wanted: Environment, tests: Sequence[str], out: Path) -> str:
    """Make an environment and run the tests in it; returns a row of the table."""
    row = f"| {name} | {wanted.python} | "
    if not _is_there(wanted.python):
        return f"{row} | | not found |"
    with tempfile.TemporaryDirectory(prefix="versions_") as folder:
        try:
            python = install(Path(folder), wanted)
        except subprocess.CalledProcessError as error:
            return f"{row} | | cannot be installed: {' '.join(error.cmd[3:])} |"
        versions = frozen(python)
        command = [str(python), "-m", "pytest", "-q", "-n", "2", "--dist", "worksteal", *tests]
        ended = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    (out / f"{name}.txt").write_text("\n".join([*versions, "", ended.stdout]), encoding="utf-8")
    installed = dict(re.findall(r"^(torch|basicsr)==(\S+)$", "\n".join(versions), re.MULTILINE))
    last = ended.stdout.strip().splitlines()[-1].strip("= ")
    return f"{row}{installed.get('torch')} | {installed.get('basicsr')} | {last} |"


def main() -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these environments alone")
    parser.add_argument("--tests", nargs="+", metavar="PATH", default=TESTS, help="'tests' for all of them")
    parser.add_argument("--master", default=MASTER, metavar="SOURCE", help="what pip installs as BasicSR's master")
    parser.add_argument("--out", type=Path, default=Path("versions"), help="a folder for what was printed")
    parser.add_argument("--lock", action="store_true", help="write requirements.lock, and do nothing else")
    args = parser.parse_args()
    if args.lock:
        python = Path(sys.executable)
        header = f"# What a release was tested with, Python {sys.version_info.major}.{sys.version_info.minor}"
        (ROOT / "requirements.lock").write_text("\n".join([header, *frozen(python), ""]), encoding="utf-8")
        return 0
    known = environments(args.master)
    wrong = [name for name in args.only or () if name not in known]
    if wrong:
        parser.error(f"unknown environment {wrong[0]!r}. Allowed: {', '.join(known)}")
    args.out.mkdir(parents=True, exist_ok=True)
    rows = [tried(name, known[name], args.tests, args.out) for name in args.only or known]
    print("| environment | Python | torch | BasicSR | tests |\n|---|---|---|---|---|", *rows, sep="\n")
    return int(any(" passed" not in row or re.search(r"\d (failed|error)", row) for row in rows))


if __name__ == "__main__":
    sys.exit(main())
