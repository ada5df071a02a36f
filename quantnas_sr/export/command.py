"""``quantnas export``: a trained network as an integer ONNX file that is checked before it is announced."""

import argparse
import importlib.util
import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any, List, NamedTuple, Optional, Sequence

import numpy as np
import torch
from torch import nn

from quantnas_sr.checkpoints import load_network, scale_of
from quantnas_sr.cost import count
from quantnas_sr.cost.dry_run import in_one_line, name_of
from quantnas_sr.cost.quantized import check_quantized
from quantnas_sr.deploy.receptive_field import halo
from quantnas_sr.errors import CheckError, DataError, MissingExtraError, NetworkError, OptionError, QuantNASError
from quantnas_sr.export.modules import exportable
from quantnas_sr.export.refusals import check_runs, written_or_blamed
from quantnas_sr.export.rounded_outputs import round_outputs
from quantnas_sr.export.sample_images import arrays, tensors
from quantnas_sr.export.static_adq import calibrated, make_static, statistics
from quantnas_sr.files import written_aside
from quantnas_sr.quantization import set_quantize
from quantnas_sr.search_space import DerivedNetwork
from quantnas_sr.search_space.skeletons.adq import is_dynamic
from quantnas_sr.version import __version__

ADQ_FORMS = ("dynamic", "static")
WEIGHTS_FORMATS = ("int8", "int4")
RUNTIMES = ("openvino", "onnxruntime")
OUTPUTS = ("float", "int8")
#: Images that calibration looks at: of a folder, and synthetic ones.
_CALIBRATED, SYNTHETIC = 100, 8


class Exported(NamedTuple):
    """What was written, and how it agrees with PyTorch."""

    path: Path
    agreements: List[Any]
    convolutions: int
    bytes: int
    quantized_share: float = 0.0


def installed_runtimes() -> List[str]:
    """Of `RUNTIMES`, those that are there."""
    return [name for name in RUNTIMES if importlib.util.find_spec(name)]


