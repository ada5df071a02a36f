"""One iteration of a search or of a training, as BasicSR's pipeline runs it, on random images."""

import contextlib
import logging
import tempfile
from pathlib import Path
from typing import Any, Dict, NamedTuple, Optional

import torch
import yaml
from literal import LiteralLayer

from quantnas_sr.models import experiment, search_model
from quantnas_sr.models.experiment import ExperimentModel
from quantnas_sr.options.numbers import to_numbers
from quantnas_sr.quantization import set_quantize
from quantnas_sr.search_space import get_search_space

OPTIONS = Path(__file__).resolve().parents[1] / "options"


class Step(NamedTuple):
    """One iteration of a model, on the data that it has been fed."""

    model: ExperimentModel
    iteration: int

    def __call__(self) -> None:
        self.model.optimize_parameters(self.iteration)


def _options(name: str, network: Dict[str, Any], amp: str) -> Dict[str, Any]:
    folder = tempfile.mkdtemp()
    opt = yaml.safe_load((OPTIONS / name).read_text())
    opt.update(is_train=True, dist=False, rank=0, num_gpu=0, root_path=folder)
    opt["network_g"].update(network)
    opt["path"].update(models=f"{folder}/models", training_states=f"{folder}/training_states")
    opt["logger"].update(use_tb_logger=False, print_freq=10**9)
    opt["train"]["amp"] = amp
    to_numbers(opt)
    return opt


def _build(opt: Dict[str, Any]) -> ExperimentModel:
    from basicsr.models import build_model  # which our import has made importable

    logging.disable(logging.INFO)
    try:
        return build_model(opt)
    finally:
        logging.disable(logging.NOTSET)


def search(
    space: str,
    batch: int = 8,
    patch: int = 24,
    amp: str = "none",
    literal: bool = False,
    keep_memory: bool = True,
    **network: Any,
) -> "Step":
    """An alpha step and a step of the weights.

    ``literal`` computes equation 5 as it is written, in torch's default memory order, with gradients for everything in
    both steps. ``keep_memory`` is what the models do on a CPU, see `keep_freed_memory`.
    """
    if not keep_memory:
        experiment.keep_freed_memory = lambda: None
    opt = _options(f"search_{space}_x4.yml", {"scale": 4, **network}, amp)
    model = _build(opt)
    order = torch.channels_last
    if literal:
        search_model.frozen = lambda parameters: contextlib.nullcontext()
        order = torch.contiguous_format
        model.net_g.to(memory_format=order)
        layer = LiteralLayer(model.supernet.bits)
        for _, mixed in model.supernet.places():
            mixed.noisy_layer = layer
    images = {"lq": torch.rand(batch, 3, patch, patch), "gt": torch.rand(batch, 3, 4 * patch, 4 * patch)}
    model.feed_data({**images, **{f"{key}_alpha": value for key, value in images.items()}})
    model.lq = model.lq.contiguous(memory_format=order)
    model.lq_alpha = model.lq_alpha.contiguous(memory_format=order)
    iteration = model.schedule.warmup_iterations + 2
    return Step(model, iteration)


def train(
    bits: Optional[int] = 8,
    batch: int = 16,
    patch: int = 32,
    amp: str = "none",
    operation: str = "simple_3x3",
    compiled: bool = False,
) -> "Step":
    """A step of quantization-aware training of the basic network; with ``bits=None`` in plain float."""
    slots = get_search_space("basic").slots(4, 36, 3)
    genotype = {
        "genotype_version": 1,
        "search_space": "basic",
        "scale": 4,
        "num_feat": 36,
        "num_block": 3,
        "norm": "adq",
        "slots": {name: {"operation": operation, "bits": bits or 8} for name in slots},
    }
    model = _build(_options("train_basic_x4.yml", {"genotype": genotype}, amp))
    set_quantize(model.net_g, bits is not None)
    if compiled:
        model.net_g.compile()
    model.feed_data({"lq": torch.rand(batch, 3, patch, patch), "gt": torch.rand(batch, 3, 4 * patch, 4 * patch)})
    return Step(model, 1)
