"""Checkpoints and outputs that a network cannot be exported from or to: one clear line, and never half a file."""

import os
import pickle
import re
from pathlib import Path
from typing import Any, Callable, Dict

import cv2
import numpy as np
import pytest
import torch
from upscaling import derived

from quantnas_sr import cli
from quantnas_sr.archs.quantized_arch import QuantizedArch
from quantnas_sr.deploy.runtimes import open_network
from quantnas_sr.search_space import Supernet

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

from export_equality import settled  # noqa: E402

State = Dict[str, Any]


@pytest.fixture(scope="module")
def state() -> State:
    """Of a network of the basic space with ADQ, 8 bits."""
    torch.manual_seed(0)
    return settled(derived(bits=8, norm="adq")).state_dict()


@pytest.fixture
def weights(tmp_path, state) -> Path:
    torch.save({"params": state}, tmp_path / "net.pth")
    return tmp_path / "net.pth"


def run(*arguments: object) -> int:
    return cli.main([*map(str, arguments)])


def only_line(capfd) -> str:
    out, err = capfd.readouterr()
    assert not out and err.count("\n") == 1, out + err
    return err.strip()


def files_under(folder: Path) -> list:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


class Harm:
    def __reduce__(self):
        return os.system, ("touch harm",)


def bytes_of(text: str) -> torch.Tensor:
    return torch.tensor(list(text.encode()), dtype=torch.uint8)


def changed(key: str, change: Callable[[torch.Tensor], Any]) -> Callable[[State], Any]:
    """A checkpoint in which one entry, or what begins like it, is another."""

    def make(state: State) -> Any:
        name = next(name for name in state if key in name)
        return {"params": {**state, name: change(state[name].clone())}}

    return make


def without(key: str) -> Callable[[State], Any]:
    return lambda state: {"params": {name: value for name, value in state.items() if key not in name}}


def of_a_search(state: State) -> Any:
    return {"params": Supernet("basic", num_feat=12, num_block=1, scale=2, bits=[4, 8]).state_dict()}


def of_an_arch(description: str) -> Callable[[State], Any]:
    state = QuantizedArch({"type": "ESPCN"}).state_dict()
    return lambda _: {"params": {**state, "_extra_state": bytes_of(description)}}


#: By name: what is saved, made of the state dict of a good network, and what the line says.
CHECKPOINTS = {
    "of a network in full precision": (lambda s: {"params": torch.nn.Conv2d(3, 3, 3).state_dict()}, "no genotype"),
    "of a search": (of_a_search, "no genotype"),
    "a state dict with nothing around it": (lambda s: s, "no genotype under 'params'"),
    "a list": (lambda s: [1, 2], "no genotype"),
    "a tensor": (lambda s: torch.zeros(3), "no genotype"),
    "nothing": (lambda s: {"params": None}, "no genotype"),
    "code": (lambda s: {"params": s, "more": Harm()}, r"not a checkpoint \(UnpicklingError\)"),
    "NaN": (changed("head.0.0.weight", lambda t: t * np.nan), r"head\.0\.0\.weight is not finite"),
    "infinite weights": (changed("head.0.0.weight", lambda t: t / 0), "is not finite: the training diverged"),
    "a step of NaN": (changed("weight_quantizer.step", lambda t: t * np.nan), "step_exponent is not finite"),
    "statistics of NaN": (changed("running_mean", lambda t: t * np.nan), "running_mean is not finite"),
    "a variance below 0": (changed("running_var", lambda t: -1 - t), "not finite"),
    "weights of another size": (changed("head.0.0.weight", lambda t: t[:1]), "do not fit its genotype: size mismatch"),
    "words for weights": (changed("head.0.0.weight", lambda t: "x"), "weight' is not a tensor but 'str'"),
    "weights that are missing": (without("head.0.0.weight"), "do not fit its genotype: Missing key"),
    "a broken genotype": (changed("_extra_state", lambda t: t[:20]), "genotype that it carries cannot be read"),
    "a genotype of numbers": (changed("_extra_state", lambda t: torch.zeros(5)), "genotype that it carries cannot be"),
    "a genotype of the future": (
        changed("_extra_state", lambda t: bytes_of(bytes(t.tolist()).decode().replace('rsion": 1', 'rsion": 99'))),
        "genotype version 99, this package reads version 1",
    ),
    "an arch that nobody knows": (of_an_arch('{"quantized_arch": {"arch": {"type": "Ours"}}}'), "'Ours'"),
    "an arch with an option of the future": (of_an_arch('{"quantized_arch": {"arch": {}, "groups": 1}}'), "'groups'"),
    "activations without steps": (lambda s: {"params": QuantizedArch({"type": "ESPCN"}).state_dict()}, "no quantiz"),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_checkpoint_that_is_no_good_is_one_line(name, state, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    make, line = CHECKPOINTS[name]
    torch.save(make(state), "net.pth")
    cv2.imwrite("x.png", np.zeros((4, 4, 3), np.uint8))
    for command in (("export", "net.pth", "new/net.onnx"), ("upscale", "net.pth", "x.png", "new/out.png")):
        assert run(*command) == 1
        assert re.search(line, only_line(capfd))
    assert [file for file in files_under(tmp_path) if file != "new"] == ["net.pth", "x.png"]


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4000])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def missing(path: Path) -> None:
    path.unlink()


