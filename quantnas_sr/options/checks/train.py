"""``train``: optimizers, the schedule of the learning rate, losses."""

from typing import Any, Dict, Optional

import torch
from basicsr.models import lr_scheduler
from basicsr.models.base_model import BaseModel
from torch import nn

from quantnas_sr.compat.models import torch_optimizers
from quantnas_sr.errors import OptionError, unknown
from quantnas_sr.losses.entropy_loss import EntropyLoss
from quantnas_sr.losses.hardware_cost_loss import HardwareCostLoss
from quantnas_sr.options.checks.building import built, errors_at, made
from quantnas_sr.options.registered import is_a, registered
from quantnas_sr.options.tables import ARGUMENTS
from quantnas_sr.registration import LOSS_REGISTRY, MODEL_REGISTRY, is_ours
from quantnas_sr.search_space import SearchNetwork
from quantnas_sr.values.kinds import MAPPING, TEXT
from quantnas_sr.values.signatures import check_arguments

Options = Dict[str, Any]

_SCHEDULERS = {
    "MultiStepLR": lr_scheduler.MultiStepRestartLR,
    "MultiStepRestartLR": lr_scheduler.MultiStepRestartLR,
    "CosineAnnealingRestartLR": lr_scheduler.CosineAnnealingRestartLR,
}


def check_train(opt: Options, net: Optional[nn.Module]) -> None:
    """Build the optimizers, the schedule and our losses.

    Raises:
        OptionError: one of them cannot be built, or an argument is not allowed.
    """
    train, model = opt["train"], MODEL_REGISTRY.find(opt["model_type"])
    for key in train:
        if key.startswith("optim_") and train[key] is not None and _is_basicsrs(model, "get_optimizer"):
            _check_optimizer(train[key], f"train.{key}")
    if _is_basicsrs(model, "setup_schedulers"):
        _check_scheduler(train["scheduler"], train["total_iter"])
    _check_calibration(train)
    if is_ours(model) and train.get("pixel_opt") is None and train.get("perceptual_opt") is None:
        raise OptionError("train: there is no loss: the key 'pixel_opt' is missing")
    for key in train:
        if key.endswith("_opt") and train[key] is not None:
            _check_loss(train[key], key, net)


def _check_calibration(train: Options) -> None:
    """Iterations that calibrate must leave some that are trained with quantizers."""
    total, calibration = train["total_iter"], train.get("calibration_iter")
    if not calibration:
        return
    left = total - int((train.get("fp_warmup") or 0) * total)
    if calibration >= left:
        where = f"total_iter {total}" if left == total else f"the {left} iterations after fp_warmup"
        raise OptionError(
            f"train.calibration_iter: {calibration} leaves none of {where} to train in. Allowed: less than {left}"
        )


def _is_basicsrs(model: Any, method: str) -> bool:
    """Whether a model makes its optimizers or schedules as BasicSR does; a project's own may know other kinds."""
    return is_ours(model) or getattr(model, method, None) is getattr(BaseModel, method)


def _type(options: Any, where: str) -> str:
    MAPPING.checked(options, where)
    if options.get("type") is None:
        raise OptionError(f"{where}: the key 'type' is missing")
    return TEXT.checked(options["type"], f"{where}.type")


def _check_optimizer(options: Options, where: str) -> None:
    name, known = _type(options, where), torch_optimizers()
    if name not in known:
        raise OptionError(unknown("type", name, known, where=where))
    if "lr" not in options:
        raise OptionError(f"{where}: the key 'lr' is missing. Allowed: {ARGUMENTS['lr'].allowed}")
    arguments = {"params": [nn.Parameter(torch.zeros(1))], **{k: v for k, v in options.items() if k != "type"}}
    check_arguments(known[name], arguments, where, ARGUMENTS)
    options.update({key: value for key, value in arguments.items() if key != "params"})
    made(lambda: known[name](**arguments), where, "cpu")


def _check_scheduler(options: Options, total_iter: int) -> None:
    where = "train.scheduler"
    name = _type(options, where)
    if name not in _SCHEDULERS:
        raise OptionError(unknown("type", name, _SCHEDULERS, where=where))
    arguments = {"optimizer": None, **{key: value for key, value in options.items() if key != "type"}}
    check_arguments(_SCHEDULERS[name], arguments, where, ARGUMENTS)
    options.update({key: value for key, value in arguments.items() if key != "optimizer"})
    key = "periods" if "periods" in arguments else "restarts"
    lengths = [len(arguments.get(name, [0])) for name in (key, "restart_weights")]
    if lengths[0] != lengths[1]:
        raise OptionError(f"{where}: {key} has {lengths[0]} entries and restart_weights {lengths[1]}. Allowed: as many")
    periods = options.get("periods")
    if periods is not None and sum(periods) < total_iter:
        raise OptionError(f"train.scheduler.periods: {periods} end before total_iter {total_iter}")


def _check_loss(options: Options, key: str, net: Optional[nn.Module]) -> None:
    where = f"train.{key}"
    cls = registered(f"{where}.type", _type(options, where), LOSS_REGISTRY)
    allowed = _allowed_loss(key, cls)
    if allowed:
        raise OptionError(f"{where}: type {options['type']} is another kind of loss. Allowed: {allowed}")
    if not is_ours(cls):
        arguments = {name: value for name, value in options.items() if name != "type"}
        check_arguments(cls, arguments, where, ARGUMENTS, strict=False)
        options.update(arguments)
        return
    loss = built(cls, options, where, ARGUMENTS)
    if isinstance(loss, HardwareCostLoss) and isinstance(net, SearchNetwork):
        with errors_at(where):
            loss.attach(net)


def _allowed_loss(key: str, cls: type) -> str:
    """What may stand under this key if ``cls`` may not; empty if it may."""
    if key == "hardware_opt":
        return "" if is_a(cls, HardwareCostLoss) else "HardwareCostLoss"
    if key == "entropy_opt":
        is_other = is_a(cls, HardwareCostLoss) or cls.__module__.startswith("basicsr.")
        return "EntropyLoss" if is_other else ""
    return "L1Loss, for example" if is_a(cls, (HardwareCostLoss, EntropyLoss)) else ""
