"""An exported file against the network that it came from, on real images and in every runtime that is installed.

What "equal" means. Both compute the same sums of integers; between them stand a few operations on real numbers (scales,
residual sums, the deviation of ADQ), which a runtime may do in another order. Where such a number lies on the edge
between two integers, it may be rounded to the other one, and in a network of few bits what follows from it may be seen.
So each layer is checked by itself: PyTorch computes with the integers that the runtime found for the layers before, and
every integer of the runtime must be a correct rounding of the number that PyTorch has in its place.
"""

from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quantnas_sr.errors import DataError
from quantnas_sr.export.rounded_outputs import RoundedOutput, quantized_layers
from quantnas_sr.quantization import Rounding

#: Share of bytes that may differ by more than one without a word about it.
TOLERANCE = 1e-3
#: How far from an integer's range a number may lie that was rounded to it: in steps, and as a share of the root mean
#: square of its tensor, for numbers are sums of others of that size.
_EDGE, _RELATIVE = 1e-3, 5e-5
#: Largest difference of the final images, computed from the same integers.
_SAME = 1e-4
#: Distance of two runs of a runtime, with and without its integers asked for: times that to PyTorch, and in bytes.
_FURTHER, _NEAR = 3, 0.02


class Agreement(NamedTuple):
    """How a runtime's images agree with PyTorch's.

    Attributes:
        runtime: its name.
        equal: share of bytes that are equal.
        off: share of bytes that differ by more than one.
        largest: largest difference of two bytes.
    """

    runtime: str
    equal: float
    off: float
    largest: int

    def __str__(self) -> str:
        differ = f"{100 * self.off:.3f} % differ by more than 1 (at most by {self.largest})"
        why = ", all of it from numbers on the edge between two integers" if self.off > TOLERANCE else ""
        return f"{self.runtime}: {100 * self.equal:.3f} % of the bytes are PyTorch's, {differ}{why}"


def to_bytes(image: np.ndarray) -> np.ndarray:
    """0..1 -> 0..255, as BasicSR writes images."""
    return (np.clip(image, 0, 1) * 255.0).round().astype(np.int16)


def agreement(runtime: str, ours: Iterable[np.ndarray], theirs: Iterable[np.ndarray]) -> Agreement:
    """Compare images of a runtime with PyTorch's: float arrays of equal shapes in 0..1."""
    difference = np.concatenate([np.abs(to_bytes(a) - to_bytes(b)).ravel() for a, b in zip(ours, theirs)])
    return Agreement(runtime, float((difference == 0).mean()), float((difference > 1).mean()), int(difference.max()))


def check(network: nn.Module, path: Path, runtimes: Sequence[str], images: Sequence[np.ndarray]) -> List[Agreement]:
    """Run an exported file in every runtime and compare it with PyTorch, layer by layer and as a whole.

    Args:
        network: what was exported, in evaluation mode.
        path: the ``.onnx``.
        runtimes: names that `runtimes.open_network` takes.
        images: (1, 3, H, W) float32 each, in 0..1.

    Raises:
        DataError: a runtime computes something else, the line says in which layer it begins; or PyTorch computes NaN.
    """
    from quantnas_sr.deploy.runtimes import open_network

    with torch.inference_mode():
        expected = [network(torch.from_numpy(image)).numpy() for image in images]
    if not all(np.isfinite(image).all() for image in expected):
        raise DataError(f"{path.name}: the network makes images that are not finite: the training diverged")
    found = []
    for runtime in runtimes:
        run = open_network(path, runtime)
        results = [run(image) for image in images]
        difference = first_difference(network, path, runtime, images[0], results[0], expected[0])
        if difference:
            raise DataError(f"{path.name}: {runtime} computes something else: {difference}")
        found.append(agreement(runtime, expected, results))
    return found


def first_difference(
    network: nn.Module, path: Path, runtime: str, image: np.ndarray, result: np.ndarray, expected: np.ndarray
) -> str:
    """In words, the first layer for which a runtime computes something else; empty where there is none.

    Args:
        network, path, runtime: as for `check`.
        image: (1, 3, H, W).
        result: what the runtime makes of it, when nothing but the result is asked for.
        expected: what PyTorch makes of it.
    """
    output, integers = _with_integers(path, runtime, image)
    wrong: List[str] = []
    with _forced(network, integers, wrong), torch.inference_mode():
        final = network(torch.from_numpy(image)).numpy()
    if wrong:
        return wrong[0]
    if np.abs(final - output).max() > _SAME * max(1.0, float(np.abs(final).max())):
        return "all layers read the same integers, the image that is made of them is another"
    # numbers on an edge may fall otherwise in the two runs, but no more than between a runtime and PyTorch
    if _distance(output, result) > _FURTHER * _distance(output, expected) + _NEAR:
        return "its image is another when the integers of its layers are asked for too"
    return ""


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    """The mean difference of two images, in bytes."""
    return float(np.abs(to_bytes(a) - to_bytes(b)).mean())


