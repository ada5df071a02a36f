"""Learned step size quantization (Esser et al., ICLR 2020): of weights (the paper's appendix A), and of activations."""

import math
from typing import Any, Optional, Tuple, Union

import torch
from torch import Tensor, distributed, nn

from quantnas_sr.errors import CalibrationError
from quantnas_sr.quantization.calibration import RangeObserver, least_error_steps

_Bound = Union[int, float, Tensor]


def lsq_range(bits: int) -> Tuple[int, int]:
    """The signed integers of ``bits`` bits, eq. 10.

    >>> lsq_range(4)
    (-8, 7)
    """
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


class _LSQFunction(torch.autograd.Function):
    """Quantize and dequantize in one node of the graph that keeps nothing but its inputs.

    The step broadcasts against x. ``low``, ``high`` and the scale of the step's gradient are all numbers, or all
    tensors of one element where they depend on data.
    """

    @staticmethod
    def forward(ctx, x: Tensor, step: Tensor, low: _Bound, high: _Bound, step_gradient_scale: _Bound) -> Tensor:
        ctx.save_for_backward(x, step)
        ctx.constants = (low, high, step_gradient_scale)
        return _to_int(x, step, low, high).mul_(step)

    @staticmethod
    def backward(ctx, grad: Tensor):
        x, step = ctx.saved_tensors
        low, high, step_gradient_scale = ctx.constants
        scaled = x / step
        inside = (scaled >= low) & (scaled <= high)
        grad_x = grad * inside if ctx.needs_input_grad[0] else None
        grad_step = None
        if ctx.needs_input_grad[1]:
            quantized = _clamp_(scaled.round(), low, high)
            slope = torch.where(inside, quantized - scaled, quantized)
            grad_step = (grad * slope).sum_to_size(step.shape) * step_gradient_scale
        return grad_x, grad_step, None, None, None


def _to_int(x: Tensor, step: Tensor, low: _Bound, high: _Bound) -> Tensor:
    return _clamp_((x / step).round_(), low, high)


def _clamp_(x: Tensor, low: _Bound, high: _Bound) -> Tensor:
    """In place. In two steps, for ``clamp_`` takes many times longer where the bounds are tensors."""
    return x.clamp_min_(low).clamp_max_(high)


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
        trained: the weights that it starts from are trained ones, see `initial_step`.
    """

    def __init__(self, bits: int, out_channels: int, trained: bool = False) -> None:
        super().__init__()
        self.bits = bits
        self.trained = trained
        self.low, self.high = lsq_range(bits)
        self.step = nn.Parameter(torch.ones(out_channels, 1, 1, 1))

    def initial_step(self, weight: Tensor) -> Tensor:
        """2 * mean|w| / sqrt(qmax) per output channel, LSQ's initial value; shape (O, 1, 1, 1).

        Of trained weights it is the step of least error instead.
        """
        if self.trained:
            return least_error_steps(weight, self.low, self.high)
        mean = weight.detach().abs().mean(dim=(1, 2, 3), keepdim=True)
        return (2 * mean / self.high**0.5).clamp_min(torch.finfo(mean.dtype).tiny)

    @torch.no_grad()
    def init_step(self, weight: Tensor) -> None:
        """Set the steps to `initial_step`."""
        self.step.copy_(self.initial_step(weight))

    def to_int(self, weight: Tensor) -> Tensor:
        """Eq. 13: the integers behind ``forward``, in a floating point tensor of the weight's shape (O, I, kH, kW)."""
        return _to_int(weight, self.step, self.low, self.high)

    def forward(self, weight: Tensor) -> Tensor:
        """Eq. 14: ``to_int(weight) * step``, differentiable in both. Shape (O, I, kH, kW)."""
        step_gradient_scale = 1 / math.sqrt(self.high * weight.numel())
        return _LSQFunction.apply(weight, self.step, self.low, self.high, step_gradient_scale)

    def extra_repr(self) -> str:
        return f"bits={self.bits}"


