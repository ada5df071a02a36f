"""``train: teacher``: a trained network whose images a training imitates."""

import cv2
import numpy as np
import pytest
import torch
from tiny_training import Pipeline, assert_same, new_model, options, resumed, train

from quantnas_sr.archs.espcn_arch import ESPCN
from quantnas_sr.archs.quantized_arch import QuantizedArch
from quantnas_sr.data.patch_dataset import QuantNASPatchDataset
from quantnas_sr.losses.teacher import TaughtLoss

ARCH = {"type": "ESPCN", "num_feat": 8, "upscale": 2, "activation": "relu"}


@pytest.fixture
def espcn(tmp_path) -> str:
    """A checkpoint that does not say what it is of."""
    torch.manual_seed(5)
    torch.save({"params": ESPCN(num_feat=8, upscale=2, activation="relu").state_dict()}, tmp_path / "espcn.pth")
    return str(tmp_path / "espcn.pth")


def test_the_loss_is_the_pixel_loss_and_the_distance_from_the_teacher():
    teacher = torch.nn.Upsample(scale_factor=2)
    lq, output, gt = torch.rand(1, 3, 4, 4), torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8)
    distance = (output - teacher(lq)).abs().mean()
    for pixel, expected in ((torch.nn.MSELoss(), (output - gt).square().mean() + 3 * distance), (None, 3 * distance)):
        loss = TaughtLoss(pixel, teacher, 3)
        loss.see(lq)
        torch.testing.assert_close(loss(output, gt), expected)
        torch.testing.assert_close(loss.taught, 3 * distance)


def test_a_training_goes_towards_its_teacher_and_resumes_with_it(tmp_path, espcn):
    teacher = {"path": espcn, "network": ARCH, "loss_weight": 10.0}
    opt = options(tmp_path, {"train.teacher": teacher, "train.fp_warmup": 0.25})
    taught, alone = new_model(opt), new_model(options(tmp_path, {"train.fp_warmup": 0.25}))
    before = {name: tensor.clone() for name, tensor in taught.cri_pix.teacher.state_dict().items()}
    train(taught, 1, 16, save=True)
    train(alone, 1, 16)
    images = torch.rand(8, 3, 4, 4)
    with torch.no_grad():
        target = taught.cri_pix.teacher(images)
        near, far = ((model.net_g(images) - target).abs().mean() for model in (taught, alone))
    assert near < far
    assert taught.log_dict["l_teacher"] > 0 and taught.log_dict["l_pix"] > 0 and "l_teacher" not in alone.log_dict
    assert all(torch.equal(before[name], tensor) for name, tensor in taught.cri_pix.teacher.state_dict().items())
    again = resumed(opt, 9)
    train(again, 10, 16)
    assert_same(taught, again)


def test_a_checkpoint_of_this_package_needs_no_network(tmp_path, monkeypatch, capfd):
    network = QuantizedArch(ARCH, bits=32)
    torch.save({"params": network.state_dict()}, tmp_path / "float.pth")
    pipeline = Pipeline(tmp_path, 4, monkeypatch, capfd)
    code, printed = pipeline.run("train", pipeline.options({"train.total_iter": 2, "train.teacher.path": "float.pth"}))
    assert code == 0 and "l_teacher: " in printed


def test_patches_without_gt_are_trained_on_with_a_teacher_alone(tmp_path, espcn, monkeypatch, capfd):
    pipeline = Pipeline(tmp_path, 4, monkeypatch, capfd)
    patches = {"datasets.train.type": "QuantNASPatchDataset", "datasets.train.dataroot_gt": None}
    teacher = {"train.teacher": {"path": espcn, "network": ARCH}, "train.total_iter": 2}
    code, printed = pipeline.run("train", pipeline.options({**patches, **teacher}))
    assert code == 0 and "l_teacher: " in printed
    code, printed = pipeline.run("train", pipeline.options(patches))
    assert code == 1 and "QuantNASPatchDataset has no GT to train with. Allowed: train.teacher" in printed
    large = {**patches, **teacher, "datasets.train.gt_size": 4096}
    code, printed = pipeline.run("train", pipeline.options(large))
    assert code == 1 and "smaller than a patch of 2048x2048 (gt_size / scale)" in printed


