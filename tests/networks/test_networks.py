"""The networks of the package: their cards are true, and commands and functions find them."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from network_cards import measured

from quantnas_sr import cli, networks, upscale
from quantnas_sr.checkpoints import load_network
from quantnas_sr.cost import count
from quantnas_sr.deploy.runtimes import open_network
from quantnas_sr.errors import OptionError
from quantnas_sr.search_space import Genotype

ROOT = Path(__file__).resolve().parents[2]
every_network = pytest.mark.parametrize("name", networks.names())


@pytest.fixture
def photograph(tmp_path):
    image = cv2.resize(np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8), (24, 20))
    assert cv2.imwrite(str(tmp_path / "a.png"), image)
    return tmp_path / "a.png"


def size_of(path):
    return cv2.imread(str(path)).shape[:2]


@every_network
def test_the_card_says_what_the_exported_file_gives(name):
    pytest.importorskip("onnxruntime")
    (said, found) = networks.card(name).quality["photographs"], measured(name, None)["photographs"]
    assert found.psnr == pytest.approx(said.psnr, abs=0.005) and found.ssim == pytest.approx(said.ssim, abs=2e-4)
    assert found.bicubic_psnr == pytest.approx(said.bicubic_psnr, abs=0.005)
    for quality in networks.card(name).quality.values():
        assert quality.psnr > quality.bicubic_psnr and quality.ssim > quality.bicubic_ssim


@every_network
def test_checkpoint_genotype_and_exported_file_are_of_one_network(name):
    card, network = networks.card(name), load_network(networks.file_of(name, "network.pth"))
    genotype = Genotype.load(networks.file_of(name, "genotype.yml"))
    assert network.genotype.slots == genotype.slots and genotype.scale == card.scale
    assert count(network, (32, 32)).bitops / 1e9 == pytest.approx(card.gbitops, abs=5e-4)
    x = np.random.default_rng(0).random((1, 3, 12, 15), dtype=np.float32)
    pytest.importorskip("onnxruntime")
    exported = open_network(networks.file_of(name, "network.onnx"), "onnxruntime")
    difference = np.abs(exported(x) - open_network(networks.file_of(name, "network.pth"))(x))
    assert difference.max() < 1e-3


@every_network
def test_every_card_says_the_same_things(name):
    topics = {"cost", "search", "training", "data", "test sets", "known limits", "licence"}
    assert topics <= networks.card(name).facts.keys()
    assert {"Set5", "Set14", "photographs"} == networks.card(name).quality.keys()
    assert networks.card(name).name == name


def test_the_command_lists_them_and_shows_a_card(capsys):
    assert cli.main(["networks"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in networks.names()) and f"default: {networks.default()}" in listed
    assert cli.main(["networks", networks.names()[0]]) == 0
    shown = capsys.readouterr().out
    assert "Set14: PSNR-Y" in shown and "licence:" in shown and "network.onnx" in shown


def test_an_unknown_network_is_one_line(capsys):
    assert cli.main(["networks", "plain_x2"]) == 1
    line = capsys.readouterr().err
    assert line.startswith("quantnas: unknown network 'plain_x2', did you mean 'plain_x2_2.6'? Allowed: plain_x2_1.0, ")


def test_listing_imports_nothing_heavy():
    heavy = "[name for name in ('torch', 'cv2', 'basicsr', 'onnxruntime', 'openvino') if name in sys.modules]"
    code = f"import sys\nfrom quantnas_sr import cli\ncli.main(['networks'])\nprint({heavy})"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip().endswith("[]")


@pytest.mark.parametrize(
    "options, scale",
    [([], 2), (["--scale", "4"], 4), (["--network", "plain_x4_1.0"], 4), (["--scale", "2"], 2)],
    ids=str,
)
def test_a_photograph_needs_no_network(options, scale, photograph, tmp_path, capsys):
    assert cli.main(["upscale", str(photograph), str(tmp_path / "large.png"), *options]) == 0
    assert size_of(tmp_path / "large.png") == (20 * scale, 24 * scale)
    assert capsys.readouterr().out == f"wrote {tmp_path / 'large.png'}\n"


BAD = {
    "no network of this scale": (["a.png", "b.png", "--scale", "5"], "no network for 5. Allowed: 2, 3, 4"),
    "misspelt": (["a.png", "b.png", "--network", "plain_x2_26"], "did you mean 'plain_x2_2.6'?"),
    "of another scale": (["a.png", "b.png", "--network", "plain_x4_1.0", "--scale", "2"], "enlarges by 4"),
    "two networks": (["n.onnx", "a.png", "b.png", "--scale", "2"], "n.onnx: a network is given already; --scale 2"),
    "no output": (["a.png"], "a.png: an input and an output must follow"),
    "no input": (["n.onnx", "a.png"], "a.png: an output must follow"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_chosen_is_one_line(case, photograph, monkeypatch, capsys):
    arguments, words = BAD[case]
    monkeypatch.chdir(photograph.parent)
    assert cli.main(["upscale", *arguments]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and words in lines[0]


def test_a_function_call_needs_no_network_either():
    image = np.random.default_rng(0).integers(0, 256, (9, 8, 3), dtype=np.uint8)
    assert upscale(image).shape == (18, 16, 3)
    assert upscale(image, scale=4).shape == upscale(image, "plain_x4_1.0").shape == (36, 32, 3)
    with pytest.raises(OptionError, match="scale: 4 chooses a network of the package, and net.onnx is given"):
        upscale(image, "net.onnx", scale=4)


def test_without_a_runtime_the_checkpoint_is_used(monkeypatch):
    monkeypatch.setattr(networks, "installed_runtimes", list)
    assert networks.chosen().name == "network.pth"
    assert upscale(np.zeros((4, 5, 3), np.uint8)).shape == (8, 10, 3)
