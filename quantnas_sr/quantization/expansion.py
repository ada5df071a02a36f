"""Weights that are trained as a sum with a product of two matrices, and folded into one tensor afterwards.

After the collapsible linear blocks of SESR (Bhardwaj et al., arXiv:2103.09404): a linear layer that is trained as two
and has the function of one is the same network, but Adam finds better weights. The sum is computed for the weights, not
for images, so that a training step takes hardly longer. A quantizer reads the sum.
"""

import copy
import math
from typing import Dict

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

#: Where `parametrize` keeps the three tensors in a state dict.
_ORIGINAL, _LEFT, _RIGHT = (f"parametrizations.weight.{key}" for key in ("original", "0.left", "0.right"))


class Expansion(nn.Module):
    """``W + left @ right``, where W of (O, C, kH, kW) is read as a matrix of (O, C * kH * kW).

    ``left`` starts at zero, so that the sum starts at W.

    Args:
        weight: W.
        width: number of columns of ``left`` and of rows of ``right``.
    """

    def __init__(self, weight: Tensor, width: int) -> None:
        super().__init__()
        inputs = weight[0].numel()
        self.left = nn.Parameter(weight.new_zeros(len(weight), width))
        self.right = nn.Parameter(weight.new_empty(width, inputs).normal_().div_(math.sqrt(inputs)))

    def forward(self, weight: Tensor) -> Tensor:
        """The sum, (O, C, kH, kW)."""
        return summed(weight, self.left, self.right)


def summed(weight: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """``weight + left @ right`` in the shape of ``weight``."""
    return weight + (left @ right).view_as(weight)


def expand(conv: nn.Conv2d, width: int) -> None:
    """Train the weight of a convolution as the sum of `Expansion` from now on; it keeps its value."""
    parametrize.register_parametrization(conv, "weight", Expansion(conv.weight.detach(), width), unsafe=True)


def is_expanded(conv: nn.Module) -> bool:
    """Whether the weight of a convolution is trained as a sum."""
    return parametrize.is_parametrized(conv, "weight")


def without_expansion(network: nn.Module) -> nn.Module:
    """The network with every sum computed: itself where nothing is expanded, a copy otherwise."""
    if not any(is_expanded(module) for module in network.modules()):
        return network
    network = copy.deepcopy(network)
    for module in [module for module in network.modules() if is_expanded(module)]:
        # not remove_parametrizations, which changes the class that the copy shares with its original
        weight = module.weight.detach()
        del module.parametrizations
        module.__class__ = parametrize.type_before_parametrizations(module)
        module.weight = nn.Parameter(weight)
    return network


def adapt_keys(state: Dict[str, Tensor], prefix: str, conv: nn.Module) -> None:
    """Let an expanded convolution read the weight of one that is not, and the other way round; in place."""
    if is_expanded(conv) and f"{prefix}weight" in state:
        expansion = conv.parametrizations.weight[0]
        state[f"{prefix}{_ORIGINAL}"] = state.pop(f"{prefix}weight")
        state[f"{prefix}{_LEFT}"] = torch.zeros_like(expansion.left)
        state[f"{prefix}{_RIGHT}"] = expansion.right.detach().clone()
    elif not is_expanded(conv) and f"{prefix}{_ORIGINAL}" in state:
        parts = [state.pop(f"{prefix}{key}", None) for key in (_ORIGINAL, _LEFT, _RIGHT)]
        if all(part is not None for part in parts):
            state[f"{prefix}weight"] = summed(*parts)
