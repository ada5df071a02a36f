"""500 damaged files of each kind are read, or refused in one line. `benchmarks/torture` does the same at length."""

import re
from contextlib import suppress
from pathlib import Path

import pytest
from project import ROOT, run_python

from quantnas_sr.errors import DataError

COUNT = 500


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="counts its memory as Linux does")
@pytest.mark.parametrize(
    "script, needs",
    [("fuzz_images", "PIL"), ("fuzz_lmdb", "lmdb"), ("fuzz_onnx", "onnxruntime"), ("fuzz_litert", "ai_edge_litert")],
)
def test_damaged_files_are_read_or_refused_in_one_line(tmp_path, script, needs):
    pytest.importorskip(needs)
    printed = run_python(
        str(ROOT / f"benchmarks/torture/{script}.py"), "--count", str(COUNT), folder=tmp_path, ONE_IN_OPENVINO="50"
    )
    found = re.search(r"(\d+) accepted, (\d+) one line, 0 failed", printed)
    assert found, printed[-2000:]
    assert int(found[1]) + int(found[2]) == COUNT and min(int(found[1]), int(found[2])) > COUNT // 20


def test_a_file_that_crashes_openvino_is_one_line(tmp_path, monkeypatch):
    """OpenVINO 2026.4 ends with SIGSEGV on this one of 5,000; one that does not may accept it."""
    pytest.importorskip("openvino")
    pytest.importorskip("onnx")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks/torture"))
    from fuzz_onnx import Networks
    from fuzzing import random_of

    networks = Networks()
    networks.prepare(tmp_path)
    networks.case(random_of(networks, 3, 4476))
    networks.runtime = "openvino"
    with suppress(DataError):
        networks.protected()
