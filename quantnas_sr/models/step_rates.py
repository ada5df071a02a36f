"""Learning rates of trained quantization steps, in proportion to the steps.

Adam moves every parameter by about its learning rate, whatever its size. Steps differ by orders of magnitude, from
1e-4 of a weight to some gray levels of an activation: a learning rate that suits some is far too large or too small for
others.
"""

from typing import Any, Dict, List, Sequence

import torch
from torch import nn

from quantnas_sr.models.optimizer_state import SHARE
from quantnas_sr.quantization import LSQActivation, LSQWeight


def separate_steps(optimizer: torch.optim.Optimizer, network: nn.Module, share: float) -> None:
    """Give every trained step a parameter group of its own; before the first step of the optimizer.

    Args:
        optimizer: of all parameters of the network.
        network: with `LSQWeight` and `LSQActivation` quantizers.
        share: learning rate of a step, as a share of it.
    """
    steps: Dict[int, nn.Parameter] = {
        id(module.step): module.step for module in network.modules() if isinstance(module, (LSQWeight, LSQActivation))
    }
    for group in optimizer.param_groups:
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in steps]
    for step in steps.values():
        optimizer.add_param_group({"params": [step], SHARE: share})
    set_rates(optimizer, ())


@torch.no_grad()
def set_rates(optimizer: torch.optim.Optimizer, schedulers: Sequence[Any]) -> None:
    """Set the learning rates of the steps from what the steps are now, at the point where the schedule is."""
    rates: List[float] = []
    first = optimizer.param_groups[0]
    decay = first["lr"] / first["initial_lr"] if first.get("initial_lr") else 1.0
    for group in optimizer.param_groups:
        if SHARE in group:
            (step,) = group["params"]
            group["initial_lr"] = group[SHARE] * float(step.abs().mean())
            group["lr"] = decay * group["initial_lr"]
        rates.append(group.get("initial_lr", group["lr"]))
    for scheduler in schedulers:
        if scheduler.optimizer is optimizer:
            scheduler.base_lrs = list(rates)
