"""Which quantized layers read the output of which, found by running a network."""

from contextlib import ExitStack
from typing import Any, Collection, Dict, Iterable, Iterator, List, Set, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from quantnas_sr.export.onnx_graph.refusals import check_runs
from quantnas_sr.export.onnx_graph.traced_size import traced_size
from quantnas_sr.input_shapes import size_multiple
from quantnas_sr.quantization import FULL_PRECISION, QuantConv2d

#: Rectified values keep their place, and a positive factor commutes with it.
RECTIFIERS = frozenset({torch.relu, torch.relu_, F.relu, Tensor.relu, Tensor.relu_})
#: Operations that preserve values: each result is a value that goes in, or (ReLU) 0.
MOVES = RECTIFIERS | {torch.cat, F.pixel_shuffle, torch.pixel_shuffle}


def quantized_layers(network: nn.Module) -> Iterator[Tuple[str, QuantConv2d]]:
    """Name and layer of every convolution that computes in integers."""
    for name, layer in network.named_modules():
        if isinstance(layer, QuantConv2d) and layer.bits != FULL_PRECISION and layer.quantize:
            yield name, layer


class Readers(TorchFunctionMode):
    """While active, finds out what reads the outputs of quantized layers.

    Attributes:
        real: layers whose output something else reads than quantized layers.
        reads: by layer, the layers whose outputs it reads, one set for each call; an empty set for another input.

    Args:
        moves: operations behind which a value still counts as the output of its layer.
    """

    def __init__(self, moves: Collection[Any]) -> None:
        super().__init__()
        self.real: Set[QuantConv2d] = set()
        self.reads: Dict[QuantConv2d, List[Set[QuantConv2d]]] = {}
        self._moves = moves
        self._from: Dict[int, Set[QuantConv2d]] = {}
        self._kept: List[Tensor] = []  # kept alive, because an id may be used again after its tensor is gone
        self._depth = 0

    def enter_layer(self, layer: QuantConv2d, inputs: Tuple[Tensor, ...]) -> None:
        """A hook before a layer computes."""
        self.reads.setdefault(layer, []).append(self._sources(inputs))
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
        if sources and function in self._moves:
            self._note(result, sources)
        elif sources and isinstance(result, (Tensor, tuple, list)) and not isinstance(result, torch.Size):
            self.real |= sources
        return result


@torch.no_grad()
def readers_of(network: nn.Module, moves: Collection[Any]) -> Readers:
    """Run a network once on a small image.

    Args:
        network: in evaluation mode.
        moves: see `Readers`.

    Raises:
        CalibrationError: a layer is reached that has no quantization step.
        NetworkError: it does not run for a small image.
    """
    readers, image = Readers(moves), torch.rand(1, 3, *traced_size(size_multiple(network)))
    check_runs(network, image)
    with ExitStack() as hooks:
        for _, layer in quantized_layers(network):
            hooks.enter_context(layer.register_forward_pre_hook(readers.enter_layer))
            hooks.enter_context(layer.register_forward_hook(readers.leave_layer))
        with readers:
            output = network(image)
        readers.end(output)
    return readers
