"""Quantization noise: an additive, differentiable stand-in for rounding (eq. 6; Defossez et al., DiffQ, 2021)."""

from typing import Any, Dict, Mapping

import torch
from torch import Tensor, nn

DISTRIBUTIONS = ("gaussian", "uniform")


def value_range(x: Tensor) -> Tensor:
    """max - min over the whole tensor, a scalar without gradient: the Delta of eq. 6 is this over (2^b - 1)."""
    x = x.detach()
    return x.amax() - x.amin()  # on the CPU many times faster than aminmax


def unit_noise_std(bits: int) -> float:
    """Standard deviation of the noise at ``bits`` bits for a tensor of range 1: half a step, eq. 6.

    >>> unit_noise_std(1)
    0.5
    """
    return 0.5 / (2**bits - 1)


def draw(like: Tensor, distribution: str = "gaussian") -> Tensor:
    """Noise of mean 0 and standard deviation 1 in the shape, type, place and memory order of ``like``."""
    # in memory order, because torch fills a tensor that is not contiguous many times slower
    noise = like.new_empty(like.numel())
    noise = noise.uniform_(-(3**0.5), 3**0.5) if distribution == "uniform" else noise.normal_()
    return _shaped(noise, like)


def _shaped(values: Tensor, like: Tensor) -> Tensor:
    """Flat values as a tensor like another one."""
    if like.dim() == 4 and like.is_contiguous(memory_format=torch.channels_last):
        batch, channels, height, width = like.shape
        return values.view(batch, height, width, channels).permute(0, 3, 1, 2)
    return values.view(like.shape)


class NoisePool:
    """Standard normal numbers that are drawn once and handed out often, from random places.

    Drawing takes the CPU longer than many a convolution that the noise is for. What one call returns is a sample of
    independent numbers; the samples of two calls may share numbers. All are drawn anew when they have been handed out
    `REUSE` times over. A GPU draws fast, and gets fresh numbers; so do images larger than `LARGEST`, not worth keeping.
    """

    SIZE = 2**21
    LARGEST = 2**24
    REUSE = 16

    def __init__(self) -> None:
        self._values: Dict[torch.dtype, Tensor] = {}
        self._left = 0

    def draw(self, like: Tensor) -> Tensor:
        """Noise of mean 0 and standard deviation 1 as `draw` makes it. It is a view: not to be written to."""
        size = like.numel()
        if like.device.type != "cpu" or size > self.LARGEST:
            return draw(like.detach())
        values = self._pool(size, like.dtype)
        self._left -= size
        start = int(torch.randint(len(values) - size + 1, ()))
        return _shaped(values[start : start + size], like)

    def _pool(self, size: int, dtype: torch.dtype) -> Tensor:
        length = max(self.SIZE, size + size // 4)
        if self._left <= 0 or len(self._values[torch.float32]) < length:
            self._drawn_with = torch.get_rng_state()
            self._values = {torch.float32: torch.randn(length)}
            self._left = self.REUSE * length
        if dtype not in self._values:
            self._values[dtype] = self._values[torch.float32].to(dtype)
        return self._values[dtype]

    def state_dict(self) -> Dict[str, Any]:
        """Plain data, for a checkpoint: what the numbers can be drawn again with; empty before the first draw."""
        if not self._values:
            return {}
        return {"drawn_with": self._drawn_with, "length": len(self._values[torch.float32]), "left": self._left}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state_dict`; the global random generator is left as it is."""
        self._values, self._left = {}, 0
        if state:
            self._drawn_with, self._left = state["drawn_with"].cpu(), state["left"]
            generator = torch.Generator()
            generator.set_state(self._drawn_with)
            self._values = {torch.float32: torch.randn(state["length"], generator=generator)}


class FreshNoise:
    """New numbers for every call, with the interface of `NoisePool`."""

    def draw(self, like: Tensor) -> Tensor:
        """Noise of mean 0 and standard deviation 1 in the shape, type, place and memory order of ``like``."""
        return draw(like.detach())


class QNoise(nn.Module):
    """Noise of the strength that quantizing a tensor to ``bits`` bits would bring.

    Gaussian: standard deviation (max - min) / (2^b - 1) / 2, DiffQ's form of eq. 6. Uniform: on one step,
    [-Delta/2, Delta/2], the rounding error of Widrow et al., 1996, whose standard deviation is Delta / sqrt(12).

    Args:
        bits: bit width.
        distribution: ``gaussian`` or ``uniform``.
    """

    def __init__(self, bits: int, distribution: str = "gaussian") -> None:
        super().__init__()
        if distribution not in DISTRIBUTIONS:
            raise ValueError(f"distribution {distribution!r} is none of {', '.join(DISTRIBUTIONS)}")
        self.bits = bits
        self.distribution = distribution

    def forward(self, x: Tensor) -> Tensor:
        """The noise alone, of x's shape; it carries no gradient to x."""
        std = unit_noise_std(self.bits) if self.distribution == "gaussian" else 1 / (2**self.bits - 1) / 12**0.5
        return draw(x.detach(), self.distribution) * (value_range(x) * std)

    def extra_repr(self) -> str:
        return f"bits={self.bits}, distribution={self.distribution}"
