"""A network as an ONNX graph, and helpers to rewrite it (on `onnx_ir`, which PyTorch's own exporter builds on)."""

from pathlib import Path
from typing import Any, List, Optional, Sequence, Tuple, Union

import numpy as np
import onnx_ir as ir
import torch
from torch import nn

from quantnas_sr.deploy.onnx.onnx_format import INPUT, OUTPUT, sealed
from quantnas_sr.export.choices import OPSETS
from quantnas_sr.export.onnx_graph.refusals import check_runs, is_about_sizes, refusal, size_is_fixed
from quantnas_sr.export.onnx_graph.traced_size import quiet, traced_size


def trace(
    network: nn.Module, multiple: int = 1, one_image: bool = False, size: Optional[Tuple[int, int]] = None
) -> ir.Model:
    """The graph of a network in the form of `modules.exportable`, for any image size and, if possible, any batch size.

    If the network pads images to a multiple of some size, the padding is not in the graph: the caller has to pad.

    Args:
        network: what is traced.
        multiple: the number that must divide the sides of its images.
        one_image: trace for a batch size of 1. This is also done if the network computes with the batch size, as window
            attention does, and cannot be traced otherwise.
        size: height and width of the only image that the graph is for, one at a time; None for all sizes.

    Returns:
        A model with the input and output of `deploy.onnx.onnx_format`.

    Raises:
        NetworkError: it cannot be traced or converted, or not for images of all sizes; one line, where and why.
    """
    if size is not None:
        return _of_one_size(network, size)
    if not one_image:
        check_runs(network, torch.rand(1, 3, *traced_size(multiple)))
    try:
        model = _traced(network, (1 if one_image else 2, 3, *traced_size(multiple)), (2, 3) if one_image else (0, 2, 3))
    except Exception as error:
        if one_image or not is_about_sizes(error):
            raise refusal(network, error) from error
        return trace(network, multiple, one_image=True)
    if not one_image and not _is_free(model, 0):
        return trace(network, multiple, one_image=True)
    if not (_is_free(model, 2) and _is_free(model, 3)):
        raise size_is_fixed(network)
    return model


def _of_one_size(network: nn.Module, size: Tuple[int, int]) -> ir.Model:
    check_runs(network, torch.rand(1, 3, *size))
    try:
        return _traced(network, (1, 3, *size), ())
    except Exception as error:
        raise refusal(network, error) from error


def _traced(network: nn.Module, shape: Tuple[int, ...], free: Sequence[int]) -> ir.Model:
    """Trace for images of a shape, of which the numbers at the places ``free`` are arbitrary."""
    names = {"input_names": [INPUT], "output_names": [OUTPUT]}
    with quiet(), torch.no_grad():
        program = torch.onnx.export(
            network,
            (torch.rand(shape),),
            dynamo=True,
            dynamic_shapes=(dict.fromkeys(free, torch.export.Dim.DYNAMIC),) if free else None,
            opset_version=OPSETS[-1],
            optimize=True,
            verbose=False,
            **names,
        )
    return program.model


def _is_free(model: ir.Model, dimension: int) -> bool:
    return not isinstance(model.graph.inputs[0].shape[dimension], int)


class Editor:
    """Inserts nodes into a graph before a given node.

    Args:
        graph: the graph.
        before: the node before which new nodes are inserted.
    """

    def __init__(self, graph: ir.Graph, before: ir.Node) -> None:
        self.graph, self.before = graph, before

    def add(self, operator: str, inputs: Sequence[Any], domain: str = "", **attributes: Any) -> ir.Value:
        """Add a node; returns its output."""
        node = ir.node(operator, inputs, attributes, domain=domain)
        self.graph.insert_before(self.before, node)
        return node.outputs[0]

    def constant(self, array: Union[np.ndarray, ir.TensorProtocol], name: str = "constant") -> ir.Value:
        """Add an initializer."""
        return add_constant(self.graph, array, name)


def add_constant(graph: ir.Graph, array: Union[np.ndarray, ir.TensorProtocol], name: str) -> ir.Value:
    """Add an initializer named ``name``; a number is appended if that name is taken."""
    unique, number = name, 0
    while unique in graph.initializers:
        number += 1
        unique = f"{name}_{number}"
    tensor = ir.tensor(array, name=unique) if isinstance(array, np.ndarray) else array
    value = ir.Value(name=unique, type=ir.TensorType(tensor.dtype), shape=ir.Shape(tensor.shape), const_value=tensor)
    graph.register_initializer(value)
    return value


def array_of(value: Optional[ir.Value]) -> Optional[np.ndarray]:
    """The array of a constant; None for a value that is computed, and for an optional input that is left out."""
    if value is None or value.const_value is None:
        return None
    return value.const_value.numpy()


def ints(node: ir.Node, name: str, default: Sequence[int]) -> List[int]:
    """An attribute of integers, or its default."""
    attribute = node.attributes.get(name)
    return list(default) if attribute is None else list(attribute.as_ints())


def replace(node: ir.Node, value: ir.Value) -> None:
    """Use ``value`` wherever the one output of a node is used, and remove the node."""
    (output,) = node.outputs
    if output.is_graph_output():
        outputs = node.graph.outputs
        outputs[outputs.index(output)] = value
        value.name, output.name = output.name, None
    output.replace_all_uses_with(value)
    node.graph.remove(node, safe=True)


def tidy(model: ir.Model) -> None:
    """Remove nodes whose outputs are not used, and merge nodes that compute the same from the same inputs."""
    from onnx_ir.passes import common

    for step in (
        common.CommonSubexpressionEliminationPass(),
        common.IdentityEliminationPass(),
        common.RemoveUnusedNodesPass(),
        common.ClearMetadataAndDocStringPass(),
    ):
        step(model)


def write(model: ir.Model, path: Path) -> None:
    """Write a finished graph to a file, without what no runtime needs.

    These are copies of equal constants, and the types, shapes and origins of values inside the graph. Runtimes infer
    types and shapes themselves, and the origins are notes of PyTorch's exporter. A digest is added, see `sealed`.

    Raises:
        OSError: it cannot be written.
    """
    from onnx_ir.passes import common

    common.DeduplicateInitializersPass()(model)
    _separate_weights(model)
    proto = ir.to_proto(model)
    del proto.graph.value_info[:]
    path.write_bytes(sealed(proto.SerializeToString()))


def _separate_weights(model: ir.Model) -> None:
    """Give every DequantizeLinear of 8-bit weights zero points and weights that no other node reads.

    The zero points are zeros, the default. But where ONNX Runtime (1.32) makes weights unsigned (see `overflow`), it
    adds wrong ones if there are none, and fails if two convolutions share a constant.
    """
    seen = set()
    for node in list(model.graph):
        if node.op_type != "DequantizeLinear" or len(node.inputs) == 3 or node.inputs[0].dtype != ir.DataType.INT8:
            continue
        weight, scale = node.inputs
        name = node.outputs[0].name
        node.resize_inputs(3)
        zeros = np.zeros(tuple(scale.shape), np.int8)
        node.replace_input_with(2, add_constant(model.graph, zeros, f"{name}_zero_points"))
        if weight in seen:
            node.replace_input_with(0, add_constant(model.graph, array_of(weight), f"{name}_weight"))
        seen.add(weight)
