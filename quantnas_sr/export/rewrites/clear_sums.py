"""Moves weight steps a little, so that no sum of integers lies on the border between two results.

A convolution sums integers to an integer a, and what reads it rounds ``a * M``, M being input step times weight step
over the step of the reader. Whoever computes this in float32 has an error in the last bits. It decides only where
``a * M`` is, for some integer a, almost exactly between two integers. Whether there is such an a depends on M alone.
So each channel's weight step becomes the nearest one for which there is none. Then PyTorch, OpenVINO and ONNX Runtime,
which add and multiply in different orders, round every sum of the network to the same integer.
"""

from typing import Iterator, NamedTuple, Optional, Set

import numpy as np
import torch
from torch import nn

from quantnas_sr.export.rewrites.byte_images import BYTES
from quantnas_sr.export.rewrites.readers import RECTIFIERS, Readers, readers_of
from quantnas_sr.quantization import QuantConv2d, Rounding
from quantnas_sr.quantization.channel_scale import scaled_weight
from quantnas_sr.search_space.skeletons.plain import PlainSkeleton

#: The largest relative change of a step, and the number of steps that are tried on either side.
_REACH, _TRIED = 2.0**-10, 1000
#: Errors that must not matter: relative to the sum, and to the largest sum of absolute values; and for a sum with the
#: image, in bytes.
_OF_SUM, _OF_TERMS, _OF_IMAGE = 2.0**-20, 2.0**-23, 2.0**-14


class _Reading(NamedTuple):
    """How the output of a layer is read.

    Attributes:
        rounding: of its reader.
        with_image: whether the image is added before, in whole steps.
    """

    rounding: Rounding
    with_image: bool = False


@torch.no_grad()
def clear_sums(network: nn.Module) -> nn.Module:
    """Change the weight steps of all layers whose output is rounded next; changes and returns the network.

    Args:
        network: in evaluation mode, a `ByteImages`. Only in a plain network are these all layers.
    """
    readers = readers_of(network, RECTIFIERS)
    layers = set(readers.reads)
    for layer in layers:
        reading = _reading_of(layer, readers, network)
        if reading is not None:
            _clear(layer, reading)
    return network


def _reading_of(layer: QuantConv2d, readers: Readers, network: nn.Module) -> Optional[_Reading]:
    skeleton = getattr(network.network, "skeleton", None)
    if layer in readers.real:
        # the image is added to the one output that is no layer's input
        added = isinstance(skeleton, PlainSkeleton) and layer in set(skeleton.upsample.modules())
        return _Reading(BYTES, with_image=True) if added else None
    found: Set[Rounding] = set(_roundings(layer, readers))
    clears = len(found) == 1 and all(rounding.bits <= BYTES.bits for rounding in found)  # 16 bits have no room between
    return _Reading(found.pop()) if clears else None


def _roundings(layer: QuantConv2d, readers: Readers) -> Iterator[Rounding]:
    for reader, calls in readers.reads.items():
        if any(layer in call for call in calls):
            yield reader.input_quantizer.rounding()


def _clear(layer: QuantConv2d, reading: _Reading) -> None:
    quantizer, given = layer.weight_quantizer, layer.input_quantizer.rounding()
    integers = quantizer.to_int(layer.scaled_weight())
    unit = quantizer.scale.flatten() * layer.input_quantizer.step
    bias = None if layer.bias is None else (layer.quantized_bias() / unit).round()
    sign, steps = quantizer.sign, quantizer.step.clone()
    largest = integers.abs().flatten(1).sum(1).double().numpy() * max(given.zero_point, given.highest)
    for channel, terms in enumerate(largest):
        steps[channel] = _clear_step(float(steps[channel]), given.step, terms, reading)
    quantizer.set_step(steps)
    quantizer.sign = sign
    weight = integers * quantizer.scale
    cs = layer.channel_scale
    layer.weight = nn.Parameter(weight if cs is None else scaled_weight(weight, 1 / cs, layer.groups))
    if bias is not None:
        layer.bias = nn.Parameter(bias * quantizer.scale.flatten() * layer.input_quantizer.step)


def _clear_step(step: float, input_step: float, terms: float, reading: _Reading) -> float:
    """The step nearest to ``step`` for which no sum is close to a border; the best one if all have some."""
    tried = step * (1 + np.linspace(-_REACH, _REACH, 2 * _TRIED + 1))
    tried = tried[np.argsort(np.abs(tried - step), kind="stable")]
    clear = clearance(tried * input_step / reading.rounding.step, terms, reading.rounding, reading.with_image)
    return float(tried[np.argmax(clear >= 1) if (clear >= 1).any() else np.argmax(clear)])


def clearance(factors: np.ndarray, terms: float, rounding: Rounding, with_image: bool) -> np.ndarray:
    """How far the nearest sum of integers is from a border, in multiples of the error that float32 may have.

    Args:
        factors: M, for each of which the answer is given, (n,).
        terms: the largest sum of absolute values.
        rounding: of the reader.
        with_image: whether an integer of 0 .. highest is added before the limits apply.
    """
    low, high = -rounding.zero_point, rounding.highest - rounding.zero_point
    if with_image:
        low, high = -rounding.highest, rounding.highest
    borders = (np.arange(low, high) + 0.5) / factors[:, None]
    error = _OF_SUM * np.abs(borders) + _OF_TERMS * terms + (_OF_IMAGE / factors[:, None] if with_image else 0)
    reached = np.abs(borders) <= terms + 1
    return np.where(reached, np.abs(borders - borders.round()) / error, np.inf).min(axis=1)
