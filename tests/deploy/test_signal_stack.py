"""OpenVINO leaves the alternate signal stack of the thread as it was; a signal would end the process otherwise."""

import pytest
from project import run_python
from upscaling import write_onnx

pytest.importorskip("openvino")
pytest.importorskip("onnx")

SCRIPT = """
import signal, sys
from pathlib import Path
import numpy as np
from quantnas_sr.deploy.opening import open_session
from quantnas_sr.system.signal_stack import signal_stack

before = signal_stack()
session = open_session("openvino", Path(sys.argv[1]), 1)
session(np.zeros((1, 3, 8, 8), np.float32))
assert signal_stack() == before, (before, signal_stack())
del session
caught = []
signal.signal(signal.SIGUSR1, lambda *_: caught.append(1))
signal.raise_signal(signal.SIGUSR1)
print("caught", len(caught))
"""


def test_a_signal_after_openvino_was_used_does_not_end_the_process(tmp_path):
    path = write_onnx(tmp_path / "net.onnx")
    assert run_python("-c", SCRIPT, str(path), folder=tmp_path).endswith("caught 1\n")
