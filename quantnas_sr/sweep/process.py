"""One command in a process group of its own, with a log file."""

import os
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any, Callable, Dict, Mapping, Sequence

from quantnas_sr.errors import QuantNASError
from quantnas_sr.system.processes import Outcome

GUARD = Path(__file__).with_name("guard.py")
POLL_SECONDS = 0.2
#: Seconds that a command has to end by itself after SIGTERM, before SIGKILL.
GRACE_SECONDS = 15


class Interrupted(QuantNASError):
    """The command was stopped before its end."""


def run_logged(
    command: Sequence[str], log: Path, environment: Mapping[str, str], stop: Event, tick: Callable[[float], None]
) -> Outcome:
    """Run a command and append what it prints to ``log``.

    Args:
        command: what to run, in the working directory.
        log: the file; its folder exists.
        environment: variables of the command; one that this process has already keeps its value.
        stop: ends the command and its children when it is set.
        tick: called with the seconds since the last call, several times a second.

    Raises:
        Interrupted: ``stop`` was set.
    """
    with open(log, "ab") as stream:
        stream.write(f"$ {shlex.join(command)}\n".encode())
        stream.flush()
        start = stream.tell()
        streams = {"stdin": subprocess.PIPE, "stdout": stream, "stderr": subprocess.STDOUT}
        guarded = [sys.executable, "-I", str(GUARD), *command]
        variables = {"PYTHONUTF8": "1", **environment, **os.environ}
        with subprocess.Popen(guarded, env=variables, **new_group(), **streams) as process:
            _wait(process, stop, tick)
    with open(log, "rb") as stream:
        stream.seek(start)
        return Outcome(process.returncode, stream.read().decode(errors="replace"))


def new_group() -> Dict[str, Any]:
    """The arguments of `subprocess.Popen` for a process group that Ctrl-C in the terminal does not reach."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def _wait(process: subprocess.Popen, stop: Event, tick: Callable[[float], None]) -> None:
    last = time.monotonic()
    try:
        while process.poll() is None:
            if stop.wait(POLL_SECONDS):
                raise Interrupted("interrupted")
            now = time.monotonic()
            tick(now - last)
            last = now
    finally:
        if process.poll() is None:
            _end(process)


def _end(process: subprocess.Popen) -> None:
    """End the command and all that it has started, the workers of a data loader too."""
    if not hasattr(os, "killpg"):  # Windows, where the guard ends everything when its input closes
        process.stdin.close()
        process.wait()
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(process.pid, number)
            process.wait(GRACE_SECONDS)
