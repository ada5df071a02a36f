"""Resuming a training under other options: what the training state holds of the old ones gives way to the new ones.

A training state holds hyper-parameters beside moments and counters: torch saves them with optimizers and schedulers,
and loading brings them back. Here the state is changed before BasicSR loads it: everything that the options say is as
they say now, moments and counters are the saved ones. Where the options are the same, the state is not touched.
"""

import warnings
from typing import Any, Callable, Iterable, List, Mapping, Sequence

from basicsr.models.lr_scheduler import CosineAnnealingRestartLR, MultiStepRestartLR

from quantnas_sr.errors import OptionError
from quantnas_sr.models.saved.optimizer_state import OptimizerState, State, differ, listed

Say = Callable[[str], None]

#: The keys of the options of optimizers, in the order of a model's ``optimizers``.
_OPTIMIZER_KEYS = ("optim_g", "optim_alpha")
#: What a scheduler's state holds besides its hyper-parameters; names with an underscore do not count either.
_COUNTERS = ("base_lrs", "last_epoch", "verbose")


def resumed_states(model: Any, state: State, say: Say) -> State:
    """The ``optimizers`` and ``schedulers`` of a training state in the form in which the model is to load them.

    Args:
        model: an `ExperimentModel` that was built with the options of now and has not trained yet.
        state: the training state.
        say: is told in one line each what has changed, and what of the state is not used.

    Raises:
        OptionError: the state is that of another kind of model.
    """
    _check_kind(model, state)
    fits = _optimizer_states(model, state)
    optimizers = [fit.fit(say) for fit in fits]
    _say_changes(model, state, fits, say)
    done = state.get("iter", 0)
    if not _schedule_changed(model, state, fits) or done >= int(model.opt["train"]["total_iter"]):
        return {"optimizers": optimizers}
    for scheduler in model.schedulers:
        scheduler.base_lrs = [group["initial_lr"] for group in scheduler.optimizer.param_groups]
    replay_schedule(model, done, _warmup_iter(model.opt))
    schedulers = [
        {**scheduler.state_dict(), "_step_count": saved["_step_count"]}
        for scheduler, saved in zip(model.schedulers, state["schedulers"])
    ]
    return {"optimizers": [_with_rates(*pair) for pair in zip(optimizers, model.optimizers)], "schedulers": schedulers}


def _check_kind(model: Any, state: State) -> None:
    saved, own = len(state["optimizers"]), len(model.optimizers)
    if saved != own or len(state["schedulers"]) != len(model.schedulers):
        raise OptionError(
            f"path.resume_state: it has the states of {saved} optimizers, and a {type(model).__name__} has {own}: "
            "it was saved by another kind of model"
        )


def _optimizer_states(model: Any, state: State) -> List[OptimizerState]:
    number = len(model.optimizers)
    scheduled = [scheduler.optimizer for scheduler in model.schedulers]
    columns = zip(
        model.optimizers,
        model.parameter_names(),
        state["optimizers"],
        state.get("optimizer_types") or [None] * number,
        state.get("parameter_names") or [None] * number,
        (*_OPTIMIZER_KEYS, *(f"optimizer {i}" for i in range(2, number))),
    )
    return [OptimizerState(*column, scheduled=column[0] in scheduled) for column in columns]


def _with_rates(state: State, optimizer: Any) -> State:
    """A state to load with the rates that the optimizer has now."""
    groups = [
        {**saved, **{key: group[key] for key in ("lr", "initial_lr") if key in group}}
        for saved, group in zip(state["param_groups"], optimizer.param_groups)
    ]
    return {**state, "param_groups": groups}


def _warmup_iter(options: Mapping[str, Any]) -> int:
    return options["train"].get("warmup_iter", -1)


def _schedule_changed(model: Any, state: State, fits: Iterable[OptimizerState]) -> bool:
    """Whether any rate may be another than the saved one."""
    before = state.get("options", model.opt)
    return (
        _warmup_iter(before) != _warmup_iter(model.opt)
        or any(schedule_differs(*pair) for pair in zip(model.schedulers, state["schedulers"]))
        or any(fit.scheduled and not fit.keeps_rates() for fit in fits)
    )


