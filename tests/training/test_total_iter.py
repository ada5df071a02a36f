"""``total_iter`` is a promise in iterations."""

import copy
import inspect
import json
import logging
import re

import basicsr.train
import pytest
import torch
from tiny_training import Pipeline

from quantnas_sr.checkpoints import load_network
from quantnas_sr.compat.training import too_few_images
from quantnas_sr.errors import DataError
from quantnas_sr.pth import BETTER, read_pth


@pytest.fixture
def pipeline(tmp_path, monkeypatch, capfd):
    return lambda images: Pipeline(tmp_path, images, monkeypatch, capfd)


def iterations(log):
    return [int(found.replace(",", "")) for found in re.findall(r"iter: *([\d,]+), lr", log)]


SEARCH_DATA = {"datasets.train.type": "QuantNASSearchDataset"}


@pytest.mark.parametrize(
    "images, total_iter, changes",
    [
        (7, 20, {"datasets.train.batch_size_per_gpu": 2}),
        (5, 13, {"datasets.train.batch_size_per_gpu": 4}),
        (3, 11, {"datasets.train.batch_size_per_gpu": 4, "datasets.train.dataset_enlarge_ratio": 2}),
        (4, 6, {"datasets.train.batch_size_per_gpu": 2}),
        (7, 20, {"datasets.train.prefetch_mode": "cpu"}),
        (5, 9, {**SEARCH_DATA, "datasets.train.batch_size_per_gpu": 2}),
    ],
)
def test_a_training_has_as_many_iterations_as_it_was_promised(pipeline, images, total_iter, changes):
    run = pipeline(images)
    changes = {"train.total_iter": total_iter, "logger.save_checkpoint_freq": total_iter, **changes}
    code, log = run.run("train", run.options(changes, search=SEARCH_DATA.items() <= changes.items()))
    assert code == 0
    assert iterations(log) == list(range(1, total_iter + 1))
    assert run.states() == [total_iter]


@pytest.mark.parametrize(
    "changes",
    [
        {"datasets.train.batch_size_per_gpu": 1},
        {"datasets.train.batch_size_per_gpu": 3},
        {"datasets.train.dataset_enlarge_ratio": 9},
        {"datasets.train.dataset_enlarge_ratio": 9, "datasets.train.batch_size_per_gpu": 1},
    ],
)
@pytest.mark.parametrize("ratio", [1, 4])
def test_a_resumed_training_goes_on_to_total_iter_whatever_an_epoch_is_now(pipeline, ratio, changes):
    run = pipeline(5)
    before = {
        "datasets.train.dataset_enlarge_ratio": ratio,
        "train.total_iter": 12,
        "logger.save_checkpoint_freq": 12,
    }
    assert run.run("train", run.options(before))[0] == 0
    after = {**before, "train.total_iter": 24, **changes}
    code, log = run.run("train", run.options(after), "--auto_resume")
    assert code == 0
    assert iterations(log) == list(range(13, 25))
    assert run.states() == [12, 24]


def test_a_resumed_training_that_is_done_trains_nothing_and_says_so(pipeline):
    run = pipeline(4)
    opt = run.options({"train.total_iter": 6, "logger.save_checkpoint_freq": 6})
    assert run.run("train", opt)[0] == 0
    opt["train"]["total_iter"] = 4
    opt["train"]["scheduler"] = {"type": "CosineAnnealingRestartLR", "periods": [4]}
    code, log = run.run("train", opt, "--auto_resume")
    assert code == 0 and iterations(log) == []
    assert "Nothing to train: iteration 6 is done, and train.total_iter is 4" in log


