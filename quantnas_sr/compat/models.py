"""Optimizers, the moving average and checkpoints of ``basicsr.models``."""

import functools
import inspect
import sys
import types
from typing import Any, Callable, Dict, Type

import torch
from basicsr.models import base_model
from basicsr.models.base_model import BaseModel
from torch import nn

from quantnas_sr.compat.replacing import alike
from quantnas_sr.errors import OptionError, unknown
from quantnas_sr.muon import Muon


def load_weights_only() -> None:
    """Before torch 2.6, ``torch.load`` runs whatever code a file contains: a checkpoint, or one that an arch names."""
    if torch.__version__ >= (2, 6):
        return
    careful = alike(torch, load=functools.partial(torch.load, weights_only=True))
    for name, module in list(sys.modules.items()):
        loads = name == base_model.__name__ or name.startswith("basicsr.archs.")
        if loads and vars(module).get("torch") is torch:
            module.torch = careful


class UnknownOptimizerError(OptionError, NotImplementedError):
    """It is BasicSR's error too, by which a project's model may notice that it has to make the optimizer itself."""


def offer_torch_optimizers() -> None:
    """``get_optimizer`` knows only Adam (PyPI) or a handful (GitHub): offer every optimizer of torch by its name."""
    original = BaseModel.get_optimizer

    @functools.wraps(original)
    def get_optimizer(self: BaseModel, optim_type: str, params: Any, lr: float, **kwargs: Any) -> torch.optim.Optimizer:
        try:
            return original(self, optim_type, params, lr, **kwargs)
        except NotImplementedError:
            known = torch_optimizers()
        if optim_type not in known:
            raise UnknownOptimizerError(unknown("optimizer", optim_type, known))
        return known[optim_type](params, lr=lr, **kwargs)

    BaseModel.get_optimizer = get_optimizer


def torch_optimizers() -> Dict[str, Type[torch.optim.Optimizer]]:
    """Every optimizer but those that need a closure or sparse gradients, which no model of BasicSR has; our `Muon`."""
    special = ("Optimizer", "LBFGS", "SparseAdam")
    of_torch = {
        name: value
        for name, value in vars(torch.optim).items()
        if inspect.isclass(value) and issubclass(value, torch.optim.Optimizer) and name not in special
    }
    return {**of_torch, Muon.__name__: Muon}


def average_buffers() -> None:
    """``model_ema`` averages parameters only: the statistics of BatchNorm stay at their initial values."""
    original = BaseModel.model_ema
    if _buffers_follow(original):
        return

    @functools.wraps(original)
    def model_ema(self: BaseModel, decay: float = 0.999) -> None:
        original(self, decay)
        buffers = dict(self.get_bare_model(self.net_g).named_buffers())
        for name, average in self.net_g_ema.named_buffers():
            value = buffers.get(name)
            if value is not None and value.shape == average.shape:  # masks may depend on the size of the last input
                _follow(average, value, decay)

    BaseModel.model_ema = model_ema


@torch.no_grad()
def _follow(average: torch.Tensor, value: torch.Tensor, decay: float) -> None:
    """Average like the parameters: the statistics of the last few batches alone are too noisy to test with."""
    if average.is_floating_point():
        average.lerp_(value, 1 - decay)
    else:
        average.copy_(value)


def _buffers_follow(model_ema: Callable) -> bool:
    """Whether a ``model_ema`` does it by itself. One that needs more of a model than BasicSR's is left alone."""
    probe = types.SimpleNamespace(net_g=nn.BatchNorm1d(1), net_g_ema=nn.BatchNorm1d(1), get_bare_model=lambda net: net)
    probe.net_g.running_mean.fill_(1)
    try:
        model_ema(probe, 0)
    except AttributeError:
        return True
    return bool(probe.net_g_ema.running_mean == 1)
