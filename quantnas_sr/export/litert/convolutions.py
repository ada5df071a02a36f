"""The convolutions of a plain network as a ``.tflite`` stores them, in integers or in float."""

from typing import NamedTuple, Optional

import numpy as np
import torch

from quantnas_sr.errors import NetworkError
from quantnas_sr.quantization import QuantConv2d, Rounding

#: The highest integer of the type.
HIGHEST = 127


class StoredRounding(NamedTuple):
    """How a tensor of int8 holds the integers of a `Rounding`.

    The highest one is 127, whatever their bits: so saturation cuts off what is above. What is below zero is cut off by
    a ReLU.

    >>> StoredRounding.of(Rounding(step=0.5, zero_point=0, bits=8)), StoredRounding.of(Rounding(0.5, 0, 4)).zero_point
    (StoredRounding(scale=0.5, zero_point=-128), 112)
    """

    scale: float
    zero_point: int

    @classmethod
    def of(cls, rounding: Rounding) -> "StoredRounding":
        """That of a rounding to at most 8 bits."""
        return cls(rounding.step, rounding.zero_point + HIGHEST - rounding.highest)


class Convolution(NamedTuple):
    """A convolution of stride 1 that keeps the size of its image.

    Attributes:
        name: of the layer.
        weight: int8 or float32, (O, C / groups, kH, kW).
        bias: int32, in units of input step times weight scale, or float32, (O,).
        weight_scale: of each output channel, above zero, (O,), float64; None in float.
        dilation, groups: of the convolution.
    """

    name: str
    weight: np.ndarray
    bias: np.ndarray
    weight_scale: Optional[np.ndarray]
    dilation: int = 1
    groups: int = 1

    @classmethod
    @torch.no_grad()
    def of(cls, name: str, layer: QuantConv2d) -> "Convolution":
        """What PyTorch computes a layer with: integers, or floats where its quantizers are off.

        Raises:
            NetworkError: a bias does not fit 32 bits.
        """
        shape = (layer.dilation[0], layer.groups)
        if not layer.quantize:
            bias = torch.zeros(layer.out_channels) if layer.bias is None else layer.bias
            return cls(name, layer.weight.numpy(), bias.numpy(), None, *shape)
        scale = layer.weight_quantizer.scale.flatten().double()
        weight = layer.weight_quantizer.to_int(layer.scaled_weight()).double() * scale.sign().view(-1, 1, 1, 1)
        step = layer.input_quantizer.rounding().step
        bias = torch.zeros_like(scale) if layer.bias is None else layer.quantized_bias().double() / (scale.abs() * step)
        factor = _enlargement(weight, bias.round())
        weight, bias = weight * factor.view(-1, 1, 1, 1), bias.round() * factor
        if not (bias.abs() < 2**31).all():
            raise NetworkError(f"{name}: a bias does not fit 32 bits in units of the steps of input and weight")
        integers = weight.numpy().astype(np.int8), bias.numpy().astype(np.int32)
        return cls(name, *integers, (scale.abs() / factor).numpy(), *shape)

    def divided(self, divisors: np.ndarray) -> "Convolution":
        """With each output channel divided by a number above zero, (O,); the integers stay. Not in float."""
        return self._replace(weight_scale=self.weight_scale / divisors)

    def permuted(self, order: np.ndarray) -> "Convolution":
        """With the output channels in another order; for a convolution without groups."""
        scale = None if self.weight_scale is None else self.weight_scale[order]
        return self._replace(weight=self.weight[order], bias=self.bias[order], weight_scale=scale)


def _enlargement(weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """The largest power of two, for each output channel, with which its integers still fit int8 and int32, (O,).

    Integers times it and a scale divided by it are the same numbers. LiteRT's own kernels round a sum of products
    twice, first to a binary fraction of the output's step, which is the finer, the larger the sums are: with weights of
    4 bits as they are, 2 to 4 % of the outputs would become the wrong integer.

    >>> weight, bias = torch.tensor([[7.0, -8.0], [-1.0, 0.0], [65.0, 3.0]]), torch.tensor([1.0, 3 * 2.0**25, 0.0])
    >>> _enlargement(weight, bias).tolist()
    [8.0, 16.0, 1.0]
    """
    room = torch.minimum(HIGHEST / weight.flatten(1).abs().amax(1), (2**31 - 1) / bias.abs())
    return torch.exp2(room.clamp(1, HIGHEST).log2().floor())


def copying(name: str, repeats: int, in_float: bool) -> Convolution:
    """The convolution that repeats the channels of an image, for which every runtime has a kernel."""
    weight = np.tile(np.eye(3), (repeats, 1))[..., None, None]
    bias, ones = np.zeros(len(weight)), np.ones(len(weight))
    if in_float:
        return Convolution(name, weight.astype(np.float32), bias.astype(np.float32), None)
    return Convolution(name, weight.astype(np.int8), bias.astype(np.int32), ones)
