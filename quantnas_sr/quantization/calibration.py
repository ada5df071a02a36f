"""Where quantizers of a trained network start: at the range that loses least.

LSQ's own starting value, 2 * mean|x| / sqrt(qmax), is made for training at few bits. At 8 bits its range is many times
as wide as a trained tensor, whose values then share a few dozen integers. What minimises the mean squared error serves
all widths (as LSQ+ does for activations; Bhalgat et al., CVPR workshops 2020).
"""

from typing import List, Optional, Tuple

import torch
from torch import Tensor

#: Shares of the tensor's range that are tried.
_SHARES = torch.logspace(-1, 0, 40, dtype=torch.float64).tolist()
_FEW_SHARES = torch.linspace(0.05, 1, 20, dtype=torch.float64).tolist()
#: Values that are kept of a batch, and that are compared in the end.
_OF_A_BATCH, _IN_ALL = 2**14, 2**15
#: The outermost values count as if this share of all values were like them: a bright edge that is cut off is seen.
_OUTERMOST = 1e-3


def least_error_steps(weight: Tensor, low: int, high: int) -> Tensor:
    """The step of each output channel at which rounding to low .. high loses least.

    Args:
        weight: (O, I, kH, kW).
        low, high: the integers, signed.

    Returns:
        (O, 1, 1, 1), above zero.
    """
    flat = weight.detach().flatten(1).float()
    largest = flat.abs().amax(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny * 1e6)
    best, least = largest / high, torch.full_like(largest, torch.inf)
    for share in _SHARES:
        step = largest * (share / high)
        error = _error(flat, step, low, high).sum(dim=1, keepdim=True)
        best, least = torch.where(error < least, step, best), torch.minimum(error, least)
    return best.view(-1, 1, 1, 1).to(weight.dtype)


class RangeObserver:
    """What a quantizer of activations has seen: by channel, an even sample of every batch and how far it reaches.

    Args:
        most: values that a batch gives to the sample.
    """

    def __init__(self, most: int = _OF_A_BATCH) -> None:
        self.most = most
        self.samples: List[Tensor] = []

    @torch.no_grad()
    def add(self, x: Tensor) -> None:
        """(N, C, ...), or (N,) of one channel; 0 counts as seen."""
        values = x.detach().float()
        values = values.movedim(1, 0).flatten(1) if values.ndim > 1 else values[None]
        ends = torch.stack([values.amin(dim=1).clamp_max(0), values.amax(dim=1).clamp_min(0)])
        if self.samples:
            ends = torch.stack([torch.minimum(ends[0], self.ends[0]), torch.maximum(ends[1], self.ends[1])])
        self.ends = ends
        self.samples.append(values[:, :: max(1, values.numel() // self.most)])

    @torch.no_grad()
    def least_error_range(self, bits: int, factors: Optional[Tensor] = None) -> Tuple[Tensor, Tensor]:
        """Step and zero point of the ``2**bits`` integers that lose least, when both ends may cut something off.

        The zero point is the integer that stands for 0: 0 for what has no negative values, about ``2**(bits - 1)`` for
        what is symmetric, between them for the output of a leaky ReLU. Where only zeros were seen, the range is
        -1 .. 1, so that the step can be trained when other values come.

        Args:
            bits: bit width.
            factors: what every channel is divided by before it is rounded, (C,).

        Returns:
            Two scalars in float32.
        """
        values, ends = self._divided(factors)
        values, ends = values.flatten(), torch.stack([ends[0].amin(), ends[1].amax()])
        if not ends.any():
            ends = torch.tensor([-1.0, 1.0], device=ends.device)
        lowest, highest = ends
        shares = values.new_tensor(_FEW_SHARES)
        downs = lowest * shares if lowest < 0 else lowest[None]
        ups = highest * shares if highest > 0 else highest[None]
        down, up = (side.flatten() for side in torch.meshgrid(downs, ups, indexing="ij"))
        largest = 2**bits - 1
        step = ((up - down) / largest).clamp_min(torch.finfo(torch.float32).tiny * 1e6)
        zero_point = (-down / step).round()
        errors = torch.stack(
            [
                _error(values, s, -z, largest - z).mean() + _OUTERMOST * _error(ends, s, -z, largest - z).mean()
                for s, z in zip(step, zero_point)
            ]
        )
        best = errors.argmin()
        return step[best], zero_point[best]

    @torch.no_grad()
    def errors(self, bits: int, step: Tensor, zero_point: Tensor, factors: Tensor) -> Tensor:
        """Mean squared error of every channel, (C,), in units of what was seen; arguments as `least_error_range`'s."""
        values, _ = self._divided(factors)
        return _error(values, step, -zero_point, 2**bits - 1 - zero_point).mean(dim=1) * factors.square()

    @torch.no_grad()
    def mean_squares(self) -> Tensor:
        """Of every channel, (C,)."""
        return self._values().square().mean(dim=1)

    def largest(self) -> Tensor:
        """The largest absolute value of every channel, (C,)."""
        return torch.maximum(-self.ends[0], self.ends[1])

    def _values(self) -> Tensor:
        values = torch.cat(self.samples, dim=1)
        return values[:, :: -(-values.numel() // _IN_ALL)]

    def _divided(self, factors: Optional[Tensor]) -> Tuple[Tensor, Tensor]:
        values, ends = self._values(), self.ends
        return (values, ends) if factors is None else (values / factors[:, None], ends / factors)


def _error(x: Tensor, step: Tensor, low, high) -> Tensor:
    return ((x / step).round_().clamp_(low, high).mul_(step) - x).square_()