def an_old_pickle_of_code(path: Path) -> None:
    path.write_bytes(pickle.dumps(Harm()))


def an_onnx(path: Path) -> None:
    path.write_bytes(b"\x08\x0a\x12\x0bquantnas_sr")


def an_options_file(path: Path) -> None:
    path.write_text("name: train_basic_x4\n")


@pytest.mark.parametrize(
    "spoil, line",
    [
        (truncated, "net.pth: "),
        (empty, "not a checkpoint"),
        (a_folder, "cannot be read (Is a directory)"),
        (missing, "cannot be read (No such file"),
        (an_old_pickle_of_code, "not a checkpoint"),
        (an_onnx, "not a checkpoint"),
        (an_options_file, "not a checkpoint"),
    ],
)
def test_what_is_no_checkpoint_is_one_line(spoil, line, weights, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    spoil(weights)
    before = files_under(tmp_path)
    assert run("export", weights, "net.onnx") == 1
    assert line in only_line(capfd)
    assert files_under(tmp_path) == before


@pytest.mark.parametrize(
    "output, line",
    [
        ("net", "does not end in .onnx"),
        ("", "does not end in .onnx"),
        (".", "does not end in .onnx"),
        ("net.pth", "does not end in .onnx"),
        ("folder.onnx", "is a folder"),
        ("net.pth/net.onnx", "cannot be written"),
        (f"{'a' * 300}.onnx", "cannot be written (File name too long)"),
    ],
    ids=lambda text: text[:12],
)
def test_an_output_that_cannot_be_is_one_line(output, line, weights, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    Path("folder.onnx").mkdir()
    before = files_under(tmp_path)
    assert run("export", weights, output) == 1
    assert line in only_line(capfd)
    assert files_under(tmp_path) == before


def test_a_disk_that_takes_no_more_keeps_the_old_file(weights, tmp_path, capfd):
    resource = pytest.importorskip("resource")
    (tmp_path / "net.onnx").write_text("the old file")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        assert run("export", weights, tmp_path / "net.onnx") == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "net.onnx: cannot be written (File too large)" in only_line(capfd)
    assert files_under(tmp_path) == ["net.onnx", "net.pth"] and (tmp_path / "net.onnx").read_text() == "the old file"


@pytest.mark.parametrize(
    "make, line",
    [
        (lambda folder: None, "no image there"),
        (Path.touch, "no image there"),
        (lambda folder: (folder / "a.png").mkdir(parents=True), "no image there"),
        (lambda folder: folder.mkdir() or (folder / "a.jpg").touch(), "a.jpg: the file is empty"),
        (lambda folder: folder.mkdir() or (folder / "a.psd").touch(), "no image there. Allowed: a folder of .png"),
    ],
    ids=["missing", "a file", "a folder in it", "an empty image", "another format"],
)
@pytest.mark.parametrize("option", ["--calibration", "--images"])
def test_images_that_cannot_be_used_are_one_line(make, line, option, weights, tmp_path, capfd):
    make(tmp_path / "images")
    before = files_under(tmp_path)
    static = ["--adq", "static"] if option == "--calibration" else []
    assert run("export", weights, tmp_path / "net.onnx", option, tmp_path / "images", *static) == 1
    assert line in only_line(capfd)
    assert files_under(tmp_path) == before


def test_one_black_pixel_calibrates_and_a_folder_is_made_for_the_file(weights, tmp_path, capfd):
    """Smaller than any halo, and of no deviation at all; 4 bits are asked for where no layer has them."""
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.png"), np.zeros((1, 1, 3), np.uint8))
    output = tmp_path / "a folder" / "netz ü 網.onnx"
    options = ("--adq", "static", "--calibration", tmp_path / "images", "--weights-format", "int4")
    assert run("export", weights, output, *options) == 0, capfd.readouterr().err
    assert open_network(output)(np.zeros((1, 3, 1, 1), np.float32)).shape == (1, 3, 2, 2)
