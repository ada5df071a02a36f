"""Losses and gradients that are not finite: no step, no statistics, no genotype and no checkpoint comes of them."""

import re
from pathlib import Path

import pytest
import torch
from tiny_training import Pipeline, everything, new_model, options, resumed, train

from quantnas_sr.errors import TrainingError
from quantnas_sr.models.finite_steps import FiniteSteps
from quantnas_sr.system.distributed import true_in_all_processes

SHAPES = {"lq": 4, "gt": 8, "lq_alpha": 4, "gt_alpha": 8}
HALVES = [(False, "lq"), (False, "gt"), (True, "lq"), (True, "gt"), (True, "lq_alpha"), (True, "gt_alpha")]
BATCH_NORM = {"network_g.norm": "batch", "train.precise_bn": 0}
SAMPLED = {"network_g.selector": "sample", "train.alpha_warmup": 0}


def spoilt(model, iteration, key, value=torch.nan):
    """An iteration with one number of a batch replaced."""
    batch = {name: torch.rand(2, 3, side, side) for name, side in SHAPES.items()}
    batch[key][0, 1, 2, 3] = value
    model.update_learning_rate(iteration)
    model.feed_data(batch)
    model.optimize_parameters(iteration)


def said(model):
    lines = []
    model.finite_steps._say = lines.append
    return lines


def all_finite(model):
    return all(bool(value.isfinite().all()) for value in everything(model).values() if value.is_floating_point())


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("search, key", HALVES)
def test_a_step_from_an_image_that_is_not_finite_is_left_out(tmp_path, search, key, value):
    model = new_model(options(tmp_path, {"train.ema_decay": 0.5, **(BATCH_NORM if search else {})}, search))
    lines = said(model)
    train(model, 1, 3)
    before = everything(model)
    spoilt(model, 4, key, value)
    assert len(lines) == 1 and re.search(
        r"Iteration 4: a step is left out.* 1 iterations so far, 1 of at most 10", lines[0]
    )
    after = everything(model)
    alphas = {name for name in after if "alphas" in name or name.startswith("1.")}
    untouched = alphas if "alpha" in key else set(after) - alphas
    changed = {name for name in untouched if not torch.equal(after[name], before[name])}
    assert {name for name in changed if not name.startswith(("ema.", "0.lr"))} == set()
    train(model, 5, 6)
    assert all_finite(model) and model.finite_steps.in_a_row == 0 and model.finite_steps.skipped == 1
    moved = [
        name for name in after if name.startswith("net.") and not torch.equal(after[name], everything(model)[name])
    ]
    assert moved, "it goes on"


def test_losses_of_drawn_networks_that_are_not_finite_are_not_observed(tmp_path):
    model = new_model(options(tmp_path, SAMPLED, search=True))
    said(model)
    train(model, 1, 3)
    before = {slot: table.clone() for slot, table in model.edge_losses.table().items()}
    spoilt(model, 4, "lq_alpha")
    assert all(torch.equal(table, before[slot]) for slot, table in model.edge_losses.table().items())
    assert all_finite(model)


def test_gradients_that_are_not_finite_are_noticed_though_the_loss_is(tmp_path):
    model = new_model(options(tmp_path, {"train.grad_clip": 1.0}))
    lines = said(model)
    train(model, 1, 3)
    before = everything(model)
    hook = next(model.net_g.parameters()).register_hook(lambda gradient: gradient * torch.inf)
    train(model, 4, 4)
    hook.remove()
    assert "gradients nan" in lines[0]
    assert all(torch.equal(value, before[key]) for key, value in everything(model).items() if "lr" not in key)


def test_a_calibration_leaves_such_images_out(tmp_path):
    """Six images: the activations' steps are those of a run that never saw the broken one."""
    opt = options(tmp_path, {"train.calibration_iter": 3, "network_g.activation_quantizer": "lsq"})
    whole, broken = new_model(opt), new_model(opt)
    lines = said(broken)
    train(whole, 1, 3)
    train(broken, 1, 1)
    spoilt(broken, 2, "lq")
    train(broken, 3, 3)
    assert "images nan" in lines[0] and all_finite(broken)
    assert len(lines) == 1