def _say_changes(model: Any, state: State, fits: Sequence[OptimizerState], say: Say) -> None:
    before, now = state.get("options"), model.recorded_options
    if before is None:  # saved before states had options
        changed = [f"train.{fit.where}: {', '.join(sorted(fit.differences))}" for fit in fits if fit.differences]
        changed += [f"train.{fit.where}: learning rate" for fit in fits if fit.scheduled and not fit.keeps_rates()]
        changed += ["train.scheduler"] * any(map(schedule_differs, model.schedulers, state["schedulers"]))
    else:
        changed = [text for key in ("train", "datasets", "metrics") for text in differences(before[key], now[key], key)]
        if before["manual_seed"] != now["manual_seed"]:
            say(f"manual_seed was {before['manual_seed']}: the random generators go on from the saved state.")
    if changed:
        say(f"Changed options: {'; '.join(changed)}. The new values hold from here on, but in phases that are over.")


def schedule_differs(scheduler: Any, saved: Mapping[str, Any]) -> bool:
    """Whether a scheduler of the options has other hyper-parameters than the saved one (or is of another kind)."""

    def own(state: Mapping[str, Any]) -> State:
        return {key: listed(value) for key, value in state.items() if key[0] != "_" and key not in _COUNTERS}

    return own(scheduler.state_dict()) != own(saved)


def replay_schedule(model: Any, iteration: int, warmup_iter: int) -> None:
    """Bring fresh schedulers and their optimizers to where ``iteration`` iterations of the options have them.

    Iterations at which no rate jumps are passed over; the rates are those of going through all of them.

    Args:
        model: an `ExperimentModel`.
        iteration: number of iterations that are done.
        warmup_iter: of the options; -1 for none.
    """
    events = {1, warmup_iter - 1, iteration}
    for scheduler in model.schedulers:
        events.update(_jumps(scheduler, iteration))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step")
        for event in sorted(event for event in events if 1 <= event <= iteration):
            if event > 1:
                for scheduler in model.schedulers:
                    scheduler.last_epoch = event - 2
            model.step_learning_rate(event, warmup_iter)


def _jumps(scheduler: Any, iteration: int) -> Iterable[int]:
    """The iterations at which the rate depends on that of the iteration before, and on more than being equal to it."""
    if type(scheduler) is MultiStepRestartLR:
        return {step + 1 for step in (*scheduler.milestones, *scheduler.restarts)}
    return () if type(scheduler) is CosineAnnealingRestartLR else range(2, iteration)


def differences(before: Any, after: Any, key: str = "") -> List[str]:
    """How two nested mappings of options differ, in words.

    >>> differences({"a": {"b": 1, "c": [2]}}, {"a": {"b": 3, "c": [2], "d": 4}})
    ['a.b was 1 and is 3', 'a.d is 4']
    """
    if not (isinstance(before, Mapping) and isinstance(after, Mapping)):
        if not differ(before, after):
            return []
        return [f"{key} was {listed(before)} and is {listed(after)}"]
    found: List[str] = []
    for name in {**before, **after}:
        where = f"{key}.{name}" if key else str(name)
        if name not in before:
            found.append(f"{where} is {listed(after[name])}")
        elif name not in after:
            found.append(f"{where} was {listed(before[name])} and is not given")
        else:
            found += differences(before[name], after[name], where)
    return found


def recorded_options(opt: Mapping[str, Any]) -> State:
    """Copies of the options that a training state records: those that a resumed run may change on the way."""
    data = opt.get("datasets", {}).get("train") or {}
    keys = ("batch_size_per_gpu", "dataset_enlarge_ratio", "gt_size")
    return _plain_copy(
        {
            "train": opt.get("train") or {},
            "datasets": {"train": {key: data[key] for key in keys if key in data}},
            "metrics": (opt.get("val") or {}).get("metrics") or {},
            "manual_seed": opt.get("manual_seed"),
        }
    )


def _plain_copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain_copy(entry) for key, entry in value.items()}
    return [_plain_copy(entry) for entry in value] if isinstance(value, (list, tuple)) else value
