"""A damaged ONNX file may end the process that opens it: that one is another one. Whole files pay nothing for it."""

import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Dict, List

import numpy as np
import pytest
from upscaling import write_onnx

from quantnas_sr.deploy import trial
from quantnas_sr.deploy.onnx.onnx_format import is_sealed, sealed
from quantnas_sr.deploy.packages import installed_runtimes
from quantnas_sr.deploy.runtimes import open_network
from quantnas_sr.errors import DataError

pytest.importorskip("onnx")
BROKEN = f"import os; os.kill(os.getpid(), {int(signal.SIGSEGV)})"


@pytest.fixture
def tried(monkeypatch) -> list:
    """The files that another process is started for; it is not started."""
    paths = []

    def run(command: List[str], **_: object) -> SimpleNamespace:
        paths.append(command[4])
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(trial.subprocess, "run", run)
    return paths


def with_metadata(path: Path, changed: Dict[str, str]) -> Path:
    """A whole file with other metadata."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load(str(write_onnx(path)))
    said = {entry.key: entry.value for entry in model.metadata_props if "digest" not in entry.key}
    said.update({f"quantnas_sr.{key}": value for key, value in changed.items()})
    onnx.helper.set_model_props(model, said)
    path.write_bytes(sealed(model.SerializeToString()))
    return path


def test_a_whole_file_is_opened_at_once(tmp_path, tried):
    path = write_onnx(tmp_path / "net.onnx")
    assert open_network(path).scale == 2 and not tried


def test_a_file_that_is_not_as_it_was_written_is_tried_first(tmp_path, tried):
    path = write_onnx(tmp_path / "net.onnx")
    path.write_bytes(path.read_bytes().replace(b"network", b"netwark"))
    assert open_network(path).scale == 2 and tried == [str(path)]


def test_a_file_without_a_digest_works(tmp_path):
    path = write_onnx(tmp_path / "net.onnx")
    path.write_bytes(path.read_bytes()[:-88])
    assert not is_sealed(path.read_bytes())
    assert open_network(path)(np.zeros((1, 3, 4, 4), np.float32)).shape == (1, 3, 8, 8)


def test_a_digest_is_metadata_like_others(tmp_path):
    import onnx

    path = write_onnx(tmp_path / "net.onnx")
    entry = onnx.load(str(path)).metadata_props[-1]
    assert entry.key == "quantnas_sr.digest" and path.read_bytes().endswith(entry.value.encode())
    assert len(sealed(b"")) == 88


@pytest.mark.skipif(os.name == "nt", reason="has no such signals")
def test_a_crash_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "_PROGRAM", BROKEN)
    path = write_onnx(tmp_path / "net.onnx")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"net.onnx: (OpenVINO|ONNX Runtime) crashes on it \(ended by SIGSEGV\)"):
        open_network(path)


def test_what_does_not_end_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "_PROGRAM", "import time; time.sleep(60)")
    monkeypatch.setattr(trial, "_LONGEST", 0.1)
    path = write_onnx(tmp_path / "net.onnx")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="does not finish reading it"):
        open_network(path)


@pytest.mark.parametrize("runtime", installed_runtimes())
@pytest.mark.parametrize(
    "changed",
    [
        *({"scale": text} for text in ("-1", "0", "65", "2.0", " 2", "1_0", "9" * 5000, "\u0664", "")),
        *({"halo": text} for text in ("-1", "wide", "65537")),
        *({"multiple": text} for text in ("0", "-4", "4097")),
    ],
    ids=str,
)
def test_metadata_have_bounds(tmp_path, runtime, changed):
    path = with_metadata(tmp_path / "net.onnx", changed)
    with pytest.raises(DataError, match="net.onnx: was not written by quantnas export"):
        open_network(path, runtime)


@pytest.mark.parametrize("runtime", installed_runtimes())
def test_metadata_that_are_no_text(tmp_path, runtime):
    path = write_onnx(tmp_path / "net.onnx", command="12345678")
    model = path.read_bytes()[:-88].replace(b"12345678", b"\xff\xfe123456")
    path.write_bytes(sealed(model))
    try:
        assert open_network(path, runtime).scale == 2
    except DataError as error:
        assert "\n" not in str(error) and "net.onnx: " in str(error)
