"""Runs whose validation images have odd sizes, one channel, or no GT."""

from pathlib import Path
from typing import Any, Dict

import cv2
import numpy as np
import pytest
import torch
import yaml
from basicsr.archs.rrdbnet_arch import RRDBNet
from basicsr.utils import bgr2ycbcr
from project import write_image
from torch.nn import functional as F

from quantnas_sr import cli
from quantnas_sr.compat.data import take_luma_of_bgr
from quantnas_sr.errors import DataError

RRDB = {"type": "RRDBNet", "num_in_ch": 3, "num_out_ch": 3, "scale": 2, "num_feat": 4, "num_block": 1, "num_grow_ch": 2}
ESPCN = {"type": "ESPCN", "num_feat": 4, "upscale": 2}
PSNR = {"type": "calculate_psnr", "crop_border": 2, "test_y_channel": True}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Pairs at scale 2 to train on, and pairs of odd sizes to validate on."""
    folder = tmp_path_factory.mktemp("images")
    for i in range(4):
        write_image(folder / f"hr/{i}.png", 32, 32, seed=i)
        write_image(folder / f"lr/{i}.png", 16, 16, seed=i)
    for name, (height, width) in {"a": (13, 18), "b": (9, 15)}.items():
        write_image(folder / f"vhr/{name}.png", 2 * height, 2 * width, seed=7)
        write_image(folder / f"vlr/{name}.png", height, width, seed=7)
    return folder


@pytest.fixture
def run(folder, monkeypatch):
    """Runs options as ``basicsr train`` or ``test`` would; returns the exit code."""
    monkeypatch.chdir(folder)

    def run(opt: Dict[str, Any]) -> int:
        (folder / "opt.yml").write_text(yaml.safe_dump(opt, sort_keys=False))
        return cli.basicsr_main(["train" if "train" in opt else "test", "-opt", "opt.yml"])

    return run


def training(name: str, network: Dict[str, Any], **val: Any) -> Dict[str, Any]:
    disk = {"type": "disk"}
    train = {"type": "PairedImageDataset", "dataroot_gt": "hr", "dataroot_lq": "lr", "io_backend": disk, "gt_size": 16}
    train.update(name="t", use_hflip=True, use_rot=True, num_worker_per_gpu=0, batch_size_per_gpu=2)
    paired = {"name": "v", "type": "PairedImageDataset", "dataroot_gt": "vhr", "dataroot_lq": "vlr", "io_backend": disk}
    return {
        "name": name,
        "model_type": "QuantNASModel",
        "scale": 2,
        "num_gpu": 0,
        "manual_seed": 0,
        "datasets": {"train": train, "val": paired},
        "network_g": network,
        "path": {},
        "train": {
            "total_iter": 2,
            "optim_g": {"type": "Adam", "lr": 1e-4},
            "scheduler": {"type": "MultiStepLR", "milestones": [10]},
            "pixel_opt": {"type": "L1Loss"},
        },
        "val": {"val_freq": 1, "save_img": True, "metrics": {"psnr": PSNR}, **val},
        "logger": {"print_freq": 1, "save_checkpoint_freq": 100, "use_tb_logger": False},
    }


def after(opt: Dict[str, Any]) -> Dict[str, Any]:
    """The options of a test of what a training leaves."""
    dataset = opt["datasets"]["val"]
    kept = {key: opt[key] for key in ("name", "model_type", "scale", "num_gpu", "network_g")}
    val = {"save_img": True, "suffix": None, "metrics": opt["val"].get("metrics")}
    weights = {"pretrain_network_g": f"experiments/{opt['name']}/models/net_g_latest.pth"}
    return {**kept, "datasets": {"test": dataset}, "path": weights, "val": val}


def without_gt(opt: Dict[str, Any]) -> Dict[str, Any]:
    single = {"name": "v", "type": "SingleImageDataset", "dataroot_lq": "vlr", "io_backend": {"type": "disk"}}
    return {**opt, "datasets": {**opt["datasets"], "val": single}}


@pytest.mark.parametrize("quantized", [False, True])
def test_a_network_with_pixel_unshuffle_is_trained_and_tested_on_odd_sizes(run, folder, quantized):
    network = {"type": "QuantizedArch", "arch": RRDB} if quantized else RRDB
    opt = training(f"odd{quantized}", network, ema_decay=0.5)
    opt["val"].pop("ema_decay")
    assert run(opt) == 0
    assert run(after(opt)) == 0
    image = cv2.imread(str(folder / f"results/odd{quantized}/visualization/v/a_odd{quantized}.png"))
    assert image.shape == (26, 36, 3)
    if quantized:
        return
    weights = torch.load(folder / f"experiments/odd{quantized}/models/net_g_latest.pth", weights_only=True)["params"]
    net = RRDBNet(**{key: value for key, value in RRDB.items() if key != "type"})
    net.load_state_dict(weights)
    bgr = cv2.imread(str(folder / "vlr/a.png"))
    x = torch.from_numpy(bgr[..., ::-1].transpose(2, 0, 1).copy())[None].float() / 255
    with torch.no_grad():
        y = net(F.pad(x, (0, 0, 0, 1), "reflect"))[0, :, :26].clamp(0, 1)
    expected = (y.permute(1, 2, 0).numpy()[..., ::-1] * 255).round()
    assert np.abs(expected - image).max() <= 1


@pytest.mark.parametrize("arch", [ESPCN, {"type": "RFDN", "num_feat": 4, "num_block": 1, "upscale": 2}])
@pytest.mark.parametrize("quantized", [False, True])
def test_a_network_of_one_channel_is_trained_and_tested_on_luma(run, folder, arch, quantized):
    arch = {**arch, "num_in_ch": 1, "num_out_ch": 1}
    opt = training(f"y{arch['type']}{quantized}", {"type": "QuantizedArch", "arch": arch} if quantized else arch)
    for dataset in opt["datasets"].values():
        dataset["color"] = "y"
    assert run(opt) == 0
    assert run(after(opt)) == 0
    image = cv2.imread(str(folder / f"results/{opt['name']}/visualization/v/a_{opt['name']}.png"), -1)
    assert image.shape == (26, 36)


def test_images_without_gt_are_validated_and_tested_where_no_metric_asks_for_it(run, folder):
    opt = without_gt(training("single", {"type": "QuantizedArch", "arch": ESPCN}, metrics=None))
    assert run(opt) == 0
    saved = {path.name for path in (folder / "experiments/single/visualization").rglob("*.png")}
    assert {"a_1.png", "b_2.png"} <= saved
    assert run(after(opt)) == 0
    assert (folder / "results/single/visualization/v/b_single.png").is_file()


@pytest.mark.parametrize("stage", ["train", "test"])
def test_a_metric_that_compares_is_refused_for_images_without_gt(run, folder, capsys, stage):
    opt = without_gt(training("compared", {"type": "QuantizedArch", "arch": ESPCN}))
    if stage == "test":
        (folder / "net.pth").write_bytes(b"")
        opt = {**after(opt), "path": {"pretrain_network_g": "net.pth"}}
    before = {str(path) for path in folder.rglob("*")}
    assert run(opt) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "val.metrics.psnr: calculate_psnr compares with GT" in line and "has none" in line
    assert {str(path) for path in folder.rglob("*")} - before <= {str(folder / "opt.yml")}


def test_a_folder_of_single_images_is_looked_at(run, folder, capsys):
    (folder / "broken").mkdir(exist_ok=True)
    (folder / "broken/x.png").write_bytes(b"no image")
    opt = without_gt(training("broken", {"type": "QuantizedArch", "arch": ESPCN}, metrics=None))
    for root, words in (("broken", "x.png: not an image"), ("absent", "dataroot_lq absent: no such folder")):
        opt["datasets"]["val"]["dataroot_lq"] = root
        assert run(opt) == 1
        assert words in capsys.readouterr().err.strip().splitlines()[-1]


def test_a_dataset_of_others_without_gt_is_never_compared_with_an_earlier_batch(tmp_path):
    from quantnas_sr.models.experiment import ExperimentModel

    opt = training("own", ESPCN)
    opt["val"]["metrics"] = {"psnr": PSNR}
    opt.update(is_train=True, dist=False, rank=0, root_path=str(tmp_path))
    opt["path"] = {"models": str(tmp_path / "models"), "visualization": str(tmp_path / "visualization")}
    model = ExperimentModel(opt)
    model.feed_data({"lq": torch.rand(1, 3, 8, 8), "gt": torch.rand(1, 3, 16, 16)})
    model.test()
    assert "gt" in model.get_current_visuals()
    model.feed_data({"lq": torch.rand(1, 3, 8, 8)})
    model.test()
    with pytest.raises(DataError, match="compare with GT"):
        model.get_current_visuals()
    opt["val"]["metrics"] = {"niqe": {"type": "calculate_niqe", "crop_border": 0}}
    assert set(model.get_current_visuals()) == {"lq", "result"}


def test_the_luma_of_single_images_is_that_of_pairs(folder, monkeypatch):
    from basicsr.data.paired_image_dataset import PairedImageDataset
    from basicsr.data.single_image_dataset import SingleImageDataset

    monkeypatch.chdir(folder)
    take_luma_of_bgr(True)
    common = {"dataroot_lq": "vlr", "color": "y", "phase": "val", "scale": 2}
    single = SingleImageDataset({**common, "io_backend": {"type": "disk"}})[0]["lq"]
    pair = PairedImageDataset({**common, "dataroot_gt": "vhr", "io_backend": {"type": "disk"}})[0]["lq"]
    image = cv2.imread("vlr/a.png").astype(np.float32) / 255
    take_luma_of_bgr(False)
    assert torch.equal(single, pair)
    assert np.allclose(single[0].numpy(), bgr2ycbcr(image, y_only=True), atol=1e-6)


def test_the_border_of_a_metric_leaves_something_of_the_smallest_image(run, capsys):
    opt = training("border", {"type": "QuantizedArch", "arch": ESPCN})
    for kind, border, most in (("psnr", 9, 8), ("ssim", 4, 3)):
        opt["val"]["metrics"] = {kind: {"type": f"calculate_{kind}", "crop_border": border}}
        assert run(opt) == 1
        line = capsys.readouterr().err.strip().splitlines()[-1]
        assert f"val.metrics.{kind}.crop_border: {border} leaves too little" in line and f"at most {most}" in line
