"""A convolution that quantizes its own input and its own weight."""

from typing import Any, Callable, Dict, Iterator, Optional, Tuple, Union

import torch
from torch import Tensor, distributed, nn

from quantnas_sr.errors import CalibrationError, OptionError
from quantnas_sr.quantization.hwgq import HWGQ
from quantnas_sr.quantization.lsq import LSQActivation, LSQWeight
from quantnas_sr.quantization.smoothing import scaled_weight, smoothing_factors

FULL_PRECISION = 32
QUANTIZED_WIDTHS = range(2, 17)
#: What may quantize a layer's input: with a fixed step after a ReLU, or with a trained step and no ReLU.
ACTIVATION_QUANTIZERS: Dict[str, Callable[[int], nn.Module]] = {"hwgq": HWGQ, "lsq": LSQActivation}

_IntOrPair = Union[int, Tuple[int, int]]


def check_bits(bits: object, where: str = "bits") -> int:
    """Return ``bits`` if a network can be built with it.

    Raises:
        OptionError: it is neither 2 to 16 (signed weights need two) nor 32 (full precision).
    """
    if not isinstance(bits, int) or (bits not in QUANTIZED_WIDTHS and bits != FULL_PRECISION):
        raise OptionError(f"{where}: {bits!r} is not a bit width. Allowed: 2 to 16, or 32 for full precision")
    return bits


def same_padding(kernel_size: Tuple[int, int], dilation: int) -> Tuple[int, int]:
    """The padding that keeps height and width at stride 1 (odd kernels)."""
    return dilation * (kernel_size[0] - 1) // 2, dilation * (kernel_size[1] - 1) // 2


def full_precision_activation() -> nn.Module:
    """What stands before a 32-bit convolution where a quantizer (and its ReLU) would stand."""
    return nn.PReLU(init=0.1)


def arguments_of(conv: nn.Conv2d) -> Dict[str, Any]:
    """What `torch.nn.Conv2d` is given for another convolution of the same kind."""
    names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
    return {**{name: getattr(conv, name) for name in names}, "bias": conv.bias is not None}


def integer_bias(bias: Tensor, input_quantizer: nn.Module, weight_quantizer: LSQWeight) -> Tensor:
    """A bias (O,) rounded to multiples of the step of the input times that of the weight, straight-through.

    It is as it is where 32 bits do not hold the multiple.
    """
    unit = (weight_quantizer.step.abs().flatten() * input_quantizer.effective_step()).detach()
    integers = (bias.detach() / unit).round()
    rounded = torch.where(integers.abs() < 2.0**31, integers * unit, bias.detach())
    return rounded + (bias - bias.detach())


