"""``quantnas quantize``: a trained network in integers, calibrated on images, exported, checked and compared."""

import argparse
import shlex
import statistics
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from quantnas_sr.archs.quantized_arch import QuantizedArch
from quantnas_sr.benchmark.timing import taking_turns
from quantnas_sr.checkpoints import scale_of
from quantnas_sr.conversion.finetuning import finetuning_options, train
from quantnas_sr.conversion.quality import Pair, Quality, outputs, pairs, quality
from quantnas_sr.conversion.recognition import Recognized, arch_of_words, import_file, recognize
from quantnas_sr.conversion.sensitivity import measure
from quantnas_sr.cost import NetworkCost, count
from quantnas_sr.cost.dry_run import in_one_line, name_of, output_shape
from quantnas_sr.cost.quantized import check_quantized
from quantnas_sr.deploy.packages import usable_runtimes
from quantnas_sr.deploy.runtimes import open_network
from quantnas_sr.errors import DataError, NetworkError, OptionError
from quantnas_sr.export.exporting import export
from quantnas_sr.export.kept import Exported
from quantnas_sr.export.onnx_graph.onnx_file import require_export
from quantnas_sr.export.sample_images import evenly_spaced
from quantnas_sr.pth import read_state
from quantnas_sr.quantization import FULL_PRECISION, calibrate_on, compensate
from quantnas_sr.system.files import written_aside

#: Images that quantization steps are set on, and images that the networks are compared on.
CALIBRATED, COMPARED = 32, 16
#: Side of the middle of an image that steps are set on, and of the one that weights are fitted to.
CROP, FITTED = 128, 64
#: Bit widths that layers of mixed precision may have beside ``--bits``, and images that their losses are measured on.
MIXED, MEASURED = (4, 5, 6), 8
#: Runs of each network in each round of the timing.
_TURNS = (2, 3, 3)

#: Of the table: float, PyTorch or a runtime, and what was measured.
Row = Tuple[str, Quality]


class Times(NamedTuple):
    """Median milliseconds of the float baseline and of the integer network in a runtime."""

    runtime: str
    baseline: float
    integer: float


def run(args: argparse.Namespace) -> None:
    """``quantnas quantize``.

    Raises:
        QuantNASError: something that was given cannot be used, or a runtime computes something else.
    """
    require_export()
    output = Path(args.output)
    if output.suffix != ".onnx":
        raise OptionError(f"--output: {str(output)!r} does not end in .onnx")
    checkpoint = output.with_suffix(".pth")
    if checkpoint.exists() and checkpoint.samefile(args.model):
        raise OptionError(f"--output: {checkpoint}, which comes beside {output.name}, is the model itself")
    _check_mixed(args)
    if args.import_file:
        import_file(args.import_file)
    images = pairs(Path(args.images), Path(args.gt) if args.gt else None, CALIBRATED)
    found = recognize(Path(args.model), arch_of_words(args.arch) if args.arch else None, args.param_key)
    print(f"{args.model}: {found.name}")
    network = uncalibrated(found, args.bits, args.bits_by_layer, args.skip)
    baseline = float_network(found)
    gained: List[str] = []
    with tempfile.TemporaryDirectory() as folder, tqdm(total=5, disable=None, leave=False) as bar:
        bar.set_postfix_str("export of the float network")
        check_takes(baseline, images)
        float_file = float_export(baseline, Path(folder, output.name))
        compared = evenly_spaced(images, COMPARED)
        target = outputs(baseline, compared)
        bar.update()
        bar.set_postfix_str("calibration")
        if args.budget or args.loss:
            network = uncalibrated(found, args.bits, mixed_widths(found, baseline, images, args), args.skip)
        network = compensated(calibrated(network, images), baseline, images)
        _save(network, checkpoint)
        bar.update()
        if args.finetune:
            bar.set_postfix_str("fine-tuning")
            before = quality(outputs(network, compared), target, compared)
            finetune(network, baseline, checkpoint, Path(args.images), args.finetune, args.import_file)
            after = quality(outputs(network, compared), target, compared)
            gained = [keep_nearer(network, checkpoint, args.finetune, before, after)]
            _save(network, checkpoint)
        bar.set_postfix_str("export")
        command = shlex.join(["quantnas", *sys.argv[1:]])
        written = export(checkpoint, output, outputs=args.outputs, io=args.io, command=command)
        bar.update()
        bar.set_postfix_str("comparison")
        rows = list(_compared(network, output, compared, target))
        bar.update()
        bar.set_postfix_str("timing")
        times = list(_timed(float_file, output, args.size, args.threads)) if args.size else []
        bar.update()
    cost = cost_of(network)
    print("\n".join([*table(rows, times, _widths(cost), len(compared)), *gained, *remarks(network, cost, written)]))
    print(f"wrote {output} ({written.bytes / 1e3:.1f} kB) and {checkpoint}, which a training can start from")


