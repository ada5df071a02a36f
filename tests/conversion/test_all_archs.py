"""`quantnas quantize` of every kind of network: from a checkpoint to a file that runs, or one line before any work."""

import re
from pathlib import Path
from typing import Any, Dict, Sequence

import cv2
import numpy as np
import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY
from project import write_image
from torch import nn

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

from quantnas_sr import cli  # noqa: E402
from quantnas_sr.checkpoints import load_network  # noqa: E402
from quantnas_sr.conversion import command  # noqa: E402
from quantnas_sr.conversion.recognition import arch_of_words  # noqa: E402
from quantnas_sr.deploy.packages import installed_runtimes  # noqa: E402
from quantnas_sr.deploy.runtimes import open_network  # noqa: E402

#: Networks of BasicSR that make one image of one image, as small as they can be, in words of ``--arch``.
BASICSR = {
    "ECBSR": "num_in_ch=3 num_out_ch=3 num_block=1 num_channel=8 with_idt=true act_type=prelu scale=2",
    "EDSR": "num_in_ch=3 num_out_ch=3 num_feat=8 num_block=1 upscale=2",
    "MSRResNet": "num_feat=8 num_block=1 upscale=2",
    "RCAN": "num_in_ch=3 num_out_ch=3 num_feat=8 num_group=1 num_block=1 squeeze_factor=4 upscale=2",
    "RIDNet": "in_channels=3 mid_channels=16 out_channels=3 num_block=1",
    "RRDBNet": "num_in_ch=3 num_out_ch=3 scale=2 num_feat=8 num_block=1 num_grow_ch=4",
    "SRVGGNetCompact": "num_feat=8 num_conv=1 upscale=2",
    "SwinIR": "embed_dim=8 depths=[1] num_heads=[2] window_size=4 img_size=16 upscale=2 upsampler=pixelshuffledirect",
}
#: All others of BasicSR: what they are, options for a small one, and what the line says. None where a network cannot
#: be had without other files.
OTHERS = {
    "BasicVSR": ("of videos", "num_feat=8 num_block=1", "does not run"),
    "BasicVSRPlusPlus": ("of videos", "mid_channels=8 num_blocks=1", "does not run"),
    "DUF": ("of videos", "num_layer=16", "has no nn.Conv2d to quantize"),
    "EDVR": ("of videos", None, ""),
    "IconVSR": ("of videos", "num_feat=8 num_block=1", "does not run"),
    "SpyNet": ("of the motion between two images", "", "does not run"),
    "TOFlow": ("of videos", "", "does not run"),
    "DFDNet": ("of faces, with a dictionary that is a file", None, ""),
    "HiFaceGAN": ("of faces", None, ""),
    "HiFaceGANDiscriminator": ("a discriminator", None, ""),
    "StyleGAN2Discriminator": ("a discriminator", "out_size=8 narrow=0.1", "has no nn.Conv2d to quantize"),
    "StyleGAN2Generator": (
        "of faces",
        "out_size=8 num_style_feat=8 narrow=0.1",
        "has no nn.Conv2d to quantize",
    ),
    "UNetDiscriminatorSN": ("a discriminator", "num_in_ch=3 num_feat=4", "does not make an image of an image"),
    "VGGFeatureExtractor": ("makes features, with weights from the Internet", None, ""),
    "VGGStyleDiscriminator": ("a discriminator", "num_in_ch=3 num_feat=4", "does not run"),
}
#: Classes of spandrel, which recognises them by their weights, and options for a small one.
SPANDREL = {
    "DITN_Real": {"dim": 8, "ITL_blocks": 1, "SAL_blocks": 1, "UFONE_blocks": 1, "upscale": 2},
    "Generator": {"num_channels": 8, "num_blocks": 1, "upscale_factor": 2},
    "MMRRDBNet_test": {
        **{"num_in_ch": 3, "num_out_ch": 3, "scale": 4, "num_feat": 8, "num_block": 1, "num_grow_ch": 4},
        **{"num_feats": [8], "num_blocks": [1], "downscales": [1]},
    },
    "MoESR": {"scale": 2, "dim": 8, "n_blocks": 1, "n_block": 1},
    "MoSR": {"upscale": 2, "n_block": 1, "dim": 8},
    "PLKSR": {"dim": 8, "n_blocks": 1, "upscaling_factor": 2},
    "RCAN": {"scale": 2, "n_resgroups": 1, "n_resblocks": 1, "n_feats": 8, "reduction": 4},
    "RRDBNet": {"num_filters": 8, "num_blocks": 1, "scale": 2},
    "RealPLKSR": {"dim": 8, "n_blocks": 1, "upscaling_factor": 2},
    "SAFMN": {"dim": 8, "n_blocks": 1, "upscaling_factor": 2},
    "SPAN": {"num_in_ch": 3, "num_out_ch": 3, "feature_channels": 4, "upscale": 2},
    "SRVGGNetCompact": {"num_feat": 8, "num_conv": 1, "upscale": 2},
}
#: Of spandrel: networks that are refused, options for a small one, and the line.
REFUSED = {
    "SeemoRe": (
        {"scale": 2, "num_experts": 2, "num_layers": 1, "embedding_dim": 8},
        "SeemoRe: model.body.0.local_block.block.moe_layer.experts (ModuleList) decides by values of the image",
    ),
    "SAFMN_BCIE": (
        {"dim": 8, "n_blocks": 1, "num_layers": 1},
        "SAFMN_BCIE is a network for something else than super-resolution",
    ),
}
#: The least PSNR to the float network, in dB, where the peak is the range of its image.
CLOSE = 28


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("all_archs")
    write_image(folder / "lr/0.png", 20, 24)
    write_image(folder / "other.png", 24, 40, seed=1)
    return folder


