"""Parameters, MACs, BitOps and packed size of any network, from shapes alone."""

import math
from dataclasses import dataclass
from typing import Any, Iterator, List, NamedTuple, Optional, Set, Tuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from quantnas_sr.cost.dry_run import dry_run
from quantnas_sr.quantization import FULL_PRECISION
from quantnas_sr.quantization.expansion import without_expansion


class ConvShape(NamedTuple):
    """Everything that determines the cost of a 2-D convolution; ``height`` and ``width`` are of its output."""

    in_channels: int
    out_channels: int
    kernel: Tuple[int, int]
    stride: Tuple[int, int]
    groups: int
    dilation: Tuple[int, int]
    height: int
    width: int

    def __str__(self) -> str:
        what = f"{_by(self.kernel)} convolution {self.in_channels}->{self.out_channels}"
        for name, value, usual in (
            ("groups", str(self.groups), "1"),
            ("stride", _by(self.stride), "1x1"),
            ("dilation", _by(self.dilation), "1x1"),
        ):
            what += f" {name} {value}" if value != usual else ""
        return f"{what} to {self.height}x{self.width}"


def _by(pair: Tuple[int, int]) -> str:
    return f"{pair[0]}x{pair[1]}"


class LayerCost(NamedTuple):
    """What one call of a convolution or linear layer costs.

    A layer that is called several times has one row for each call; ``weights`` is 0 in all rows but the first. ``conv``
    is None for everything but two-dimensional convolutions; transposed convolutions have None too.
    """

    name: str
    macs: int
    bits: int
    weights: int
    conv: Optional[ConvShape] = None

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
    def quantized_share(self) -> float:
        """Share of the multiply-adds that are computed with less than 32 bits, 0 to 1."""
        return sum(layer.macs for layer in self.layers if layer.bits < FULL_PRECISION) / max(1, self.macs)

    @property
    def packed_bytes(self) -> int:
        """Bytes of the file's payload: weights at their bit width, everything else as 32-bit floats."""
        packed = sum(math.ceil(layer.weights * layer.bits / 8) for layer in self.layers)
        return packed + 4 * (self.params - sum(layer.weights for layer in self.layers))


class _Call(NamedTuple):
    module: nn.Module
    macs: int
    conv: Optional[ConvShape]


class _CallCounter(TorchDispatchMode):
    """Notes the multiply-adds of every convolution and matrix product, and the innermost module that runs it.

    torch's own formulas count two operations for a multiply-add.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.calls: List[_Call] = []
        self.names = {module: name for name, module in network.named_modules()}
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
            operations = formula(*args, **(kwargs or {}), out_val=output)
            conv = _conv_shape(args, output) if func is torch.ops.aten.convolution.default else None
            self.calls.append(_Call(self._running[-1], operations // 2, conv))
        return output


def _conv_shape(args: Tuple, output: Tensor) -> Optional[ConvShape]:
    """The shape of a convolution, from the arguments and the output of ``aten.convolution``."""
    x, weight, _, stride, _, dilation, transposed, _, groups = args
    if transposed or weight.dim() != 4:
        return None
    kernel, stride, dilation = tuple(weight.shape[2:]), tuple(stride), tuple(dilation)
    return ConvShape(x.shape[1], output.shape[1], kernel, stride, groups, dilation, *output.shape[2:])


def count(network: nn.Module, size: Tuple[int, int] = (32, 32), channels: Optional[int] = None) -> NetworkCost:
    """Count the operations and parameters of a network; a large one is not computed where possible (see `dry_run`).

    Args:
        network: any network that takes (1, channels, H, W). A layer with an integer attribute ``bits`` counts at that
            width, every other one at 32; an expanded weight counts as its sum.
        size: height and width of the input.
        channels: of the input; by default 3, or another number that the network accepts.

    Raises:
        NetworkError: one line, if the network does not run for this size.
    """
    network = without_expansion(network)
    counters: List[_CallCounter] = []

    def watched(copy: nn.Module) -> _CallCounter:
        counters.append(_CallCounter(copy))
        return counters[-1]

    dry_run(network, size, channels, watched)
    layers = list(_layers(counters[-1]))
    return NetworkCost(tuple(size), layers, sum(p.numel() for p in network.parameters()))


def _layers(counter: _CallCounter) -> Iterator[LayerCost]:
    called: Set[nn.Module] = set()
    for module, macs, conv in counter.calls:
        weights = 0 if module in called else _weights(module)
        called.add(module)
        yield LayerCost(counter.names[module], macs, _bits(module), weights, conv)


def _bits(layer: nn.Module) -> int:
    bits = getattr(layer, "bits", None)
    return bits if isinstance(bits, int) else FULL_PRECISION


def _weights(layer: nn.Module) -> int:
    weight = getattr(layer, "weight", None)
    return weight.numel() if isinstance(weight, torch.Tensor) else 0
