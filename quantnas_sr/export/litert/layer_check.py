"""Compares a ``.tflite`` in LiteRT with PyTorch, layer by layer."""

from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np
from torch import nn

from quantnas_sr.deploy.litert.tflite_format import schema
from quantnas_sr.deploy.onnx.onnx_format import Call
from quantnas_sr.deploy.packages import LITERT_BUILTIN
from quantnas_sr.export.layer_check import LayerCheck
from quantnas_sr.export.litert.byte_network import pixel_order
from quantnas_sr.export.litert.convolutions import HIGHEST
from quantnas_sr.export.litert.flat_buffer import packed
from quantnas_sr.quantization import Rounding

#: Tolerance of LiteRT's own kernels, in steps: they round twice, to a binary fraction of a step first.
_TWICE_ROUNDED = 0.25
#: What follows the name of a layer in that of its weight.
WEIGHT = ".weight"


class LiteRTLayerCheck(LayerCheck):
    """`LayerCheck` of a ``.tflite``. The integers that a layer writes become outputs of the file, see `graph`."""

    def __init__(self, network: nn.Module, path: Path, runtime: str) -> None:
        super().__init__(network, path, runtime)
        if runtime == LITERT_BUILTIN:
            self.edge = _TWICE_ROUNDED

    def _watched(self, path: Path) -> Tuple[Dict[str, Dict[int, str]], List[str], bytes]:
        model = schema().ModelT.InitFromPackedBuf(path.read_bytes())
        (graph,) = model.subgraphs
        found = rounded_values(graph)
        indices = list(dict.fromkeys(found.values()))
        graph.outputs = [*graph.outputs, *indices]
        values = {layer: {0: _name(graph, index)} for layer, index in found.items()}
        return values, [_name(graph, index) for index in indices], packed(model)

    def _unsigned(self, stored: np.ndarray, layer: str, rounding: Rounding) -> np.ndarray:
        if layer == self._network.residual_rounding:
            stored = stored[:, np.argsort(pixel_order(self._network.scale))]
        return stored.astype(np.int32) + rounding.highest - HIGHEST


def rounded_values(graph: Any) -> Dict[str, int]:
    """The tensors that hold integers, by the layer that rounds to them.

    A convolution reads the first input of the operator whose weight is named after it; a tensor that is named after a
    call holds what this call writes.

    Args:
        graph: a ``SubGraphT`` of a file of `graph.build`.
    """
    found = {}
    for operator in graph.operators:
        if len(operator.inputs) == 3:
            weight = _name(graph, operator.inputs[1])
            found[weight[: -len(WEIGHT)]] = int(operator.inputs[0])
    for index in range(len(graph.tensors)):
        call = Call.of(_name(graph, index))
        if call is not None:
            found.setdefault(call.layer, index)
    return found


def _name(graph: Any, index: int) -> str:
    return graph.tensors[index].name.decode("utf-8")
