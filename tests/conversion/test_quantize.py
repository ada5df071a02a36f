"""`quantnas quantize`: a trained network of anybody's as an integer file, or one line that says why not."""

import shutil
from argparse import Namespace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from basicsr.utils.registry import ARCH_REGISTRY
from project import PROCESSES, write_image

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

from quantnas_sr import cli  # noqa: E402
from quantnas_sr.archs.espcn_arch import ESPCN  # noqa: E402
from quantnas_sr.archs.quantized_arch import QuantizedArch  # noqa: E402
from quantnas_sr.checkpoints import load_network  # noqa: E402
from quantnas_sr.conversion import command, finetuning  # noqa: E402
from quantnas_sr.conversion.command import (  # noqa: E402
    calibrated,
    finetune,
    float_network,
    in_float,
    mixed_widths,
    quantize,
    uncalibrated,
)
from quantnas_sr.conversion.quality import outputs, pairs, quality  # noqa: E402
from quantnas_sr.conversion.recognition import Recognized, arch_of_words, recognize  # noqa: E402
from quantnas_sr.cost import count  # noqa: E402
from quantnas_sr.deploy.packages import installed_runtimes  # noqa: E402
from quantnas_sr.deploy.runtimes import open_network  # noqa: E402
from quantnas_sr.errors import CheckpointError, DataError, NetworkError, OptionError  # noqa: E402
from quantnas_sr.search_space import DerivedNetwork  # noqa: E402

