"""The runtimes' packages: nothing is sent to their makers, and one that is too old or broken is one line."""

import ast
import builtins
import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Dict, Iterator, List

import numpy as np
import pytest
from project import write_image

pytest.importorskip("onnx")

from onnx import TensorProto, helper  # noqa: E402

from quantnas_sr import cli  # noqa: E402
from quantnas_sr.deploy import packages  # noqa: E402
from quantnas_sr.deploy.onnx.onnx_format import sealed  # noqa: E402
from quantnas_sr.deploy.packages import RUNTIMES, import_runtime, installed_runtimes, usable_runtimes  # noqa: E402
from quantnas_sr.deploy.runtimes import open_network  # noqa: E402
from quantnas_sr.errors import MissingExtraError  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """A file of an export that changes nothing."""
    sides = ["n", 3, "h", "w"]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, sides) for name in ("lq", "sr")]
    graph = helper.make_graph([helper.make_node("Relu", ["lq"], ["sr"])], "graph", ends[:1], ends[1:])
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)])
    helper.set_model_props(model, {"quantnas_sr.scale": "1", "quantnas_sr.halo": "0"})
    (tmp_path / "net.onnx").write_bytes(sealed(model.SerializeToString()))
    return tmp_path / "net.onnx"


# --- nothing is sent


#: Writes down every connection that a process, or a fork of it, tries to open, and refuses it.
WATCH = """
import os, socket

def refused(name):
    def connect(*arguments, **options):
        with open(os.environ["WATCHED"], "a") as log:
            print(name, *(a for a in arguments if isinstance(a, (str, tuple))), file=log)
        raise OSError("no network here")
    return connect

socket.getaddrinfo = refused("getaddrinfo")
socket.socket.connect = socket.socket.connect_ex = refused("connect")
"""

RUN = """
import sys, numpy as np
from quantnas_sr.deploy.runtimes import open_network
for runtime in sys.argv[2:]:
    open_network(sys.argv[1], runtime)(np.zeros((1, 3, 4, 4), np.float32))
import socket
try:
    socket.create_connection(("the.end", 80))
except OSError:
    pass
"""


def watched(folder: Path, *command: str) -> List[str]:
    """The connections that a Python command tries to open; its home is ``folder / "home"``."""
    (folder / "site").mkdir()
    (folder / "home").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(WATCH)
    environment = {key: value for key, value in os.environ.items() if key not in ("CI", "TF_BUILD", "JENKINS_URL")}
    home = dict.fromkeys(("HOME", "USERPROFILE", "LOCALAPPDATA"), str(folder / "home"))
    paths = {"PYTHONPATH": os.pathsep.join([str(folder / "site"), str(ROOT)]), "WATCHED": str(folder / "log")}
    subprocess.run([sys.executable, *command], env={**environment, **home, **paths}, check=True, timeout=300)
    return (folder / "log").read_text().splitlines()


def test_no_connection_is_tried_and_nothing_is_written_at_home(network, tmp_path):
    said = watched(tmp_path, "-c", RUN, str(network), *installed_runtimes())
    assert said == ["getaddrinfo the.end"], "the one of the test itself, which shows that it looks"
    assert not [path for path in (tmp_path / "home").rglob("*") if "intel" in str(path).lower()]


UPSCALED = """
import sys
from quantnas_sr import cli
code = cli.main(["upscale", *sys.argv[1:]])
print(code, *(name for name in ("torch", "torchvision", "basicsr", "scipy", "onnx", "av") if name in sys.modules))
"""


@pytest.mark.parametrize("runtime", installed_runtimes())
def test_an_exported_network_upscales_without_torch(runtime, network, tmp_path):
    write_image(tmp_path / "a.png", 9, 11)
    command = [sys.executable, "-c", UPSCALED, str(network), "a.png", "b.png", "--runtime", runtime]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    streams = {"stdout": subprocess.PIPE, "text": True, "timeout": 300, "check": True}
    printed = subprocess.run(command, env=environment, cwd=tmp_path, **streams).stdout
    assert printed.splitlines() == ["wrote b.png", "0"] and (tmp_path / "b.png").is_file()


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


def test_runtimes_are_imported_in_one_place_alone():
    sources = [path for part in ("quantnas_sr", "benchmarks", "examples") for path in (ROOT / part).rglob("*.py")]
    assert len(sources) > 100
    importers = [path.name for path in sources if set(imported(ast.parse(path.read_text("utf-8")))) & set(RUNTIMES)]
    assert not importers


