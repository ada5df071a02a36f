"""Moves operations from behind a pixel shuffle to before it, where they work on images after space-to-depth.

A convolution from 36 channels to 3 on the large image leaves most SIMD lanes of a processor idle, and reading and
writing 3-channel float images of that size takes longer than computing them. After space-to-depth by s, here called a
*folded* image, the s * s pixels of each block are channels, just as in the input of the pixel shuffle. On such images:

- operations on single pixels or channels are the same;
- a convolution to few channels, with a kernel larger than 1x1, becomes a convolution whose stride is one block. Its
  kernel covers the receptive fields of all pixels of the block; the weights are moved to their places, with zeros
  elsewhere. From folded image to folded image it is a convolution of blocks.

Weights are only moved and zeros are added, so sums of integers stay the same.
"""

from typing import Dict, List, NamedTuple, Optional, Tuple

import numpy as np
import onnx_ir as ir

from quantnas_sr.export.onnx_graph.graph import Editor, array_of, ints, replace

#: Largest number of channels of a folded image; more channels use the SIMD lanes no better.
MAX_CHANNELS = 64
#: Elementwise operations, with operands of the same shape or one number per channel or sample.
_POINTWISE = {"Relu", "Clip", "LeakyRelu", "PRelu", "Mul", "Add", "Sub", "Div", "Sigmoid", "Tanh", "Identity"}


class _Folded(NamedTuple):
    value: ir.Value
    block: int


def fold_kernel(weight: np.ndarray, block: Tuple[int, int]) -> np.ndarray:
    """The weight of a convolution that computes all pixels of a block at once.

    Args:
        weight: (O, I, kH, kW), stride 1.
        block: height and width of a block, in pixels.

    Returns:
        (O * pixels of a block, I, kH + block height - 1, kW + block width - 1), for a stride of one block and the same
        padding; the pixels of an output channel are next to each other, row by row.
    """
    out_channels, in_channels, height, width = weight.shape
    folded = np.zeros(
        (out_channels, *block, in_channels, height + block[0] - 1, width + block[1] - 1), dtype=weight.dtype
    )
    for y, x in np.ndindex(*block):
        folded[:, y, x, :, y : y + height, x : x + width] = weight
    return folded.reshape(-1, *folded.shape[3:])


