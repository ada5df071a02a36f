"""Rounds those convolution outputs to 8 bits that the trained network leaves in floating point.

A runtime computes a convolution in integers and writes bytes if its output is rounded next. In most trained networks
this holds where a quantized convolution reads the output of another one, but not before sums, normalisation and the
network's output. Here those outputs are rounded too, each tensor with one step and one zero point. Sums stay in
floating point.
"""

from contextlib import ExitStack
from typing import Any, Dict, Iterable, Iterator, List, Set, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from quantnas_sr.mixed_precision.base_network import replace
from quantnas_sr.quantization import FULL_PRECISION, QuantConv2d, Rounding
from quantnas_sr.quantization.calibration import RangeObserver

BITS = 8
#: Values of a tensor that are sampled from each image to choose the range of the tensor.
_VALUES = 2**11
#: Operations that preserve values: each result is a value that goes in, or (ReLU) 0.
_MOVES = {torch.cat, torch.relu, torch.relu_, F.relu, F.pixel_shuffle, torch.pixel_shuffle, Tensor.relu, Tensor.relu_}
#: Shape of the image with which the network is run to find out which layer reads which output.
_SHOWN = (1, 3, 33, 41)


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


def quantized_layers(network: nn.Module) -> Iterator[Tuple[str, QuantConv2d]]:
    """Name and layer of every convolution that computes in integers."""
    for name, layer in network.named_modules():
        if isinstance(layer, QuantConv2d) and layer.bits != FULL_PRECISION and layer.quantize:
            yield name, layer


class _Readers(TorchFunctionMode):
    """While active, finds the layers whose output is used unrounded, or rounded in different ways."""

    def __init__(self) -> None:
        super().__init__()
        self.real: Set[QuantConv2d] = set()
        self._from: Dict[int, Set[QuantConv2d]] = {}
        self._kept: List[Tensor] = []  # kept alive, because an id may be used again after its tensor is gone
        self._depth = 0
        self._rounded_to: Dict[QuantConv2d, Rounding] = {}

    def enter_layer(self, layer: QuantConv2d, inputs: Tuple[Tensor, ...]) -> None:
        """A hook before a layer computes."""
        rounding = layer.input_quantizer.rounding()
        for source in self._sources(inputs):
            if layer.scales_channels or self._rounded_to.setdefault(source, rounding) != rounding:
                self.real.add(source)
        self._depth += 1

    def leave_layer(self, layer: QuantConv2d, inputs: Tuple[Tensor, ...], output: Tensor) -> None:
        """A hook after a layer has computed."""
        self._depth -= 1
        self._note(output, {layer})

    def end(self, output: Tensor) -> None:
        """At the end of the network, whose output is not rounded."""
        self.real |= self._sources((output,))

    def _note(self, tensor: Tensor, sources: Set[QuantConv2d]) -> None:
        self._kept.append(tensor)
        self._from[id(tensor)] = sources

    def _sources(self, values: Iterable[Any]) -> Set[QuantConv2d]:
        found: Set[QuantConv2d] = set()
        for value in values:
            if isinstance(value, (list, tuple)):
                found |= self._sources(value)
            elif isinstance(value, Tensor):
                found |= self._from.get(id(value), set())
        return found

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        sources = set() if self._depth else self._sources((*args, *kwargs.values()))
        result = function(*args, **kwargs)
        if sources and function in _MOVES:
            self._note(result, sources)
        elif sources and isinstance(result, (Tensor, tuple, list)) and not isinstance(result, torch.Size):
            self.real |= sources
        return result


@torch.no_grad()
def real_outputs(network: nn.Module) -> Dict[str, QuantConv2d]:
    """The layers whose output is not rounded next: it is used unrounded, or rounded in different ways.

    Args:
        network: in evaluation mode.
    """
    readers, layers = _Readers(), dict(quantized_layers(network))
    with ExitStack() as hooks:
        for layer in layers.values():
            hooks.enter_context(layer.register_forward_pre_hook(readers.enter_layer))
            hooks.enter_context(layer.register_forward_hook(readers.leave_layer))
        with readers:
            output = network(torch.rand(_SHOWN))
        readers.end(output)
    return {name: layer for name, layer in layers.items() if layer in readers.real}


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