def uncalibrated(
    found: Recognized,
    bits: int = 8,
    bits_by_layer: Union[str, Path, Mapping[str, int], None] = None,
    skip: Optional[Sequence[str]] = None,
) -> QuantizedArch:
    """The network with its convolutions quantized, its activations not calibrated.

    Args:
        found: of `recognize`.
        bits, bits_by_layer, skip: as of `QuantizedArch`.

    Raises:
        OptionError: the bit widths cannot be used.
        NetworkError: none of its multiply-adds is quantized, or the network does not run.
    """
    network = QuantizedArch(found.arch, bits, bits_by_layer, skip)
    if not any(network.quantized_layers()):
        raise OptionError("--skip: leaves no convolution to quantize")
    network.load_state_dict(found.state)
    check_quantized(network, cost_of(network))
    return network


def quantize(
    found: Recognized,
    images: Sequence[Pair],
    bits: int = 8,
    bits_by_layer: Union[str, Path, Mapping[str, int], None] = None,
    skip: Optional[Sequence[str]] = None,
) -> QuantizedArch:
    """The network of `uncalibrated`, calibrated and compensated on the middle of images; in evaluation mode.

    Args:
        images: low-resolution images.
        found, bits, bits_by_layer, skip: as of `uncalibrated`.

    Raises:
        QuantNASError: as of `uncalibrated`.
    """
    network = calibrated(uncalibrated(found, bits, bits_by_layer, skip), images)
    return compensated(network, float_network(found), images)


def calibrated(network: QuantizedArch, images: Sequence[Pair]) -> QuantizedArch:
    """The network itself, calibrated on the middle of images; in evaluation mode."""
    calibrate_on(network, *(_middle(pair.lq, CROP) for pair in images))
    return network.eval()


def compensated(network: QuantizedArch, baseline: nn.Module, images: Sequence[Pair]) -> QuantizedArch:
    """The network itself, its weights fitted to what its baseline makes of the middle of images, see `compensate`.

    Of images smaller than `FITTED`, those of the most frequent size are used.
    """
    parts = [_middle(pair.lq, FITTED) for pair in images]
    size, _ = Counter(part.shape for part in parts).most_common(1)[0]
    compensate(network, baseline, torch.cat([part for part in parts if part.shape == size]))
    return network


def cost_of(network: nn.Module) -> NetworkCost:
    """What it costs for an input of 32x32, or of the first larger size that it takes.

    Raises:
        NetworkError: it does not run.
    """
    try:
        return count(network)
    except NetworkError:
        return count(network, output_shape(network)[0][2:])


def _check_mixed(args: argparse.Namespace) -> None:
    """Raise an OptionError for options of mixed precision that exclude each other."""
    if args.budget and args.loss:
        raise OptionError("--budget and --loss: only one of them can be a limit")
    if (args.budget or args.loss) and args.bits_by_layer:
        raise OptionError("--bits-by-layer: says the widths that --budget or --loss would choose")
    if args.loss and not args.gt:
        raise OptionError("--loss: is of the PSNR to the ground truth, which --gt names")


