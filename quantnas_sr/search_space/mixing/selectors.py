"""Selectors: functions from the alphas of a slot to the weights of its edges."""

from typing import Callable, Dict, NamedTuple, Optional

import torch
import torch.nn.functional as F
from torch import Tensor


class Selection(NamedTuple):
    """Weights of a slot's edges, shape (operations, bits), not negative, sum 1.

    ``only`` is the index of the only operation whose weight is not zero, or None if all operations are computed.
    """

    weights: Tensor
    only: Optional[int] = None


def softmax(alphas: Tensor, temperature: float) -> Selection:
    """The relaxation of DARTS (Liu et al., 2019); the temperature is not used."""
    return Selection(F.softmax(alphas.flatten(), dim=0).view_as(alphas))


def gumbel(alphas: Tensor, temperature: float) -> Selection:
    """A draw from the Gumbel-softmax distribution (Jang et al., 2017)."""
    return Selection(F.gumbel_softmax(alphas.flatten(), tau=temperature).view_as(alphas))


def hard_gumbel(alphas: Tensor, temperature: float) -> Selection:
    """A one-hot draw with the gradient of the soft one (straight-through Gumbel-softmax)."""
    weights = F.gumbel_softmax(alphas.flatten(), tau=temperature, hard=True).view_as(alphas)
    return Selection(weights, only=int(weights.detach().sum(dim=1).argmax()))


def best(alphas: Tensor) -> Selection:
    """One-hot at the largest alpha, the edge that a derived network has."""
    one_hot = torch.zeros_like(alphas).flatten()
    one_hot[alphas.argmax()] = 1
    return Selection(one_hot.view_as(alphas), only=int(alphas.argmax()) // alphas.shape[1])


#: ``selector:`` of the options, for training.
SELECTORS: Dict[str, Callable[[Tensor, float], Selection]] = {
    "softmax": softmax,
    "gumbel": gumbel,
    "hard_gumbel": hard_gumbel,
}


def expected(alphas: Tensor, selector: str) -> Selection:
    """Deterministic weights for evaluation: the most probable edge for ``hard_gumbel``, else the softmax."""
    return best(alphas) if selector == "hard_gumbel" else softmax(alphas, 1.0)
