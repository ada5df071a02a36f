"""Learned step size quantization (LSQ; Esser et al., ICLR 2020) of weights, as in the paper's appendix A."""

import math
from typing import Any, Dict, Optional, Tuple, Union

import torch
from torch import Tensor, nn

from quantnas_sr.quantization.calibration import least_error_steps
from quantnas_sr.quantization.step_exponent import exponent_of, step_of

_Bound = Union[int, float, Tensor]


def lsq_range(bits: int) -> Tuple[int, int]:
    """The signed integers of ``bits`` bits, eq. 10.

    >>> lsq_range(4)
    (-8, 7)
    """
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


class LSQFunction(torch.autograd.Function):
    """Quantize and dequantize in one node of the graph.

    The step broadcasts against x. ``low``, ``high`` and the scale of the step's gradient are all numbers, or all
    tensors of one element where they depend on data.
    """

    @staticmethod
    def forward(ctx, x: Tensor, step: Tensor, low: _Bound, high: _Bound, step_gradient_scale: _Bound) -> Tensor:
        quantized = to_int(x, step, low, high).mul_(step)
        ctx.save_for_backward(x, step, quantized)
        ctx.constants = (low, high, step_gradient_scale)
        return quantized

    @staticmethod
    def backward(ctx, grad: Tensor):
        x, step, quantized = ctx.saved_tensors
        low, high, step_gradient_scale = ctx.constants
        grad_x = _where_inside(grad, x, low * step, high * step)
        grad_step = None
        if ctx.needs_input_grad[1]:
            # times the step, the slope is quantized - x inside the range and quantized outside
            by_element = (grad * quantized).addcmul_(grad_x, x.to(grad.dtype), value=-1)
            grad_step = by_element.sum_to_size(step.shape) / step * step_gradient_scale
        return grad_x if ctx.needs_input_grad[0] else None, grad_step, None, None, None


def _where_inside(grad: Tensor, x: Tensor, lowest: Tensor, highest: Tensor) -> Tensor:
    """``grad`` where x is in lowest .. highest, else 0."""
    if x.is_cpu and lowest.numel() == 1 and grad.dtype == x.dtype:
        # one pass in place of four; the kernel leaves out its bounds, and wants numbers, for which a GPU would wait
        below, above = (torch.nextafter(bound, bound + sign).item() for bound, sign in ((lowest, -1), (highest, 1)))
        return torch.ops.aten.hardtanh_backward(grad, x, below, above)
    return grad * ((x >= lowest) & (x <= highest))


def to_int(x: Tensor, step: Tensor, low: _Bound, high: _Bound) -> Tensor:
    """``x / step`` rounded to the integers low .. high, in a floating point tensor of x's shape."""
    return _clamp_((x / step).round_(), low, high)


def _clamp_(x: Tensor, low: _Bound, high: _Bound) -> Tensor:
    """In place. In two steps, for ``clamp_`` takes many times longer where the bounds are tensors."""
    return x.clamp_min_(low).clamp_max_(high)