def test_after_too_many_in_a_row_the_run_ends_and_says_where_to_go_back_to(tmp_path):
    model = new_model(options(tmp_path, {"train.max_skipped": 3}))
    said(model)
    train(model, 1, 2)
    spoilt(model, 3, "gt")
    train(model, 4, 4, save=True)
    spoilt(model, 5, "gt")
    spoilt(model, 6, "gt")
    with pytest.raises(
        TrainingError, match=r"iteration 7: .*3 iterations in a row \(l_pix nan; .*4\.state: go on from it"
    ):
        spoilt(model, 7, "gt")


def test_without_a_checkpoint_it_says_so(tmp_path):
    model = new_model(options(tmp_path, {"train.max_skipped": 1}))
    with pytest.raises(TrainingError, match="There is no checkpoint yet"):
        spoilt(model, 1, "lq")


def test_a_resumed_run_goes_on_counting(tmp_path):
    opt = options(tmp_path, {"train.max_skipped": 2})
    model = new_model(opt)
    said(model)
    train(model, 1, 1)
    spoilt(model, 2, "gt")
    model.save(0, 2)
    with pytest.raises(TrainingError):
        spoilt(resumed(opt, 2), 3, "gt")


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    model = new_model(options(tmp_path, {"train.ema_decay": 0.5}))
    train(model, 1, 1, save=True)
    files = sorted(tmp_path.rglob("*.*"))
    next(model.net_g_ema.parameters()).data[0] = torch.inf
    with pytest.raises(TrainingError, match=r"iteration 1: no checkpoint is written: [\w.]+ is not finite"):
        model.save(0, 1)
    assert sorted(tmp_path.rglob("*.*")) == files


def test_no_genotype_comes_of_alphas_that_are_not_finite(tmp_path):
    model = new_model(options(tmp_path, {}, search=True))
    model.supernet.alphas_by_slot()["body_0"].data[0] = torch.nan
    with pytest.raises(TrainingError, match="no genotype is derived, an alpha of: body_0 is not finite"):
        model.save(0, 1)
    assert not list(tmp_path.rglob("*.yml"))


def test_a_scaler_lowers_its_scale_without_being_counted(tmp_path):
    steps = FiniteSteps(1, print)
    weight = torch.nn.Parameter(torch.ones(2))
    weight.grad = torch.tensor([torch.inf, 1])
    optimizer = torch.optim.SGD([weight], lr=1)
    assert steps.allows(optimizer, {"l_pix": torch.tensor(1.0)}, torch.zeros(1), scale=65536.0)
    assert not steps.allows(optimizer, {"l_pix": torch.tensor(1.0)}, torch.zeros(1), scale=1.0)


def test_processes_agree(monkeypatch):
    """The other of two processes has met something that is not finite."""
    assert true_in_all_processes(torch.tensor(True))
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda tensor, op: tensor.clamp_(max=0))
    assert not true_in_all_processes(torch.tensor(True))


@pytest.mark.parametrize("search", [False, True])
def test_a_learning_rate_that_ends_in_nan_ends_the_run_in_one_line(search, tmp_path, monkeypatch, capfd):
    """Nothing of it is left that looks good: no genotype, no network, but the checkpoint before."""
    pipeline = Pipeline(tmp_path, 4 if search else 2, monkeypatch, capfd)
    rates = {"train.optim_g.lr": 100, "train.optim_g.type": "SGD", "train.grad_clip": 1e38, "train.max_skipped": 4}
    changes = {**rates, "train.total_iter": 60, "train.pixel_opt.type": "MSELoss"}
    opt = pipeline.options(changes, search)
    if search:
        opt["datasets"]["train"].update(type="QuantNASSearchDataset", dataset="PairedImageDataset")
    code, printed = pipeline.run("train", opt)
    line = printed.strip().splitlines()[-1]
    assert code == 1 and re.match(r"basicsr train: iteration \d+: .*not (been )?finite", line), printed[-2000:]
    assert "Traceback" not in printed and not list(Path("experiments").rglob("genotype*.yml"))
    assert not list(Path("experiments/run/models").glob("*latest*"))
