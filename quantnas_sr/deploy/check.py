"""An exported file against the network that it came from, on real images and in every runtime that is installed.

What "equal" means: both compute the same sums of integers; between them stand a few operations on real numbers
(scales, residual sums, the deviation of ADQ), which a runtime may do in another order. Where such a number lies on the
edge between two integers, it may be rounded to the other one, and what follows from it differs a little. So a file
passes when hardly any byte of the 8-bit image differs by more than one.
"""

from pathlib import Path
from typing import Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor, nn

from quantnas_sr.deploy.inference import input_rounding
from quantnas_sr.errors import DataError
from quantnas_sr.quantization import FULL_PRECISION, QuantConv2d

#: Largest share of bytes that may differ by more than one.
TOLERANCE = 1e-3


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

    @property
    def passes(self) -> bool:
        """Whether it is what "equal" means."""
        return self.off <= TOLERANCE

    def __str__(self) -> str:
        differ = f"{100 * self.off:.3f} % by more than 1 (at most {self.largest})"
        return f"{self.runtime}: {100 * self.equal:.3f} % of the bytes are PyTorch's, {differ}"


def to_bytes(image: np.ndarray) -> np.ndarray:
    """0..1 -> 0..255, as BasicSR writes images."""
    return (np.clip(image, 0, 1) * 255.0).round().astype(np.int16)


def agreement(runtime: str, ours: Iterable[np.ndarray], theirs: Iterable[np.ndarray]) -> Agreement:
    """Compare images of a runtime with PyTorch's: float arrays of equal shapes in 0..1."""
    differences = [np.abs(to_bytes(a) - to_bytes(b)).ravel() for a, b in zip(ours, theirs)]
    difference = np.concatenate(differences)
    return Agreement(runtime, float((difference == 0).mean()), float((difference > 1).mean()), int(difference.max()))


def check(
    network: nn.Module, path: Path, runtimes: Sequence[str], images: Sequence[np.ndarray], tolerance: float = TOLERANCE
) -> List[Agreement]:
    """Run an exported file in every runtime and compare it with PyTorch.

    Args:
        network: what was exported, in evaluation mode.
        path: the ``.onnx``.
        runtimes: names that `runtimes.open_network` takes.
        images: (1, 3, H, W) float32 each, in 0..1.
        tolerance: largest share of bytes that may differ by more than one.

    Raises:
        DataError: a runtime computes something else; the line says in which layer it begins.
    """
    from quantnas_sr.deploy.runtimes import open_network

    with torch.inference_mode():
        expected = [network(torch.from_numpy(image)).numpy() for image in images]
    found = []
    for runtime in runtimes:
        run = open_network(path, runtime)
        result = agreement(runtime, expected, [run(image) for image in images])
        if result.off > tolerance:
            where = first_difference(network, path, runtime, images[0])
            raise DataError(f"{path}: {result}; {where}")
        found.append(result)
    return found


def first_difference(network: nn.Module, path: Path, runtime: str, image: np.ndarray) -> str:
    """In words, the first layer whose integer input differs in a runtime by more than rounding on an edge does."""
    expected = _integers(network, image)
    got = _integers_of_file(path, runtime, image, list(expected))
    for name, ints in expected.items():
        theirs = got.get(name)
        if theirs is None or theirs.shape != ints.shape:
            continue
        differs = np.abs(theirs.astype(np.int32) - ints)
        if differs.max() > 1 or (differs > 0).mean() > 1e-2:
            share = 100 * float((differs > 0).mean())
            return f"the input of {name} differs first, in {share:.2f} % of its integers, by up to {differs.max()}"
    return "the integers that all layers read are equal, so it is the sums after the last one"


def _integers(network: nn.Module, image: np.ndarray) -> Dict[str, np.ndarray]:
    """By layer, the unsigned integers that it reads, in the order in which the layers run."""
    seen: Dict[str, np.ndarray] = {}

    def note(name: str, layer: QuantConv2d):
        zero_point = input_rounding(layer)["zero_point"]

        def hook(module: nn.Module, inputs: Tuple[Tensor, ...]) -> None:
            seen[name] = (layer.input_quantizer.to_int(inputs[0]) + zero_point).numpy().astype(np.int32)

        return hook

    quantized = [
        (name, layer)
        for name, layer in network.named_modules()
        if isinstance(layer, QuantConv2d) and layer.bits != FULL_PRECISION
    ]
    hooks = [layer.register_forward_pre_hook(note(name, layer)) for name, layer in quantized]
    try:
        with torch.inference_mode():
            network(torch.from_numpy(image))
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def _integers_of_file(path: Path, runtime: str, image: np.ndarray, layers: Sequence[str]) -> Dict[str, np.ndarray]:
    """The same out of an exported file, as far as its layers still have their own inputs."""
    import onnx

    model = onnx.load(str(path))
    source = {output: node for node in model.graph.node for output in node.output}
    wanted: Dict[str, str] = {}
    for node in model.graph.node:
        layer = _layer_of(node, source)
        integers = _quantized_input(node, source)
        if layer in layers and integers is not None:
            wanted[layer] = integers
    kept = {output.name for output in model.graph.output}
    for name in dict.fromkeys(wanted.values()):
        if name not in kept:
            model.graph.output.append(onnx.ValueInfoProto(name=name))
    inferred = onnx.shape_inference.infer_shapes(model)
    values = _run_all(inferred, runtime, image)
    return {layer: values[name] for layer, name in wanted.items() if name in values}


def _layer_of(node, source) -> Optional[str]:
    """The layer whose weight a convolution has: initializers are named after it."""
    if node.op_type != "Conv" or node.input[1] not in source:
        return None
    return source[node.input[1]].input[0].partition(".weight")[0]


def _quantized_input(node, source) -> Optional[str]:
    dequantize = source.get(node.input[0])
    return dequantize.input[0] if dequantize is not None and dequantize.op_type == "DequantizeLinear" else None


def _run_all(model, runtime: str, image: np.ndarray) -> Dict[str, np.ndarray]:
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
