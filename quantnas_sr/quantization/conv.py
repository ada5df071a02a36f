"""A convolution that quantizes its own input and its own weight."""

from typing import Any, Callable, Dict, Iterator, Optional, Tuple, Union

import torch
from torch import Tensor, nn

from quantnas_sr.errors import CalibrationError, OptionError
from quantnas_sr.quantization.channel_scale import least_error_channel_scale, scaled_weight
from quantnas_sr.quantization.expansion import adapt_keys
from quantnas_sr.quantization.hwgq import HWGQ, ImageQuantizer
from quantnas_sr.quantization.lsq import LSQWeight
from quantnas_sr.quantization.lsq_activation import LSQActivation, RectifiedLSQActivation
from quantnas_sr.system.distributed import take_from_first_process

FULL_PRECISION = 32
QUANTIZED_WIDTHS = range(2, 17)
#: Quantizers of the inputs of any network: ``hwgq`` includes a ReLU and has a fixed step, ``lsq`` has no ReLU and a
#: trained step.
ACTIVATION_QUANTIZERS: Dict[str, Callable[[int], nn.Module]] = {"hwgq": HWGQ, "lsq": LSQActivation}
#: The same, and what a search space may ask for: a trained step after a ReLU, and the fixed step of an image in 0..1.
INPUT_QUANTIZERS: Dict[str, Callable[[int], nn.Module]] = {
    **ACTIVATION_QUANTIZERS,
    "relu_lsq": RectifiedLSQActivation,
    "image": ImageQuantizer,
}

_IntOrPair = Union[int, Tuple[int, int]]


def check_bits(bits: object, where: str = "bits") -> int:
    """Return ``bits`` if it is a bit width that a network can have.

    Raises:
        OptionError: it is neither 2 to 16 (signed weights need at least 2) nor 32 (full precision).
    """
    if not isinstance(bits, int) or (bits not in QUANTIZED_WIDTHS and bits != FULL_PRECISION):
        raise OptionError(f"{where}: {bits!r} is not a bit width. Allowed: 2 to 16, or 32 for full precision")
    return bits


def same_padding(kernel_size: Tuple[int, int], dilation: int) -> Tuple[int, int]:
    """The padding that keeps height and width at stride 1 (odd kernels)."""
    return dilation * (kernel_size[0] - 1) // 2, dilation * (kernel_size[1] - 1) // 2


def full_precision_activation() -> nn.Module:
    """The activation function in front of a 32-bit convolution, in place of a quantizer that includes a ReLU."""
    return nn.PReLU(init=0.1)


def full_precision_input(activation_quantizer: str) -> nn.Module:
    """What stands before a 32-bit convolution in the place of a quantizer; nothing where that has no ReLU."""
    return full_precision_activation() if activation_quantizer in ("hwgq", "relu_lsq") else nn.Identity()


def arguments_of(conv: nn.Conv2d) -> Dict[str, Any]:
    """The arguments of `torch.nn.Conv2d` that make a convolution of the same kind as ``conv``."""
    names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
    return {**{name: getattr(conv, name) for name in names}, "bias": conv.bias is not None}


def integer_bias(bias: Tensor, input_quantizer: nn.Module, weight_quantizer: LSQWeight) -> Tensor:
    """A bias, (O,), rounded to multiples of input step times weight step, with a straight-through gradient.

    A convolution of integers adds it as a 32-bit integer. Where the multiple does not fit 32 bits, the bias is returned
    unrounded.
    """
    unit = (weight_quantizer.step.flatten() * input_quantizer.step).detach()
    integers = (bias.detach() / unit).round()
    rounded = torch.where(integers.abs() < 2.0**31, integers * unit, bias.detach())
    return rounded + (bias - bias.detach())


