"""Compares an exported file in a runtime with PyTorch, layer by layer.

The integers of all weights in the file must be PyTorch's. For the rest of the comparison, the integers of all quantized
tensors become outputs of the file. PyTorch computes every layer from the runtime's integers. Then every integer of the
runtime must be a correct rounding of PyTorch's real number.
"""

from contextlib import ExitStack
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quantnas_sr.deploy.onnx.onnx_format import INPUT, OUTPUT, Call
from quantnas_sr.deploy.opening import open_session
from quantnas_sr.export.modules import pads_of
from quantnas_sr.export.rewrites.readers import quantized_layers
from quantnas_sr.export.rounded_outputs import RoundedOutput
from quantnas_sr.images.units import converted
from quantnas_sr.quantization import QuantConv2d, Rounding

#: Tolerance of the rounding check: in steps; relative to the root mean square of the tensor, because the numbers are
#: sums of terms of that size; and relative to the number itself, because it may be a product. A factor that is a
#: sigmoid's tail (of attention, for example) has the relative error that the sigmoid's argument has as an absolute one.
_EDGE, _OF_SUMS, _OF_PRODUCTS = 1e-3, 5e-5, 2e-4


class Comparison(NamedTuple):
    """A runtime and PyTorch on one image.

    Attributes:
        output: the runtime's output, (1, 3, s*H, s*W).
        expected: PyTorch's output, computed from the runtime's integers.
        wrong: one phrase for each call of a layer whose integers are not correct roundings, in order.
        missing: one phrase for each layer that PyTorch calls more often than the file does.
    """

    output: np.ndarray
    expected: np.ndarray
    wrong: List[str]
    missing: List[str]


class LayerCheck:
    """Compares an exported file in a runtime with the network that it came from.

    Args:
        network: what was exported, in evaluation mode.
        path: the file.
        runtime: one of `deploy.packages.ALL_RUNTIMES`.
    """

    #: Tolerance of a rounding in steps.
    edge = _EDGE

    def __init__(self, network: nn.Module, path: Path, runtime: str) -> None:
        self._network = network
        #: A phrase for each layer whose weights are other integers in the file.
        self._weights: List[str] = []
        self._values, names, content = self._watched(path)
        self._session = open_session(runtime, path, outputs=[OUTPUT, *names], model=content)

    def _watched(self, path: Path) -> Tuple[Dict[str, Dict[int, str]], List[str], bytes]:
        """The values that hold integers, as of `rounded_values`; their names; a file with them as further outputs."""
        import onnx

        model = onnx.load(str(path))
        self._weights = wrong_weights(model.graph, self._network)
        values = rounded_values(model.graph)
        names = list(dict.fromkeys(value for calls in values.values() for value in calls.values()))
        names = [name for name in names if name not in (INPUT, OUTPUT)]
        for name in names:
            model.graph.output.append(onnx.ValueInfoProto(name=name))
        return values, names, onnx.shape_inference.infer_shapes(model).SerializeToString()

    def _unsigned(self, stored: np.ndarray, layer: str, rounding: Rounding) -> np.ndarray:
        """The integers of a layer's rounding, of which the lowest is 0, from those of the file."""
        return stored

    def __call__(self, image: np.ndarray) -> Comparison:
        """Compare for one image (1, 3, H, W)."""
        given = converted(image, self._session.pixels)
        found = {INPUT: given, **self._session(given)}
        layers: List[_Layer] = []
        wrong = list(self._weights)
        with ExitStack() as hooks, torch.inference_mode():
            for name, module in rounding_modules(self._network):
                values, rounding = self._values.get(name, {}), rounding_of(module)
                integers = {number: self._unsigned(found[value], name, rounding) for number, value in values.items()}
                layers.append(_Layer(name, module, integers, wrong, self.edge))
                hooks.enter_context(module.register_forward_pre_hook(layers[-1]))
            expected = self._network(torch.from_numpy(image)).numpy()
        return Comparison(
            converted(found[OUTPUT], image.dtype), expected, wrong, [layer.lacks for layer in layers if layer.lacks]
        )


