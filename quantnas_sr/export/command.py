"""``quantnas export``: writes a trained network as a file of integers, and keeps it only if it passes its check."""

import argparse
import importlib.util
import json
import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from torch import nn

from quantnas_sr.checkpoints import scale_of
from quantnas_sr.cost import count
from quantnas_sr.cost.dry_run import in_one_line, name_of
from quantnas_sr.cost.quantized import check_quantized
from quantnas_sr.deploy.onnx_format import METADATA_PREFIX
from quantnas_sr.deploy.overflow import IN_FLOAT
from quantnas_sr.deploy.packages import LITERT_RUNTIMES, RUNTIMES_OF, usable_runtimes
from quantnas_sr.deploy.receptive_field import halo
from quantnas_sr.deploy.sessions import exact_runtimes
from quantnas_sr.errors import CheckError, DataError, MissingExtraError, NetworkError, OptionError, QuantNASError
from quantnas_sr.export.choices import WEIGHTS_FORMATS
from quantnas_sr.export.litert.byte_network import LOWEST_WEIGHT, ByteNetwork, chain, check_plain
from quantnas_sr.export.litert.options import check_for_litert
from quantnas_sr.export.modules import exportable
from quantnas_sr.export.onnx_graph.adaptive_pooling import Kernel, kernels_of, multiple_of_export, plain_pooling
from quantnas_sr.export.onnx_graph.refusals import check_runs, written_or_blamed
from quantnas_sr.export.options import ExportOptions, check_path
from quantnas_sr.export.preparation import load_for_export, loss_of_symmetry, sized
from quantnas_sr.export.rewrites.byte_images import ByteImages
from quantnas_sr.export.sample_images import arrays
from quantnas_sr.images.units import from_unit, to_unit
from quantnas_sr.quantization import FULL_PRECISION
from quantnas_sr.search_space import DerivedNetwork
from quantnas_sr.search_space.skeletons.adq import is_dynamic
from quantnas_sr.system.files import written_aside
from quantnas_sr.values.arguments import check_word
from quantnas_sr.version import __version__

if TYPE_CHECKING:
    import onnx_ir as ir

#: The runtime that checks symmetric files, and why the other one does not: OpenVINO (2026.4) changes signed integers
#: where they are asked for as outputs too.
_SIGNED, _SIGNED_ALONE = "onnxruntime", "its signed integers cannot be looked at"
#: The feature that needs runtimes, for error messages.
_CHECK = "the check of an exported file"


class Exported(NamedTuple):
    """A file that was written and checked.

    Attributes:
        path: of the file.
        agreements: how the images of each runtime agree with PyTorch's.
        convolutions: in the file.
        bytes: of the file.
        packed: convolutions whose weights are packed, two in a byte.
        left_out: one line for each installed runtime that could not check the file.
        quantized_share: share of the multiply-adds that are computed with less than 32 bits, 0 to 1.
        limited: weights of a ``.tflite`` that were raised by 1, to the lowest one that it may have.
        lost: what a symmetric file loses to the network as trained, in words; None if nothing.
    """

    path: Path
    agreements: List[Any]
    convolutions: int
    bytes: int
    packed: int = 0
    left_out: Sequence[str] = ()
    quantized_share: float = 0.0
    limited: int = 0
    lost: Optional[str] = None


