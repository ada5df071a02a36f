"""Parameters, MACs, BitOps and packed size of any network, from shapes alone."""

import copy
import math
from dataclasses import dataclass
from typing import Any, Dict, List, NamedTuple, Tuple

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from quantnas_sr.quantization import FULL_PRECISION, set_quantize


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


class _MacCounter(TorchDispatchMode):
    """Adds up the multiply-adds of convolutions and matrix products by the innermost module that runs them.

    torch's own formulas count two operations for a multiply-add.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.macs: Dict[nn.Module, int] = {}
        self._running: List[nn.Module] = []
        for module in network.modules():
            module.register_forward_pre_hook(self._enter)
            module.register_forward_hook(self._leave)

    def _enter(self, module: nn.Module, args: Any) -> None:
        self._running.append(module)

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        self._running.pop()

    def __torch_dispatch__(self, func: Any, types: Any, args: Tuple = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            module = self._running[-1]
            operations = formula(*args, **(kwargs or {}), out_val=output)
            self.macs[module] = self.macs.get(module, 0) + operations // 2
        return output


def count(network: nn.Module, size: Tuple[int, int] = (32, 32), channels: int = 3) -> NetworkCost:
    """Count a network without running it on real tensors.

    Args:
        network: any network that takes (1, channels, H, W). A layer with an integer attribute ``bits`` counts at that
            width, every other one at 32.
        size: height and width of the input.
        channels: of the input.
    """
    network = copy.deepcopy(network).eval()
    set_quantize(network, False)  # quantizers cost nothing, and may have no step before training
    counter = _MacCounter(network)
    with FakeTensorMode(allow_non_fake_inputs=True), counter, torch.no_grad():
        network(torch.empty(1, channels, *size))
    names = {module: name for name, module in network.named_modules()}
    layers = [LayerCost(names[m], macs, _bits(m), _weights(m)) for m, macs in counter.macs.items()]
    return NetworkCost(tuple(size), layers, sum(p.numel() for p in network.parameters()))


def _bits(layer: nn.Module) -> int:
    bits = getattr(layer, "bits", None)
    return bits if isinstance(bits, int) else FULL_PRECISION


def _weights(layer: nn.Module) -> int:
    weight = getattr(layer, "weight", None)
    return weight.numel() if isinstance(weight, torch.Tensor) else 0