class QuantConv2d(nn.Conv2d):
    """``conv(G(x, b), Q(W, b))``, eq. 2, with HWGQ as G and LSQ as Q; at 32 bits PReLU, and no quantizer of the weight.

    With ``activation_quantizer="lsq"``, G is LSQ, and there is no activation function, at 32 bits either. Then
    ``x / channel_scale`` and ``weight * channel_scale`` are rounded in place of x and the weight; `calibrate` chooses
    this factor of each input channel (see `channel_scale`).

    With the attribute ``quantize`` set to False, the layer computes in full precision (ReLU in place of HWGQ), and the
    quantizers keep their state. After the weights have been trained like that, call `init_steps` before ``quantize`` is
    True again (`set_quantize` does).

    Args:
        in_channels, out_channels, kernel_size, groups, dilation, stride, bias, padding_mode: as for `torch.nn.Conv2d`.
        bits: width of weights and activations, 2 to 16 or 32.
        padding: as for `torch.nn.Conv2d`; ``None`` keeps height and width at stride 1 (odd kernels).
        activation_quantizer: a key of `INPUT_QUANTIZERS`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: _IntOrPair,
        bits: int,
        groups: int = 1,
        dilation: _IntOrPair = 1,
        stride: _IntOrPair = 1,
        padding: Union[str, _IntOrPair, None] = None,
        bias: bool = False,
        padding_mode: str = "zeros",
        activation_quantizer: str = "hwgq",
    ) -> None:
        kernel = (kernel_size, kernel_size) if isinstance(kernel_size, int) else tuple(kernel_size)
        super().__init__(
            in_channels,
            out_channels,
            kernel,
            stride=stride,
            padding=same_padding(kernel, dilation) if padding is None else padding,
            dilation=dilation,
            groups=groups,
            bias=bias,
            padding_mode=padding_mode,
        )
        self.bits = bits
        self.quantize = True
        if bits == FULL_PRECISION:
            self.input_quantizer: nn.Module = full_precision_input(activation_quantizer)
            self.weight_quantizer: nn.Module = nn.Identity()
        else:
            self.input_quantizer = INPUT_QUANTIZERS[activation_quantizer](bits)
            self.weight_quantizer = LSQWeight(bits, out_channels)
        scales_channels = isinstance(self.input_quantizer, LSQActivation)
        self.register_buffer("channel_scale", torch.ones(in_channels) if scales_channels else None)
        self.init_steps()

    @classmethod
    def of(cls, conv: nn.Conv2d, bits: int, activation_quantizer: str) -> "QuantConv2d":
        """A quantized convolution in place of ``conv``, which shares its parameters ``weight`` and ``bias``."""
        quantized = cls(**arguments_of(conv), bits=bits, activation_quantizer=activation_quantizer)
        quantized.weight, quantized.bias = conv.weight, conv.bias
        if isinstance(quantized.weight_quantizer, LSQWeight):
            quantized.weight_quantizer.trained = True
        quantized.init_steps()
        return quantized.train(conv.training)

    def initial_quantizers(self, weight: Tensor) -> Dict[str, Tensor]:
        """The part of the state dict that belongs to the quantizers, as training starts from it with ``weight``."""
        state = {}
        if isinstance(self.weight_quantizer, LSQWeight):
            initial = self.weight_quantizer.initial_state(weight)
            state.update({f"weight_quantizer.{key}": value for key, value in initial.items()})
        if isinstance(self.input_quantizer, LSQActivation):
            fresh = LSQActivation(self.bits).state_dict()
            state.update({f"input_quantizer.{key}": value for key, value in fresh.items()})
            state["channel_scale"] = torch.ones_like(self.channel_scale)
        return state

    def init_steps(self) -> None:
        """Set the LSQ steps of the weight from the weight; the step of the input is set by the next training batch."""
        if self.weight.is_meta:  # there are no values, and to compute none takes long
            return
        if isinstance(self.input_quantizer, LSQActivation):
            self.input_quantizer.reset()
            self.channel_scale.fill_(1)
        if isinstance(self.weight_quantizer, LSQWeight):
            self.weight_quantizer.init_step(self.weight)

    @torch.no_grad()
    def calibrate(self, synchronize: bool = True) -> None:
        """Set channel scales, steps and zero point to those of least error for the inputs that were observed.

        Args:
            synchronize: whether processes that train together take those of the first process. All must call this then.
        """
        seen = self.input_quantizer.seen()
        if seen is not None:
            self.channel_scale.copy_(least_error_channel_scale(seen, self.weight, self.bits, self.groups))
            if synchronize:
                take_from_first_process(self.channel_scale)
            self.weight_quantizer.init_step(self.scaled_weight())
        self.input_quantizer.calibrate(self.channel_scale, synchronize)

    @property
    def scales_channels(self) -> bool:
        """Whether a channel scale differs from 1."""
        return self.channel_scale is not None and bool((self.channel_scale != 1).any())

    def scaled_input(self, x: Tensor, inverse: bool = False) -> Tensor:
        """``x / channel_scale``, which the input quantizer rounds, (N, in_channels, H, W).

        Args:
            x: input of the layer.
            inverse: compute ``x * channel_scale``, the inverse function, instead.
        """
        if self.channel_scale is None:
            return x
        scale = self.channel_scale.view(-1, 1, 1)
        return x * scale if inverse else x / scale

    def scaled_weight(self) -> Tensor:
        """``weight * channel_scale``, which the weight quantizer rounds, (O, C / groups, kH, kW)."""
        if self.channel_scale is None:
            return self.weight
        return scaled_weight(self.weight, self.channel_scale, self.groups)

    def quantized_bias(self) -> Optional[Tensor]:
        """The bias that the layer adds, (out_channels,): that of `integer_bias`, at 32 bits the parameter itself."""
        if self.bias is None or self.bits == FULL_PRECISION:
            return self.bias
        return integer_bias(self.bias, self.input_quantizer, self.weight_quantizer)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, H', W')."""
        if not self.quantize and self.bits != FULL_PRECISION:
            return self._conv_forward(self.input_quantizer.full_precision(x), self.weight, self.bias)
        x, weight = self.input_quantizer(self.scaled_input(x)), self.weight_quantizer(self.scaled_weight())
        return self._conv_forward(x, weight, self.quantized_bias())

    def _load_from_state_dict(self, state_dict: Dict[str, Any], prefix: str, *args: Any) -> None:
        adapt_keys(state_dict, prefix, self)
        if self.channel_scale is not None:
            # older versions have another name for it, and a search of bit widths has none
            given = state_dict.pop(f"{prefix}smoothing", torch.ones_like(self.channel_scale))
            state_dict.setdefault(f"{prefix}channel_scale", given)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, bits={self.bits}"


