"""A resumed training is the training that was not interrupted; and where options have changed, the new ones hold."""

import pytest
import torch
from tiny_training import Pipeline, assert_same, everything, new_model, options, resumed, train

from quantnas_sr.errors import DataError, OptionError
from quantnas_sr.losses.entropy_loss import EntropyLoss
from quantnas_sr.losses.penalty import AdaptivePenalty
from quantnas_sr.models.batch_statistics import batch_norms
from quantnas_sr.models.phases import Progress, TrainingPhases, iterations_before
from quantnas_sr.quantization import LSQActivation, LSQWeight, NoisePool, QuantConv2d

ADQ_NETWORK = {"network_g": {"type": "QuantNASBasic"}}  # completed by the fixture `genotype`


def steps(model):
    kinds = (LSQWeight, LSQActivation)
    return torch.cat([m.step.detach().flatten() for m in model.net_g.modules() if isinstance(m, kinds)])


def moments(model):
    """Adam's first moment of every parameter, by name."""
    names = [name for group in model.parameter_names()[0] for name in group]
    entries = sorted(model.optimizer_g.state_dict()["state"].items())
    return dict(zip(names, (entry["exp_avg"] for _, entry in entries)))


def quantizes(model):
    return all(m.quantize for m in model.net_g.modules() if isinstance(m, QuantConv2d))


def rates(model, optimizer=0):
    return [group["lr"] for group in model.optimizers[optimizer].param_groups]


# --- the same options


QAT = {
    "warm-up, then calibration": {"train.fp_warmup": 0.2, "train.calibration_iter": 3},
    "calibration at once": {"train.calibration_iter": 4},
    "warm-up, then the first batch calibrates": {"train.fp_warmup": 0.2, "train.calibration_iter": 0},
    "rates of steps, moving average, Muon": {
        "train.optim_g.type": "Muon",
        "train.fp_warmup": 0.2,
        "train.calibration_iter": 2,
        "train.step_lr": 1e-2,
        "train.ema_decay": 0.9,
        "train.warmup_iter": 5,
    },
    "batch statistics": {"train.fp_warmup": 0.25, "network_g": {"type": "QuantNASBasic"}},
}


@pytest.mark.parametrize("changes", QAT.values(), ids=list(QAT))
def test_a_training_resumed_at_any_iteration_is_the_uninterrupted_one(changes, tmp_path, genotype):
    opt = options(tmp_path, changes)
    if opt["network_g"]["type"] == "QuantNASBasic":
        opt["network_g"]["genotype"] = genotype().to_dict()
    whole = new_model(opt)
    train(whole, 1, 7, save=True)
    assert quantizes(whole)
    for iteration in range(1, 7):
        model = resumed(opt, iteration)
        # Saving takes the statistics of batch normalisation anew, too.
        train(model, iteration + 1, 7, save=bool(batch_norms(model.net_g)))
        assert_same(whole, model)
        assert model.lines == []


SEARCHES = {
    "fast noise, warm-up of the alphas": {"network_g.noise_mode": "fast", "train.alpha_warmup": 0.1},
    "exact noise, gumbel": {"network_g.noise_mode": "exact", "network_g.selector": "gumbel", "train.alpha_warmup": 0},
    "a budget": {"train.hardware_opt.budget": 0.03, "train.alpha_warmup": 0.1},
    "drawn networks": {
        "network_g.selector": "sample",
        "train.hardware_opt.budget": 0.03,
        "train.alpha_warmup": 0.3,
    },
    "shared weights": {"network_g.bit_mixer": "shared", "train.alpha_warmup": 0.1},
}


@pytest.mark.parametrize("changes", SEARCHES.values(), ids=list(SEARCHES))
def test_a_search_resumed_at_any_iteration_is_the_uninterrupted_one(changes, tmp_path, monkeypatch):
    monkeypatch.setattr(NoisePool, "SIZE", 2**12)
    opt = options(tmp_path, changes, search=True)
    whole = new_model(opt)
    train(whole, 1, 4, save=True)
    for iteration in range(1, 4):
        model = resumed(opt, iteration)
        train(model, iteration + 1, 4, save=True)
        assert_same(whole, model)
        assert model.cri_hardware.loss_weight == whole.cri_hardware.loss_weight
        assert model.supernet.temperature == whole.supernet.temperature
        assert model.lines == []


RUNS = {
    "training": {"train.ema_decay": 0.9, "train.fp_warmup": 0.3, "manual_seed": None},
    "prefetched by a thread": {"datasets.train.prefetch_mode": "cpu", "datasets.train.batch_size_per_gpu": 3},
    "search": {"datasets.train.type": "QuantNASSearchDataset", "train.total_iter": 7},
}


