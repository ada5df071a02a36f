"""A trained network -> a file of integers, which is kept only if it passes its check."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional, Union

import torch

from quantnas_sr.cost import count
from quantnas_sr.cost.quantized import check_quantized
from quantnas_sr.deploy.packages import RUNTIMES_OF
from quantnas_sr.errors import OptionError
from quantnas_sr.export.kept import Exported
from quantnas_sr.export.litert.byte_network import check_plain
from quantnas_sr.export.litert.options import for_litert
from quantnas_sr.export.litert.tflite_file import tflite_file
from quantnas_sr.export.metadata import metadata_of
from quantnas_sr.export.onnx_graph.adaptive_pooling import kernels_of, multiple_of_export
from quantnas_sr.export.onnx_graph.onnx_file import onnx_file, require_export
from quantnas_sr.export.onnx_graph.refusals import check_runs
from quantnas_sr.export.options import ExportOptions, check_path
from quantnas_sr.export.preparation import load_for_export, loss_of_symmetry, sized
from quantnas_sr.export.sample_images import arrays


def export(
    weights: Union[str, os.PathLike],
    output: Union[str, os.PathLike],
    options: Optional[ExportOptions] = None,
    **keywords: Any,
) -> Exported:
    """Export a trained network to ONNX, or to LiteRT (TFLite).

    The file is written only if it passes its check in every usable runtime.

        export("net_g_latest.pth", "net.onnx", adq="static", outputs="int8")

    Args:
        weights: the ``.pth`` of a derived network or of a `QuantizedArch`.
        output: the ``.onnx`` or ``.tflite``; it is replaced when the new file has passed its check.
        options: how the network is exported. Keywords of `ExportOptions` may be given instead.

    Raises:
        QuantNASError: an argument cannot be used; or a runtime computes something else, and then no file is left.
    """
    options = ExportOptions.of(keywords) if options is None else replace(options, **keywords)
    check_path(weights, "a .pth", "weights")
    suffix = Path(output).suffix if isinstance(output, (str, os.PathLike)) else ""
    if suffix not in RUNTIMES_OF:
        raise OptionError(f"output: {str(output)!r} does not end in .onnx or .tflite")
    if suffix == ".onnx":
        require_export()
    else:
        options = for_litert(options)
    if os.path.isdir(output):
        raise OptionError(f"output: {output} is a folder")
    network = load_for_export(weights, options)
    if suffix == ".tflite":
        check_plain(network)
    folder = options.images or options.calibration
    kernels = kernels_of(network)
    multiple = multiple_of_export(network, kernels)
    crops = sized(list(arrays(folder)), multiple, options.size, folder)
    check_runs(network, torch.from_numpy(crops[0]))
    cost = count(network, crops[0].shape[2:])
    if options.quantized:
        check_quantized(network, cost)
    metadata = metadata_of(network, options, multiple, sorted({layer.bits for layer in cost.layers}))
    share = cost.quantized_share if options.quantized else 0.0
    if suffix == ".tflite":
        return tflite_file(network, Path(output), crops, metadata)._replace(quantized_share=share)
    lost = loss_of_symmetry(network, weights, options, crops) if options.symmetric else None
    written = onnx_file(network, Path(output), crops, metadata, options, kernels)
    return written._replace(quantized_share=share, lost=lost)
