"""Initial quantizer ranges for a trained network: those of least mean squared error.

LSQ's own initial step, 2 * mean|x| / sqrt(qmax), is made for training at few bits. At 8 bits its range is many times
as wide as the values of a trained tensor, which then share a few dozen integers. The step that minimises the mean
squared error suits all bit widths (as in LSQ+, for activations; Bhalgat et al., CVPR workshops 2020).
"""

from typing import List, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

#: Shares of the largest value, and of each end of a range, that are tried.
_SHARES = torch.logspace(-1, 0, 40, dtype=torch.float64).tolist()
_FEW_SHARES = torch.linspace(0.05, 1, 20, dtype=torch.float64).tolist()
#: Values that are kept of each batch, and that errors are computed on in the end.
_OF_A_BATCH, _IN_ALL = 2**14, 2**15
#: Weight of the squared error at the ends of the range, so that rare but visible extremes (a bright edge) count.
_OUTERMOST = 1e-3
#: So many integers or more make a look at each value faster than one at each integer.
_MANY_INTEGERS = 2**9
#: A sum of squared errors below this share of the sum of squares is 0 but for the arithmetic.
_NOISE = 1e-13


def least_error_steps(weight: Tensor, low: int, high: int) -> Tensor:
    """The step of each output channel for which rounding to the integers low .. high has the least squared error.

    Args:
        weight: (O, I, kH, kW).
        low, high: the lowest and the highest integer.

    Returns:
        (O, 1, 1, 1), above zero; without values where the weight has none.
    """
    if weight.is_meta:
        return weight.new_empty(len(weight), 1, 1, 1)
    flat = weight.detach().flatten(1).float()
    largest = flat.abs().amax(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny * 1e6)
    best, least = largest / high, torch.full_like(largest, torch.inf)
    for share in _SHARES:
        step = largest * (share / high)
        error = _error(flat, step, low, high).sum(dim=1, keepdim=True)
        best, least = torch.where(error < least, step, best), torch.minimum(error, least)
    return best.view(-1, 1, 1, 1).to(weight.dtype)


def sample_positions(channels: int, length: int, count: int, seed: int) -> Tensor:
    """Random positions for a sample of ``count`` out of ``length`` values; every channel has positions of its own.

    The length is divided into ``count`` equal parts, with one random position in each (stratified sampling). A fixed
    stride would alias with the rows of an image: it sees the same few columns of all rows. The positions depend on the
    arguments alone, and torch's random state is not touched.

    Args:
        channels: number of channels.
        length: number of values in a channel.
        count: number of positions; where it is not less than ``length``, they are all positions.
        seed: changes the positions.

    Returns:
        (channels, min(count, length)), int64, ascending in each channel, on the CPU.
    """
    if count >= length:
        return torch.arange(length, device="cpu").expand(channels, length)
    generator = torch.Generator().manual_seed(seed)
    within = torch.rand(channels, count, generator=generator, dtype=torch.float64, device="cpu")
    return ((torch.arange(count, device="cpu") + within) * (length / count)).long().clamp_max_(length - 1)