WORDS = ["ESPCN", "num_feat=8", "upscale=2", "activation=relu"]
ARCH = {"type": "ESPCN", "num_feat": 8, "upscale": 2, "activation": "relu"}
#: A user's own file: what a project keeps in its archs/.
OWN_ARCH = """
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

if "{name}" not in ARCH_REGISTRY:
    @ARCH_REGISTRY.register()
    class {name}(nn.Module):
        def __init__(self, width=8):
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 12, 3, padding=1))
            self.shuffle = nn.PixelShuffle(2)

        def forward(self, x):
            return self.shuffle(self.body(x))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("quantize")
    for i in range(3):
        write_image(folder / f"hr/{i}.png", 64, 80, seed=i)
        small = cv2.resize(cv2.imread(str(folder / f"hr/{i}.png")), (40, 32), interpolation=cv2.INTER_AREA)
        (folder / "lr").mkdir(exist_ok=True)
        cv2.imwrite(str(folder / f"lr/{i}x2.png"), small)
    torch.manual_seed(1)
    torch.save({"params": ESPCN(num_feat=8, upscale=2, activation="relu").state_dict()}, folder / "espcn.pth")
    return folder


def run(folder: Path, model: str, *arguments: object) -> int:
    given = ["quantize", str(folder / model), "--images", str(folder / "lr"), *map(str, arguments)]
    return cli.main(given if "--output" in given else [*given, "--output", str(folder / "net.onnx")])


def test_a_network_that_the_user_names_becomes_a_file_that_computes_the_same(folder, capsys):
    output = folder / "small.onnx"
    arguments = ["--gt", folder / "hr", "--arch", *WORDS, "--output", output, "--size", "24x16", "--threads", 1]
    assert run(folder, "espcn.pth", *arguments) == 0
    printed = capsys.readouterr().out
    assert "espcn.pth: ESPCN\n" in printed and "quantized: 100.0 % of the multiply-adds" in printed
    table = [line for line in printed.splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    (images, *_), baseline, *quantized = rows
    assert images == "3 images" and baseline[:2] == ["float", ""] and baseline[3:] == ["", "", ""]
    assert [row[0] for row in quantized] == [f"8 bits, {name}" for name in ("PyTorch", *installed_runtimes())]
    assert all(float(row[1].removesuffix(" dB")) > 35 for row in quantized)
    assert all(abs(float(row[2].split()[0]) - float(baseline[2].split()[0])) < 0.2 for row in quantized)
    assert all(float(value) > 0 for row in quantized[1:] for value in row[3:]) and quantized[0][3:] == ["", "", ""]
    x = torch.rand(1, 3, 20, 30)
    float_network = ESPCN(num_feat=8, upscale=2, activation="relu")
    float_network.load_state_dict(torch.load(folder / "espcn.pth", weights_only=True)["params"])
    with torch.no_grad():
        expected, from_checkpoint = float_network.eval()(x), load_network(folder / "small.pth")(x)
    found = torch.from_numpy(open_network(output)(x.numpy()))
    assert (found - from_checkpoint).abs().mean() < (found - expected).abs().mean() < 0.03


def test_fine_tuning_brings_it_closer_to_the_float_network(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(finetuning, "_PROCESSES", PROCESSES)
    found, images = recognize(folder / "espcn.pth", arch_of_words(WORDS)), pairs(folder / "lr", None, 3)
    network, baseline = calibrated(uncalibrated(found, bits=3), images), float_network(found)
    target = outputs(baseline, images)
    before = quality(outputs(network, images), target, images).to_float
    torch.save({"params": network.state_dict()}, "net.pth")
    tuned = finetune(network, baseline, Path("net.pth"), folder / "lr", 270)
    assert quality(outputs(tuned, images), target, images).to_float > before + 1
    options = yaml.safe_load(Path("net_finetune.yml").read_text())
    assert options["train"]["teacher"]["path"] == "net_float.pth" and "dataroot_gt" not in str(options)
    # The same training again goes on with its last state; another one starts anew.
    left = Path("experiments/quantize_net/net_finetune.yml")
    assert finetuning._same_options(left, options) and not finetuning._same_options(left, {**options, "scale": 3})
    assert not finetuning._same_options(Path("absent.yml"), options)


@pytest.mark.parametrize("worse", [False, True])
def test_of_calibrated_and_fine_tuned_the_nearer_to_float_is_kept(worse, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found, images = recognize(folder / "espcn.pth", arch_of_words(WORDS)), pairs(folder / "lr", None, 3)
    network, baseline = quantize(found, images), float_network(found)
    good = {key: value.clone() for key, value in network.state_dict().items()}
    spoiled = {key: value * 0.9 if key.endswith(".weight") else value for key, value in good.items()}
    before, after = (good, spoiled) if worse else (spoiled, good)
    target = outputs(baseline, images)
    torch.save({"params": before}, "net.pth")
    measured = []
    for state in (before, after):
        network.load_state_dict(state)
        measured.append(quality(outputs(network, images), target, images))
    line = command.keep_nearer(network, Path("net.pth"), 3, *measured)
    assert all(torch.equal(value, good[key]) for key, value in network.state_dict().items())
    assert ("farther from float" in line and "3 iterations" in line) is worse


def test_fine_tuning_that_cannot_start_is_one_line(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found, images = recognize(folder / "espcn.pth", arch_of_words(WORDS)), pairs(folder / "lr", None, 3)
    shutil.copytree(folder / "lr", tmp_path / "lr")
    (tmp_path / "lr/notes.txt").write_text("hello")
    network = quantize(found, images)
    torch.save({"params": network.state_dict()}, "net.pth")
    with pytest.raises(DataError, match="notes.txt: not an image of a format"):
        finetune(network, float_network(found), Path("net.pth"), Path("lr"), 60)


def test_the_class_may_be_in_a_file_of_the_user(folder, capsys):
    (folder / "own_arch.py").write_text(OWN_ARCH.format(name="OwnSmallNet"))
    torch.manual_seed(2)
    body = torch.nn.Sequential(torch.nn.Conv2d(3, 6, 3), torch.nn.ReLU(), torch.nn.Conv2d(6, 12, 3))
    torch.save({f"module.body.{key}": value for key, value in body.state_dict().items()}, folder / "own.pth")
    arguments = ["--import", folder / "own_arch.py", "--arch", "OwnSmallNet", "width=6", "--no-timing"]
    assert run(folder, "own.pth", *arguments, "--skip", "body.0", "--bits", 6) == 0
    printed = capsys.readouterr().out
    assert "| 6 bits, PyTorch | " in printed
    assert "in float: body.0, 20.0 % (skipped)" in printed and "quantized: 80.0 %" in printed


@pytest.mark.parametrize("model", ["SRVGGNetCompact", "PLKSR"])
def test_a_network_that_spandrel_knows_needs_no_name(model, folder):
    spandrel = pytest.importorskip("spandrel")
    from quantnas_sr.archs.spandrel_arch import model_classes

    small = {
        "SRVGGNetCompact": {"num_feat": 8, "num_conv": 2, "upscale": 2},
        "PLKSR": {"dim": 8, "n_blocks": 1, "upscaling_factor": 2},
    }
    torch.manual_seed(3)
    network = model_classes()[model](**small[model])
    path = folder / f"{model}.pth"
    torch.save({"params_ema": network.state_dict()}, path)
    found = recognize(path)
    assert found.name == model and found.arch["type"] == "SpandrelArch"
    images = pairs(folder / "lr", None, 2)
    quantized = quantize(found, images)
    expected = spandrel.ModelLoader().load_from_file(path).model.eval()
    assert quality(outputs(quantized, images), outputs(expected, images), images).to_float > 25
    torch.save({"params": quantized.state_dict()}, folder / "again.pth")
    again, x = load_network(folder / "again.pth"), torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(again(x), quantized(x))


def test_safetensors_are_read(folder):
    pytest.importorskip("spandrel")
    from safetensors.torch import save_file

    from quantnas_sr.archs.spandrel_arch import model_classes

    network = model_classes()["SRVGGNetCompact"](num_feat=8, num_conv=2, upscale=2)
    save_file(network.half().state_dict(), folder / "half.safetensors", metadata={"author": "somebody"})
    found = recognize(folder / "half.safetensors")
    assert found.name == "SRVGGNetCompact" and all(tensor.dtype is torch.float32 for tensor in found.state.values())


def test_a_checkpoint_of_this_package_in_full_precision_describes_itself(folder):
    network = QuantizedArch(ARCH, bits=32)
    torch.save({"params": network.state_dict()}, folder / "float.pth")
    found = recognize(folder / "float.pth")
    assert found.arch == {**ARCH, "type": "ESPCN_quantnas"} and found.name == "ESPCN"
    assert all(torch.equal(found.state[key], value) for key, value in network.network.state_dict().items())


def test_what_is_in_float_is_named_with_its_share_and_the_reason(folder):
    found = recognize(folder / "espcn.pth", ARCH)
    network = quantize(found, pairs(folder / "lr", None, 1), skip=["*3"])
    ((name, share, why),) = in_float(network, count(network))
    assert name == "conv3" and 0 < share < 1 and why == "skipped"


def test_the_arch_is_read_from_words_and_from_options_files(tmp_path):
    assert arch_of_words(["RFDN", "num_feat=50", "img_range=1e0"]) == {"type": "RFDN", "num_feat": 50, "img_range": 1.0}
    (tmp_path / "train.yml").write_text("network_g: {type: QuantizedArch, bits: 8, arch: {type: ESPCN, upscale: 3}}\n")
    assert arch_of_words([str(tmp_path / "train.yml")]) == {"type": "ESPCN", "upscale": 3}
    (tmp_path / "plain.yml").write_text("network_g: {type: MSRResNet, num_feat: 8}\n")
    assert arch_of_words([str(tmp_path / "plain.yml")]) == {"type": "MSRResNet", "num_feat": 8}


@pytest.fixture(scope="module")
def bad(folder, genotype_file) -> Path:
    """What cannot be used: checkpoints, folders and files, in `folder`."""
    (folder / "empty").mkdir()
    (folder / "text.pth").write_text("hello")
    (folder / "broken.py").write_text("import nothing_like_this")
    (folder / "none.yml").write_text("train: {}\n")
    torch.save({"params": {"a": torch.zeros(3)}}, folder / "nobody.pth")
    torch.save({"params": QuantizedArch(ARCH, bits=8).state_dict()}, folder / "eight.pth")
    torch.save({"params": DerivedNetwork(genotype_file).state_dict()}, folder / "derived.pth")
    write_image(folder / "hr_wrong/0.png", 60, 80)
    return folder


@pytest.fixture(scope="module")
def genotype_file():
    from quantnas_sr.search_space import Supernet

    return Supernet("plain", num_feat=4, num_block=1).genotype()


@pytest.mark.parametrize(
    "model, arguments, said",
    [
        ("no.pth", [], "no.pth: the checkpoint cannot be read"),
        ("text.pth", [], "text.pth: not a checkpoint"),
        ("nobody.pth", [], "nobody.pth: spandrel recognises no network in it. Allowed: `--arch TYPE key=value ...`"),
        ("eight.pth", [], "eight.pth: is quantized already; `quantnas export`"),
        ("derived.pth", [], "derived.pth: is quantized already; `quantnas export`"),
        ("espcn.pth", ["--arch", "ESPNC"], "--arch: unknown type 'ESPNC', did you mean 'ESPCN'?"),
        ("espcn.pth", ["--arch", "ESPCN", "num_feat"], "--arch: 'num_feat' is not key=value"),
        ("espcn.pth", ["--arch", "ESPCN", "num_feet=8"], "--arch: unknown key 'num_feet'"),
        ("espcn.pth", ["--arch", "ESPCN", "num_feat=4"], "espcn.pth: does not fit ESPCN: size mismatch"),
        ("espcn.pth", ["--arch", "{folder}/none.yml"], "none.yml has no network_g"),
        ("espcn.pth", ["--arch", "{folder}/missing.yml"], "missing.yml cannot be read"),
        ("espcn.pth", ["--import", "{folder}/missing.py"], "--import: there is no Python file"),
        ("espcn.pth", ["--import", "{folder}/broken.py"], "broken.py fails: ModuleNotFoundError"),
        ("espcn.pth", ["--arch", *WORDS, "--bits", "1"], "bits"),
        ("espcn.pth", ["--arch", *WORDS, "--skip", "nothing"], "skip: unknown layer 'nothing'"),
        ("espcn.pth", ["--arch", *WORDS, "--skip", "*"], "--skip: leaves no convolution to quantize"),
        ("espcn.pth", ["--arch", *WORDS, "--images", "{folder}/empty"], "empty: no image there"),
        ("espcn.pth", ["--arch", *WORDS, "--images", "{folder}/nowhere"], "nowhere: no image there"),
        ("espcn.pth", ["--arch", *WORDS, "--gt", "{folder}/empty"], "empty: no image there"),
        ("espcn.pth", ["--arch", *WORDS, "--gt", "{folder}/hr_wrong"], "no ground truth of 1x2.png there"),
        ("espcn.pth", ["--output", "{folder}/net.txt"], "does not end in .onnx"),
        ("espcn.pth", ["--output", "{folder}/espcn.onnx"], "espcn.pth, which comes beside espcn.onnx, is the model"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_nothing_is_written(model, arguments, said, bad, capsys):
    before = {path: path.stat().st_mtime_ns for path in bad.rglob("*")}
    given = [argument.replace("{folder}", str(bad)) for argument in arguments]
    assert run(bad, model, *given, "--no-timing", *([] if "--output" in given else ["--output", bad / "new.onnx"])) == 1
    error = capsys.readouterr().err
    assert error.startswith("quantnas: ") and error.count("\n") == 1 and said in error, error
    assert {path: path.stat().st_mtime_ns for path in bad.rglob("*") if "__pycache__" not in str(path)} == {
        path: time for path, time in before.items() if "__pycache__" not in str(path)
    }


def test_ground_truth_of_another_size_is_one_line(folder):
    network = quantize(recognize(folder / "espcn.pth", ARCH), pairs(folder / "lr", None, 1))
    (lq, _), *_ = pairs(folder / "lr", None, 1)
    with pytest.raises(DataError, match="the ground truth of an image is 4x5, the network's output 80x64"):
        outputs(network, [(lq, np.zeros((5, 4, 3), np.uint8))])


def test_without_spandrel_the_extra_is_named(folder, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(ValueError, match=r"`--arch` names it; .* pip install 'quantnas_sr\[spandrel\]'"):
        recognize(folder / "espcn.pth")


def test_a_network_for_something_else_is_refused(folder):
    pytest.importorskip("spandrel")
    from quantnas_sr.archs.spandrel_arch import model_classes

    torch.save(model_classes()["DnCNN"](nb=3).state_dict(), folder / "dncnn.pth")
    with pytest.raises((NetworkError, CheckpointError)) as error:
        recognize(folder / "dncnn.pth")
    assert "dncnn.pth" in str(error.value)


def test_an_unknown_class_of_spandrel_is_one_line():
    pytest.importorskip("spandrel")
    from quantnas_sr.archs.spandrel_arch import SpandrelArch

    with pytest.raises(OptionError, match="unknown model 'RRDBnet', did you mean 'RRDBNet'"):
        SpandrelArch("RRDBnet")


# --- mixed precision


class Sensitive(torch.nn.Module):
    """The first layer makes nearly all of the image; the second adds a little."""

    def __init__(self) -> None:
        super().__init__()
        self.much, self.little = torch.nn.Conv2d(3, 12, 3, padding=1), torch.nn.Conv2d(3, 12, 3, padding=1)
        self.little.weight.data *= 0.01
        self.shuffle = torch.nn.PixelShuffle(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.shuffle(self.much(x) + self.little(x))


@pytest.fixture
def sensitive(folder):
    """What `mixed_widths` needs of a network whose layers cost the same and do not matter the same."""
    if "Sensitive" not in ARCH_REGISTRY:
        ARCH_REGISTRY.register(Sensitive)
    torch.manual_seed(4)
    arch = {"type": "Sensitive"}
    found = Recognized(arch, Sensitive().state_dict(), "Sensitive")
    return found, float_network(found), pairs(folder / "lr", folder / "hr", 3)


def chosen(sensitive, **limit):
    arguments = Namespace(bits=8, skip=None, **{"budget": None, "loss": None, **limit})
    return mixed_widths(*sensitive, arguments)


def test_within_a_budget_the_layer_that_matters_keeps_its_bits(sensitive):
    each = count(sensitive[1]).macs / 2 / 1e9
    assert chosen(sensitive, budget=each * (64 + 64)) == {"much": 8, "little": 8}
    assert chosen(sensitive, budget=each * (64 + 16)) == {"much": 8, "little": 4}
    assert chosen(sensitive, budget=each * (16 + 16)) == {"much": 4, "little": 4}
    with pytest.raises(OptionError, match=r"--budget: .* GBitOps is below .*, the cost at 4 bits"):
        chosen(sensitive, budget=each * 31)


def test_within_a_loss_the_cheapest_widths_are_taken(sensitive):
    found, baseline, images = sensitive
    float_luma = quality(outputs(baseline, images), None, images).luma
    widths = chosen(sensitive, loss=3.0)
    assert sum(widths.values()) < 16
    network = quantize(found, images, bits_by_layer=widths)
    assert quality(outputs(network, images), None, images).luma > float_luma - 4
    assert sum(chosen(sensitive, loss=20.0).values()) == 8
    with pytest.raises(OptionError, match="--loss: 1e-09 dB is below .*, the loss at 8 bits"):
        chosen(sensitive, loss=1e-9)


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--budget", 1, "--loss", 1], "--budget and --loss: only one of them"),
        (["--budget", 1, "--bits-by-layer", "a.yml"], "--bits-by-layer: says the widths"),
        (["--loss", 0.1], "--loss: is of the PSNR to the ground truth, which --gt names"),
    ],
)
def test_limits_that_exclude_each_other_are_one_line(folder, capsys, arguments, said):
    assert run(folder, "espcn.pth", "--arch", *WORDS, *arguments) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and said in error


def test_the_command_says_how_many_layers_have_which_width(folder, capsys):
    assert run(folder, "espcn.pth", "--arch", *WORDS, "--no-timing", "--budget", 0.03) == 0
    printed = capsys.readouterr().out
    assert "% of the multiply-adds; layers: " in printed and "2^30) for an input of 32x32" in printed
    cost = float(printed.split("cost: ")[1].split()[0])
    assert 0 < cost <= 0.03
