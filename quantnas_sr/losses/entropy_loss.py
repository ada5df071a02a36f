"""Entropy of the alphas, eq. 9, and its schedule (appendix G of the paper)."""

import math
from typing import Mapping

import torch
from torch import Tensor, nn

from quantnas_sr.errors import OptionError
from quantnas_sr.registration import LOSS_REGISTRY


def entropy_factor(epoch: int, epochs: int, warmup: int = 0) -> float:
    """The factor of the coefficient mu in an epoch: a line times a logarithm, rising from 0 to 1 (figure 11).

    It is 0 during the warm-up and during the first quarter of the epochs after it.

    Args:
        epoch: 0 .. epochs - 1.
        epochs: number of epochs of the search.
        warmup: epochs before the first step of the alphas.

    >>> round(entropy_factor(7, epochs=20), 12) == round(7 / 19 / 2, 12)
    True
    """
    quarter = (epochs - warmup) // 4
    since_warmup = epoch - warmup
    if since_warmup <= 0 or since_warmup < quarter:
        return 0.0
    linear = since_warmup / (epochs - 1 - warmup)
    return linear * math.log(since_warmup - quarter + 2, epochs - warmup - quarter + 1)


@LOSS_REGISTRY.register()
class EntropyLoss(nn.Module):
    """mu(t) * sum over the slots of the entropy of the edge probabilities (eq. 9); it drives each slot to one edge.

    Args:
        loss_weight: mu, the coefficient at the end of the search.
        epochs: number of steps of the schedule over the whole search; the paper's searches have 20 epochs.
    """

    def __init__(self, loss_weight: float = 1e-3, epochs: int = 20) -> None:
        super().__init__()
        if not isinstance(epochs, int) or epochs < 2:
            raise OptionError(f"epochs: {epochs!r} is not a whole number above 1")
        self.loss_weight = float(loss_weight)
        self.epochs = epochs

    def forward(self, probabilities: Mapping[str, Tensor], progress: float, warmup: float = 0.0) -> Tensor:
        """The loss at this point of the search, a scalar.

        Args:
            probabilities: by slot, (operations, bits), sum 1.
            progress: share of the search that is done, 0 <= progress <= 1.
            warmup: share of the search before the first step of the alphas.
        """
        epoch = min(int(progress * self.epochs + 1e-9), self.epochs - 1)
        factor = entropy_factor(epoch, self.epochs, min(round(warmup * self.epochs), self.epochs - 2))
        return self.loss_weight * factor * total_entropy(probabilities)


def total_entropy(probabilities: Mapping[str, Tensor]) -> Tensor:
    """Sum over the slots of -sum p log p, in nats; 0 log 0 is 0."""
    return torch.stack([torch.special.entr(p).sum() for p in probabilities.values()]).sum()