class LSQActivation(nn.Module):
    """Per-tensor quantizer of activations with a trained step and a fixed zero point.

    What is seen between `observe` and `calibrate`, or else the first batch in training mode, sets both to where they
    lose least. The zero point is the integer, of 0 .. 2^b - 1,
    that stands for 0: 0 where nothing is negative, as after a ReLU. The step's gradient is scaled by
    1 / sqrt(qmax * number of features), features being C * H * W, as in the LSQ paper. A step that training moves past
    zero counts by its size.

    ``calibration`` is 1 after that and 0 before, when ``step`` is 0 too. In a moving average it is the share of
    the average that calibrated steps have, so that ``step / calibration`` is their mean from the first update on.

    >>> quantizer = LSQActivation(bits=2)
    >>> quantizer.observe()
    >>> quantizer.full_precision(torch.tensor([[0.0, 0.5, 1.0, 1.5]])).amax()
    tensor(1.5000)
    >>> quantizer.calibrate()
    >>> quantizer.step.data.fill_(0.5)
    tensor([0.5000])
    >>> quantizer(torch.tensor([[-1.0, 0.4, 4.0]])).abs().tolist(), int(quantizer.zero_point)
    ([[0.0, 0.5, 1.5]], 0)

    Args:
        bits: bit width, 2 to 16.
    """

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits
        self.step = nn.Parameter(torch.zeros(1))
        self.register_buffer("calibration", torch.zeros(1))
        self.register_buffer("zero_point", torch.zeros(1, dtype=torch.int32))
        self._calibrated = False
        self._seen: Optional[RangeObserver] = None

    @torch.no_grad()
    def reset(self) -> None:
        """Forget step and zero point; the next batch in training mode sets them."""
        for tensor in (self.step, self.calibration, self.zero_point):
            tensor.zero_()
        self._calibrated = False

    def _bounds(self) -> Tuple[Tensor, Tensor]:
        """What the integers less the zero point lie between, as tensors: to look at values would wait for the GPU."""
        low = -self.zero_point.to(self.step.dtype)
        return low, low + (2.0**self.bits - 1)

    def observe(self) -> None:
        """From now on look at what goes through `full_precision` in training mode, until `calibrate`."""
        self._seen = RangeObserver()

    def seen(self) -> Optional[RangeObserver]:
        """What came since `observe`; None if nothing did."""
        return self._seen if self._seen is not None and self._seen.samples else None

    @torch.no_grad()
    def calibrate(self, factors: Optional[Tensor] = None) -> None:
        """Set step and zero point to where the values seen since `observe` lose least; nothing seen, nothing set.

        Args:
            factors: what the channels of all that comes will be divided by, (C,).
        """
        seen, self._seen = self.seen(), None
        if seen is None:
            return
        step, zero_point = seen.least_error_range(self.bits, factors)
        self.step.fill_(step)
        self.zero_point.fill_(zero_point)
        if distributed.is_available() and distributed.is_initialized():
            for tensor in (self.step.data, self.zero_point):
                distributed.broadcast(tensor, src=0)
        self.calibration.fill_(1)

    def _ready_for(self, x: Tensor) -> None:
        if self._calibrated:
            return
        if not self.calibration > 0:
            if not self.training:
                raise CalibrationError(self)
            self.observe()
            self.full_precision(x)
            self.calibrate()
        self._calibrated = True

    def effective_step(self) -> Tensor:
        """The step that counts, above zero; (1,)."""
        return (self.step / self.calibration).abs()

    def to_int(self, x: Tensor) -> Tensor:
        """The integers behind ``forward`` less the zero point, in a floating point tensor of x's shape.

        The step must be set.
        """
        return _to_int(x, self.effective_step(), *self._bounds())

    def forward(self, x: Tensor) -> Tensor:
        """``to_int(x) * step``, differentiable in both; the first dimension is the batch.

        Raises:
            CalibrationError: in evaluation mode, before any batch has set the step.
        """
        self._ready_for(x)
        low, high = self._bounds()
        largest = torch.maximum(high, -low - 1)
        step_gradient_scale = (largest * (x.numel() // len(x))).rsqrt()
        return _LSQFunction.apply(x, self.effective_step(), low, high, step_gradient_scale)

    def full_precision(self, x: Tensor) -> Tensor:
        """What a layer reads while its quantizers are off: x."""
        if self._seen is not None and self.training:
            self._seen.add(x)
        return x

    @torch.no_grad()
    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        share = self.calibration.clone()
        self.step.div_(share.where(share > 0, torch.ones_like(share)))
        self.calibration.copy_(share > 0)
        self._calibrated = False

    def extra_repr(self) -> str:
        return f"bits={self.bits}"
