"""Quantization noise: an additive, differentiable stand-in for rounding (eq. 6; Defossez et al., DiffQ, 2021)."""

import torch
from torch import Tensor, nn

DISTRIBUTIONS = ("gaussian", "uniform")


def value_range(x: Tensor) -> Tensor:
    """max - min over the whole tensor, a scalar without gradient: the Delta of eq. 6 is this over (2^b - 1)."""
    low, high = torch.aminmax(x.detach())
    return high - low


def unit_noise_std(bits: int) -> float:
    """Standard deviation of the noise at ``bits`` bits for a tensor of range 1: half a step, eq. 6.

    >>> unit_noise_std(1)
    0.5
    """
    return 0.5 / (2**bits - 1)


def draw(like: Tensor, distribution: str = "gaussian") -> Tensor:
    """Noise of mean 0 and standard deviation 1 in the shape, type and place of ``like``."""
    if distribution == "uniform":
        return torch.empty_like(like).uniform_(-(3**0.5), 3**0.5)
    return torch.randn_like(like)


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
