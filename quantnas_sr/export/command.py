"""``quantnas export``: its arguments, and what it says about the file."""

import argparse
import shlex
import sys

from quantnas_sr.export.exporting import export
from quantnas_sr.export.kept import Exported
from quantnas_sr.export.litert.byte_network import LOWEST_WEIGHT
from quantnas_sr.export.options import ExportOptions


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