def test_a_patch_is_a_part_of_the_image(tmp_path):
    image = np.arange(12 * 10 * 3, dtype=np.uint8).reshape(12, 10, 3)
    (tmp_path / "lq").mkdir()
    cv2.imwrite(str(tmp_path / "lq/a.png"), image[..., ::-1])
    opt = {"dataroot_lq": str(tmp_path / "lq"), "io_backend": {"type": "disk"}, "gt_size": 8, "scale": 2}
    opt.update(name="a", type="QuantNASPatchDataset", use_hflip=False, use_rot=False)
    item = QuantNASPatchDataset(opt)[0]
    patch = (item["lq"].permute(1, 2, 0) * 255).round().byte().numpy()
    assert patch.shape == (4, 4, 3) and "gt" not in item
    places = ((y, x) for y in range(9) for x in range(7))
    assert any(np.array_equal(patch, image[y : y + 4, x : x + 4]) for y, x in places)


def test_a_network_in_its_full_precision_warm_up_can_teach(tmp_path):
    opt = options(tmp_path, {"train.fp_warmup": 0.5})
    warm = new_model(opt)
    train(warm, 1, 4, save=True)
    teacher = {"path": str(tmp_path / "models/net_g_4.pth"), "full_precision": True}
    taught = new_model(options(tmp_path, {"train.teacher": teacher}))
    train(taught, 1, 3)
    images = torch.rand(2, 3, 4, 4)
    with torch.no_grad():
        assert torch.equal(taught.cri_pix.teacher(images), warm.net_g.eval()(images))


def test_a_teacher_without_quantization_steps_is_refused_before_any_work(tmp_path, monkeypatch, capfd):
    opt = options(tmp_path, {"train.fp_warmup": 0.5})
    warm = new_model(opt)
    train(warm, 1, 4, save=True)
    pipeline = Pipeline(tmp_path, 4, monkeypatch, capfd)
    teacher = {"path": str(tmp_path / "models/net_g_4.pth")}
    code, printed = pipeline.run("train", pipeline.options({"train.teacher": teacher}))
    assert (
        code == 1
        and "net_g_4.pth: its activations have no quantization steps yet" in printed
        and "full_precision: true" in printed
    )
    assert not (tmp_path / "experiments").exists()


@pytest.mark.parametrize(
    "teacher, said",
    [
        ({}, "train.teacher: the key 'path' is missing"),
        ({"path": "no.pth"}, "train.teacher.path: no.pth: the checkpoint cannot be read"),
        ({"path": "espcn.pth"}, "`network:` names the arch of a checkpoint that does not"),
        ({"path": "espcn.pth", "network": {**ARCH, "num_feat": 4}}, "espcn.pth: does not fit ESPCN: size mismatch"),
        ({"path": "espcn.pth", "network": {"type": "ESPNC"}}, "train.teacher.network: unknown type 'ESPNC', did you"),
        ({"path": "x3.pth", "network": {"type": "ESPCN", "upscale": 3}}, "makes images of 144x144x3 where network_g"),
        ({"path": "espcn.pth", "weight": 1}, "train.teacher: unknown key 'weight'"),
        ({"path": "espcn.pth", "network": ARCH, "loss_weight": -1}, "train.teacher.loss_weight"),
        ("espcn.pth", "train.teacher: 'espcn.pth' is not a mapping"),
    ],
)
def test_a_wrong_teacher_is_one_line(teacher, said, espcn, tmp_path, monkeypatch, capfd):
    torch.save(ESPCN(upscale=3).state_dict(), tmp_path / "x3.pth")
    pipeline = Pipeline(tmp_path, 4, monkeypatch, capfd)
    code, printed = pipeline.run("train", pipeline.options({"train.teacher": teacher}))
    lines = [line for line in printed.splitlines() if line != "Disable distributed."]
    assert code == 1 and len(lines) == 1 and said in lines[0], printed
    assert not (tmp_path / "experiments").exists()