@contextmanager
def _forced(network: nn.Module, integers: Dict[str, np.ndarray], wrong: List[str]) -> Iterator[None]:
    """Let a network compute with given integers, after a look at whether they are what should be there."""
    with ExitStack() as hooks:
        for name, (module, rounding) in _roundings(network):
            if name in integers:
                hook = _forcing(name, rounding, integers[name], wrong)
                hooks.enter_context(module.register_forward_pre_hook(hook))
        yield


def _forcing(name: str, rounding: Rounding, integers: np.ndarray, wrong: List[str]) -> Callable[..., Any]:
    step, zero_point = rounding.step, rounding.zero_point

    def hook(module: nn.Module, inputs: Tuple[Tensor, ...]) -> Tuple[Tensor]:
        theirs = torch.from_numpy(integers.astype(np.float32)) - zero_point
        if theirs.shape != inputs[0].shape:  # of a folded image
            theirs = F.pixel_shuffle(theirs, inputs[0].shape[-1] // theirs.shape[-1])
        real = (_scaled(module, inputs[0]) / step).clamp(-zero_point, rounding.highest - zero_point)
        off = (real - theirs).abs() > 0.5 + _EDGE + _RELATIVE * real.square().mean().sqrt()
        if off.any():
            share = 100 * float(off.float().mean())
            most = float((real - theirs).abs().max())
            does = "writes" if isinstance(module, RoundedOutput) else "reads"
            wrong.append(f"{share:.2f} % of the integers that {name} {does} are others, by up to {most:.1f}")
        return (_scaled(module, theirs * step, inverse=True),)

    return hook


def _scaled(module: nn.Module, x: Tensor, inverse: bool = False) -> Tensor:
    return x if isinstance(module, RoundedOutput) else module.scaled_input(x, inverse)


def _roundings(network: nn.Module) -> Iterator[Tuple[str, Tuple[nn.Module, Rounding]]]:
    """By name, what rounds to integers, and to which."""
    for name, layer in quantized_layers(network):
        yield name, (layer, layer.input_quantizer.rounding())
    for name, module in network.named_modules():
        if isinstance(module, RoundedOutput):
            yield name, (module, module.rounding)


def _with_integers(path: Path, runtime: str, image: np.ndarray) -> Tuple[np.ndarray, Dict[str, np.ndarray]]:
    """What a file computes, and by the names of `_roundings` the unsigned integers there."""
    import onnx

    model = onnx.load(str(path))
    found = _rounded_values(model.graph)
    for name in dict.fromkeys(found.values()):
        model.graph.output.append(onnx.ValueInfoProto(name=name))
    values = _run_all(onnx.shape_inference.infer_shapes(model), runtime, image)
    return values["sr"], {layer: values[name] for layer, name in found.items()}


def _rounded_values(graph: Any) -> Dict[str, str]:
    """By the names of `_roundings`, the value of the graph that has the integers."""
    source = {output: node for node in graph.node for output in node.output}
    roundings = {node.input[0]: node.output[0] for node in graph.node if node.op_type == "QuantizeLinear"}
    found: Dict[str, str] = {}
    for node in graph.node:
        layer, integers = _layer_of(node, source), _integers_of(node, source)
        if layer and integers:
            found[layer] = integers
        if layer and layer.endswith(".conv") and node.output[0] in roundings:
            found[layer[: -len("conv")] + "rounding"] = roundings[node.output[0]]
    return found


def _layer_of(node: Any, source: Dict[str, Any]) -> Optional[str]:
    """The layer whose weight a convolution has: initializers are named after it."""
    if node.op_type != "Conv" or node.input[1] not in source:
        return None
    return source[node.input[1]].input[0].partition(".weight")[0]


def _integers_of(node: Any, source: Dict[str, Any]) -> Optional[str]:
    dequantize = source.get(node.input[0]) if node.op_type == "Conv" else None
    return dequantize.input[0] if dequantize is not None and dequantize.op_type == "DequantizeLinear" else None


def _run_all(model: Any, runtime: str, image: np.ndarray) -> Dict[str, np.ndarray]:
    names = [output.name for output in model.graph.output]
    if runtime == "openvino":
        import openvino

        core = openvino.Core()
        read = core.read_model(model.SerializeToString())
        read.reshape(list(image.shape))
        compiled = core.compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return dict(zip(names, compiled({"lq": image}).values()))
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip(names, session.run(names, {"lq": image})))