def mixed_widths(
    found: Recognized, baseline: nn.Module, images: Sequence[Pair], args: argparse.Namespace
) -> Dict[str, int]:
    """The bit width of every layer, within the ``--budget`` or the ``--loss``, of those up to ``--bits``.

    Raises:
        OptionError: the limit is below what is possible.
    """
    widths = sorted({width for width in MIXED if width < args.bits} | {args.bits})
    networks = {width: calibrated(uncalibrated(found, width, None, args.skip), images) for width in widths}
    sensitivity = measure(networks, baseline, evenly_spaced(images, MEASURED))
    return sensitivity.within_budget(args.budget) if args.budget else sensitivity.within_loss(args.loss)


def float_network(found: Recognized) -> nn.Module:
    """The network in full precision, in evaluation mode."""
    network = QuantizedArch(found.arch, FULL_PRECISION)
    network.load_state_dict(found.state)
    return network.eval()


def check_takes(baseline: nn.Module, images: Sequence[Pair]) -> None:
    """Run the network for the smallest image.

    Raises:
        NetworkError: it does not run for an image of this size; one line.
    """
    smallest = min((_middle(pair.lq, CROP) for pair in images), key=lambda image: min(image.shape[2:]))
    height, width = smallest.shape[2:]
    try:
        with torch.no_grad():
            baseline(smallest)
    except Exception as error:
        size, why = f"{width}x{height} pixels", in_one_line(error)
        raise NetworkError(f"{name_of(baseline)} does not run for an image of {size}, the smallest: {why}") from error


def float_export(baseline: nn.Module, path: Path) -> Path:
    """Write the network in full precision to an ``.onnx``: whether it can be exported, before anything is computed.

    Args:
        baseline: of `float_network`.
        path: of the file, which is in a folder of its own; a ``.pth`` comes beside it.

    Raises:
        NetworkError: it cannot be traced or converted; one line, where and why.
        CheckError: a runtime cannot run it.
    """
    weights = path.with_suffix(".pth")
    _save(baseline, weights)
    return export(weights, path, quantized=False).path


def finetune(
    network: QuantizedArch,
    baseline: nn.Module,
    start: Path,
    images: Path,
    iterations: int,
    import_file: Optional[str] = None,
) -> QuantizedArch:
    """Train a quantized network itself on images, to make what its float baseline makes of them.

    The options of the training are beside ``start``, the results in ``experiments/``.

    Args:
        network: of `quantize`.
        baseline: of `float_network`.
        start: the checkpoint of ``network``.
        images: folder of low-resolution images.
        iterations: of the training.
        import_file: see `recognition.import_file`.

    Raises:
        QuantNASError: the images cannot be trained on.
    """
    name, teacher = start.stem, start.with_name(f"{start.stem}_float.pth")
    _save(baseline, teacher)
    options = finetuning_options(
        f"quantize_{name}",
        network.arguments,
        {"calibrated": start, "float": teacher},
        images,
        scale_of(network),
        iterations,
    )
    network.load_state_dict(read_state(train(options, start.with_name(f"{name}_finetune.yml"), import_file), None))
    return network.eval()


def keep_nearer(network: QuantizedArch, start: Path, iterations: int, before: Quality, after: Quality) -> str:
    """Take back the fine-tuning of the network itself where it was nearer to its float baseline before.

    Args:
        network: fine-tuned from the checkpoint ``start``.
        iterations: of the training.
        before, after: how near it was, and is.

    Returns:
        A line that says which is kept, and how near both are.
    """
    was, has = before.to_float or 0.0, after.to_float or 0.0
    if has > was:
        return f"fine-tuned: {has:.2f} dB to float, {was:.2f} dB before"
    network.load_state_dict(read_state(start, None))
    return (
        f"fine-tuned for {iterations} iterations it is farther from float, {has:.2f} dB, than calibrated, "
        f"{was:.2f} dB: the calibrated network is kept. More iterations help"
    )


