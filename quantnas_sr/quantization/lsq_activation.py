"""Learned step size quantization (LSQ; Esser et al., ICLR 2020) of activations, with a zero point."""

from typing import Any, Dict, Optional, Tuple

import torch
from torch import Tensor, nn

from quantnas_sr.errors import CalibrationError
from quantnas_sr.quantization.calibration import RangeObserver
from quantnas_sr.quantization.lsq import LSQFunction, to_int
from quantnas_sr.quantization.rounding import Rounding
from quantnas_sr.quantization.step_exponent import exponent_of, step_of
from quantnas_sr.system.distributed import take_from_first_process


class LSQActivation(nn.Module):
    """Per-tensor quantizer of activations with a trained step and a fixed zero point.

    Step and zero point start where the squared error of the values seen between `observe` and `calibrate` is least;
    without these, of the first batch in training mode. The zero point is the integer, of 0 .. 2^b - 1, that stands for
    0: 0 where nothing is negative, as after a ReLU. The step's gradient is scaled by
    1 / sqrt(qmax * number of features), features being C * H * W, as in the LSQ paper; the parameter that it trains is
    ``step_exponent``, the base-2 logarithm of the step (see `step_exponent`).

    ``calibrated_share`` is 0 before the calibration, when ``step_exponent`` is 0 too, and 1 after it. In a moving
    average of both, such as BasicSR's, it is the share of calibrated exponents in the average, so that
    ``step_exponent / calibrated_share`` is their mean from the first update on.

    >>> quantizer = LSQActivation(bits=2)
    >>> quantizer.observe()
    >>> quantizer.full_precision(torch.tensor([[0.0, 0.5, 1.0, 1.5]])).amax()
    tensor(1.5000)
    >>> quantizer.calibrate()
    >>> int(quantizer.zero_point)
    0
    >>> quantizer.set_step(torch.tensor([0.5]))
    >>> quantizer(torch.tensor([[-1.0, 0.4, 4.0]])).abs().tolist()
    [[0.0, 0.5, 1.5]]

    Args:
        bits: bit width, 2 to 16.
    """

    #: What this reads does not go through a ReLU.
    rectifies = False

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits
        self.step_exponent = nn.Parameter(torch.zeros(1))
        self.register_buffer("calibrated_share", torch.zeros(1))
        self.register_buffer("zero_point", torch.zeros(1, dtype=torch.int32))
        self._calibrated = False
        self._seen: Optional[RangeObserver] = None

    @property
    def step(self) -> Tensor:
        """The step, positive, (1,); not a number before the calibration."""
        return step_of(self.step_exponent / self.calibrated_share)

    @torch.no_grad()
    def set_step(self, step: Tensor) -> None:
        """Set the step, (1,), above zero; with the zero point as it is, the quantizer then counts as calibrated."""
        self.step_exponent.copy_(exponent_of(step))
        self.calibrated_share.fill_(1)

    @property
    def is_calibrated(self) -> bool:
        """Whether the step is set."""
        return bool(self.calibrated_share > 0)

    @torch.no_grad()
    def reset(self) -> None:
        """Forget step and zero point; the next batch in training mode sets them."""
        for tensor in (self.step_exponent, self.calibrated_share, self.zero_point):
            tensor.zero_()
        self._calibrated = False

    def _bounds(self) -> Tuple[Tensor, Tensor]:
        """The lowest and highest integer less the zero point; kept as tensors to avoid a GPU synchronisation."""
        low = -self.zero_point.to(self.step_exponent.dtype)
        return low, low + (2.0**self.bits - 1)

    def observe(self) -> None:
        """From now on record the values that go through `full_precision` in training mode, until `calibrate`."""
        self._seen = RangeObserver()

    def seen(self) -> Optional[RangeObserver]:
        """The values that came since `observe`; None if there were none."""
        return self._seen if self._seen is not None and self._seen.samples else None

    @torch.no_grad()
    def calibrate(self, channel_scale: Optional[Tensor] = None, synchronize: bool = True) -> None:
        """Set step and zero point to those of least squared error for the values seen since `observe`.

        If none were seen, nothing changes.

        Args:
            channel_scale: what the channels of the input will be divided by from now on, (C,).
            synchronize: whether processes that train together take those of the first process. All must call this then.
        """
        seen, self._seen = self.seen(), None
        if seen is None:
            return
        step, zero_point = seen.least_error_range(self.bits, channel_scale)
        step, zero_point = step.reshape(1), zero_point.reshape(1).to(self.zero_point.dtype)
        if synchronize:
            take_from_first_process(step, zero_point)
        self.set_step(step)
        self.zero_point.copy_(zero_point)

    def _ready_for(self, x: Tensor) -> None:
        if self._calibrated:
            return
        if not self.is_calibrated:
            if not self.training:
                raise CalibrationError(self)
            self.observe()
            self.full_precision(x)
            self.calibrate()
        self._calibrated = True

    def to_int(self, x: Tensor) -> Tensor:
        """The integers behind ``forward`` less the zero point, in a floating point tensor of x's shape.

        The quantizer must be calibrated.
        """
        return to_int(x, self.step, *self._bounds())

    def rounding(self) -> Rounding:
        """How the input is rounded, as plain numbers; the quantizer must be calibrated."""
        return Rounding(float(self.step.detach()), int(self.zero_point), self.bits)

    def forward(self, x: Tensor) -> Tensor:
        """``to_int(x) * step``, differentiable in both; the first dimension is the batch.

        Raises:
            CalibrationError: in evaluation mode, before any batch has set the step.
        """
        self._ready_for(x)
        low, high = self._bounds()
        largest = torch.maximum(high, -low - 1)
        step_gradient_scale = (largest * (x.numel() // len(x))).rsqrt()
        return LSQFunction.apply(x, self.step, low, high, step_gradient_scale)

    def full_precision(self, x: Tensor) -> Tensor:
        """The layer's input while quantizers are switched off: x, which is observed (see `observe`)."""
        if self._seen is not None and self.training:
            self._seen.add(x)
        return x

    @torch.no_grad()
    def _load_from_state_dict(self, state_dict: Dict[str, Any], prefix: str, *args: Any) -> None:
        _rename_old_keys(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args)
        share = self.calibrated_share.clone()
        self.step_exponent.div_(share.where(share > 0, torch.ones_like(share)))
        self.calibrated_share.copy_(share > 0)
        self._calibrated = False

    def extra_repr(self) -> str:
        return f"bits={self.bits}"


def _rename_old_keys(state_dict: Dict[str, Any], prefix: str) -> None:
    """Older versions trained the step itself, whose sign meant nothing, and averaged it like the exponent now."""
    step, share = (state_dict.pop(f"{prefix}{key}", None) for key in ("step", "calibration"))
    if step is not None and share is not None:
        calibrated = share > 0
        exponent = exponent_of((step / share).abs())
        state_dict[f"{prefix}step_exponent"] = torch.where(calibrated, exponent, torch.zeros_like(exponent))
        state_dict[f"{prefix}calibrated_share"] = calibrated.to(share.dtype)


class RectifiedLSQActivation(LSQActivation):
    """`LSQActivation` after a ReLU: the integers are unsigned, the zero point is 0."""

    rectifies = True

    def full_precision(self, x: Tensor) -> Tensor:
        """What a layer reads while its quantizers are off: the ReLU of x."""
        return super().full_precision(torch.relu(x))
