"""Checks the options of a run at the door, before BasicSR makes or moves any folder."""

import importlib.util
from typing import Any, Dict

import torch

from quantnas_sr.data.batches import check_batches
from quantnas_sr.errors import OptionError
from quantnas_sr.options.checks.datasets import check_datasets
from quantnas_sr.options.checks.folders import check_folders
from quantnas_sr.options.checks.inputs import check_inputs
from quantnas_sr.options.checks.network import check_checkpoints, check_network, check_teacher
from quantnas_sr.options.checks.shape import check_shape
from quantnas_sr.options.checks.train import check_train
from quantnas_sr.options.checks.validation import check_validation
from quantnas_sr.options.registered import registered
from quantnas_sr.registration import MODEL_REGISTRY

Options = Dict[str, Any]


def check(opt: Options) -> None:
    """Check the options of a run, as BasicSR has parsed them, and give the values their own types in place.

    Raises:
        QuantNASError: one line that says which key has which value, and what is allowed.
    """
    check_shape(opt, opt["is_train"])
    registered("model_type", opt["model_type"], MODEL_REGISTRY)
    check_folders(opt)
    _check_devices(opt)
    if opt["model_type"] == "QuantNASSearchModel" and opt["is_train"] and opt.get("scale") is None:
        raise OptionError("the options: the key 'scale' is missing")
    net = check_network(opt)
    if opt["is_train"]:
        check_train(opt, net)
        _check_logger(opt["logger"])
    check_validation(opt, check_datasets(opt))
    if opt["is_train"]:
        check_batches(opt)
    check_inputs(opt, net)
    check_checkpoints(opt, net)
    if opt["is_train"]:
        check_teacher(opt, net)


def _check_devices(opt: Options) -> None:
    asked = opt["num_gpu"]
    if asked in (0, "auto"):
        return
    if not torch.cuda.is_available():
        raise OptionError(f"num_gpu: {asked}, but torch finds no GPU here. Allowed: 0 or auto")
    if asked > torch.cuda.device_count():
        raise OptionError(f"num_gpu: {asked}, but torch finds {torch.cuda.device_count()} GPUs here")
    if asked > 1 and not opt.get("dist"):
        raise OptionError(
            f"num_gpu: {asked} GPUs need one process each: start the run with `torchrun --nproc_per_node={asked} ... "
            "--launcher pytorch`. Allowed without a launcher: 0 or 1"
        )


def _check_logger(logger: Options) -> None:
    if (logger.get("wandb") or {}).get("project") is None:
        return
    if not logger["use_tb_logger"]:
        raise OptionError("logger.wandb.project: needs use_tb_logger: true, from which wandb takes what it shows")
    if importlib.util.find_spec("wandb") is None:
        raise OptionError("logger.wandb.project: wandb is not installed: pip install wandb")
