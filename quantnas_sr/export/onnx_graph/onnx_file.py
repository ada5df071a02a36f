"""The ONNX file of a network: its model, and the file that is kept if it passes its check."""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import nn

from quantnas_sr.cost.dry_run import in_one_line, name_of
from quantnas_sr.deploy.onnx.onnx_format import METADATA_PREFIX
from quantnas_sr.deploy.packages import usable_runtimes
from quantnas_sr.errors import MissingExtraError, NetworkError, QuantNASError
from quantnas_sr.export.choices import WEIGHTS_FORMATS
from quantnas_sr.export.kept import CHECK, Exported, kept
from quantnas_sr.export.modules import exportable
from quantnas_sr.export.onnx_graph.adaptive_pooling import Kernel, kernels_of, multiple_of_export, plain_pooling
from quantnas_sr.export.onnx_graph.refusals import written_or_blamed
from quantnas_sr.export.onnx_graph.slice_assignment import SlicesWithWhere
from quantnas_sr.export.options import ExportOptions
from quantnas_sr.export.rewrites.byte_images import ByteImages
from quantnas_sr.values.arguments import check_word
from quantnas_sr.version import __version__

if TYPE_CHECKING:
    import onnx_ir as ir

#: The runtime that checks symmetric files, and why the other one does not: OpenVINO (2026.4) changes signed integers
#: where they are asked for as outputs too.
_SIGNED, _SIGNED_ALONE = "onnxruntime", "its signed integers cannot be looked at"


def require_export() -> None:
    """Check that everything that export needs is installed.

    Raises:
        MissingExtraError: something is missing or too old.
    """
    for package in ("onnx", "onnxscript", "onnx_ir"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError("export", package, "export")
    usable_runtimes(CHECK)
    if not hasattr(torch.onnx, "ops"):
        raise MissingExtraError("export", "torch 2.8 or newer", "export")


def build_model(
    network: nn.Module,
    quantized: bool = True,
    weights_format: str = "int8",
    folds: bool = True,
    one_image: bool = False,
    kernels: Optional[Sequence[Kernel]] = None,
    symmetric: bool = False,
    size: Optional[Tuple[int, int]] = None,
) -> "ir.Model":
    """The graph of a network, as an `onnx_ir.Model`.

    Args:
        network: in evaluation mode, its activations calibrated.
        quantized: False for the float baseline.
        weights_format: ``int8``, or ``int4`` for packed weights where they have at most 4 bits.
        folds: move operations from behind a pixel shuffle to before it, see `space_to_depth`.
        one_image: trace it for a batch of 1, see `graph.trace`.
        kernels: of its adaptive pooling, where they are known already, see `adaptive_pooling.kernels_of`.
        symmetric: write signed activations, see `rewrites.symmetric`.
        size: height and width of the only image that the graph is for; None for all sizes.

    Raises:
        OptionError: there is no such format.
        NetworkError: it cannot be traced, or its graph cannot be written in integers; one line that says why.
    """
    check_word(weights_format, WEIGHTS_FORMATS, "format", "weights_format")
    from quantnas_sr.export.onnx_graph.graph import tidy, trace
    from quantnas_sr.export.onnx_graph.lowering import Lowering, concatenate_integers
    from quantnas_sr.export.onnx_graph.space_to_depth import fold

    kernels = kernels_of(network) if kernels is None else kernels
    with plain_pooling(kernels), SlicesWithWhere():
        model = trace(exportable(network, quantized), multiple_of_export(network, kernels), one_image, size)
    try:
        tidy(model)
        if folds:
            fold(model.graph)
        concatenate_integers(model.graph)
        tidy(model)
        Lowering(model, weights_format, isinstance(network, ByteImages), symmetric).run()
        tidy(model)
    except QuantNASError:
        raise
    except Exception as error:
        what = f"{type(error).__name__}: {in_one_line(error)}"
        raise NetworkError(f"{name_of(network)}: its graph cannot be written in integers ({what})") from error
    return model


def onnx_file(
    network: nn.Module,
    output: Path,
    images: Sequence[np.ndarray],
    metadata: Dict[str, str],
    options: ExportOptions,
    kernels: Sequence[Kernel],
) -> Exported:
    """Write the ONNX file of a network, checked.

    Args:
        network: of `load_for_export`.
        output: the file.
        images: (1, 3, H, W) each, in 0..1, that it is checked with.
        metadata: by key.
        options: of the export.
        kernels: of its adaptive pooling, see `adaptive_pooling.kernels_of`.

    Raises:
        NetworkError: it cannot be traced or written in integers.
        CheckError: a runtime computes something else; then no file is left.
    """

    def write(one_image: bool) -> Exported:
        from quantnas_sr.export.onnx_graph.opset import set_opset

        how = {"one_image": one_image, "kernels": kernels, "symmetric": options.symmetric, "size": options.size}
        model = build_model(network, options.quantized, options.weights_format, **how)
        model.producer_name, model.producer_version = "quantnas_sr", __version__
        model.metadata_props.update({METADATA_PREFIX + key: value for key, value in metadata.items()})
        set_opset(model, options.opset)
        return _checked(network, model, output, images, options.symmetric)

    return written_or_blamed(network, write)


def _checked(network: nn.Module, model: Any, output: Path, images: Sequence[np.ndarray], symmetric: bool) -> Exported:
    from quantnas_sr.export.onnx_graph.graph import write

    runtimes, left_out = usable_runtimes(CHECK)
    if symmetric:
        if _SIGNED not in runtimes:
            raise MissingExtraError("the check of a symmetric file", _SIGNED, "export")
        left_out += [f"{runtime}: {_SIGNED_ALONE}" for runtime in runtimes if runtime != _SIGNED]
        runtimes = [_SIGNED]
    convolutions = [node for node in model.graph if node.op_type == "Conv"]
    packed = sum(_is_packed(node) for node in convolutions)
    agreements, others, size = kept(network, lambda path: write(model, path), output, runtimes, images)
    return Exported(output, agreements, len(convolutions), size, packed, [*left_out, *others])


def _is_packed(convolution: Any) -> bool:
    import onnx_ir as ir

    dequantize = convolution.inputs[1].producer()
    return dequantize is not None and dequantize.inputs[0].dtype == ir.DataType.INT4
