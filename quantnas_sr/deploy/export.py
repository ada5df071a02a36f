"""``quantnas export``: a trained network as an integer ONNX file that is checked before it is announced."""

import argparse
import importlib.util
import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any, Iterator, List, NamedTuple, Optional, Sequence

import numpy as np
import torch
from torch import nn

from quantnas_sr.cost import count
from quantnas_sr.deploy.checkpoint import load_network, scale_of
from quantnas_sr.deploy.inference import exportable
from quantnas_sr.deploy.receptive_field import halo
from quantnas_sr.deploy.static_adq import calibrated, is_dynamic, make_static, statistics
from quantnas_sr.errors import DataError, MissingExtraError, OptionError
from quantnas_sr.files import written_aside
from quantnas_sr.quantization import set_quantize
from quantnas_sr.search_space import DerivedNetwork
from quantnas_sr.version import __version__

ADQ_FORMS = ("dynamic", "static")
WEIGHTS_FORMATS = ("int8", "int4")
RUNTIMES = ("openvino", "onnxruntime")
#: Checks and calibration look at this many pixels a side, from the middle of each image, and at this many images.
_CROP, _CHECKED, _CALIBRATED = 96, 4, 100


class Exported(NamedTuple):
    """What was written, and how it agrees with PyTorch."""

    path: Path
    agreements: List[Any]
    convolutions: int
    bytes: int


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


def build_model(network: nn.Module, quantized: bool = True, weights_format: str = "int8", folds: bool = True):
    """The graph of a network, as an `onnx_ir.Model`.

    Args:
        network: in evaluation mode, its activations calibrated.
        quantized: False for the float twin.
        weights_format: ``int8``, or ``int4`` for packed weights where they have at most 4 bits.
        folds: compute what follows a pixel shuffle before it, see `folding`.
    """
    from quantnas_sr.deploy.folding import fold
    from quantnas_sr.deploy.graph import tidy, trace
    from quantnas_sr.deploy.lowering import Lowering, concatenate_integers

    model = trace(exportable(network, quantized))
    tidy(model)
    if folds:
        fold(model.graph)
    concatenate_integers(model.graph)
    tidy(model)
    Lowering(model, weights_format).run()
    tidy(model)
    return model


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
) -> Exported:
    """Write a trained network as ONNX, after every installed runtime has computed PyTorch's images with it.

    Args:
        weights: the ``.pth`` of a derived network or of a `QuantizedArch`.
        output: the ``.onnx``; it is replaced when the new file has passed.
        adq: ``static`` puts a constant in the place of the standard deviation of each block.
        calibration: folder of low-resolution images that ``static`` is measured on; without it the running statistics
            of the training say it.
        weights_format: ``int8``, or ``int4`` for packed weights where they have at most 4 bits.
        quantized: False for the float twin: the weights before rounding, no quantizer.
        param_key: ``params`` or ``params_ema``; by default the moving average where there is one.
        images: folder of low-resolution images to check with; without it, and without ``calibration``, made-up ones.
        command: for the metadata.

    Raises:
        QuantNASError: something of this cannot be used; or a runtime computes something else, and then no file is left.
    """
    require_export()
    if Path(output).suffix != ".onnx":
        raise OptionError(f"output: {output!r} does not end in .onnx")
    if os.path.isdir(output):
        raise OptionError(f"output: {output} is a folder")
    if calibration and adq != "static":
        raise OptionError("calibration: is for `--adq static` only")
    crops = list(_arrays(images or calibration))
    network = load_network(weights, param_key)
    if not quantized:
        set_quantize(network, False)
    if adq == "static":
        if not is_dynamic(network):
            raise OptionError(f"adq: {weights} has no ADQ or AdaDM whose deviation could be constant")
        stds = calibrated(network, _tensors(calibration, None, _CALIBRATED)) if calibration else statistics(network)
        network = make_static(network, stds)
    scale = scale_of(network)
    model = build_model(network, quantized, weights_format)
    model.producer_name, model.producer_version = "quantnas_sr", __version__
    reach = halo(network, scale)
    model.metadata_props.update(
        {
            "quantnas_sr.version": __version__,
            "quantnas_sr.scale": str(scale),
            "quantnas_sr.halo": "" if reach is None else str(reach),
            "quantnas_sr.bits": json.dumps(_widths(network) if quantized else [32]),
            "quantnas_sr.genotype": _genotype(network),
            "quantnas_sr.adq": adq if is_dynamic(network) or adq == "static" else "",
            "quantnas_sr.command": command,
        }
    )
    return _checked(network, model, Path(output), crops)