class QuantConv2d(nn.Conv2d):
    """``conv(G(x, b), Q(W, b))``, eq. 2: HWGQ before, LSQ on the weight; at 32 bits PReLU and the weight as it is.

    With ``activation_quantizer="lsq"`` the input is quantized as it is, without any activation function, 32 bits
    included, and `calibrate` may find that it loses less when it rounds ``x / smoothing`` and ``weight * smoothing``,
    a factor for each input channel (see `smoothing`). ``quantize = False`` computes in full precision (ReLU instead of
    HWGQ) without touching any parameter; going back to ``True`` after the weights have moved wants `init_steps` (see
    `set_quantize`).

    Args:
        in_channels, out_channels, kernel_size, groups, dilation, stride, bias, padding_mode: as for `torch.nn.Conv2d`.
        bits: width of weights and activations, 2 to 16 or 32.
        padding: as for `torch.nn.Conv2d`; ``None`` keeps height and width at stride 1.
        activation_quantizer: a key of `ACTIVATION_QUANTIZERS`.
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
            has_activation = activation_quantizer == "hwgq"
            self.input_quantizer: nn.Module = full_precision_activation() if has_activation else nn.Identity()
            self.weight_quantizer: nn.Module = nn.Identity()
        else:
            self.input_quantizer = ACTIVATION_QUANTIZERS[activation_quantizer](bits)
            self.weight_quantizer = LSQWeight(bits, out_channels)
        smooths = isinstance(self.input_quantizer, LSQActivation)
        self.register_buffer("smoothing", torch.ones(in_channels) if smooths else None)
        self.init_steps()

    @classmethod
    def of(cls, conv: nn.Conv2d, bits: int, activation_quantizer: str) -> "QuantConv2d":
        """A quantized convolution in place of ``conv``, with its very weight and bias."""
        quantized = cls(**arguments_of(conv), bits=bits, activation_quantizer=activation_quantizer)
        quantized.weight, quantized.bias = conv.weight, conv.bias
        if isinstance(quantized.weight_quantizer, LSQWeight):
            quantized.weight_quantizer.trained = True
        quantized.init_steps()
        return quantized.train(conv.training)

    def initial_quantizers(self, weight: Tensor) -> Dict[str, Tensor]:
        """The state of the quantizers, by key, that training starts from with ``weight``."""
        state = {}
        if isinstance(self.weight_quantizer, LSQWeight):
            state["weight_quantizer.step"] = self.weight_quantizer.initial_step(weight)
        if isinstance(self.input_quantizer, LSQActivation):
            fresh = LSQActivation(self.bits).state_dict()
            state.update({f"input_quantizer.{key}": value for key, value in fresh.items()})
            state["smoothing"] = torch.ones_like(self.smoothing)
        return state

    def init_steps(self) -> None:
        """Set the LSQ steps of the weight from the weight as it is now; that of the input waits for the next batch."""
        if isinstance(self.input_quantizer, LSQActivation):
            self.input_quantizer.reset()
            self.smoothing.fill_(1)
        if isinstance(self.weight_quantizer, LSQWeight):
            self.weight_quantizer.init_step(self.weight)

    @torch.no_grad()
    def calibrate(self) -> None:
        """Set what the quantizers start from where they lose least of the inputs that `input_quantizer` has seen."""
        seen = self.input_quantizer.seen()
        if seen is not None:
            self.smoothing.copy_(smoothing_factors(seen, self.weight, self.bits, self.groups))
            if distributed.is_available() and distributed.is_initialized():
                distributed.broadcast(self.smoothing, src=0)
            self.weight_quantizer.init_step(self.smoothed_weight())
        self.input_quantizer.calibrate(self.smoothing)

    @property
    def smooths(self) -> bool:
        """Whether input channels have factors other than 1."""
        return self.smoothing is not None and bool((self.smoothing != 1).any())

    def smoothed_input(self, x: Tensor, inverse: bool = False) -> Tensor:
        """What is rounded of the input: ``x / smoothing``, (N, in_channels, H, W); ``inverse`` leads back from it."""
        if self.smoothing is None:
            return x
        factors = self.smoothing.view(-1, 1, 1)
        return x * factors if inverse else x / factors

    def smoothed_weight(self) -> Tensor:
        """What is rounded of the weight: ``weight * smoothing``, of its shape."""
        return self.weight if self.smoothing is None else scaled_weight(self.weight, self.smoothing, self.groups)

    def quantized_bias(self) -> Optional[Tensor]:
        """The bias as kernels of integers add it, (out_channels,): `integer_bias`, and at 32 bits as it is."""
        if self.bias is None or self.bits == FULL_PRECISION:
            return self.bias
        return integer_bias(self.bias, self.input_quantizer, self.weight_quantizer)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, H', W')."""
        if not self.quantize and self.bits != FULL_PRECISION:
            return self._conv_forward(self.input_quantizer.full_precision(x), self.weight, self.bias)
        x, weight = self.input_quantizer(self.smoothed_input(x)), self.weight_quantizer(self.smoothed_weight())
        return self._conv_forward(x, weight, self.quantized_bias())

    def _load_from_state_dict(self, state_dict: Dict[str, Any], prefix: str, *args: Any) -> None:
        if self.smoothing is not None:  # a search of bit widths leaves steps without factors
            state_dict.setdefault(f"{prefix}smoothing", torch.ones_like(self.smoothing))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, bits={self.bits}"


def set_quantize(network: nn.Module, quantize: bool) -> None:
    """Switch all quantizers of a network on or off.

    Switching on starts the LSQ steps anew, from the weights as they are and from the next batch in training mode; a
    network that is switched on is left alone.
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
    return all(quantizer.calibration > 0 for _, quantizer in _trained_steps(network))


def naming_layer(error: CalibrationError, network: nn.Module) -> CalibrationError:
    """The error of a network that ran, with the name of its layer where other layers of it are calibrated."""
    if not any(is_calibrated(layer) for layer, _ in _trained_steps(network)):
        return error
    layers = (name for name, layer in network.named_modules() if isinstance(layer, QuantConv2d))
    names = [name for name in layers if network.get_submodule(name).input_quantizer is error.quantizer]
    return CalibrationError(error.quantizer, *names[:1])


def observe_inputs(network: nn.Module) -> None:
    """Compute in full precision, and look at what the layers read, until `calibrate_inputs`."""
    for layer, quantizer in _trained_steps(network):
        layer.quantize = False
        quantizer.observe()


def calibrate_inputs(network: nn.Module) -> None:
    """Let layers start where what was seen since `observe_inputs` loses least, and quantize again."""
    for layer, _ in _trained_steps(network):
        layer.quantize = True
        layer.calibrate()
