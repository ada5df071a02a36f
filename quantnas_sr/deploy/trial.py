"""An exported file that may be damaged is tried in a process of its own first: some end the process (SIGSEGV)."""

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np

from quantnas_sr.errors import DataError, QuantNASError
from quantnas_sr.system.processes import Outcome, reason_of

#: Seconds after which a process that opens a file is given up.
_LONGEST = 120
#: Height and width of the image that is tried.
_SIDE = 16
#: The process looks for modules where this one does, and not in its working directory.
_PROGRAM = "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from quantnas_sr.deploy import trial; trial.main()"
#: Runtimes as their makers write them.
_NAMES = {"openvino": "OpenVINO", "onnxruntime": "ONNX Runtime"}
#: Exit codes from here on are crashes on Windows.
_CRASH = 0xC0000000


def try_in_another_process(path: Path, runtime: str) -> None:
    """Open an exported file and run it on a small image, in another process.

    Whatever is wrong with a file that does not end the process, its reader will say.

    Args:
        path: the file.
        runtime: one of `packages.ALL_RUNTIMES`.

    Raises:
        DataError: the process crashed, or did not end.
    """
    if not sys.executable or getattr(sys, "frozen", False):  # there is no Python to start
        return
    name = _NAMES.get(runtime, "LiteRT")
    command = [sys.executable, "-c", _PROGRAM, json.dumps([*sys.path]), str(path), runtime]
    nothing = subprocess.DEVNULL
    try:
        code = subprocess.run(command, stdin=nothing, stdout=nothing, stderr=nothing, timeout=_LONGEST).returncode
    except subprocess.TimeoutExpired:
        raise DataError(f"{path}: {name} does not finish reading it; was it damaged?") from None
    if code < 0 or code >= _CRASH:
        raise DataError(f"{path}: {name} crashes on it ({reason_of(Outcome(128 - code, ''))}); was it damaged?")


def main() -> None:
    """The other process."""
    from quantnas_sr.deploy.exported_network import ExportedNetwork
    from quantnas_sr.deploy.opening import open_session

    path, runtime = Path(sys.argv[2]), sys.argv[3]
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash that is expected leaves no file
    except (ImportError, OSError, ValueError):
        pass
    with suppress(QuantNASError):
        ExportedNetwork(path, open_session(runtime, path, 1))(np.zeros((1, 3, _SIDE, _SIDE), np.float32))