def rounding_modules(network: nn.Module) -> Iterator[Tuple[str, nn.Module]]:
    """Name and module of everything that rounds to integers: quantized layers round their input."""
    yield from quantized_layers(network)
    for name, module in network.named_modules():
        if isinstance(module, RoundedOutput):
            yield name, module


def rounding_of(module: nn.Module) -> Rounding:
    """How one of `rounding_modules` rounds."""
    return module.rounding if isinstance(module, RoundedOutput) else module.input_quantizer.rounding()


def rounded_values(graph: Any) -> Dict[str, Dict[int, str]]:
    """Find the values of an exported file that hold integers.

    Args:
        graph: an ``onnx.GraphProto`` of `onnx_file.build_model`.

    Returns:
        By the names of `rounding_modules` and the number of the call, the name of the value that holds the integers.
    """
    source = {output: node for node in graph.node for output in node.output}
    found: Dict[str, Dict[int, str]] = {}
    for node in graph.node:
        call = Call.of(node.name)
        if call is None:
            continue
        if node.op_type == "QuantizeLinear":
            found.setdefault(call.layer, {})[call.number] = node.output[0]
        elif node.op_type == "Conv" and node.input[0] in source:
            dequantize = source[node.input[0]]
            if dequantize.op_type == "DequantizeLinear":
                found.setdefault(call.layer, {})[call.number] = dequantize.input[0]
    return found


@torch.no_grad()
def wrong_weights(graph: Any, network: nn.Module) -> List[str]:
    """A phrase for each quantized layer whose weights are other integers in an exported file than in PyTorch.

    Images do not show a wrong integer that they multiply by 0. Weights in another shape in the file are left to them.

    Args:
        graph: an ``onnx.GraphProto`` of `onnx_file.build_model`.
        network: what was exported.
    """
    from onnx import numpy_helper

    source = {output: node for node in graph.node for output in node.output}
    constants = {constant.name: constant for constant in graph.initializer}
    layers, found = dict(quantized_layers(network)), {}
    for node in graph.node:
        call = Call.of(node.name) if node.op_type == "Conv" else None
        stored = source.get(node.input[1]) if call is not None and call.layer in layers else None
        if stored is None or stored.op_type != "DequantizeLinear" or stored.input[0] not in constants:
            continue
        theirs = numpy_helper.to_array(constants[stored.input[0]]).astype(np.float32)
        ours = layers[call.layer].weight_quantizer.to_int(layers[call.layer].scaled_weight()).numpy()
        if theirs.shape == ours.shape and (theirs != ours).any():
            found[call.layer] = int((theirs != ours).sum()), ours.size
    return [f"{wrong} of {of} weights of {layer} are other integers" for layer, (wrong, of) in found.items()]