def _middle(image: torch.Tensor, crop: int) -> torch.Tensor:
    top, left = (max(0, side - crop) // 2 for side in image.shape[2:])
    return image[..., top : top + crop, left : left + crop]


def _save(network: nn.Module, path: Path) -> None:
    try:
        with written_aside(path) as aside:
            torch.save({"params": network.state_dict()}, aside)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error})") from None


def _compared(network: nn.Module, path: Path, images: Sequence[Pair], target: Sequence[np.ndarray]) -> Iterator[Row]:
    """The network in full precision, quantized in PyTorch, and the exported file in every usable runtime.

    ``target``: what the first makes of the images.
    """
    yield "float", quality(target, None, images)
    yield "PyTorch", quality(outputs(network, images), target, images)
    for runtime in usable_runtimes("the comparison")[0]:
        opened = open_network(path, runtime)
        made = outputs(lambda x, run=opened: torch.from_numpy(run(x.numpy())), images)
        yield runtime, quality(made, target, images)


def _timed(baseline: Path, integer: Path, size: Tuple[int, int], threads: Optional[int]) -> Iterator[Times]:
    """Both files in every usable runtime; ``size`` is height and width."""
    for runtime in usable_runtimes("the timing")[0]:
        turns = taking_turns([baseline, integer], runtime, threads or torch.get_num_threads(), size[::-1], _TURNS)
        yield Times(runtime, *(1e3 * statistics.median(turn.seconds) for turn in turns))


def table(rows: Sequence[Row], times: Sequence[Times], widths: str, images: int) -> Iterator[str]:
    """Quality and speed, as lines of Markdown."""
    yield ""
    yield f"| {images} images | PSNR to float | PSNR-Y to the ground truth | ms | float baseline, ms | times faster |"
    yield "|---|---|---|---|---|---|"
    speeds = {
        one.runtime: f"{one.integer:.1f} | {one.baseline:.1f} | {one.baseline / one.integer:.2f}" for one in times
    }
    for name, found in rows:
        what = name if name == "float" else f"{widths}, {name}"
        values = [_db(found.to_float, 2), _db(found.luma, 3), speeds.get(name, "| |")]
        yield f"| {what} | {' | '.join(values)} |"
    yield ""


def _db(value: Optional[float], digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f} dB"


def remarks(network: QuantizedArch, cost: NetworkCost, written: Exported) -> Iterator[str]:
    """How the exported file agrees with PyTorch, and what is left in float."""
    for agreement in written.agreements:
        yield str(agreement)
    for line in written.left_out:
        yield f"not checked: {line}"
    widths = Counter(layer.bits for _, layer in network.quantized_layers())
    layers = ", ".join(f"{widths[width]} of {width} bits" for width in sorted(widths))
    yield f"quantized: {100 * cost.quantized_share:.1f} % of the multiply-adds; layers: {layers}"
    bitops, (height, width) = cost.bitops, cost.size
    yield f"cost: {bitops / 1e9:.3f} GBitOps ({bitops / 2**30:.3f} * 2^30) for an input of {width}x{height}"
    for name, share, why in in_float(network, cost):
        yield f"in float: {name}, {100 * share:.1f} % ({why})"


def _widths(cost: NetworkCost) -> str:
    widths = sorted({layer.bits for layer in cost.layers if layer.bits < FULL_PRECISION})
    return f"{'/'.join(map(str, widths))} bits"


def in_float(network: nn.Module, cost: NetworkCost) -> List[Tuple[str, float, str]]:
    """What computes in float: name, share of the multiply-adds, and why; the largest first."""
    found: Dict[str, Any] = {}
    for layer in cost.layers:
        if layer.bits == FULL_PRECISION:
            found.setdefault(layer.name, 0)
            found[layer.name] += layer.macs
    names = sorted(found, key=found.get, reverse=True)
    return [
        (name.removeprefix("network."), found[name] / cost.macs, _why(network.get_submodule(name))) for name in names
    ]


def _why(module: nn.Module) -> str:
    if type(module) is nn.Conv2d:
        return "skipped"
    return f"{type(module).__name__}: only nn.Conv2d is quantized"
