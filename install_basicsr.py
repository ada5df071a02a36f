"""Installs BasicSR with pip, in any shell: ``python install_basicsr.py``, or ``... install_basicsr.py basicsr==1.3.5``.

BasicSR is built without isolation, for an isolated build would download a second torch. What its setup.py imports comes
first. On Python 3.13 and later its setup.py fails by itself: it reads its version through exec() and locals(), which do
not share names any more (PEP 667). Therefore exec() writes into its caller again while pip runs.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Dict, List

NEEDED_BY_ITS_SETUP = ["numpy", "cython", "setuptools>=64", "wheel"]

#: Python imports a module of this name when it starts.
SITECUSTOMIZE = """
import builtins, sys

run = exec

def exec_in_caller(code, *scope, **named):
    caller = sys._getframe(1)
    return run(code, *scope, **named) if scope or named else run(code, caller.f_globals, caller.f_locals)

builtins.exec = exec_in_caller
"""


def environment(folder: Path) -> Dict[str, str]:
    """The environment of a Python whose exec() writes into its caller; ``folder`` is to be there as long as it runs."""
    (folder / "sitecustomize.py").write_text(SITECUSTOMIZE, encoding="utf-8")
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def main(arguments: List[str]) -> None:
    """Install the requirement that is given, by default the newest BasicSR."""
    pip = [sys.executable, "-m", "pip", "install"]
    subprocess.run([*pip, *NEEDED_BY_ITS_SETUP], check=True)
    with tempfile.TemporaryDirectory() as folder:
        command = [*pip, "--no-build-isolation", *(arguments or ["basicsr"])]
        subprocess.run(command, check=True, env=environment(Path(folder)))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except subprocess.CalledProcessError as error:  # pip has said what is wrong
        sys.exit(error.returncode)