def _checked(network: nn.Module, model: Any, output: Path, images: Sequence[np.ndarray]) -> Exported:
    import onnx_ir as ir

    from quantnas_sr.deploy.check import check

    try:
        with written_aside(output) as aside:
            ir.save(model, aside)
            agreements = check(network, aside, installed_runtimes(), images)
            size = aside.stat().st_size
    except OSError as error:
        raise DataError(f"{output}: cannot be written ({error.strerror})") from None
    convolutions = sum(node.op_type == "Conv" for node in model.graph)
    return Exported(output, agreements, convolutions, size)


def _widths(network: nn.Module) -> List[int]:
    return sorted({layer.bits for layer in count(network).layers})


def _genotype(network: nn.Module) -> str:
    return json.dumps(network.genotype.to_dict()) if isinstance(network, DerivedNetwork) else ""


def _tensors(folder: Optional[str], crop: Optional[int], most: int) -> Iterator[torch.Tensor]:
    for array in _arrays(folder, crop, most):
        yield torch.from_numpy(array)


def _arrays(folder: Optional[str], crop: Optional[int] = _CROP, most: int = _CHECKED) -> Iterator[np.ndarray]:
    """Images as (1, 3, H, W) in 0..1, evenly out of a folder, or made up: waves of all lengths, edges, and noise."""
    if folder is None:
        yield from _made_up(most)
        return
    import cv2

    paths = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".bmp"))
    if not paths:
        raise DataError(f"{folder}: no image there. Allowed: a folder of .png, .jpg or .bmp")
    for path in paths[:: max(1, len(paths) // most)][:most]:
        image = cv2.imread(str(path))
        if image is None:
            raise DataError(f"{path}: not an image that can be read")
        if crop:
            top, left = (max(0, (side - crop) // 2) for side in image.shape[:2])
            image = image[top : top + crop, left : left + crop]
        rgb = np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1))
        yield rgb[None].astype(np.float32) / 255


def _made_up(number: int) -> Iterator[np.ndarray]:
    generator = np.random.default_rng(0)
    y, x = np.mgrid[0:_CROP, 0:_CROP] / _CROP
    for _ in range(number):
        channels = []
        for _ in range(3):
            wave = sum(np.cos(2 * np.pi * (f * x * a + f * y * b + c)) / f for f, a, b, c in _waves(generator))
            edge = generator.random() * (x * generator.normal() + y * generator.normal() > 0.2)
            channels.append(wave / 6 + edge + generator.normal(0, 0.02, x.shape))
        image = np.stack(channels)
        image = (image - image.min()) / np.ptp(image)
        yield (image * 255).round().astype(np.float32)[None] / np.float32(255)


def _waves(generator: np.random.Generator) -> Iterator[Sequence[float]]:
    for frequency in (1, 2, 4, 8, 16):
        yield frequency, generator.normal(), generator.normal(), generator.random()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``quantnas export``."""
    parser.add_argument("weights", help="the .pth of a trained network")
    parser.add_argument("output", help="the .onnx to write")
    parser.add_argument("--adq", choices=ADQ_FORMS, default="dynamic", help="static: same pixels in tiles and video")
    parser.add_argument("--calibration", metavar="DIR", help="low-resolution images that --adq static is measured on")
    parser.add_argument(
        "--images", metavar="DIR", help="low-resolution images to check with (--calibration, or made up)"
    )
    parser.add_argument(
        "--weights-format", choices=WEIGHTS_FORMATS, default="int8", help="int4 packs 2 to 4 bits (int8)"
    )
    parser.add_argument("--float", action="store_true", help="the float twin, for comparison")
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
    )
    for agreement in written.agreements:
        print(agreement)
    print(f"wrote {written.path}: {written.convolutions} convolutions, {written.bytes / 1e3:.1f} kB")
