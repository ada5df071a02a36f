"""Parameters, MACs, BitOps and packed size of any network, from shapes alone."""

import copy
import math
from dataclasses import dataclass
from typing import List, NamedTuple, Optional, Tuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from quantnas_sr.quantization import FULL_PRECISION


class LayerCost(NamedTuple):
    """What one convolution or linear layer costs in one pass."""

    name: str
    macs: int
    bits: int
    weights: int

    @property
    def bitops(self) -> int:
        """MACs * b_weight * b_activation; both widths are ``bits`` (eq. 8)."""
        return self.macs * self.bits**2


@dataclass(frozen=True)
class NetworkCost:
    """What a network costs for one image of a given size.

    A MAC is one multiply-add. (The paper's "FLOPs" are MACs.) Bias, normalisation and activation functions are not
    counted as operations; 32-bit layers count as 32 * 32.
    """

    size: Tuple[int, int]
    layers: List[LayerCost]
    params: int

    @property
    def macs(self) -> int:
        """Multiply-adds."""
        return sum(layer.macs for layer in self.layers)

    @property
    def bitops(self) -> int:
        """Sum of MACs * b^2 over the layers."""
        return sum(layer.bitops for layer in self.layers)

    @property
    def packed_bytes(self) -> int:
        """Bytes of the file's payload: weights at their bit width, everything else as 32-bit floats."""
        packed = sum(math.ceil(layer.weights * layer.bits / 8) for layer in self.layers)
        return packed + 4 * (self.params - sum(layer.weights for layer in self.layers))


def count(network: nn.Module, size: Tuple[int, int] = (32, 32), channels: int = 3) -> NetworkCost:
    """Count a network without running it on real tensors.

    Args:
        network: any network of convolutions and linear layers that takes (1, channels, H, W). A layer with an integer
            attribute ``bits`` counts at that width, every other one at 32.
        size: height and width of the input.
        channels: of the input.
    """
    network = copy.deepcopy(network).eval()
    layers: List[LayerCost] = []
    for name, module in network.named_modules():
        macs = _MACS.get(_kind(module))
        if macs is not None:
            module.register_forward_hook(_note(layers, name, macs))
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        network(torch.empty(1, channels, *size))
    return NetworkCost(tuple(size), layers, sum(p.numel() for p in network.parameters()))


def _kind(module: nn.Module) -> Optional[type]:
    return next((kind for kind in _MACS if isinstance(module, kind)), None)


def _note(layers: List[LayerCost], name: str, macs):
    def hook(module: nn.Module, args: Tuple[Tensor, ...], output: Tensor) -> None:
        bits = getattr(module, "bits", FULL_PRECISION)
        layers.append(LayerCost(name, macs(module, args[0], output), bits, module.weight.numel()))

    return hook


def _pixels(x: Tensor) -> int:
    return x.shape[0] * x.shape[-2] * x.shape[-1]


_MACS = {
    nn.Conv2d: lambda module, x, y: module.weight.numel() * _pixels(y),
    nn.ConvTranspose2d: lambda module, x, y: module.weight.numel() * _pixels(x),
    nn.Linear: lambda module, x, y: module.in_features * y.numel(),
}
