"""Quantization steps that stay positive: the trained parameter is the base-2 logarithm of the step.

A step that is trained itself can pass zero, and then mirrors the range of integers. Its logarithm cannot, and suits
optimizers that move every parameter by about the learning rate, whatever its size: steps differ by orders of magnitude,
and in the logarithm the learning rate is a relative change. Jain et al. (Trained Quantization Thresholds, MLSys 2020)
train the logarithm of the threshold for the same reasons.
"""

import math

import torch
from torch import Tensor

#: Steps lie between 2 to the power of -100 and of 100, or what their type can hold of that.
_LARGEST_EXPONENT = 100


class _StepFunction(torch.autograd.Function):
    """2 to the power of the exponent; the gradient passes as it is.

    The factor ``ln(2) * step`` of the true derivative is left out: with it, plain gradient descent would hardly move
    small steps, and steps would disappear from the norm by which gradients are clipped.
    """

    @staticmethod
    def forward(ctx, exponent: Tensor) -> Tensor:
        return torch.exp2(_bounded(exponent))

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        return grad


def step_of(exponent: Tensor) -> Tensor:
    """``2 ** exponent``, positive and finite; the gradient with respect to the step is passed to the exponent.

    Args:
        exponent: any shape; values beyond what a step can have count as the nearest that it can.

    >>> exponent = torch.tensor([-2.0], requires_grad=True)
    >>> step = step_of(exponent)
    >>> step.tolist()
    [0.25]
    >>> step.backward(torch.tensor([3.0]))
    >>> exponent.grad.tolist()
    [3.0]
    """
    return _StepFunction.apply(exponent)


@torch.no_grad()
def exponent_of(step: Tensor) -> Tensor:
    """The exponent of a step: ``step_of(exponent_of(step))`` is the step up to rounding, any shape, no gradient.

    >>> exponent_of(torch.tensor([0.5, 8.0])).tolist()
    [-1.0, 3.0]
    """
    # the logarithm of a float32 is not a float32: the nearest one is found in twice the precision, where there is that
    precise = step.float() if step.device.type == "mps" else step.double()
    return _bounded(precise.log2().to(step.dtype))


def _bounded(exponent: Tensor) -> Tensor:
    limits = torch.finfo(exponent.dtype)
    lowest, highest = math.log2(limits.tiny), math.floor(math.log2(limits.max))
    return exponent.clamp(max(-_LARGEST_EXPONENT, lowest), min(_LARGEST_EXPONENT, highest))