@pytest.mark.parametrize("changes", RUNS.values(), ids=list(RUNS))
def test_a_resumed_pipeline_is_the_uninterrupted_one(changes, tmp_path, monkeypatch, capfd):
    """In the middle of the second epoch, with crops and flips; seven images, each twice in an epoch."""
    run, search = Pipeline(tmp_path, 7, monkeypatch, capfd), "datasets.train.type" in changes
    changes = {"train.total_iter": 11, "datasets.train.dataset_enlarge_ratio": 2, **changes}
    opt = run.options({"logger.save_checkpoint_freq": 2, **changes}, search)
    assert run.run("train", opt)[0] == 0
    folder = tmp_path / "experiments/run"
    files = [folder / "models/net_g_latest.pth", *folder.glob("genotype.yml")]
    whole = [path.read_bytes() for path in files]
    last = max(run.states())
    (folder / f"training_states/{last}.state").unlink()
    files[0].unlink()
    code, log = run.run("train", opt, "--auto_resume")
    assert code == 0 and f"iter: {last - 2}." in log
    assert [path.read_bytes() for path in files] == whole


# --- the phases


@pytest.mark.parametrize("fp_warmup", [0, 0.5, 0.9, 0.95])
def test_a_training_that_quantizes_at_all_ends_with_calibrated_quantizers(fp_warmup, tmp_path):
    """It was validated without those of activations where its last iterations were still to calibrate them."""
    model = new_model(options(tmp_path, {"train.fp_warmup": fp_warmup, "train.total_iter": 20}))
    train(model, 1, 20)
    quantizers = [m for m in model.net_g.modules() if isinstance(m, LSQActivation)]
    assert quantizes(model) and quantizers and all(m.is_calibrated for m in quantizers)


# --- a phase that is over stays over


def test_a_longer_training_does_not_go_back_into_its_warm_up(tmp_path):
    changes = {"train.fp_warmup": 0.2, "train.calibration_iter": 2, "train.total_iter": 20}
    opt = options(tmp_path, changes)
    model = new_model(opt)
    train(model, 1, 10, save=True)
    opt["train"]["total_iter"] = 200
    for iteration in (4, 5, 6, 7, 10):
        longer = resumed(opt, iteration)
        train(longer, iteration + 1, 10)
        assert quantizes(longer) and torch.equal(steps(longer), steps(model))
        assert any("fp_warmup: 40 iterations" in line and "after iteration 4" in line for line in longer.lines)


def test_a_warm_up_that_goes_on_ends_where_the_new_options_say(tmp_path):
    opt = options(tmp_path, {"train.fp_warmup": 0.5, "train.calibration_iter": 0, "train.total_iter": 12})
    model = new_model(opt)
    train(model, 1, 4, save=True)
    opt["train"]["total_iter"] = 16
    longer = resumed(opt, 3)
    train(longer, 4, 8)
    assert not quantizes(longer)
    train(longer, 9, 9)
    assert quantizes(longer)
    opt["train"]["total_iter"] = 4
    shorter = resumed(opt, 3)
    train(shorter, 4, 4)
    assert quantizes(shorter) and not torch.equal(steps(shorter), steps(resumed(opt, 3)))


@pytest.mark.parametrize(
    "asked, saved, done, expected",
    [
        ((8, 10), (4, 6), 3, (8, 10)),
        ((2, 4), (4, 6), 3, (3, 5)),
        ((8, 10), (4, 6), 4, (4, 6)),
        ((8, 13), (4, 6), 5, (4, 9)),
        ((8, 9), (4, 7), 6, (4, 7)),
        ((8, 0), (4, 7), 5, (4, 6)),
        ((8, 0), (4, 6), 4, (4, 0)),
        ((8, 10), (4, 0), 4, (4, 6)),
        ((8, 10), (4, 0), 5, (4, 0)),
        ((8, 0), (4, 6), 6, (4, 6)),
        ((8, 0), (0, 0), 1, (0, 0)),
    ],
)
def test_phases_end_where_they_ended_or_where_the_options_say_but_not_before_now(asked, saved, done, expected):
    before = TrainingPhases(*saved).state_dict()
    assert TrainingPhases(*asked).resumed(done, before) == TrainingPhases(*expected)


