"""Activations as signed integers of 8 bits with the zero point 0, which is all that TensorRT reads.

Integers less their zero point are such integers where they fit -128 .. 127, as those of up to 7 bits always do. Of 8
bits they do not, and there

- a layer that reads the image by bytes reads it unrounded, which is the same: its values are multiples of 1/255;
- unsigned integers (after a ReLU) get 7 bits, and others the zero point 128, with the least step that has their range.
"""

from typing import Any, Dict, List

import torch
from torch import nn

from quantnas_sr.errors import OptionError
from quantnas_sr.export.rewrites.byte_images import BYTES
from quantnas_sr.export.rewrites.readers import quantized_layers
from quantnas_sr.export.rounded_outputs import RoundedOutput
from quantnas_sr.mixed_precision.base_network import replace
from quantnas_sr.quantization import QuantConv2d, Rounding, arguments_of
from quantnas_sr.quantization.lsq_activation import LSQActivation

#: The limits of the signed integers.
_LOW, _HIGH = -128, 127


def make_symmetric(network: nn.Module) -> nn.Module:
    """Let all integers fit signed ones of 8 bits; changes and returns the network.

    Args:
        network: in evaluation mode.

    Raises:
        OptionError: a layer has more than 8 bits.
    """
    unrounded: Dict[nn.Module, nn.Module] = {}
    for name, layer in list(quantized_layers(network)):
        rounding = layer.input_quantizer.rounding()
        if max(rounding.bits, layer.bits) > BYTES.bits:
            raise OptionError(f"symmetric: {name} has {layer.bits} bits. Allowed: at most {BYTES.bits}")
        if rounding == BYTES:
            unrounded[layer] = _of_floats(layer)
        elif not fits(rounding):
            _set(layer.input_quantizer, fitted(rounding))
    for module in network.modules():
        if isinstance(module, RoundedOutput) and not fits(module.rounding):
            module.rounding = fitted(module.rounding)
    replace(network, unrounded)
    return network


def fits(rounding: Rounding) -> bool:
    """Whether integers less their zero point fit signed integers of 8 bits."""
    return -rounding.zero_point >= _LOW and rounding.highest - rounding.zero_point <= _HIGH


def fitted(rounding: Rounding) -> Rounding:
    """The nearest rounding that fits.

    >>> fitted(Rounding(1.0, 0, 8))
    Rounding(step=2.0078740157480315, zero_point=0, bits=7)
    >>> fitted(Rounding(1.0, 100, 8))
    Rounding(step=1.220472440944882, zero_point=128, bits=8)
    """
    below, above = rounding.zero_point, rounding.highest - rounding.zero_point
    if below == 0:
        return Rounding(rounding.step * above / _HIGH, 0, rounding.bits - 1)
    return Rounding(rounding.step * max(below / -_LOW, above / _HIGH), -_LOW, rounding.bits)


@torch.no_grad()
def _set(quantizer: Any, rounding: Rounding) -> None:
    quantizer.bits = rounding.bits
    if isinstance(quantizer, LSQActivation):
        quantizer.set_step(torch.tensor([rounding.step]))
        quantizer.zero_point.fill_(rounding.zero_point)
    else:
        quantizer.step, quantizer.high = rounding.step, rounding.highest


@torch.no_grad()
def _of_floats(layer: QuantConv2d) -> nn.Conv2d:
    """The layer without the rounding of its input."""
    conv = nn.Conv2d(**arguments_of(layer))
    conv.weight.copy_(layer.weight_quantizer(layer.scaled_weight()))
    if layer.bias is not None:
        conv.bias.copy_(layer.quantized_bias())
    return conv.eval()


def changed(network: nn.Module) -> List[str]:
    """The layers of a network as trained whose integers do not fit."""
    return [
        name
        for name, layer in quantized_layers(network)
        if layer.input_quantizer.rounding() != BYTES and not fits(layer.input_quantizer.rounding())
    ]
