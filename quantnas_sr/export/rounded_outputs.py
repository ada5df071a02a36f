"""Rounds those convolution outputs to 8 bits that the trained network leaves in floating point.

A runtime computes a convolution in integers and writes bytes if its output is rounded next. In most trained networks
this holds where a quantized convolution reads the output of another one, but not before sums, normalisation and the
network's output. Here those outputs are rounded too, each tensor with one step and one zero point. Sums stay in
floating point.
"""

from contextlib import ExitStack
from typing import Dict, Iterable

import torch
from torch import Tensor, nn

from quantnas_sr.export.rewrites.readers import MOVES, quantized_layers, readers_of
from quantnas_sr.mixed_precision.base_network import replace
from quantnas_sr.quantization import QuantConv2d, Rounding
from quantnas_sr.quantization.calibration import RangeObserver

BITS = 8
#: Values of a tensor that are sampled from each image to choose the range of the tensor.
_VALUES = 2**11


class RoundedOutput(nn.Module):
    """Rounds to 8 bits; nothing to train.

    Args:
        step, zero_point: see `Rounding`.
    """

    def __init__(self, step: float, zero_point: int) -> None:
        super().__init__()
        self.rounding = Rounding(step, zero_point, BITS)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return self.rounding.from_int(self.rounding.to_int(x))

    def extra_repr(self) -> str:
        return f"step={self.rounding.step:.3g}, zero_point={self.rounding.zero_point}"


class RoundedConv(nn.Module):
    """A convolution and the rounding of its output."""

    def __init__(self, conv: QuantConv2d, rounding: RoundedOutput) -> None:
        super().__init__()
        self.conv, self.rounding = conv, rounding

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C_out, H', W')."""
        return self.rounding(self.conv(x))


def real_outputs(network: nn.Module) -> Dict[str, QuantConv2d]:
    """The layers whose output is not rounded next: it is used unrounded, or rounded in different ways.

    Args:
        network: in evaluation mode.
    """
    readers, roundings = readers_of(network, MOVES), {}
    real = set(readers.real)
    for layer, calls in readers.reads.items():
        rounding = layer.input_quantizer.rounding()
        for source in set().union(*calls):
            if layer.scales_channels or roundings.setdefault(source, rounding) != rounding:
                real.add(source)
    return {name: layer for name, layer in quantized_layers(network) if layer in real}


@torch.no_grad()
def round_outputs(network: nn.Module, images: Iterable[Tensor]) -> nn.Module:
    """Replace every layer of `real_outputs` by a `RoundedConv`; changes and returns the network.

    Steps and zero points minimise the squared error on the images.

    Args:
        network: in evaluation mode.
        images: (1, 3, H, W) each, of any sizes.
    """
    layers = list(real_outputs(network).values())
    seen = {layer: RangeObserver(_VALUES) for layer in layers}
    with ExitStack() as hooks:
        for layer in layers:
            hooks.enter_context(layer.register_forward_hook(lambda layer, _, output: seen[layer].add(output)))
        for image in images:
            network(image)
    rounded = {}
    for layer in layers:
        step, zero_point = seen[layer].least_error_range(BITS)
        rounded[layer] = RoundedConv(layer, RoundedOutput(float(step), int(zero_point))).eval()
    replace(network, rounded)
    return network