def set_quantize(network: nn.Module, quantize: bool) -> None:
    """Switch all quantizers of a network on or off.

    Switching on sets the LSQ steps anew: those of weights from the weights, those of activations from the next batch in
    training mode. Layers that are switched on already are left alone.
    """
    for module in network.modules():
        if isinstance(module, QuantConv2d) and module.quantize != quantize:
            module.quantize = quantize
            if quantize:
                module.init_steps()


def _trained_steps(network: nn.Module) -> Iterator[Tuple[QuantConv2d, LSQActivation]]:
    for module in network.modules():
        if isinstance(module, QuantConv2d) and isinstance(module.input_quantizer, LSQActivation):
            yield module, module.input_quantizer


def is_calibrated(network: nn.Module) -> bool:
    """Whether every trained step of activations is set; True where there are none."""
    return all(quantizer.is_calibrated for _, quantizer in _trained_steps(network))


def is_uncalibrated(network: nn.Module) -> bool:
    """Whether there are trained steps of activations, and none of them is set."""
    layers = [layer for layer, _ in _trained_steps(network)]
    return bool(layers) and not any(is_calibrated(layer) for layer in layers)


def naming_layer(error: CalibrationError, network: nn.Module) -> CalibrationError:
    """The error of a network that ran, with the name of its layer where other layers of it are calibrated."""
    if is_uncalibrated(network):
        return error
    layers = (name for name, layer in network.named_modules() if isinstance(layer, QuantConv2d))
    names = [name for name in layers if network.get_submodule(name).input_quantizer is error.quantizer]
    return CalibrationError(error.quantizer, *names[:1])


def observe_inputs(network: nn.Module) -> None:
    """From now on compute in full precision, and observe the inputs of the layers, until `calibrate_inputs`."""
    for layer, quantizer in _trained_steps(network):
        layer.quantize = False
        quantizer.observe()


@torch.no_grad()
def calibrate_on(network: nn.Module, *batches: Tensor) -> None:
    """Set trained steps of activations, unless all are set, to where they lose least of batches, in this process alone.

    Args:
        network: in any mode, which it keeps.
        batches: inputs of the network, at least one.
    """
    if is_calibrated(network):
        return
    was_training = network.training
    observe_inputs(network)
    network.eval()
    for _, quantizer in _trained_steps(network):
        quantizer.train()
    for batch in batches:
        network(batch)
    calibrate_inputs(network, synchronize=False)
    network.train(was_training)


def calibrate_inputs(network: nn.Module, synchronize: bool = True) -> None:
    """Set steps, zero points and channel scales from the inputs since `observe_inputs`, and quantize again.

    Args:
        synchronize: whether processes that train together take those of the first process. All must call this then.
    """
    for layer, _ in _trained_steps(network):
        layer.quantize = True
        layer.calibrate(synchronize)