def fold_both(weight: np.ndarray, block: int) -> np.ndarray:
    """The weight of a convolution from folded images to folded images.

    Args:
        weight: (O, I, kH, kW), odd sides, stride 1 and the padding that keeps height and width.
        block: s.

    Returns:
        (O * s * s, I * s * s, h, w), odd sides.
    """
    pads = [side // 2 for side in weight.shape[2:]]
    reach = [-(-pad // block) for pad in pads]
    folded = fold_kernel(weight, (block, block))
    out_channels, in_channels = folded.shape[:2]
    sides = [(2 * r + 1) * block for r in reach]
    wide = np.zeros((out_channels, in_channels, *sides), dtype=weight.dtype)
    top, left = (r * block - pad for r, pad in zip(reach, pads))
    wide[:, :, top : top + folded.shape[2], left : left + folded.shape[3]] = folded
    blocks = wide.reshape(out_channels, in_channels, sides[0] // block, block, sides[1] // block, block)
    blocks = blocks.transpose(0, 1, 3, 5, 2, 4)
    return blocks.reshape(out_channels, in_channels * block**2, *blocks.shape[4:])


class _Folder:
    """Goes through the graph once, from the first node to the last, and keeps track of which images are folded."""

    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph
        self.folded: Dict[ir.Value, _Folded] = {}
        #: The block size of large images that are not folded, by value.
        self.blocks: Dict[ir.Value, int] = {}
        self.unfolded: Dict[ir.Value, ir.Value] = {}

    def run(self) -> None:
        outputs = list(self.graph.outputs)
        for node in list(self.graph):
            if node.op_type == "DepthToSpace" and node.attributes["mode"].as_string() == "CRD":
                self._shuffle(node)
            elif any(v in self.folded or v in self.blocks for v in node.inputs if v is not None):
                self._node(node)
        last = list(self.graph)[-1]
        for output in outputs:
            if output in self.folded:
                replace(output.producer(), self._unfold(output, Editor(self.graph, last), after=last))

    def _shuffle(self, node: ir.Node) -> None:
        (image,) = node.inputs
        if image in self.folded:
            self._use_unfolded(node)
        block = node.attributes["blocksize"].as_int()
        self.folded[node.outputs[0]] = _Folded(node.inputs[0], block)

    def _node(self, node: ir.Node) -> None:
        block = next(
            self.folded[v].block if v in self.folded else self.blocks[v]
            for v in node.inputs
            if v is not None and (v in self.folded or v in self.blocks)
        )
        editor = Editor(self.graph, node)
        value: Optional[ir.Value] = None
        if node.op_type == "Conv":
            value = self._convolution(node, editor, block)
        elif node.op_type in (*_POINTWISE, "Quantize", "Std"):
            value = self._pointwise(node, editor, block)
        if value is None:
            self._use_unfolded(node)
            self._remember_large(node, block)
        elif node.op_type == "Std":
            replace(node, value)
        else:
            self.folded[node.outputs[0]] = _Folded(value, block)

    def _remember_large(self, node: ir.Node, block: int) -> None:
        if node.op_type in (*_POINTWISE, "Quantize", "Conv"):
            self.blocks[node.outputs[0]] = block

    def _use_unfolded(self, node: ir.Node) -> None:
        for index, value in enumerate(node.inputs):
            if value in self.folded:
                node.replace_input_with(index, self._unfold(value, Editor(self.graph, node)))

    def _unfold(self, value: ir.Value, editor: Editor, after: Optional[ir.Node] = None) -> ir.Value:
        if value not in self.unfolded:
            image, block = self.folded[value]
            shuffle = ir.node("DepthToSpace", [image], {"blocksize": block, "mode": "CRD"})
            if after is None:
                self.graph.insert_before(editor.before, shuffle)
            else:
                self.graph.insert_after(after, shuffle)
            shuffle.outputs[0].dtype, shuffle.outputs[0].shape = value.dtype, value.shape
            self.unfolded[value] = shuffle.outputs[0]
        return self.unfolded[value]

    def _pointwise(self, node: ir.Node, editor: Editor, block: int) -> Optional[ir.Value]:
        inputs: List[Optional[ir.Value]] = []
        for value in node.inputs:
            constant = array_of(value)
            if value in self.folded and self.folded[value].block == block:
                inputs.append(self.folded[value].value)
            elif value is None or _is_per_sample(value) or constant is not None and constant.size == 1:
                inputs.append(value)
            elif constant is not None and _is_per_channel(constant):
                channels = np.repeat(constant.reshape(-1, 1, 1), block**2, axis=0)
                inputs.append(editor.constant(channels, value.name))
            else:
                return None
        return editor.add(node.op_type, inputs, node.domain, **dict(node.attributes))

    def _convolution(self, node: ir.Node, editor: Editor, block: int) -> Optional[ir.Value]:
        image, weight = node.inputs[0], array_of(node.inputs[1])
        if weight is None or not _keeps_size(node, weight) or len(weight) * block**2 > MAX_CHANNELS:
            return None
        if weight.shape[2:] == (1, 1):  # for each pixel, it would have to read a whole block
            return None
        attributes = {**dict(node.attributes), "strides": [1, 1]}
        source = self.folded.get(image)
        if source is not None and source.block == block and weight.shape[1] * block**2 <= MAX_CHANNELS:
            weight = fold_both(weight, block)
            attributes["pads"] = [side // 2 for side in weight.shape[2:]] * 2
            image = source.value
        else:
            weight = fold_kernel(weight, (block, block))
            attributes["strides"] = [block, block]
            if source is not None:
                image = self._unfold(image, editor)
        attributes.pop("kernel_shape", None)
        inputs = [image, editor.constant(weight, node.inputs[1].name)]
        for value in node.inputs[2:]:
            inputs.append(editor.constant(np.repeat(array_of(value), block**2), value.name))
        return editor.add(node.op_type, inputs, node.domain, **attributes)


def _is_per_sample(value: ir.Value) -> bool:
    return value.shape is not None and len(value.shape) == 4 and list(value.shape)[1:] == [1, 1, 1]


def _is_per_channel(constant: np.ndarray) -> bool:
    return constant.ndim in (3, 4) and constant.size == constant.shape[-3]


def _keeps_size(node: ir.Node, weight: np.ndarray) -> bool:
    ones, sides = [1, 1], weight.shape[2:]
    return (
        ints(node, "strides", ones) == ones
        and ints(node, "dilations", ones) == ones
        and ("group" not in node.attributes or node.attributes["group"].as_int() == 1)
        and all(side % 2 for side in sides)
        and ints(node, "pads", [0] * 4) == [side // 2 for side in sides] * 2
    )


def fold(graph: ir.Graph) -> None:
    """Compute the operations that follow a pixel shuffle on folded images, where that is possible and faster."""
    _Folder(graph).run()