def test_a_longer_search_keeps_its_alphas_moving_and_its_schedules_rising(tmp_path):
    opt = options(tmp_path, {"train.total_iter": 10, "train.alpha_warmup": 0.4, "network_g.bits": [2, 4]}, search=True)
    model = new_model(opt)
    train(model, 1, 8, save=True)
    temperature = model.supernet.temperature
    opt["train"]["total_iter"] = 100
    longer = resumed(opt, 8)
    assert any("alpha_warmup: 40 iterations" in line for line in longer.lines)
    before = everything(longer)
    train(longer, 9, 9)
    assert longer.supernet.temperature < temperature
    assert any(not torch.equal(before[k], v) for k, v in everything(longer).items() if k.startswith("net.alphas"))
    early = resumed(opt, 3)
    assert early.schedule.warmup_iterations == 40, "the warm-up was not over, and the new options hold"


def test_progress_and_the_weight_of_the_entropy_never_fall_when_a_search_gets_longer():
    probabilities = {"slot": torch.tensor([[0.5, 0.5]])}
    loss = EntropyLoss(loss_weight=1.0)
    for done in range(1, 21):
        short, longer = Progress(20), Progress(33)
        longer.resume(done, short.state_dict())
        again = Progress(90)
        again.resume(done + 5, longer.state_dict())
        line = [short.at(i) for i in range(1, done + 1)] + [longer.at(i) for i in range(done + 1, done + 6)]
        line += [again.at(i) for i in range(done + 6, 92)]
        assert line == sorted(line) and line[-1] == 1.0
        weights = [loss(probabilities, progress, warmup=0.1).item() for progress in line]
        assert weights == sorted(weights) and weights[-1] == pytest.approx(loss(probabilities, 0.99, 0.1).item())


def test_the_warm_up_of_the_alphas_is_that_share_of_the_iterations():
    for total in range(1, 40):
        for share in (0.0, 0.1, 0.2, 0.3, 1 / 3, 0.5, 0.7, 0.999):
            expected = sum((i - 1) / total < share for i in range(1, total + 1))
            assert min(total, iterations_before(share, total)) == expected


# --- other options


def cosine(*periods, **more):
    return {"type": "CosineAnnealingRestartLR", "periods": list(periods), "eta_min": 1e-5, **more}


def steps_at(*milestones, **more):
    return {"type": "MultiStepLR", "milestones": list(milestones), "gamma": 0.5, **more}


SCHEDULES = {
    "longer cosine": (cosine(8), cosine(16), {}),
    "cosine with restarts": (cosine(16), cosine(4, 12, restart_weights=[1, 0.5]), {}),
    "other milestones, one of them past": (steps_at(7), steps_at(2, 5, 7), {}),
    "restarts": (steps_at(2), steps_at(3, 5, restarts=[0, 4], restart_weights=[1, 0.7]), {}),
    "cosine in place of steps": (steps_at(2), cosine(16), {}),
    "steps in place of cosine": (cosine(16), steps_at(3), {}),
    "another rate": (steps_at(2, 7), steps_at(2, 7), {"train.optim_g.lr": 3e-3}),
    "another rate under cosine": (cosine(16), cosine(16), {"train.optim_g.lr": 3e-3}),
    "a warm-up": (steps_at(2), steps_at(2), {"train.warmup_iter": 5}),
    "a warm-up that goes on": (cosine(16), cosine(16), {"train.warmup_iter": 12}),
}


@pytest.mark.parametrize("before, after, changes", SCHEDULES.values(), ids=list(SCHEDULES))
def test_the_schedule_of_the_options_holds_from_here_on(before, after, changes, tmp_path):
    """For the weights and for the quantization steps, which have a rate of their own."""
    always = {"train.step_lr": 1e-2, "train.calibration_iter": 1}
    opt = options(tmp_path, {"train.scheduler": before, "train.total_iter": 16, **always})
    train(new_model(opt), 1, 6, save=True)
    for iteration in (1, 6):
        opt = options(tmp_path, {"train.scheduler": after, **always, **changes})
        model = resumed(opt, iteration)
        assert len(model.lines) == 1 and ("scheduler" in model.lines[0] or next(iter(changes), "?") in model.lines[0])
        reference = new_model(options(tmp_path, {"train.scheduler": after, **always, **changes}))
        train(reference, 1, iteration)
        assert rates(model) == pytest.approx(rates(reference), rel=1e-12)
        for i in range(iteration + 1, 9):
            train(model, i, i)
            train(reference, i, i)
            assert rates(model) == pytest.approx(rates(reference), rel=1e-12)