def require_export() -> None:
    """Check that all that export builds on is installed.

    Raises:
        MissingExtraError: it is not.
    """
    for package in ("onnx", "onnxscript", "onnx_ir"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError("export", package, "export")
    if not installed_runtimes():
        raise MissingExtraError("the check of an exported file", "openvino or onnxruntime", "export")
    if not hasattr(torch.onnx, "ops"):
        raise MissingExtraError("export", "torch 2.8 or newer", "export")


def build_model(
    network: nn.Module,
    quantized: bool = True,
    weights_format: str = "int8",
    folds: bool = True,
    one_image: bool = False,
) -> Any:
    """The graph of a network, as an `onnx_ir.Model`.

    Args:
        network: in evaluation mode, its activations calibrated.
        quantized: False for the float baseline.
        weights_format: ``int8``, or ``int4`` for packed weights where they have at most 4 bits.
        folds: compute what follows a pixel shuffle before it, see `space_to_depth`.
        one_image: trace it for a batch of 1, see `graph.trace`.

    Raises:
        NetworkError: it cannot be traced, or its graph cannot be written in integers; one line that says why.
    """
    from quantnas_sr.export.graph import tidy, trace
    from quantnas_sr.export.lowering import Lowering, concatenate_integers
    from quantnas_sr.export.space_to_depth import fold

    model = trace(exportable(network, quantized), one_image)
    try:
        tidy(model)
        if folds:
            fold(model.graph)
        concatenate_integers(model.graph)
        tidy(model)
        Lowering(model, weights_format).run()
        tidy(model)
    except QuantNASError:
        raise
    except Exception as error:
        what = f"{type(error).__name__}: {in_one_line(error)}"
        raise NetworkError(f"{name_of(network)}: its graph cannot be written in integers ({what})") from error
    return model


def load_for_export(
    weights: str,
    adq: str = "dynamic",
    calibration: Optional[str] = None,
    quantized: bool = True,
    param_key: Optional[str] = None,
    outputs: str = "float",
) -> nn.Module:
    """The network whose images the exported file must make, in evaluation mode; arguments and errors as of `export`."""
    network = load_network(weights, param_key)
    if not quantized:
        set_quantize(network, False)
    if adq == "static":
        if not is_dynamic(network):
            raise OptionError(f"adq: {weights} has no ADQ or AdaDM whose deviation could be constant")
        stds = calibrated(network, tensors(calibration, None, _CALIBRATED)) if calibration else statistics(network)
        network = make_static(network, stds)
    if outputs == "int8":
        network = round_outputs(network, tensors(calibration, None, _CALIBRATED if calibration else SYNTHETIC))
    return network


def export(
    weights: str,
    output: str,
    adq: str = "dynamic",
    calibration: Optional[str] = None,
    weights_format: str = "int8",
    quantized: bool = True,
    param_key: Optional[str] = None,
    images: Optional[str] = None,
    command: str = "",
    outputs: str = "float",
) -> Exported:
    """Write a trained network as ONNX, after every installed runtime has computed PyTorch's images with it.

    Args:
        weights: the ``.pth`` of a derived network or of a `QuantizedArch`.
        output: the ``.onnx``; it is replaced when the new file has passed.
        adq: ``static`` puts a constant in the place of the standard deviation of each block.
        calibration: folder of low-resolution images that ``static`` and ``outputs`` are measured on; without it the
            running statistics of the training say the first, and synthetic images the second.
        weights_format: ``int8``, or ``int4`` for packed weights where they have at most 4 bits.
        quantized: False for the float baseline: the weights before rounding, no quantizer.
        param_key: ``params`` or ``params_ema``; by default the moving average where there is one.
        images: folder of low-resolution images to check with; without it, and without ``calibration``, synthetic ones.
        command: for the metadata.
        outputs: ``int8`` rounds those outputs of convolutions to 8 bits that training left real.

    Raises:
        QuantNASError: something of this cannot be used; or a runtime computes something else, and then no file is left.
    """
    require_export()
    if Path(output).suffix != ".onnx":
        raise OptionError(f"output: {output!r} does not end in .onnx")
    if os.path.isdir(output):
        raise OptionError(f"output: {output} is a folder")
    if outputs == "int8" and not quantized:
        raise OptionError("outputs: int8 is not for the float baseline")
    if calibration and adq != "static" and outputs != "int8":
        raise OptionError("calibration: is for `--adq static` and `--outputs int8` only")
    crops = list(arrays(images or calibration))
    network = load_for_export(weights, adq, calibration, quantized, param_key, outputs)
    check_runs(network, torch.from_numpy(crops[0]))
    cost = count(network, crops[0].shape[2:])
    if quantized:
        check_quantized(network, cost)
    scale = scale_of(network)
    reach = halo(network, scale)
    metadata = {
        "quantnas_sr.version": __version__,
        "quantnas_sr.scale": str(scale),
        "quantnas_sr.halo": "" if reach is None else str(reach),
        "quantnas_sr.bits": json.dumps(sorted({layer.bits for layer in cost.layers}) if quantized else [32]),
        "quantnas_sr.genotype": _genotype(network),
        "quantnas_sr.adq": adq if is_dynamic(network) or adq == "static" else "",
        "quantnas_sr.outputs": outputs if quantized else "",
        "quantnas_sr.command": command,
    }

    def write(one_image: bool) -> Exported:
        model = build_model(network, quantized, weights_format, one_image=one_image)
        model.producer_name, model.producer_version = "quantnas_sr", __version__
        model.metadata_props.update(metadata)
        return _checked(network, model, Path(output), crops)

    return written_or_blamed(network, write)._replace(quantized_share=cost.quantized_share if quantized else 0.0)


def _agreements(network: nn.Module, aside: Path, images: Sequence[np.ndarray]) -> List[Any]:
    from quantnas_sr.export.check import check

    try:
        return check(network, aside, installed_runtimes(), images)
    except (QuantNASError, OSError) as error:
        raise (CheckError(str(error)) if type(error) is DataError else error) from None
    except Exception as error:
        line = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise CheckError(f"{aside.name}: a runtime cannot run it ({line[0].strip()})") from error


def _checked(network: nn.Module, model: Any, output: Path, images: Sequence[np.ndarray]) -> Exported:
    import onnx_ir as ir

    try:
        with written_aside(output) as aside:
            ir.save(model, aside)
            agreements = _agreements(network, aside, images)
            size = aside.stat().st_size
    except OSError as error:
        raise DataError(f"{output}: cannot be written ({error.strerror})") from None
    convolutions = sum(node.op_type == "Conv" for node in model.graph)
    return Exported(output, agreements, convolutions, size)


def _genotype(network: nn.Module) -> str:
    return json.dumps(network.genotype.to_dict()) if isinstance(network, DerivedNetwork) else ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``quantnas export``."""
    parser.add_argument("weights", help="the .pth of a trained network")
    parser.add_argument("output", help="the .onnx to write")
    parser.add_argument("--adq", choices=ADQ_FORMS, default="dynamic", help="static: same pixels in tiles and video")
    parser.add_argument("--calibration", metavar="DIR", help="low-resolution images to measure on")
    parser.add_argument(
        "--images", metavar="DIR", help="low-resolution images to check with (--calibration, or made up)"
    )
    parser.add_argument(
        "--weights-format", choices=WEIGHTS_FORMATS, default="int8", help="int4 packs 2 to 4 bits (int8)"
    )
    parser.add_argument("--outputs", choices=OUTPUTS, default="float", help="int8: convolutions round what they write")
    parser.add_argument("--float", action="store_true", help="the float baseline, for comparison")
    parser.add_argument("--param-key", choices=("params", "params_ema"), help="of the checkpoint (params_ema if there)")


def run(args: argparse.Namespace) -> None:
    """``quantnas export``."""
    command = shlex.join(["quantnas", *sys.argv[1:]])
    written = export(
        args.weights,
        args.output,
        adq=args.adq,
        calibration=args.calibration,
        weights_format=args.weights_format,
        quantized=not args.float,
        param_key=args.param_key,
        images=args.images,
        command=command,
        outputs=args.outputs,
    )
    if args.outputs == "int8" and not args.calibration:
        print("ranges of outputs: of synthetic images; `--calibration DIR` measures them on yours")
    for agreement in written.agreements:
        print(agreement)
    print(f"quantized: {100 * written.quantized_share:.1f} % of the multiply-adds")
    print(f"wrote {written.path}: {written.convolutions} convolutions, {written.bytes / 1e3:.1f} kB")
