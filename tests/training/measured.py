"""What an iteration makes of a batch, in one process or in one of several: gradients, alphas, statistics."""

from pathlib import Path
from typing import Any, Dict, List

import torch
from tiny_training import new_model, options
from torch import Tensor

IMAGES = 8
SHAPES = {"lq": 4, "gt": 8, "lq_alpha": 4, "gt_alpha": 8}
#: By name: the changes of options, and whether it is a search.
RUNS = {
    "training": ({"network_g.activation_quantizer": "hwgq"}, False),
    "search": ({"network_g.bit_mixer": "shared", "network_g.norm": "none"}, True),
    "sampled": ({"network_g.selector": "sample", "network_g.norm": "none"}, True),
    "normalised": ({"network_g.norm": "batch", "network_g.bit_mixer": "shared"}, True),
}


def batch(iteration: int, rank: int, processes: int) -> Dict[str, Tensor]:
    """The part of a process in the eight images of an iteration."""
    generator = torch.Generator().manual_seed(iteration)
    share = slice(rank * IMAGES // processes, (rank + 1) * IMAGES // processes)
    return {key: torch.rand(IMAGES, 3, side, side, generator=generator)[share] for key, side in SHAPES.items()}


def trained(folder: Path, run: str, iterations: int, rank: int = 0, processes: int = 1) -> Any:
    """The model of a run after some iterations."""
    changes, search = RUNS[run]
    opt = options(folder, {**changes, "train.alpha_warmup": 0} if search else changes, search)
    opt.update(dist=processes > 1, rank=rank, world_size=processes)
    model = new_model(opt)
    torch.manual_seed(rank)  # what processes draw differs
    for i in range(1, iterations + 1):
        model.update_learning_rate(i)
        model.feed_data(batch(i, rank, processes))
        model.optimize_parameters(i)
    return model


def gradients(model: Any) -> Dict[str, Tensor]:
    """Those of the last step, of weights and alphas."""
    return {name: p.grad for name, p in model.get_bare_model(model.net_g).named_parameters() if p.grad is not None}


def statistics(model: Any) -> List[Tensor]:
    """Of batch normalisation, as a checkpoint has them."""
    model.recompute_statistics()
    state = model.get_bare_model(model.net_g).state_dict()
    return [value for name, value in state.items() if "running_" in name]


def measure(folder: Path, rank: int, processes: int) -> Dict[str, Any]:
    """All of it, for two processes to write down."""
    found: Dict[str, Any] = {run: gradients(trained(folder, run, 1, rank, processes)) for run in ("training", "search")}
    sampled = trained(folder, "sampled", 4, rank, processes)
    found["alphas"] = [alphas.detach() for alphas in sampled.supernet.alphas_by_slot().values()]
    normalised = trained(folder, "normalised", 2, rank, processes)
    found["statistics"] = statistics(normalised)
    found["batches"] = normalised.recent_batches.state_dict()
    found["weights"] = normalised.get_bare_model(normalised.net_g).state_dict()
    return found
