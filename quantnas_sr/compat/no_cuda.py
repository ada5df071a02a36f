"""Resume and distributed training on machines without CUDA. With CUDA, BasicSR's own functions run untouched."""

import functools
from typing import Any, Dict, Optional

import torch
from basicsr import train
from basicsr.models import base_model
from basicsr.utils import dist_util
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from quantnas_sr.compat.replacing import alike, rebind, replaced
from quantnas_sr.pth import read_pth


def resume_without_cuda() -> None:
    """``load_resume_state`` asks for the current CUDA device and loads the training state onto it."""
    original = train.load_resume_state

    @functools.wraps(original)
    def load_resume_state(opt: Dict[str, Any]) -> Optional[Dict[str, Any]]:
        if torch.cuda.is_available():
            return original(opt)
        cuda = alike(torch.cuda, current_device=lambda: "cpu")
        with replaced(train, torch=alike(torch, cuda=cuda, load=_load_to_cpu)):
            return original(opt)

    rebind(original, load_resume_state)


def _load_to_cpu(path: str, map_location: Any = None) -> Any:
    return read_pth(path)


def distribute_without_cuda() -> None:
    """``init_dist`` takes the rank modulo the number of CUDA devices and asks for NCCL: without CUDA, use gloo."""
    original = dist_util.init_dist

    @functools.wraps(original)
    def init_dist(launcher: str, backend: str = "nccl", **kwargs: Any) -> None:
        if torch.cuda.is_available():
            return original(launcher, backend, **kwargs)
        cuda = alike(torch.cuda, device_count=lambda: 1, set_device=lambda device: None)
        with replaced(dist_util, torch=alike(torch, cuda=cuda)):
            return original(launcher, "gloo" if backend == "nccl" else backend, **kwargs)

    rebind(original, init_dist)


def wrap_network_without_cuda() -> None:
    """``model_to_device`` gives DistributedDataParallel the current CUDA device; on the CPU it must be given none."""
    original = base_model.BaseModel.model_to_device

    @functools.wraps(original)
    def model_to_device(self: base_model.BaseModel, net: nn.Module) -> nn.Module:
        if torch.cuda.is_available() or not self.opt["dist"]:
            return original(self, net)
        cuda = alike(torch.cuda, current_device=lambda: None)
        with replaced(base_model, torch=alike(torch, cuda=cuda), DistributedDataParallel=_parallel_on_cpu):
            return original(self, net)

    base_model.BaseModel.model_to_device = model_to_device


def _parallel_on_cpu(net: nn.Module, device_ids: Any = None, **kwargs: Any) -> DistributedDataParallel:
    return DistributedDataParallel(net, **kwargs)
