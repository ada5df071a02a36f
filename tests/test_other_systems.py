"""Windows and macOS, as far as this system can pretend to be one of them."""

import ast
import importlib.util
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path
from threading import Event, Timer

import pytest
from modules import every_module, tree_of

from quantnas_sr.cost import measure
from quantnas_sr.errors import QuantNASError
from quantnas_sr.sweep import run_sweep
from quantnas_sr.sweep.job import SweepJob
from quantnas_sr.sweep.process import GUARD, Interrupted, new_group, run_logged
from quantnas_sr.system.cpus import available_cpus
from quantnas_sr.system.processes import Outcome, reason_of


def nothing_of(seconds: float) -> None:
    """In place of a clock."""


@every_module
def test_modules_that_only_posix_has_are_imported_where_their_absence_is_dealt_with(path):
    tree = tree_of(path)
    guarded = {node for outer in ast.walk(tree) if isinstance(outer, ast.Try) for node in ast.walk(outer)}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)) and node not in guarded:
            names = [alias.name for alias in node.names] + [getattr(node, "module", None)]
            assert not {"fcntl", "grp", "pwd", "resource", "termios"} & set(names), f"{path}:{node.lineno}"


@every_module
def test_text_is_read_and_written_as_utf_8_whatever_the_locale(path):
    for node in ast.walk(tree_of(path)):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        literals = [leaf.value for leaf in ast.walk(node) if isinstance(leaf, ast.Constant)]
        text = name in ("read_text", "write_text") or (
            isinstance(node.func, ast.Name) and name == "open" and not any("b" in str(word) for word in literals)
        )
        assert not text or "encoding" in {keyword.arg for keyword in node.keywords}, f"{path}:{node.lineno}"


def test_a_sweep_runs_where_no_terminal_hangs_up(monkeypatch):
    monkeypatch.delattr(signal, "SIGHUP")
    before = signal.getsignal(signal.SIGTERM)
    run_sweep([], at_once=1, retries=0)
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("fcntl", [True, False])
def test_a_job_is_run_by_one_process_with_and_without_fcntl(fcntl, tmp_path, monkeypatch):
    if not fcntl:
        monkeypatch.setitem(sys.modules, "fcntl", None)
    refused = pytest.raises(QuantNASError, match="another process is running this job")
    with SweepJob(tmp_path).locked(), refused, SweepJob(tmp_path).locked():
        pass
    with SweepJob(tmp_path).locked():
        pass


def test_a_lock_ends_with_the_process_that_holds_it(tmp_path):
    code = (
        "import os, signal, sys; from quantnas_sr.sweep.job import SweepJob; from pathlib import Path\n"
        "with SweepJob(Path(sys.argv[1])).locked(): os._exit(9)"
    )
    if not hasattr(os, "fork"):
        assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 9
    elif (child := os.fork()) == 0:
        with SweepJob(tmp_path).locked():
            os._exit(9)
    else:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    with SweepJob(tmp_path).locked():
        pass


def test_without_process_groups_stopping_a_command_ends_its_children_too(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "killpg")
    stop, mark = Event(), tmp_path / "alive"
    code = f"import time, pathlib\nwhile True: pathlib.Path({str(mark)!r}).touch(); time.sleep(.02)"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}])"

    def stop_when_alive(seconds: float) -> None:
        if mark.exists():
            stop.set()

    Timer(30, stop.set).start()
    with pytest.raises(Interrupted):
        run_logged([sys.executable, "-c", child], tmp_path / "log", {}, stop, stop_when_alive)
    mark.unlink()
    Event().wait(0.3)
    assert not mark.exists()


def test_windows_gets_the_words_that_it_has_for_a_process_group(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 512, raising=False)
    assert new_group() == {"creationflags": 512}


def test_without_process_groups_the_guard_ends_its_whole_tree(monkeypatch):
    spec = importlib.util.spec_from_file_location("guard", GUARD)
    guard = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(guard)
    called = []
    monkeypatch.delattr(os, "killpg")
    monkeypatch.delattr(signal, "SIGKILL")
    monkeypatch.setattr(subprocess, "run", lambda command, **_: called.append(command))
    monkeypatch.setattr(os, "_exit", called.append)
    guard.end_everything()
    assert called == [["taskkill", "/F", "/T", "/PID", str(os.getpid())], 1]


@pytest.mark.parametrize("code", [1, 129 + 70, 255, 3221225477])
def test_an_exit_code_that_is_no_signal_here_is_told_by_the_last_line(code):
    assert reason_of(Outcome(code, "first\nlast\n")) == "last"
    assert reason_of(Outcome(code, "")) == f"exit code {code}"


def test_the_cpus_are_counted_without_an_affinity_mask(monkeypatch):
    monkeypatch.delattr(os, "process_cpu_count", raising=False)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert available_cpus() == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert available_cpus() == 1


@pytest.mark.parametrize("system, name", [("darwin", "Apple M4"), ("win32", "Intel64 Family 6"), ("linux", "aarch64")])
def test_the_processor_has_a_name_on_every_system(system, name, monkeypatch):
    def absent(*args: object, **kwargs: object) -> str:
        raise FileNotFoundError

    answer = subprocess.CompletedProcess([], 0, stdout=f"{name}\n")
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(Path, "read_text", absent)
    monkeypatch.setattr(subprocess, "run", (lambda *_, **__: answer) if system == "darwin" else absent)
    monkeypatch.setattr(platform, "processor", lambda: name if system == "win32" else "")
    monkeypatch.setattr(platform, "machine", lambda: name)
    assert measure._processor() == name
