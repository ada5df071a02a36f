"""Moves channel scales into the layers before, so that a convolution writes what the next one rounds.

A layer rounds ``x / r`` for its channel scales r (see `QuantConv2d`). Where x is the output of another layer alone,
that layer can make ``x / r`` itself: its weights, their steps and its bias are divided by r. All integers stay as they
are, and no division is left between two convolutions, which no runtime would compute in integers.
"""

from typing import Iterator, Set, Tuple

import torch
from torch import nn

from quantnas_sr.export.rewrites.readers import RECTIFIERS, Readers, quantized_layers, readers_of
from quantnas_sr.quantization import QuantConv2d
from quantnas_sr.quantization.channel_scale import scaled_weight


@torch.no_grad()
def fold_channel_scales(network: nn.Module) -> nn.Module:
    """Make the channel scales of layers 1 where the layers before can apply them; changes and returns the network.

    Args:
        network: in evaluation mode.
    """
    if any(layer.scales_channels for _, layer in quantized_layers(network)):
        for sources, layer in _foldable(readers_of(network, RECTIFIERS)):
            scale = layer.channel_scale.clone()
            layer.weight = nn.Parameter(layer.scaled_weight())
            layer.channel_scale.fill_(1)
            for source in sources:
                _divide(source, scale)
    return network


def _foldable(readers: Readers) -> Iterator[Tuple[Set[QuantConv2d], QuantConv2d]]:
    """Layers that scale their channels, with the layers that they alone read."""
    for layer, calls in readers.reads.items():
        sources = set().union(*calls)
        others = (call for reader, theirs in readers.reads.items() if reader is not layer for call in theirs)
        alone = not sources & readers.real and not any(sources & call for call in others)
        if layer.scales_channels and all(len(call) == 1 for call in calls) and alone:
            yield sources, layer


def _divide(layer: QuantConv2d, scale: torch.Tensor) -> None:
    """Let a layer make its output channels divided by a scale, (O,), with the same integers.

    What it computes with is divided, not the weights and the bias that are rounded to it: trained weights gather where
    they are rounded to one side or the other (Nagel et al., arXiv:2203.11086), and the last bit of a division decides.
    """
    by_channel = scale.view(-1, 1, 1, 1)
    sign, step = layer.weight_quantizer.sign, layer.weight_quantizer.step
    rounded, bias = layer.weight_quantizer(layer.scaled_weight()), layer.quantized_bias()
    if layer.channel_scale is not None:
        rounded = scaled_weight(rounded, 1 / layer.channel_scale, layer.groups)
    layer.weight = nn.Parameter(rounded / by_channel)
    layer.weight_quantizer.set_step(step / by_channel)
    layer.weight_quantizer.sign = sign
    if bias is not None:
        layer.bias = nn.Parameter(bias / scale)
