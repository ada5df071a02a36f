"""Learned step size quantization of weights (Esser et al., 2019; the paper's appendix A)."""

import math
from typing import Tuple

import torch
from torch import Tensor, nn


def lsq_range(bits: int) -> Tuple[int, int]:
    """The signed integers of ``bits`` bits, eq. 10.

    >>> lsq_range(4)
    (-8, 7)
    """
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


class _LSQFunction(torch.autograd.Function):
    """Quantize and dequantize in one node of the graph that keeps nothing but its inputs."""

    @staticmethod
    def forward(ctx, weight: Tensor, step: Tensor, low: int, high: int, step_gradient_scale: float) -> Tensor:
        ctx.save_for_backward(weight, step)
        ctx.constants = (low, high, step_gradient_scale)
        return (weight / step).round_().clamp_(low, high).mul_(step)

    @staticmethod
    def backward(ctx, grad: Tensor):
        weight, step = ctx.saved_tensors
        low, high, step_gradient_scale = ctx.constants
        scaled = weight / step
        inside = (scaled >= low) & (scaled <= high)
        grad_weight = grad * inside if ctx.needs_input_grad[0] else None
        grad_step = None
        if ctx.needs_input_grad[1]:
            quantized = scaled.round().clamp_(low, high)
            slope = torch.where(inside, quantized - scaled, quantized)
            grad_step = (grad * slope).sum(dim=(1, 2, 3), keepdim=True) * step_gradient_scale
        return grad_weight, grad_step, None, None, None


class LSQWeight(nn.Module):
    """Per-output-channel signed quantizer with a trained step (eq. 10 to 14).

    The straight-through gradient of the weight is 1 inside the range and 0 outside; the step's gradient is scaled by
    1 / sqrt(qmax * number of weights), as in the LSQ paper.

    >>> quantizer = LSQWeight(bits=2, out_channels=1)
    >>> quantizer.step.data.fill_(0.5)
    tensor([[[[0.5000]]]])
    >>> weight = torch.tensor([-3.0, -0.2, 0.3, 3.0]).reshape(1, 4, 1, 1).requires_grad_()
    >>> quantizer(weight).flatten().tolist()
    [-1.0, -0.0, 0.5, 0.5]
    >>> quantizer(weight).sum().backward()
    >>> weight.grad.flatten().tolist()
    [0.0, 1.0, 1.0, 0.0]

    Args:
        bits: bit width, 2 to 16.
        out_channels: number of output channels of the weight; one step for each.
    """

    def __init__(self, bits: int, out_channels: int) -> None:
        super().__init__()
        self.bits = bits
        self.low, self.high = lsq_range(bits)
        self.step = nn.Parameter(torch.ones(out_channels, 1, 1, 1))

    @torch.no_grad()
    def init_step(self, weight: Tensor) -> None:
        """Set the steps to 2 * mean|w| / sqrt(qmax) per output channel, LSQ's initial value."""
        mean = weight.abs().mean(dim=(1, 2, 3), keepdim=True)
        self.step.copy_((2 * mean / math.sqrt(self.high)).clamp_min(torch.finfo(weight.dtype).tiny))

    def to_int(self, weight: Tensor) -> Tensor:
        """Eq. 13: the integers behind ``forward``, in a floating point tensor of the weight's shape (O, I, kH, kW)."""
        return (weight / self.step).round().clamp(self.low, self.high)

    def forward(self, weight: Tensor) -> Tensor:
        """Eq. 14: ``to_int(weight) * step``, differentiable in both. Shape (O, I, kH, kW)."""
        step_gradient_scale = 1 / math.sqrt(self.high * weight.numel())
        return _LSQFunction.apply(weight, self.step, self.low, self.high, step_gradient_scale)

    def extra_repr(self) -> str:
        return f"bits={self.bits}"
