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


def sample(alphas: Tensor, temperature: float) -> Selection:
    """A one-hot draw without gradient: the alphas learn from the losses of drawn networks (`edge_losses`) instead."""
    return one_edge(alphas, int(torch.multinomial(F.softmax(alphas.detach().flatten(), dim=0), 1)))


def best(alphas: Tensor) -> Selection:
    """One-hot at the largest alpha, the edge that a derived network has."""
    return one_edge(alphas, int(alphas.argmax()))


def one_edge(alphas: Tensor, edge: int) -> Selection:
    """One-hot at an edge, which is an index into the flattened alphas."""
    one_hot = torch.zeros_like(alphas).flatten()
    one_hot[edge] = 1
    return Selection(one_hot.view_as(alphas), only=edge // alphas.shape[1])


#: ``selector:`` of the options, for training.
SELECTORS: Dict[str, Callable[[Tensor, float], Selection]] = {
    "softmax": softmax,
    "gumbel": gumbel,
    "hard_gumbel": hard_gumbel,
    "sample": sample,
}
#: Selectors that compute one operation of a slot.
ONE_AT_A_TIME = ("hard_gumbel", "sample")


def expected(alphas: Tensor, selector: str) -> Selection:
    """Deterministic weights for evaluation: the most probable edge where one is drawn, else the softmax."""
    return best(alphas) if selector in ONE_AT_A_TIME else softmax(alphas, 1.0)