def test_moments_stay_and_hyper_parameters_are_those_of_the_options(tmp_path):
    opt = options(tmp_path, {})
    before = new_model(opt)
    train(before, 1, 4, save=True)
    opt["train"]["optim_g"].update(betas=[0.5, 0.9], weight_decay=1e-2)
    model = resumed(opt, 4)
    group = model.optimizer_g.param_groups[0]
    assert list(group["betas"]) == [0.5, 0.9] and group["weight_decay"] == 1e-2
    assert group["lr"] == before.optimizer_g.param_groups[0]["lr"]
    saved, own = moments(before), moments(model)
    assert set(saved) == set(own) and all(torch.equal(saved[name], own[name]) for name in saved)
    (line,) = model.lines
    assert "train.optim_g.weight_decay is 0.01" in line and "train.optim_g.betas is [0.5, 0.9]" in line


def test_another_optimizer_starts_its_moments_anew_and_a_line_says_so(tmp_path):
    opt = options(tmp_path, {"train.scheduler.milestones": [2]})
    train(new_model(opt), 1, 4, save=True)
    opt["train"]["optim_g"] = {"type": "SGD", "lr": 1e-2, "momentum": 0.9}
    model = resumed(opt, 4)
    assert any("its type was Adam and is SGD: its moments start anew" in line for line in model.lines)
    assert rates(model) == [5e-3], "the schedule goes on"
    train(model, 5, 6)
    older = resumed(opt, 4, without=("options", "optimizer_types", "parameter_names"))
    assert any("its type has changed: its moments start anew" in line for line in older.lines)
    train(older, 5, 6)


@pytest.mark.parametrize(
    "before, after",
    [
        ({"type": "Adam", "lr": 1e-3}, {"type": "Adam", "lr": 1e-3, "amsgrad": True}),
        ({"type": "AdamW", "lr": 1e-3}, {"type": "AdamW", "lr": 1e-3, "amsgrad": True}),
        ({"type": "RMSprop", "lr": 1e-3}, {"type": "RMSprop", "lr": 1e-3, "momentum": 0.9, "centered": True}),
    ],
    ids=lambda value: value["type"],
)
def test_moments_that_are_not_there_start_anew_and_a_line_says_so(before, after, tmp_path):
    opt = options(tmp_path, {"train.optim_g": before})
    train(new_model(opt), 1, 3, save=True)
    opt["train"]["optim_g"] = after
    model = resumed(opt, 3)
    assert any("its moments start anew" in line for line in model.lines)
    train(model, 4, 5)
    opt["train"]["optim_g"] = before
    train(model, 6, 6, save=True)
    fewer = resumed(opt, 6)
    train(fewer, 7, 7)
    assert not any("anew" in line for line in fewer.lines), "more moments than are needed do no harm"


@pytest.mark.parametrize("before, after", [(None, 1e-2), (1e-2, None), (1e-2, 3e-2)])
def test_rates_of_steps_can_be_switched_on_and_off_and_every_parameter_keeps_its_moments(before, after, tmp_path):
    opt = options(tmp_path, {"train.step_lr": before, "train.calibration_iter": 0})
    first = new_model(opt)
    train(first, 1, 4, save=True)
    opt["train"]["step_lr"] = after
    model = resumed(opt, 4)
    saved, own = moments(first), moments(model)
    assert set(saved) == set(own) and all(torch.equal(saved[name], own[name]) for name in saved)
    assert (len(model.optimizer_g.param_groups) > 1) == (after is not None)
    assert rates(model)[0] == rates(first)[0]
    if before and after:
        assert rates(model)[1:] == pytest.approx([3 * rate for rate in rates(first)[1:]], rel=0.02)
    train(model, 5, 6)
    older = resumed(opt, 4, without=("options", "optimizer_types", "parameter_names"))
    train(older, 5, 6)
    assert older.lines


def test_the_rate_of_the_alphas_is_that_of_the_options(tmp_path):
    opt = options(tmp_path, {"train.alpha_warmup": 0}, search=True)
    train(new_model(opt), 1, 2, save=True)
    opt["train"]["optim_alpha"].update(lr=5e-2, betas=[0.5, 0.9])
    model = resumed(opt, 2)
    assert rates(model, 1) == [5e-2] and list(model.optimizer_alpha.param_groups[0]["betas"]) == [0.5, 0.9]
    assert "train.optim_alpha.lr was 0.01 and is 0.05" in model.lines[0]
    train(model, 3, 3)
    assert rates(model, 1) == [5e-2]
    opt["train"]["optim_alpha"] = {"type": "SGD", "lr": 1e-2}
    model = resumed(opt, 2)
    assert any("train.optim_alpha: its type was Adam and is SGD" in line for line in model.lines)
    train(model, 3, 3)


