"""Files of LiteRT from strangers: tried in another process, refused in one line; and no torch is imported for them."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Callable, List

import numpy as np
import pytest
from project import ROOT, write_image

from quantnas_sr.deploy import runtimes, trial
from quantnas_sr.deploy.packages import LITERT_RUNTIMES
from quantnas_sr.deploy.runtimes import open_network
from quantnas_sr.errors import DataError, OptionError

pytest.importorskip("ai_edge_litert")

from quantnas_sr.deploy.litert.tflite_format import DIGEST_KEY, UNSEALED, is_sealed, sealed  # noqa: E402
from quantnas_sr.export.litert.flat_buffer import FlatBuffer  # noqa: E402


def write_tflite(path: Path, colours: int = 3, **changed: object) -> Path:
    """A file that makes pixels of every two rows, columns and colours: of 12 channels by default."""
    file = FlatBuffer("test")
    given = file.image("lq", 3, "UINT8", 1 / 255)
    wide = file.image("wide", 4 * colours, "UINT8", 1 / 255)
    file.operator("CONCATENATION", 1, [given] * 4, wide, "ConcatenationOptions", axis=3)
    made = file.image("sr", colours, "UINT8", 1 / 255)
    file.operator("DEPTH_TO_SPACE", 1, [wide], made, "DepthToSpaceOptions", blockSize=2)
    metadata = {"scale": "2", "halo": "1", "multiple": "1", **changed}
    said = {f"quantnas_sr.{key}": str(text) for key, text in metadata.items() if text is not None}
    path.write_bytes(sealed(file.finish(given, made, {**said, DIGEST_KEY: UNSEALED.decode()})))
    return path


@pytest.fixture
def tried(monkeypatch) -> List[str]:
    """The files that would be tried in another process."""
    paths: List[str] = []
    monkeypatch.setattr(runtimes, "try_in_another_process", lambda path, runtime: paths.append(str(path)))
    return paths


def test_a_whole_file_is_opened_at_once_and_a_changed_one_is_tried_first(tmp_path, tried):
    path = write_tflite(tmp_path / "net.tflite")
    assert is_sealed(path.read_bytes())
    network = open_network(path)
    assert (network.scale, network.halo, network.multiple, tried) == (2, 1, 1, [])
    path.write_bytes(path.read_bytes().replace(b"wide", b"wise"))
    assert open_network(path).scale == 2 and tried == [str(path)]


@pytest.mark.parametrize("runtime", LITERT_RUNTIMES)
def test_it_computes(runtime, tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (2, 3, 5, 7)) / np.float32(255)
    made = open_network(write_tflite(tmp_path / "net.tflite"), runtime, threads=2)(x.astype(np.float32))
    np.testing.assert_allclose(made, x.repeat(2, axis=2).repeat(2, axis=3), atol=1e-6)


@pytest.mark.parametrize(
    "changed",
    [{"scale": None}, {"scale": "0"}, {"scale": "2.0"}, {"halo": "wide"}, {"multiple": "-4"}, {"scale": "9" * 5000}],
    ids=lambda changed: " ".join(f"{key} {text}"[:20] for key, text in changed.items()),
)
def test_metadata_have_bounds(changed, tmp_path):
    path = write_tflite(tmp_path / "net.tflite", **changed)
    with pytest.raises(DataError, match="net.tflite: was not written by quantnas export"):
        open_network(path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"not a flat buffer",
        lambda content: content[: len(content) // 2],
        lambda content: b"\xff" * len(content),
        lambda content: content.replace(b"TFL3", b"TFL9"),
        lambda content: content.replace(b"quantnas_sr.scale", b"quantnas_sr.sca\xffe").replace(b"halo", b"hal\xff"),
    ],
    ids=["empty", "text", "half", "ones", "another version", "no text"],
)
def test_a_damaged_file_is_one_line(damage: Callable[[bytes], bytes], tmp_path, tried):
    path = write_tflite(tmp_path / "net.tflite")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError) as error:
        open_network(path)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value) and tried == [str(path)]


def test_a_file_is_really_tried_in_another_process(tmp_path, monkeypatch):
    path = write_tflite(tmp_path / "net.tflite")
    path.write_bytes(path.read_bytes() + b"\0")
    monkeypatch.setattr(trial, "_PROGRAM", "import os; os.kill(os.getpid(), 9)")
    with pytest.raises(DataError, match=r"net.tflite: LiteRT crashes on it"):
        open_network(path)


def test_runtimes_and_files_that_do_not_fit(tmp_path):
    path = write_tflite(tmp_path / "net.tflite")
    for runtime in ("torch", "openvino", "onnxruntime"):
        with pytest.raises(OptionError, match=f"{runtime} does not run a .tflite. Allowed: litert, litert_builtin"):
            open_network(path, runtime)
    (tmp_path / "net.onnx").write_bytes(b"")
    with pytest.raises(OptionError, match="litert does not run an .onnx. Allowed: openvino, onnxruntime"):
        open_network(tmp_path / "net.onnx", "litert")
    (tmp_path / "net.pb").write_bytes(b"")
    with pytest.raises(DataError, match="Allowed: an .onnx or a .tflite of `quantnas export`"):
        open_network(tmp_path / "net.pb")


UPSCALED = """
import sys
from quantnas_sr import cli
code = cli.main(["upscale", *sys.argv[1:]])
print(code, *(name for name in ("torch", "torchvision", "basicsr", "scipy", "onnx", "openvino") if name in sys.modules))
"""


def test_it_upscales_without_torch_and_without_a_word_of_the_runtime(tmp_path):
    write_image(tmp_path / "a.png", 9, 11)
    command = [sys.executable, "-c", UPSCALED, str(write_tflite(tmp_path / "net.tflite")), "a.png", "b.png"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert found.stdout.splitlines() == ["wrote b.png", "0"] and (tmp_path / "b.png").is_file()
    assert found.stderr == ""