def _sampled(values: Tensor, most: int, seed: int) -> Tensor:
    """(C, N) -> (C, n) with about ``most`` values in all."""
    channels, length = values.shape
    positions = sample_positions(channels, length, max(1, most // channels), seed)
    return values.gather(1, positions.to(values.device))


class RangeObserver:
    """Records the values of a tensor: for each channel, a random sample of every batch, and the extremes.

    Every batch is sampled at other positions, which are the same ones in every run and every process.

    Args:
        most: number of values, of all channels together, that a batch gives to the sample.
    """

    def __init__(self, most: int = _OF_A_BATCH) -> None:
        self.most = most
        self.samples: List[Tensor] = []

    @torch.no_grad()
    def add(self, x: Tensor) -> None:
        """Record a batch, (N, C, ...), or (N,) for one channel. The recorded extremes always include 0."""
        values = x.detach().float()
        values = values.movedim(1, 0).flatten(1) if values.ndim > 1 else values[None]
        ends = torch.stack([values.amin(dim=1).clamp_max(0), values.amax(dim=1).clamp_min(0)])
        if self.samples:
            ends = torch.stack([torch.minimum(ends[0], self.ends[0]), torch.maximum(ends[1], self.ends[1])])
        self.ends = ends
        self.samples.append(_sampled(values, self.most, seed=len(self.samples)))

    @torch.no_grad()
    def least_error_range(self, bits: int, channel_scale: Optional[Tensor] = None) -> Tuple[Tensor, Tensor]:
        """Step and zero point of least squared error; the range may be narrower than the values at both ends.

        The zero point is the integer that stands for 0: 0 where no value is negative, about ``2**(bits - 1)`` for
        symmetric values, between them for the output of a leaky ReLU. If only zeros were recorded, the range is
        -1 .. 1, so that the step can be trained when other values come.

        Args:
            bits: bit width.
            channel_scale: divides every channel before it is rounded, (C,).

        Returns:
            Two scalars in float32.
        """
        values, ends = self._divided(channel_scale)
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
        of_ends = _error(ends, step[:, None], -zero_point[:, None], largest - zero_point[:, None]).mean(dim=1)
        best = (_mean_errors(values, step, zero_point, bits) + _OUTERMOST * of_ends).argmin()
        return step[best], zero_point[best]

    @torch.no_grad()
    def errors(self, bits: int, step: Tensor, zero_point: Tensor, channel_scale: Tensor) -> Tensor:
        """Mean squared rounding error of every channel, (C,), of the values before the division by its scale.

        Args:
            bits, channel_scale: as of `least_error_range`.
            step, zero_point: what it returned.
        """
        values, _ = self._divided(channel_scale)
        return _error(values, step, -zero_point, 2**bits - 1 - zero_point).mean(dim=1) * channel_scale.square()

    @torch.no_grad()
    def mean_squares(self) -> Tensor:
        """Mean of the squared values of every channel, (C,)."""
        return self._values().square().mean(dim=1)

    def largest(self) -> Tensor:
        """The largest absolute value of every channel, (C,)."""
        return torch.maximum(-self.ends[0], self.ends[1])

    def _values(self) -> Tensor:
        return _sampled(torch.cat(self.samples, dim=1), _IN_ALL, seed=len(self.samples))

    def _divided(self, channel_scale: Optional[Tensor]) -> Tuple[Tensor, Tensor]:
        values, ends = self._values(), self.ends
        return (values, ends) if channel_scale is None else (values / channel_scale[:, None], ends / channel_scale)


def _mean_errors(values: Tensor, steps: Tensor, zero_points: Tensor, bits: int) -> Tensor:
    """The mean squared error of rounding (N,) values with each of K steps and zero points: (K,), in float64.

    Sorted values that are rounded to the same integer lie beside each other, so that their number and their sum are
    differences of running ones; with few integers that takes far less than a look at each value.
    """
    largest = 2**bits - 1
    if largest > _MANY_INTEGERS:
        pairs = zip(steps, zero_points)
        return torch.stack([_error(values, s, -z, largest - z).mean() for s, z in pairs]).double()
    ordered, steps = values.sort()[0].double(), steps.double()[:, None]
    integers = torch.arange(largest + 1, device=values.device) - zero_points.double()[:, None]
    ends = torch.searchsorted(ordered, (integers[:, :-1] + 0.5) * steps)
    ends = F.pad(F.pad(ends, (1, 0)), (0, 1), value=len(ordered))
    numbers, sums = ends.diff(), F.pad(ordered.cumsum(0), (1, 0))[ends].diff()
    rounded, squares = integers * steps, ordered.square().sum()
    errors = squares + (rounded * (rounded * numbers - 2 * sums)).sum(dim=1)
    return torch.where(errors > _NOISE * squares, errors, torch.zeros_like(errors)) / len(ordered)


def _error(x: Tensor, step: Tensor, low, high) -> Tensor:
    return ((x / step).round_().clamp_(low, high).mul_(step) - x).square_()