def test_a_penalty_that_the_options_change_starts_there():
    before = AdaptivePenalty(1e-4)
    before.update(2.0)
    same, other = AdaptivePenalty(1e-4), AdaptivePenalty(1e-3)
    same.load_state_dict(before.state_dict())
    other.load_state_dict(before.state_dict())
    assert (same.value, other.value) == (2e-4, 1e-3)


@pytest.mark.parametrize("before, after", [(0, 0.9), (0.9, 0), (0.9, 0.5)])
def test_the_moving_average_can_be_switched_on_and_off(before, after, tmp_path):
    opt = options(tmp_path, {"train.ema_decay": before, "train.calibration_iter": 0})
    train(new_model(opt), 1, 3, save=True)
    opt["train"]["ema_decay"] = after
    model = resumed(opt, 3)
    assert hasattr(model, "net_g_ema") == bool(after)
    assert "train.ema_decay" in model.lines[0]
    train(model, 4, 4)
    assert model.ema_decay == after


def test_a_state_without_options_is_resumed_too_and_the_new_options_hold(tmp_path):
    """As earlier versions have left them."""
    keys = ("options", "optimizer_types", "parameter_names", "phases", "calibration_batches")
    opt = options(tmp_path, {"train.calibration_iter": 0})
    whole = new_model(opt)
    train(whole, 1, 6, save=True)
    model = resumed(opt, 4, without=keys)
    train(model, 5, 6)
    assert_same(whole, model)
    assert model.lines == []
    opt["train"]["scheduler"]["milestones"] = [2]
    opt["train"]["optim_g"]["eps"] = 1e-6
    model = resumed(opt, 4, without=keys)
    assert rates(model) == [5e-3] and model.optimizer_g.param_groups[0]["eps"] == 1e-6
    assert "train.scheduler" in model.lines[0] and "eps" in model.lines[0]


def test_a_metric_that_is_new_or_measured_otherwise_has_no_best_value_yet(tmp_path):
    metrics = {
        "psnr": {"type": "calculate_psnr", "crop_border": 2},
        "ssim": {"type": "calculate_ssim", "crop_border": 2},
    }
    opt = options(tmp_path, {"val": {"metrics": {"psnr": metrics["psnr"]}}})
    model = new_model(opt)
    record = {"better": "higher", "val": 30.0, "iter": 1}
    model.best_metric_results = {"set": {"psnr": dict(record)}}
    train(model, 1, 1, save=True)
    opt["val"]["metrics"] = metrics
    more = resumed(opt, 1)
    more._initialize_best_metric_results("set")
    assert more.best_metric_results["set"]["psnr"] == record
    assert more.best_metric_results["set"]["ssim"]["iter"] == -1
    opt["val"]["metrics"]["psnr"]["crop_border"] = 4
    other = resumed(opt, 1)
    other._initialize_best_metric_results("set")
    assert other.best_metric_results["set"]["psnr"]["iter"] == -1
    assert "metrics.psnr.crop_border was 2 and is 4" in other.lines[0]


def test_the_state_of_another_kind_of_model_is_refused_in_one_line(tmp_path):
    opt = options(tmp_path, {}, search=True)
    train(new_model(opt), 1, 1, save=True)
    state = torch.load(tmp_path / "training_states/1.state", weights_only=True)
    model = new_model(options(tmp_path, {}))
    with pytest.raises(
        OptionError, match="path.resume_state: it has the states of 2 optimizers, and a QuantNASModel has 1"
    ):
        model.resume_training(state)


def test_weights_that_do_not_fit_the_network_are_refused_in_one_line(tmp_path):
    opt = options(tmp_path, {})
    train(new_model(opt), 1, 1, save=True)
    opt["network_g"]["arch"]["num_feat"] = 8
    with pytest.raises(DataError, match=r"net_g_1.pth: its weights do not fit the network of the options: \S") as error:
        resumed(opt, 1)
    assert "\n" not in str(error.value)


def test_another_seed_does_not_change_the_random_numbers_of_a_resumed_run_and_a_line_says_so(tmp_path):
    opt = options(tmp_path, {"train.calibration_iter": 0})
    whole = new_model(opt)
    train(whole, 1, 3, save=True)
    opt["manual_seed"] = 7
    model = resumed(opt, 2)
    assert model.lines == ["manual_seed was 0: the random generators go on from the saved state."]
    train(model, 3, 3)
    assert_same(whole, model)
