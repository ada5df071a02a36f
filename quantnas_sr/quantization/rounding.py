"""How a tensor is rounded to integers, as plain numbers: what export and its check need to know of a quantizer."""

from typing import NamedTuple

from torch import Tensor


class Rounding(NamedTuple):
    """Rounding to the unsigned integers 0 .. 2^bits - 1, as ONNX's QuantizeLinear and DequantizeLinear do it.

    >>> import torch
    >>> rounding = Rounding(step=0.5, zero_point=1, bits=2)
    >>> integers = rounding.to_int(torch.tensor([-9.0, 0.0, 0.4, 9.0]))
    >>> integers.tolist()
    [0.0, 1.0, 2.0, 3.0]
    >>> rounding.from_int(integers).tolist()
    [-0.5, 0.0, 0.5, 1.0]

    Args:
        step: difference of two values whose integers differ by 1, above zero.
        zero_point: the integer that stands for 0.
        bits: bit width, 1 to 16.
    """

    step: float
    zero_point: int
    bits: int

    @property
    def highest(self) -> int:
        """The highest integer; the lowest is 0."""
        return 2**self.bits - 1

    @property
    def storage_bits(self) -> int:
        """Bits that an integer has in memory: 8 or 16."""
        return 8 if self.bits <= 8 else 16

    def to_int(self, x: Tensor) -> Tensor:
        """The integers, in a floating point tensor of x's shape."""
        return (x / self.step).round_().add_(self.zero_point).clamp_(0, self.highest)

    def from_int(self, integers: Tensor) -> Tensor:
        """The values that integers stand for; any shape, a floating point tensor."""
        return (integers - self.zero_point) * self.step
