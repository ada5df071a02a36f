"""Quantization noise: an additive, differentiable stand-in for rounding (eq. 6; Defossez et al., DiffQ, 2021)."""

from typing import Any, Dict, Mapping

import torch
from torch import Tensor, nn


def value_range(x: Tensor) -> Tensor:
    """max - min over the whole tensor, a scalar without gradient; divided by (2^b - 1), the Delta of eq. 6."""
    x = x.detach()
    return x.amax() - x.amin()  # on the CPU many times faster than aminmax


def unit_noise_std(bits: int) -> float:
    """Standard deviation of the noise at ``bits`` bits for a tensor with max - min = 1: half a step, eq. 6.

    >>> unit_noise_std(1)
    0.5
    """
    return 0.5 / (2**bits - 1)


def draw(like: Tensor) -> Tensor:
    """Standard normal numbers in the shape, type and memory order, and on the device, of ``like``."""
    # in memory order, because torch fills a tensor that is not contiguous many times slower
    return _shaped(like.new_empty(like.numel()).normal_(), like)


def _shaped(values: Tensor, like: Tensor) -> Tensor:
    """Flat values in the shape and memory order of ``like``."""
    if like.dim() == 4 and like.is_contiguous(memory_format=torch.channels_last):
        batch, channels, height, width = like.shape
        return values.view(batch, height, width, channels).permute(0, 3, 1, 2)
    return values.view(like.shape)


class NoisePool:
    """A pool of standard normal numbers, of which every call gets a piece from a random place.

    On the CPU, drawing takes longer than many of the convolutions that the noise is for. The numbers of one call are
    independent; two calls may get some numbers in common. The pool is drawn anew after `REUSE` times its size has been
    handed out. On a GPU, where drawing is fast, and for tensors of more than `LARGEST` numbers, every call draws.
    """

    SIZE = 2**21
    LARGEST = 2**24
    REUSE = 16

    def __init__(self) -> None:
        self._values: Dict[torch.dtype, Tensor] = {}
        self._left = 0

    def draw(self, like: Tensor) -> Tensor:
        """As `draw`, but a view of the pool: do not write to it."""
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
    """New numbers in every call, with the interface of `NoisePool`."""

    def draw(self, like: Tensor) -> Tensor:
        """As the function `draw`."""
        return draw(like.detach())


class QNoise(nn.Module):
    """Gaussian noise in place of quantization to ``bits`` bits, eq. 6 in DiffQ's form.

    Its standard deviation is (max - min) / (2^b - 1) / 2 of the tensor that it is for: half a quantization step.

    Args:
        bits: bit width.
    """

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits

    def forward(self, x: Tensor) -> Tensor:
        """The noise alone, of x's shape; it carries no gradient to x."""
        return draw(x.detach()) * (value_range(x) * unit_noise_std(self.bits))

    def extra_repr(self) -> str:
        return f"bits={self.bits}"