def require_export() -> None:
    """Check that everything that export needs is installed.

    Raises:
        MissingExtraError: something is missing or too old.
    """
    for package in ("onnx", "onnxscript", "onnx_ir"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError("export", package, "export")
    usable_runtimes(_CHECK)
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
    with plain_pooling(kernels):
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
        check_for_litert(options)
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
    metadata = _metadata(network, options, multiple, sorted({layer.bits for layer in cost.layers}))

    def write(one_image: bool) -> Exported:
        from quantnas_sr.export.onnx_graph.opset import set_opset

        how = {"one_image": one_image, "kernels": kernels, "symmetric": options.symmetric, "size": options.size}
        model = build_model(network, options.quantized, options.weights_format, **how)
        model.producer_name, model.producer_version = "quantnas_sr", __version__
        model.metadata_props.update({METADATA_PREFIX + key: value for key, value in metadata.items()})
        set_opset(model, options.opset)
        return _checked(network, model, Path(output), crops, options.symmetric)

    share = cost.quantized_share if options.quantized else 0.0
    if suffix == ".tflite":
        return _checked_tflite(network, Path(output), crops, metadata)._replace(quantized_share=share)
    lost = loss_of_symmetry(network, weights, options, crops) if options.symmetric else None
    return written_or_blamed(network, write)._replace(quantized_share=share, lost=lost)


def _agreements(
    network: nn.Module, aside: Path, runtimes: Sequence[str], images: Sequence[np.ndarray]
) -> Tuple[List[Any], List[str]]:
    """How the runtimes that can check the file agree with PyTorch, and one line for each of the others."""
    from quantnas_sr.export.check import check

    try:
        exact = exact_runtimes(aside, runtimes)
        others = [f"{runtime}: {IN_FLOAT}" for runtime in runtimes if runtime not in exact]
        return check(network, aside, exact, images), others
    except DataError as error:
        raise CheckError(str(error).replace(f"{aside.parent}{os.sep}", "")) from None
    except (QuantNASError, OSError):
        raise
    except Exception as error:
        line = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise CheckError(f"{aside.name}: a runtime cannot run it ({line[0].strip()})") from error


def _metadata(network: nn.Module, options: ExportOptions, multiple: int, widths: Sequence[int]) -> Dict[str, str]:
    scale = scale_of(network)
    reach = halo(network, scale)
    return {
        "version": __version__,
        "scale": str(scale),
        "multiple": str(multiple),
        "halo": "" if reach is None else str(reach),
        "bits": json.dumps(list(widths) if options.quantized else [FULL_PRECISION]),
        "genotype": _genotype(network),
        "adq": options.adq if is_dynamic(network) or options.adq == "static" else "",
        "outputs": options.outputs if options.quantized else "",
        "io": options.io,
        "size": options.static or "",
        "symmetric": "yes" if options.symmetric else "",
        "command": options.command,
    }


def _checked(network: nn.Module, model: Any, output: Path, images: Sequence[np.ndarray], symmetric: bool) -> Exported:
    from quantnas_sr.export.onnx_graph.graph import write

    runtimes, left_out = usable_runtimes(_CHECK)
    if symmetric:
        if _SIGNED not in runtimes:
            raise MissingExtraError("the check of a symmetric file", _SIGNED, "export")
        left_out += [f"{runtime}: {_SIGNED_ALONE}" for runtime in runtimes if runtime != _SIGNED]
        runtimes = [_SIGNED]
    convolutions = [node for node in model.graph if node.op_type == "Conv"]
    packed = sum(_is_packed(node) for node in convolutions)
    agreements, others, size = _kept(network, lambda path: write(model, path), output, runtimes, images)
    return Exported(output, agreements, len(convolutions), size, packed, [*left_out, *others])


def _checked_tflite(
    network: nn.Module, output: Path, images: Sequence[np.ndarray], metadata: Dict[str, str]
) -> Exported:
    from quantnas_sr.export.litert.graph import build

    scale, layers = scale_of(network), list(chain(network))
    if layers[0][1].quantize:
        network, metadata = ByteNetwork(network), {**metadata, "outputs": "int8", "io": "uint8"}
    content, runtimes = build(network, scale, metadata), LITERT_RUNTIMES
    pixels = [to_unit(from_unit(image, np.uint8)) for image in images]
    agreements, others, size = _kept(network, lambda path: path.write_bytes(content), output, runtimes, pixels)
    return Exported(output, agreements, len(layers), size, 0, others, limited=getattr(network, "limited", 0))


def _kept(
    network: nn.Module,
    write: Callable[[Path], Any],
    output: Path,
    runtimes: Sequence[str],
    images: Sequence[np.ndarray],
) -> Tuple[List[Any], List[str], int]:
    """Write a file and keep it if it passes its check; as of `_agreements`, and its size."""
    try:
        with written_aside(output) as aside:
            write(aside)
            agreements, others = _agreements(network, aside, runtimes, images)
            return agreements, others, aside.stat().st_size
    except OSError as error:
        raise DataError(f"{output}: cannot be written ({error.strerror})") from None


def _is_packed(convolution: Any) -> bool:
    import onnx_ir as ir

    dequantize = convolution.inputs[1].producer()
    return dequantize is not None and dequantize.inputs[0].dtype == ir.DataType.INT4


def _genotype(network: nn.Module) -> str:
    network = network.network if isinstance(network, ByteImages) else network
    return json.dumps(network.genotype.to_dict()) if isinstance(network, DerivedNetwork) else ""


def run(args: argparse.Namespace) -> None:
    """``quantnas export``.

    Raises:
        QuantNASError: as of `export`.
    """
    options = ExportOptions(
        adq=args.adq,
        calibration=args.calibration,
        weights_format=args.weights_format,
        quantized=not args.float,
        param_key=args.param_key,
        images=args.images,
        command=shlex.join(["quantnas", *sys.argv[1:]]),
        outputs=args.outputs,
        io=args.io,
        static=args.static,
        symmetric=args.symmetric,
        opset=args.opset,
    )
    written = export(args.weights, args.output, options)
    if options.outputs == "int8" and not options.calibration:
        print("the ranges of outputs were measured on synthetic images; `--calibration DIR` measures them on yours")
    if options.weights_format == "int4":
        print(f"int4: {_packed(written)}")
    if written.limited:
        print(f"{written.limited} weights of {LOWEST_WEIGHT - 1} became {LOWEST_WEIGHT}, the lowest that TFLite allows")
    if written.lost:
        print(written.lost)
    for line in written.left_out:
        print(f"not checked: {line}")
    for agreement in written.agreements:
        print(agreement)
    print(f"quantized: {100 * written.quantized_share:.1f} % of the multiply-adds")
    print(f"wrote {written.path}: {written.convolutions} convolutions, {written.bytes / 1e3:.1f} kB")


def _packed(written: Exported) -> str:
    if not written.packed:
        return "nothing is packed, for no convolution has weights of 4 bits or fewer"
    return f"the weights of {written.packed} of {written.convolutions} convolutions are packed"