def test_telemetry_of_others_is_left_alone(monkeypatch):
    theirs = ModuleType("openvino_telemetry")
    monkeypatch.setitem(sys.modules, "openvino_telemetry", theirs)
    import_runtime(installed_runtimes()[0], "the test")
    assert sys.modules["openvino_telemetry"] is theirs


# --- too old, broken, absent


def of_version(name: str, version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a runtime claim another version."""
    monkeypatch.setattr(importlib.import_module(name), "__version__", version)


needs_onnxruntime = pytest.mark.skipif("onnxruntime" not in installed_runtimes(), reason="needs ONNX Runtime")


@needs_onnxruntime
@pytest.mark.parametrize("version", ["1.19.2", "1.20.1", "0.9", "1.3.0"])
def test_onnx_runtime_without_the_operators_of_our_files_is_one_line(version, network, monkeypatch):
    of_version("onnxruntime", version, monkeypatch)
    with pytest.raises(MissingExtraError) as error:
        open_network(network, "onnxruntime")
    said = str(error.value)
    assert said.startswith(f"{network}: an .onnx needs onnxruntime 1.21 or newer") and "\n" not in said
    assert f"installed is {version}" in said and "pip install 'quantnas_sr[export]'" in said


@needs_onnxruntime
@pytest.mark.parametrize("version", ["1.21.0", "1.21", "1.100.0.dev3", "2.0.0+cpu"])
def test_newer_ones_are_taken(version, network, monkeypatch):
    of_version("onnxruntime", version, monkeypatch)
    x = np.ones((1, 3, 2, 2), np.float32)
    np.testing.assert_array_equal(open_network(network, "onnxruntime")(x), x)


@pytest.mark.skipif(len(installed_runtimes()) < 2, reason="needs both runtimes")
def test_one_that_is_too_old_is_left_out_and_named_where_another_can_be_used(monkeypatch):
    of_version("onnxruntime", "1.19.2", monkeypatch)
    names, problems = usable_runtimes("the check")
    assert names == ["openvino"]
    (line,) = problems
    assert line.startswith("the check needs onnxruntime 1.21 or newer")


@needs_onnxruntime
@pytest.mark.parametrize(
    "command",
    [
        ("export", "{folder}/net.pth", "{folder}/new.onnx"),
        ("upscale", "{folder}/net.onnx", "{folder}/x.png", "{folder}/out.png"),
        ("benchmark", "{folder}/net.pth", "--output", "{folder}/out"),
        ("benchmark", "{folder}/net.pth", "--runtimes", "onnxruntime", "--output", "{folder}/out"),
    ],
    ids=lambda command: " ".join(command[::3]),
)
def test_commands_say_it_before_anything_is_written(command, network, monkeypatch, capfd):
    import cv2

    cv2.imwrite(str(network.parent / "x.png"), np.zeros((4, 4, 3), np.uint8))
    of_version("onnxruntime", "1.20.1", monkeypatch)
    monkeypatch.setattr(packages, "installed_runtimes", lambda: ["onnxruntime"])
    before = sorted(network.parent.iterdir())
    assert cli.main([word.format(folder=network.parent) for word in command]) == 1
    # torch's log may say that there is no CUDA, on the first import of a part of it
    said = "".join(line for line in capfd.readouterr().err.splitlines(keepends=True) if "cpp_extension" not in line)
    assert said.count("\n") == 1 and "needs onnxruntime 1.21 or newer" in said and "installed is 1.20.1" in said
    assert sorted(network.parent.iterdir()) == before


@pytest.mark.parametrize("runtime", installed_runtimes())
def test_a_runtime_that_cannot_be_imported_is_one_line(runtime, network, monkeypatch):
    real = builtins.__import__

    def broken(name: str, *arguments: Any, **options: Dict[str, Any]) -> ModuleType:
        if name.partition(".")[0] == runtime:
            raise ImportError("DLL load failed")
        return real(name, *arguments, **options)

    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(MissingExtraError, match=rf"{runtime}, which cannot be imported \(DLL load failed\)"):
        open_network(network, runtime)


@pytest.mark.parametrize("runtime", [*RUNTIMES, "auto"])
def test_a_runtime_that_is_absent_is_named_with_its_extra(runtime, network, monkeypatch):
    for name in RUNTIMES:
        monkeypatch.setitem(sys.modules, name, None)
    needed = "onnxruntime" if runtime == "auto" else runtime
    with pytest.raises(MissingExtraError, match=rf"an .onnx needs {needed}: pip install 'quantnas_sr\[export\]'"):
        open_network(network, runtime)
