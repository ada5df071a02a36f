"""Parameters with a learning rate of their own: quantization steps, without weight decay, and biases."""

import math
from typing import Any, Dict, Mapping, Optional, Sequence

import torch
from torch import nn

from quantnas_sr.quantization import LSQActivation, LSQWeight


def set_own_rates(optimizer: torch.optim.Optimizer, network: nn.Module, train: Mapping[str, Any]) -> None:
    """What ``step_lr`` and ``bias_lr`` of the options ``train`` ask for, see `separate_steps` and `separate_biases`."""
    separate_steps(optimizer, network, train.get("step_lr"))
    separate_biases(optimizer, network, train.get("bias_lr"))


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
    own = {"lr": math.log2(1 + share)} if share else {}
    _set_apart(optimizer, exponents, {"weight_decay": 0, **own})


def separate_biases(optimizer: torch.optim.Optimizer, network: nn.Module, share: Optional[float]) -> None:
    """Move the biases to parameter groups of their own; before the optimizer's first step.

    Adam moves a bias by about the learning rate whatever its gradient is, and a bias that has moved below all that its
    convolution gives leaves a channel that is 0 after the ReLU for every image, and is not trained any more. The rates
    at which weights learn best are too high for biases.

    Args:
        optimizer: of all parameters of the network.
        network: with or without biases.
        share: the learning rate of the biases, as a share of that of their group; None leaves them there.
    """
    if share is None:
        return
    biases = {id(parameter) for name, parameter in network.named_parameters() if name.rpartition(".")[2] == "bias"}
    for group in list(optimizer.param_groups):
        own = [parameter for parameter in group["params"] if id(parameter) in biases]
        if own:
            rest = {key: value for key, value in group.items() if key != "params"}
            _set_apart(optimizer, own, {**rest, "lr": share * group["lr"]})


def _set_apart(optimizer: torch.optim.Optimizer, parameters: Sequence[nn.Parameter], options: Dict[str, Any]) -> None:
    apart = {id(parameter) for parameter in parameters}
    for group in optimizer.param_groups:
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in apart]
    optimizer.add_param_group({"params": list(parameters), **options})