class _Layer:
    """A hook in front of a module that rounds: checks the runtime's integers and lets the module compute with them.

    Args:
        name: of the module.
        module: of `rounding_modules`.
        integers: the runtime's, by number of the call.
        wrong: gets a phrase for each call with wrong integers; shared by all layers, and so in the order of the calls.
        edge: tolerance of a rounding in steps.
    """

    def __init__(
        self, name: str, module: nn.Module, integers: Dict[int, np.ndarray], wrong: List[str], edge: float
    ) -> None:
        self.name, self.integers, self.wrong, self.edge = name, integers, wrong, edge
        self.rounding = rounding_of(module)
        self.calls = 0
        self.unknown = 0

    def __call__(self, module: nn.Module, inputs: Tuple[Tensor, ...]) -> Optional[Tuple[Tensor]]:
        (x,) = inputs
        number, self.calls = self.calls, self.calls + 1
        if number not in self.integers:
            return self._of_another_call(module, x)
        theirs, real = self._centred(self.integers[number], x), self._real(module, x)
        if theirs.shape != real.shape:
            self.wrong.append(f"{self._what(module, number)} have the shape {_shape(theirs)}, not {_shape(real)}")
            return None
        off = _off(theirs, real, self.edge)
        if off.any():
            share, most = 100 * float(off.float().mean()), float((real - theirs).abs().max())
            self.wrong.append(f"{share:.2f} % of {self._what(module, number)} are wrong, by up to {most:.1f} steps")
        return (self._input(module, theirs),)

    def _of_another_call(self, module: nn.Module, x: Tensor) -> Optional[Tuple[Tensor]]:
        """Handle a call that the file does not have: it computes equal calls once and omits unused ones."""
        real = self._real(module, x)
        for integers in self.integers.values():
            theirs = self._centred(integers, x)
            if theirs.shape == real.shape and not _off(theirs, real, self.edge).any():
                return (self._input(module, theirs),)
        self.unknown += 1
        return None

    @property
    def lacks(self) -> str:
        """A phrase if PyTorch has calls of the layer that the file lacks; else empty."""
        if not self.unknown:
            return ""
        return f"{self.name} is called {self.calls} times by PyTorch, and in the file {len(self.integers)} times"

    def _what(self, module: nn.Module, number: int) -> str:
        does = "writes" if isinstance(module, RoundedOutput) else "reads"
        which = f" in call {number + 1} of {len(self.integers)}" if len(self.integers) > 1 else ""
        return f"the integers that {self.name} {does}{which}"

    def _centred(self, integers: np.ndarray, x: Tensor) -> Tensor:
        """The runtime's integers minus the zero point; space-to-depth, if any, is undone."""
        centred = integers.dtype == np.int8  # of a symmetric file, where 0 stands for 0
        theirs = torch.from_numpy(integers.astype(np.float32)) - (0 if centred else self.rounding.zero_point)
        if theirs.ndim == 4 and theirs.shape[1] != x.shape[1]:
            block = x.shape[-1] // max(1, theirs.shape[-1])
            if block > 1 and theirs.shape[1] == x.shape[1] * block**2:
                return F.pixel_shuffle(theirs, block)
        return theirs

    def _real(self, module: nn.Module, x: Tensor) -> Tensor:
        """PyTorch's numbers before rounding, in steps, clipped to the integers' range, with the file's padding."""
        border = _border(module)
        if border:
            x = F.pad(x, border, mode=module.padding_mode)
        x = x if isinstance(module, RoundedOutput) else module.scaled_input(x)
        low = -self.rounding.zero_point
        return (x / self.rounding.step).clamp(low, low + self.rounding.highest)

    def _input(self, module: nn.Module, theirs: Tensor) -> Tensor:
        """The input that the module rounds to the runtime's integers."""
        border = _border(module)
        if border:
            left, right, top, bottom = border
            theirs = theirs[..., top : theirs.shape[2] - bottom, left : theirs.shape[3] - right]
        real = theirs * self.rounding.step
        return real if isinstance(module, RoundedOutput) else module.scaled_input(real, inverse=True)


def _border(module: nn.Module) -> Tuple[int, ...]:
    """The padding before the rounding: left, right, top, bottom. Empty for zero padding, which is part of the layer."""
    if not isinstance(module, QuantConv2d) or module.padding_mode == "zeros":
        return ()
    top, left, bottom, right = pads_of(module)
    return left, right, top, bottom


def _off(theirs: Tensor, real: Tensor, edge: float = _EDGE) -> Tensor:
    """True where an integer is not a correct rounding, or the number is NaN."""
    tolerance = edge + _OF_SUMS * real.square().mean().sqrt() + _OF_PRODUCTS * real.abs()
    return ~((real - theirs).abs() <= 0.5 + tolerance)


def _shape(x: Tensor) -> str:
    return "x".join(map(str, x.shape))