DATA = {"type": "PairedImageDataset", "dataroot_gt": "hr", "dataroot_lq": "lr", "io_backend": {"type": "disk"}}
PSNR = {"type": "calculate_psnr", "crop_border": 2, "test_y_channel": True}
VALIDATED = {
    "datasets.val": {"name": "v", **DATA},
    "val": {"val_freq": 4, "save_img": False, "metrics": {"psnr": PSNR}},
    "train.total_iter": 7,
}


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_the_first_set_decides_between_the_weights_and_their_moving_average(pipeline, better):
    run = pipeline(5)
    changes = {
        **copy.deepcopy(VALIDATED),
        "train.ema_decay": 0.9,
        "datasets.val_2": {"name": "w", **DATA},
        "val.metrics.psnr": {**PSNR, "better": better},
    }
    opt = run.options(changes)
    code, log = run.run("train", opt)
    assert code == 0
    measured = json.loads((run.folder / "experiments/run/metrics.json").read_text())["datasets"]
    assert set(measured) == {"v", "w", "v (weights)"}
    average, weights = (measured[name]["metrics"]["psnr"] for name in ("v", "v (weights)"))
    assert average != weights
    checkpoint = run.folder / "experiments/run/models/net_g_latest.pth"
    chosen = "params" if (weights > average) == (better == "higher") else "params_ema"
    assert read_pth(checkpoint)[BETTER] == chosen
    assert f"v, psnr: {average:.4f} of the moving average, {weights:.4f} of the weights themselves" in log
    found, named = (load_network(checkpoint, key).state_dict() for key in (None, chosen))
    assert all(torch.equal(found[name], named[name]) for name in named)

    test = {**run.options(copy.deepcopy(VALIDATED)), "datasets": {"test": VALIDATED["datasets.val"]}}
    test["path"] = {"pretrain_network_g": str(checkpoint), "param_key_g": None}
    test["val"]["suffix"] = None
    assert run.run("test", test)[0] == 0
    tested = json.loads((run.folder / "results/run/metrics.json").read_text())["datasets"]["v"]["metrics"]["psnr"]
    assert tested == (weights if chosen == "params" else average)


def test_the_last_validation_is_named_by_the_iterations_that_the_weights_have_had(pipeline):
    run = pipeline(5)
    changes = copy.deepcopy(VALIDATED)
    code, log = run.run("train", run.options(changes))
    assert code == 0 and "@ 7 iter" in log + "@ 4 iter" and "@ 8 iter" not in log
    saved = json.loads((run.folder / "experiments/run/metrics.json").read_text())
    found = saved["datasets"]["v"]
    assert saved["name"] == "run" and found["iteration"] == 7
    best = found["best"]["psnr"]
    assert best["iteration"] in (4, 7) and best["value"] >= found["metrics"]["psnr"] > 0
    assert f"{found['metrics']['psnr']:.4f}" in log

    test = run.options(changes)
    test["datasets"] = {"test": changes["datasets.val"]}
    test["path"] = {"pretrain_network_g": "experiments/run/models/net_g_latest.pth"}
    test["val"]["suffix"] = None
    code, log = run.run("test", test)
    assert code == 0
    saved = json.loads((run.folder / "results/run/metrics.json").read_text())
    assert saved["datasets"] == {"v": {"metrics": found["metrics"]}}, "the same weights have the same PSNR"


@pytest.mark.parametrize(
    "images, changes, message",
    [
        (
            3,
            {"datasets.train.batch_size_per_gpu": 4},
            "datasets.train: 3 images do not fill one batch (batch_size_per_gpu 4): "
            "set batch_size_per_gpu to 3 or less, or dataset_enlarge_ratio to 2 or more",
        ),
        (
            3,
            {"datasets.train.batch_size_per_gpu": 16, "datasets.train.dataset_enlarge_ratio": 2},
            "3 images (dataset_enlarge_ratio 2) do not fill one batch (batch_size_per_gpu 16): "
            "set batch_size_per_gpu to 6 or less, or dataset_enlarge_ratio to 6 or more",
        ),
        (
            7,
            {"datasets.train.type": "QuantNASSearchDataset", "datasets.train.batch_size_per_gpu": 5},
            "(7 images are split into 3 for the weights and 4 for the alphas)",
        ),
    ],
)
def test_fewer_images_than_a_batch_are_refused_before_anything_is_written(pipeline, images, changes, message):
    run = pipeline(images)
    code, printed = run.run("train", run.options(changes, search="datasets.train.type" in changes))
    assert code == 1
    assert message in printed and "Traceback" not in printed
    assert not (run.folder / "experiments").exists()
    assert not logging.getLogger("basicsr").handlers, "the run's logger can still be opened with its file"


