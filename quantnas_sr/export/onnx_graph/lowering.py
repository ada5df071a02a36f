"""Replaces the nodes of `modules` by operators of ONNX: QuantizeLinear, DequantizeLinear, Conv and arithmetic.

A quantized image is a tensor of unsigned integers from its QuantizeLinear to the DequantizeLinear in front of the
convolutions that read it. Operators in between that only move numbers (shuffle, concatenation) move bytes.
"""

from typing import Callable, Dict, List, Optional, Tuple

import numpy as np
import onnx_ir as ir

from quantnas_sr.deploy.onnx.onnx_format import Call
from quantnas_sr.export.modules import DOMAIN
from quantnas_sr.export.onnx_graph.graph import Editor, array_of, replace
from quantnas_sr.export.rewrites.byte_images import BYTES
from quantnas_sr.quantization import Rounding

#: Attributes of our ``Conv`` that ONNX's does not have.
_NOT_OF_ONNX = {"bits", "layer", "call"}
#: Operators that only move numbers, and how many of their inputs are moved; None for all of them.
_MOVERS = {"DepthToSpace": None, "Concat": None, "Gather": 1}
#: Operators that a runtime may compute in one kernel with the addition before and the rounding after them.
_ALONE = {"Relu", "LeakyRelu", "PRelu", "Clip", "Div"}


def _rounding_of(node: ir.Node) -> Rounding:
    """The rounding of a ``Quantize`` node."""
    return Rounding(*(node.attributes[name].value for name in Rounding._fields))


def concatenate_integers(graph: ir.Graph) -> None:
    """Move a rounding from behind a concatenation to its inputs, so that the concatenation copies bytes."""
    for node in list(graph):
        if node.op_type != "Quantize":
            continue
        image, factors = _divided(node.inputs[0])
        source = image.producer()
        if source is None or source.op_type != "Concat" or source.domain != "":
            continue
        editor, attributes, parts = Editor(graph, node), dict(node.attributes), list(source.inputs)
        if factors is not None:
            ends = np.cumsum([part.shape[1] for part in parts])[:-1]
            by_part = [editor.constant(piece, "factors") for piece in np.split(factors, ends)]
            parts = [editor.add("Div", [part, piece]) for part, piece in zip(parts, by_part)]
        parts = [editor.add("Quantize", [part], DOMAIN, **attributes) for part in parts]
        replace(node, editor.add("Concat", parts, axis=source.attributes["axis"].as_int()))


def _divided(value: ir.Value) -> Tuple[ir.Value, Optional[np.ndarray]]:
    """The dividend and the factors (C, 1, 1) of a division by channel; the value itself and None otherwise."""
    node = value.producer()
    if node is None or node.op_type != "Div" or node.domain != "":
        return value, None
    factors = array_of(node.inputs[1])
    if factors is None or factors.ndim != 3 or factors.shape[1:] != (1, 1):
        return value, None
    return node.inputs[0], factors