@pytest.fixture
def exported_once(monkeypatch) -> None:
    """Without what only takes time: the export of the float network, and activations that write into their input.

    PyTorch's exporter traces a network that writes into tensors twice.
    """
    monkeypatch.setattr(command, "float_export", lambda baseline, path: path)
    monkeypatch.setattr(nn.ReLU, "forward", lambda self, x: nn.functional.relu(x))
    monkeypatch.setattr(nn.LeakyReLU, "forward", lambda self, x: nn.functional.leaky_relu(x, self.negative_slope))


def quantize(folder: Path, network: nn.Module, name: str, words: Sequence[str] = ()) -> int:
    """The command's exit code; it writes ``NAME.onnx``."""
    torch.save({"params_ema": network.state_dict()}, folder / f"{name}_float.pth")
    given = [folder / f"{name}_float.pth", "--images", folder / "lr", "--output", folder / f"{name}.onnx"]
    return cli.main(["quantize", *map(str, given), "--no-timing", *(["--arch", *words] if words else [])])


def check_result(folder: Path, network: nn.Module, name: str, printed: str) -> None:
    """A share is quantized; the file and the checkpoint alone make images that are close to the float network's."""
    (share,) = re.findall(r"quantized: ([\d.]+) % of the multiply-adds", printed)
    assert 50 < float(share) <= 100
    image = cv2.imread(str(folder / "other.png"))[..., ::-1].transpose(2, 0, 1)[None] / np.float32(255)
    with torch.no_grad():
        expected = network.eval()(torch.from_numpy(image.copy()))
        reloaded = load_network(folder / f"{name}.pth")(torch.from_numpy(image)).numpy()
    expected = (expected[0] if isinstance(expected, tuple) else expected).numpy()
    for runtime in installed_runtimes()[-1:]:
        found = open_network(folder / f"{name}.onnx", runtime)(image)
        assert found.shape == expected.shape and psnr(found, expected) > CLOSE
    assert reloaded.shape == expected.shape and psnr(reloaded, expected) > CLOSE


def psnr(image: np.ndarray, expected: np.ndarray) -> float:
    return float(20 * np.log10(np.ptp(expected)) - 10 * np.log10(np.square(image - expected).mean()))


@pytest.mark.parametrize("name", BASICSR)
def test_networks_of_basicsr_go_through(name, folder, exported_once, capfd):
    network = of_basicsr(name, BASICSR[name])
    assert quantize(folder, network, name, [name, *BASICSR[name].split()]) == 0
    check_result(folder, network, name, capfd.readouterr().out)


def of_basicsr(name: str, words: str) -> nn.Module:
    torch.manual_seed(1)
    options = arch_of_words([name, *words.split()])
    return ARCH_REGISTRY.get(options.pop("type"))(**options)


@pytest.mark.parametrize("name", SPANDREL)
def test_networks_that_spandrel_recognises_go_through(name, folder, exported_once, capfd):
    network = of_spandrel(name, SPANDREL[name])
    assert quantize(folder, network, f"spandrel_{name}") == 0
    printed = capfd.readouterr().out
    assert f": {name}\n" in printed
    check_result(folder, network, f"spandrel_{name}", printed)


def of_spandrel(name: str, options: Dict[str, Any]) -> nn.Module:
    pytest.importorskip("spandrel")
    from quantnas_sr.archs.spandrel_arch import model_classes

    torch.manual_seed(1)
    return model_classes()[name](**options)


def test_the_float_network_is_exported_first(folder, capfd):
    """Nothing is patched here."""
    network = of_basicsr("ECBSR", BASICSR["ECBSR"])
    assert quantize(folder, network, "whole", ["ECBSR", *BASICSR["ECBSR"].split()]) == 0
    check_result(folder, network, "whole", capfd.readouterr().out)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_go_through_is_one_line_before_calibration(name, folder, monkeypatch, capfd):
    monkeypatch.setattr(command, "calibrate_on", lambda *_: pytest.fail("calibrated"))
    options, line = REFUSED[name]
    assert quantize(folder, of_spandrel(name, options), f"refused_{name}") == 1
    error = capfd.readouterr().err
    assert error.startswith("quantnas: ") and line in error and error.count("\n") == 1
    assert [path.name for path in folder.glob(f"refused_{name}*")] == [f"refused_{name}_float.pth"]


@pytest.mark.parametrize("name", [name for name, (_, words, _) in OTHERS.items() if words is not None])
def test_networks_of_basicsr_for_something_else_are_one_line(name, folder, monkeypatch, capfd):
    monkeypatch.setattr(command, "calibrate_on", lambda *_: pytest.fail("calibrated"))
    _, words, line = OTHERS[name]
    assert quantize(folder, of_basicsr(name, words), f"other_{name}", [name, *words.split()]) == 1
    error = capfd.readouterr().err
    assert error.startswith("quantnas: ") and line in error and error.count("\n") == 1, error
    assert [path.name for path in folder.glob(f"other_{name}*")] == [f"other_{name}_float.pth"]


def test_every_network_of_basicsr_is_in_one_of_the_lists():
    registered = {name for name, cls in ARCH_REGISTRY if cls.__module__.startswith("basicsr.archs.")}
    assert {name.removesuffix("_basicsr") for name in registered} == {*BASICSR, *OTHERS}