class LSQWeight(nn.Module):
    """Per-output-channel signed quantizer with a trained step (eq. 10 to 14).

    The straight-through gradient of the weight is 1 inside the range and 0 outside. The step's gradient is scaled by
    1 / sqrt(qmax * number of weights), as in the LSQ paper; the parameter that it trains is ``step_exponent``, the
    base-2 logarithm of the step (see `step_exponent`).

    >>> quantizer = LSQWeight(bits=2, out_channels=1)
    >>> quantizer.set_step(torch.full((1, 1, 1, 1), 0.5))
    >>> weight = torch.tensor([-3.0, -0.2, 0.3, 3.0]).reshape(1, 4, 1, 1).requires_grad_()
    >>> quantizer(weight).flatten().tolist()
    [-1.0, -0.0, 0.5, 0.5]
    >>> quantizer(weight).sum().backward()
    >>> weight.grad.flatten().tolist()
    [0.0, 1.0, 1.0, 0.0]

    Args:
        bits: bit width, 2 to 16.
        out_channels: number of output channels of the weight; one step for each.
        trained: whether the weights that it starts from are trained ones, see `initial_step`.
    """

    #: -1 for channels whose range is the mirrored one, -qmax .. -qmin, (O, 1, 1, 1). Only checkpoints of older versions
    #: bring it, which trained the steps themselves: a negative step is a positive one with the mirrored range.
    sign: Optional[Tensor]

    def __init__(self, bits: int, out_channels: int, trained: bool = False) -> None:
        super().__init__()
        self.bits = bits
        self.trained = trained
        self.low, self.high = lsq_range(bits)
        self.step_exponent = nn.Parameter(torch.zeros(out_channels, 1, 1, 1))
        self.register_buffer("sign", None)

    @property
    def step(self) -> Tensor:
        """The step of each output channel, positive, (O, 1, 1, 1)."""
        return step_of(self.step_exponent)

    @property
    def scale(self) -> Tensor:
        """The value of one integer in each output channel, (O, 1, 1, 1): the step, negative where `sign` is."""
        return self._signed(self.step)

    @torch.no_grad()
    def set_step(self, step: Tensor) -> None:
        """Set the steps, (O, 1, 1, 1), all above zero."""
        self.step_exponent.copy_(exponent_of(step))
        self.sign = None

    def initial_step(self, weight: Tensor) -> Tensor:
        """2 * mean|w| / sqrt(qmax) per output channel, LSQ's initial value; shape (O, 1, 1, 1).

        Of trained weights it is the step of least error instead. A channel of zeros gets the step that it would have
        with PyTorch's default initialisation, for which mean|w| is 1 / (2 * sqrt(fan_in)), so that it can be trained.
        """
        mean = weight.detach().abs().mean(dim=(1, 2, 3), keepdim=True)
        step = least_error_steps(weight, self.low, self.high) if self.trained else 2 * mean / self.high**0.5
        by_default = torch.full_like(step, (weight[0].numel() * self.high) ** -0.5)
        return torch.where(mean > torch.finfo(mean.dtype).tiny, step, by_default)

    def initial_state(self, weight: Tensor) -> Dict[str, Tensor]:
        """The state dict with the steps of `initial_step`."""
        return {"step_exponent": exponent_of(self.initial_step(weight))}

    def init_step(self, weight: Tensor) -> None:
        """Set the steps to `initial_step`; a weight without values leaves them."""
        if not weight.is_meta:  # where nothing is computed each operation takes many steps of Python
            self.set_step(self.initial_step(weight))

    def to_int(self, weight: Tensor) -> Tensor:
        """Eq. 13: the integers behind ``forward``, in a floating point tensor of the weight's shape (O, I, kH, kW)."""
        return to_int(self._signed(weight), self.step, self.low, self.high)

    def forward(self, weight: Tensor) -> Tensor:
        """Eq. 14: ``to_int(weight) * scale``, differentiable in weight and step. Shape (O, I, kH, kW)."""
        step_gradient_scale = 1 / math.sqrt(self.high * weight.numel())
        return self._signed(
            LSQFunction.apply(self._signed(weight), self.step, self.low, self.high, step_gradient_scale)
        )

    def _signed(self, values: Tensor) -> Tensor:
        return values if self.sign is None else values * self.sign

    def _load_from_state_dict(self, state_dict: Dict[str, Any], prefix: str, *args: Any) -> None:
        old = state_dict.pop(f"{prefix}step", None)
        if old is not None:  # of a version that trained the steps themselves
            state_dict[f"{prefix}step_exponent"] = exponent_of(old.abs())
            state_dict[f"{prefix}sign"] = torch.where(old < 0, -1, 1).to(torch.int8)
        if f"{prefix}step_exponent" in state_dict:
            has_sign = f"{prefix}sign" in state_dict
            self.sign = torch.ones_like(self.step_exponent, dtype=torch.int8) if has_sign else None
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        return f"bits={self.bits}"