@pytest.mark.parametrize(
    "processes, gpus, dist, fits",
    [(1, 0, False, 4), (2, 0, True, 7), (2, 2, True, 7), (1, 2, False, 8), (3, 1, True, 10)],
)
def test_a_batch_of_every_process_and_gpu_counts(processes, gpus, dist, fits):
    """Of four images on each GPU; samples are shared out evenly, and rounded up, among processes."""
    opt = {"world_size": processes, "num_gpu": gpus, "dist": dist, "datasets": {"train": {"batch_size_per_gpu": 4}}}
    assert too_few_images(opt, fits) is None
    assert "do not fill one batch" in too_few_images(opt, fits - 1)


def test_the_remedies_that_are_offered_work():
    for images in range(1, 9):
        for processes in (1, 2, 3):
            data = {"batch_size_per_gpu": 7}
            opt = {"world_size": processes, "num_gpu": 0, "dist": processes > 1, "datasets": {"train": data}}
            message = too_few_images(opt, images)
            for key, value in re.findall(r"(\w+) to (\d+) or", message or ""):
                tried = {**opt, "datasets": {"train": {**data, key: int(value)}}}
                assert too_few_images(tried, images) is None
                worse = int(value) + (1 if key == "batch_size_per_gpu" else -1)
                if worse:
                    tried = {**opt, "datasets": {"train": {**data, key: worse}}}
                    assert too_few_images(tried, images) is not None, "the least change is offered"


@pytest.mark.parametrize("images, ratio, batch, processes", [(5, 1, 1, 2), (7, 3, 2, 2), (4, 5, 2, 3)])
def test_every_process_is_given_epochs_for_all_iterations(pipeline, images, ratio, batch, processes):
    run = pipeline(images)
    changes = {"train.total_iter": 23, "datasets.train.dataset_enlarge_ratio": ratio}
    opt = run.options({**changes, "datasets.train.batch_size_per_gpu": batch})
    opt["datasets"]["train"].update(phase="train", scale=2)
    for rank in range(processes):
        opt.update(dist=True, rank=rank, world_size=processes, resumed_from={"epoch": 4, "iter": 8})
        loader, _, _, epochs, _ = basicsr.train.create_train_val_dataloader(opt, logging.getLogger("silent"))
        left = epochs + 1 - 4
        assert left * len(loader) >= 23 - 8 > (left - 1) * len(loader)


PLAIN = {
    "model_type": "SRModel",
    "network_g": {"type": "MSRResNet", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 4, "num_block": 1, "upscale": 2},
}


@pytest.mark.parametrize("changes, epochs", [(PLAIN, 5), ({**PLAIN, "model_type": "QuantNASModel"}, 6), ({}, 6)])
def test_the_epochs_of_other_peoples_runs_are_as_basicsr_counts_them(pipeline, changes, epochs):
    run = pipeline(5)
    opt = run.options({"train.total_iter": 13, "datasets.train.phase": "train", "datasets.train.scale": 2, **changes})
    opt.update(dist=False, rank=0, world_size=1)
    create = basicsr.train.create_train_val_dataloader
    logger = logging.getLogger("silent")
    assert inspect.unwrap(create)(opt, logger)[3] == 5
    assert create(opt, logger)[3] == epochs


def test_other_peoples_runs_are_not_refused(pipeline):
    run = pipeline(3)
    code, log = run.run("train", run.options({**PLAIN, "datasets.train.batch_size_per_gpu": 4}))
    assert code == 0 and iterations(log) == []


def test_a_dataset_that_cannot_be_looked_at_beforehand_is_refused_in_one_line_too(pipeline):
    run = pipeline(3)
    opt = run.options({"datasets.train.batch_size_per_gpu": 4})
    opt["datasets"]["train"].update(phase="train", scale=2)
    opt.update(dist=False, rank=0, world_size=1)
    with pytest.raises(DataError, match="3 images do not fill one batch"):
        basicsr.train.create_train_val_dataloader(opt, logging.getLogger("silent"))