class Lowering:
    """Replaces all nodes of the domain `DOMAIN` by operators of ONNX.

    Args:
        model: from `graph.trace`; it is changed.
        weights_format: ``int8``, or ``int4`` for packed weights where they have at most 4 bits.
        byte_images: the image that comes in and the one that goes out are bytes, see `rewrites.byte_images`.
        symmetric: activations are signed integers with the zero point 0, biases floats, see `rewrites.symmetric`.
    """

    def __init__(
        self, model: ir.Model, weights_format: str = "int8", byte_images: bool = False, symmetric: bool = False
    ) -> None:
        self.model, self.graph = model, model.graph
        self.packs = weights_format == "int4"
        self.byte_images, self.symmetric = byte_images, symmetric
        self.rounded: Dict[ir.Value, Tuple[ir.Value, Rounding]] = {}
        self.real: Dict[ir.Value, ir.Value] = {}
        #: Integer weights: the calls of a layer share one.
        self.weights: Dict[ir.Value, ir.Value] = {}

    def run(self) -> None:
        """Lower the whole graph."""
        lower: Dict[str, Callable[[ir.Node, Editor], None]] = {
            "Quantize": self._quantize,
            "Conv": self._conv,
            "Std": self._std,
            "PadTo": self._pad_to,
            "CropLike": self._crop_like,
        }
        for node in list(self.graph):
            editor = Editor(self.graph, node)
            if node.domain == DOMAIN:
                lower[node.op_type](node, editor)
            elif any(value in self.rounded for value in node.inputs):
                self._moves(node, editor)
        self._outputs()
        self.model.opset_imports.pop(DOMAIN, None)

    def _outputs(self) -> None:
        """Let the graph return real numbers in place of integers, or the bytes of an image."""
        for output in list(self.graph.outputs):
            if output in self.rounded and self.byte_images:
                integers, _ = self.rounded[output]
                integers.shape, integers.dtype = output.shape, ir.DataType.UINT8
                replace(output.producer(), integers)
            elif output in self.rounded:
                shape, dtype = output.shape, output.dtype
                last = list(self.graph)[-1]
                editor = Editor(self.graph, last)
                real = self._real(output, editor)
                self.graph.remove(real.producer())
                self.graph.insert_after(last, real.producer())
                replace(output.producer(), real)
                real.shape, real.dtype = shape, dtype

    def _quantize(self, node: ir.Node, editor: Editor) -> None:
        rounding, (value,) = _rounding_of(node), node.inputs
        if self._has_bytes(value, rounding):
            value.dtype = ir.DataType.UINT8
            self.rounded[node.outputs[0]] = value, rounding
        elif value in self.rounded and self.rounded[value][1] == rounding:
            self.rounded[node.outputs[0]] = self.rounded[value]
        else:
            integers = self._rounded(self._real(value, editor), rounding, editor)
            if "layer" in node.attributes:
                integers.producer().name = _call_of(node).node_name
            self.rounded[node.outputs[0]] = integers, rounding

    def _has_bytes(self, value: ir.Value, rounding: Rounding) -> bool:
        """Whether a value that is rounded is the image, whose bytes are what it is rounded to."""
        return self.byte_images and value.is_graph_input() and rounding == BYTES

    def _rounded(self, x: ir.Value, rounding: Rounding, editor: Editor) -> ir.Value:
        """The integers of real numbers; the integer type may have wider limits than the quantizer."""
        low, high = -rounding.zero_point, rounding.highest - rounding.zero_point
        if self.symmetric:
            wider = (low, high) != (-128, 127)
        else:
            wider = rounding.bits != rounding.storage_bits
            if wider and rounding.bits < 8 and _sums_integers(x.producer()):
                # Clipping integers leaves the convolution and its rounding together, which runtimes compute as one.
                integers = editor.add("QuantizeLinear", [x, *self._parameters(rounding, editor)])
                ends = [editor.constant(np.array(end, np.uint8), "end") for end in (0, rounding.highest)]
                return editor.add("Clip", [integers, *ends])
        if wider:
            # The limits lie a quarter of a step beyond the last integers, to which they are rounded: OpenVINO clips
            # bytes, and truncates a limit that is slightly less than an integer.
            limits = [np.array(end * rounding.step, np.float32) for end in (low - 0.25, high + 0.25)]
            x = editor.add("Clip", [x, *(editor.constant(limit, "end") for limit in limits)])
        return editor.add("QuantizeLinear", [x, *self._parameters(rounding, editor)])

    def _parameters(self, rounding: Rounding, editor: Editor) -> List[ir.Value]:
        step = editor.constant(np.array(rounding.step, np.float32), "step")
        zero_point = np.array(0, np.int8) if self.symmetric else _zero_point_of(rounding)
        return [step, editor.constant(zero_point, "zero_point")]

    def _moves(self, node: ir.Node, editor: Editor) -> None:
        """Let operators that only move numbers move the integers; all others get real numbers."""
        data = node.inputs[: _MOVERS.get(node.op_type)]
        roundings = {self.rounded[value][1] for value in data if value in self.rounded}
        everything = all(value in self.rounded for value in data)
        if node.op_type in _MOVERS and everything and len(roundings) == 1:
            inputs = [*(self.rounded[value][0] for value in data), *node.inputs[len(data) :]]
            moved = editor.add(node.op_type, inputs, **dict(node.attributes))
            self.rounded[node.outputs[0]] = moved, roundings.pop()
            return
        real = self._apart if node.op_type == "Add" and _is_rounded_next(node) else self._real
        for index, value in enumerate(node.inputs):
            node.replace_input_with(index, real(value, editor))

    def _apart(self, value: ir.Value, editor: Editor) -> ir.Value:
        """The value as real numbers, for an addition whose sum is rounded next.

        OpenVINO (2026.4) fuses convolution, rounding, addition, perhaps an activation function, and rounding into one
        kernel, and loses the first rounding; it does not where the rounded output is read twice.
        """
        real = self._real(value, editor)
        return editor.add("Max", [real, real]) if value in self.rounded and not self._is_image(value) else real

    def _is_image(self, value: ir.Value) -> bool:
        """Whether rounded numbers are those of the image, which no node rounds."""
        integers, _ = self.rounded[value]
        while integers.producer() is not None and integers.producer().op_type in _MOVERS:
            integers = integers.producer().inputs[0]
        return integers.is_graph_input()

    def _real(self, value: ir.Value, editor: Editor) -> ir.Value:
        """The value as real numbers."""
        if value not in self.rounded:
            return value
        if value not in self.real:
            integers, rounding = self.rounded[value]
            self.real[value] = editor.add("DequantizeLinear", [integers, *self._parameters(rounding, editor)])
        return self.real[value]

    def _conv(self, node: ir.Node, editor: Editor) -> None:
        image, weight, scale, *bias = node.inputs
        attributes = {name: value for name, value in node.attributes.items() if name not in _NOT_OF_ONNX}
        if weight not in self.weights:
            self.weights[weight] = self._weight(weight, editor)
        integers = self.weights[weight]
        real = editor.add("DequantizeLinear", [integers, scale], axis=0)
        kernel = list(array_of(weight).shape[2:])
        step = self.rounded[image][1].step
        inputs = [self._real(image, editor), real, *(self._bias(value, scale, step, editor) for value in bias)]
        output = editor.add("Conv", inputs, kernel_shape=kernel, **attributes)
        output.producer().name = _call_of(node).node_name
        replace(node, output)

    def _weight(self, weight: ir.Value, editor: Editor) -> ir.Value:
        values = array_of(weight)
        low, high = values.min(), values.max()
        if self.packs and low >= -8 and high <= 7:
            return editor.constant(_packed(values, weight.name), weight.name)
        dtype = np.int8 if low >= -128 and high <= 127 else np.int16
        return editor.constant(values.astype(dtype), weight.name)

    def _bias(self, bias: ir.Value, scale: ir.Value, step: float, editor: Editor) -> ir.Value:
        """The bias, in 32-bit integers if a multiple of the input step times the weight step (see `QuantConv2d`)."""
        units = array_of(scale) * np.float32(step)
        integers = (array_of(bias).astype(np.float64) / units).round()
        if self.symmetric:  # TensorRT has no DequantizeLinear of 32 bits
            return bias
        if not np.allclose(integers * units, array_of(bias), rtol=1e-6, atol=0) or np.abs(integers).max() >= 2**31:
            return bias
        values = editor.constant(integers.astype(np.int32), bias.name)
        return editor.add("DequantizeLinear", [values, editor.constant(units, "unit")], axis=0)

    def _std(self, node: ir.Node, editor: Editor) -> None:
        """sqrt(n / (n - 1) * variance) over channels and pixels, n = C * H * W.

        It is the variance over the channels of each pixel (mean of squares less square of mean), averaged over pixels,
        plus the variance of the means of the pixels. This reads the image once, as two plain sums would, but keeps the
        precision that they lose when small numbers are added to a large sum: ONNX Runtime (1.32), which adds one number
        after the other, loses a thousandth of the sum of two million squares.
        """
        x = self._real(node.inputs[0], editor)

        def constant(values: object, dtype: type = np.int64) -> ir.Value:
            return editor.constant(np.array(values, dtype), "constant")

        def mean(value: ir.Value, *axes: int) -> ir.Value:
            return editor.add("ReduceMean", [value, constant(axes)], keepdims=1)

        def square(value: ir.Value) -> ir.Value:
            return editor.add("Mul", [value, value])

        sides = editor.add("Shape", [x], start=1, end=4)
        n = editor.add("Cast", [editor.add("ReduceProd", [sides], keepdims=1)], to=ir.DataType.FLOAT)
        channels = editor.add("Cast", [editor.add("Shape", [x], start=1, end=2)], to=ir.DataType.FLOAT)
        pixel = mean(x, 1)
        squares = editor.add("Div", [editor.add("ReduceSumSquare", [x, constant([1])], keepdims=1), channels])
        within = editor.add("Sub", [squares, square(pixel)])
        between = square(editor.add("Sub", [pixel, mean(pixel, 2, 3)]))
        variance = mean(editor.add("Add", [within, between]), 2, 3)
        less = editor.add("Sub", [n, constant([1], np.float32)])
        unbiased = editor.add("Mul", [variance, editor.add("Div", [n, less])])
        replace(node, editor.add("Sqrt", [editor.add("Max", [unbiased, constant(0, np.float32)])]))

    def _pad_to(self, node: ir.Node, editor: Editor) -> None:
        """Repeat the lower and right border until both sides are long enough."""
        x = self._real(node.inputs[0], editor)
        side = editor.constant(np.array([node.attributes["side"].as_int()] * 2, np.int64), "side")
        lacking = editor.add("Sub", [side, editor.add("Shape", [x], start=2, end=4)])
        none = editor.constant(np.zeros(1, np.int64), "none")
        before = editor.constant(np.zeros(6, np.int64), "before")
        # For all axes: ONNX Runtime (1.32) mistakes a shorter list for a full one when it moves a Transpose past a Pad.
        pads = editor.add("Concat", [before, editor.add("Max", [lacking, none])], axis=0)
        replace(node, editor.add("Pad", [x, pads], mode="edge"))

    def _crop_like(self, node: ir.Node, editor: Editor) -> None:
        x, like = (self._real(value, editor) for value in node.inputs)
        none = editor.constant(np.zeros(2, np.int64), "none")
        axes = editor.constant(np.array([2, 3], np.int64), "sides")
        ends = editor.add("Shape", [like], start=2, end=4)
        replace(node, editor.add("Slice", [x, none, ends, axes]))


def _call_of(node: ir.Node) -> Call:
    """Which call of which layer a node of `modules` computes."""
    return Call(node.attributes["layer"].as_string(), node.attributes["call"].as_int())


def _zero_point_of(rounding: Rounding) -> np.ndarray:
    return np.array(rounding.zero_point, f"uint{rounding.storage_bits}")


def _is_rounded_next(node: ir.Node) -> bool:
    """Whether the output of a node is only read by roundings, directly or behind elementwise operators."""
    readers = [use.node for use in node.outputs[0].uses()]
    return bool(readers) and all(
        reader.op_type == "Quantize" or (reader.op_type in _ALONE and _is_rounded_next(reader)) for reader in readers
    )


def _sums_integers(node: Optional[ir.Node]) -> bool:
    """Whether a node is a convolution that a runtime can compute in integers, bias included."""
    if node is None or node.op_type != "Conv":
        return False
    return all(value is None or value.producer() is not None for value in node.inputs)


def _packed(values: np.ndarray, name: str) -> ir.TensorProtocol:
    import ml_dtypes

    return ir.tensor(values.astype(ml_dtypes.int4), dtype=ir.DataType.INT4, name=name)
