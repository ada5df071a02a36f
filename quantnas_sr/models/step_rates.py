"""The quantization steps in an optimizer: no weight decay, and a learning rate of their own where one is asked for."""

import math
from typing import Optional

import torch
from torch import nn

from quantnas_sr.quantization import LSQActivation, LSQWeight


def separate_steps(optimizer: torch.optim.Optimizer, network: nn.Module, share: Optional[float]) -> None:
    """Move the trained steps to a parameter group of their own; before the optimizer's first step.

    The trained parameter is the base-2 logarithm of the step, and Adam moves every parameter by about its learning
    rate. So with the rate ``log2(1 + share)`` a step changes by about that share of itself in every iteration, whatever
    its size. The schedule of the other learning rates applies to this one too. Weight decay is left out: it would pull
    every step towards 1. Without weight decay and share the groups stay as they are.

    Args:
        optimizer: of all parameters of the network.
        network: with `LSQWeight` and `LSQActivation` quantizers, or without any.
        share: learning rate of a step, as a share of it; None for the rate of the other parameters.
    """
    exponents = [m.step_exponent for m in network.modules() if isinstance(m, (LSQWeight, LSQActivation))]
    decays = any(group.get("weight_decay") for group in optimizer.param_groups)
    if not exponents or not (share or decays):
        return
    apart = {id(exponent) for exponent in exponents}
    for group in optimizer.param_groups:
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in apart]
    own = {"lr": math.log2(1 + share)} if share else {}
    optimizer.add_param_group({"params": exponents, "weight_decay": 0, **own})
