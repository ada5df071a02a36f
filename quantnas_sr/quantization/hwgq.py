"""Half-wave Gaussian quantization of activations (Cai et al., CVPR 2017; the paper's appendix B)."""

import math
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from quantnas_sr.quantization.rounding import Rounding

#: The steps of the paper's authors, who did not choose the optimum (`optimal_step`); kept for comparability.
AUTHORS_STEPS = {
    1: 1.0576462792297525,
    2: 0.6356366866203315,
    3: 0.3720645813370479,
    4: 0.21305606790772952,
    8: 0.020300567823662602,
    16: 9.714825915156693e-05,
}


def _half_wave_error(step: float, levels: int) -> float:
    """Mean squared error of quantizing the positive half of a standard Gaussian to 0, step, ..., levels * step."""
    edges = np.concatenate([[0.0], (np.arange(levels) + 0.5) * step])
    density = np.append(np.exp(-(edges**2) / 2), 0.0) / math.sqrt(2 * math.pi)
    tail = np.append([math.erfc(edge / math.sqrt(2)) / 2 for edge in edges], 0.0)
    edge_moment = np.append(edges * density[:-1], 0.0)
    mass = tail[:-1] - tail[1:]
    first = density[:-1] - density[1:]
    second = mass + edge_moment[:-1] - edge_moment[1:]
    value = np.arange(levels + 1) * step
    return float(np.sum(second - 2 * value * first + value**2 * mass))


@cache
def optimal_step(bits: int) -> float:
    """The step that minimises the mean squared error on a half-wave standard Gaussian.

    >>> round(optimal_step(4), 5)
    0.19325
    """
    from scipy.optimize import minimize_scalar

    levels = 2**bits - 1
    bounds, options = (0.5 / levels, 8 / levels), {"xatol": 1e-9 / levels}
    found = minimize_scalar(_half_wave_error, bounds=bounds, args=(levels,), method="bounded", options=options)
    return float(found.x)


def hwgq_step(bits: int) -> float:
    """The step for 1 to 16 bits: the authors' for the widths that they list, the optimal one for others."""
    return AUTHORS_STEPS.get(bits) or optimal_step(bits)


class _HWGQFunction(torch.autograd.Function):
    """Quantize and dequantize in one node of the graph; the backward pass is the fused kernel of a clamp."""

    @staticmethod
    def forward(ctx, x: Tensor, step: float, high: int) -> Tensor:
        ctx.save_for_backward(x)
        ctx.top = step * high
        return _to_int(x, step, high).mul_(step)

    @staticmethod
    def backward(ctx, grad: Tensor):
        (x,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(grad, x, 0.0, ctx.top), None, None


def _to_int(x: Tensor, step: float, high: int) -> Tensor:
    return x.clamp(0, step * high).mul_(1 / step).round_()


class HWGQ(nn.Module):
    """Unsigned uniform quantizer with a fixed step: ``round(clamp(x, 0, s * (2^b - 1)) / s) * s``, eq. 15.

    Zero point 0, straight-through inside the range. It includes the ReLU.

    >>> x = torch.tensor([-1.0, 0.1, 0.7, 9.0], requires_grad=True)
    >>> HWGQ(2)(x).tolist()
    [0.0, 0.0, 0.6356366872787476, 1.9069100618362427]
    >>> HWGQ(2)(x).sum().backward()
    >>> x.grad.tolist()
    [0.0, 1.0, 1.0, 0.0]

    Args:
        bits: bit width, 1 to 16.
    """

    #: What this reads goes through a ReLU.
    rectifies = True

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits
        self.high = 2**bits - 1
        self.step = self.fixed_step(bits)

    @staticmethod
    def fixed_step(bits: int) -> float:
        """The step at ``bits`` bits."""
        return hwgq_step(bits)

    def to_int(self, x: Tensor) -> Tensor:
        """The integers 0 .. 2^b - 1 behind ``forward``, in a floating point tensor of x's shape."""
        return _to_int(x, self.step, self.high)

    def rounding(self) -> Rounding:
        """How the input is rounded, as plain numbers."""
        return Rounding(self.step, 0, self.bits)

    def forward(self, x: Tensor) -> Tensor:
        """``to_int(x) * step`` with the straight-through gradient; any shape."""
        return _HWGQFunction.apply(x, self.step, self.high)

    def full_precision(self, x: Tensor) -> Tensor:
        """The layer's input while quantizers are switched off: the ReLU of x."""
        return torch.relu(x)

    def extra_repr(self) -> str:
        return f"bits={self.bits}"


class ImageQuantizer(HWGQ):
    """Reads an image in 0..1 with the integers 0 .. 2^b - 1: the step is 1 / (2^b - 1).

    At 8 bits the step is that of the image file itself, 1/255, so that nothing is lost.

    >>> ImageQuantizer(8).to_int(torch.tensor([0.0, 128 / 255, 1.0])).tolist()
    [0.0, 128.0, 255.0]
    """

    rectifies = False

    def full_precision(self, x: Tensor) -> Tensor:
        """What a layer reads while its quantizers are off: the image."""
        return x

    @staticmethod
    def fixed_step(bits: int) -> float:
        """The step at ``bits`` bits."""
        return 1 / (2**bits - 1)
