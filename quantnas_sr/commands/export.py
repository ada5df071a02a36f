"""``quantnas export``: a trained network as an integer ONNX or LiteRT file, checked before it is announced."""

import argparse

from quantnas_sr.commands.arguments import add_outputs, add_param_key
from quantnas_sr.export.choices import ADQ_FORMS, WEIGHTS_FORMATS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("weights", help="the .pth of a trained network")
    parser.add_argument("output", help="the .onnx file to write, or the .tflite of a plain network")
    parser.add_argument(
        "--adq",
        choices=ADQ_FORMS,
        default="dynamic",
        help="static: constants in place of ADQ's standard deviations, so that tiles and video frames agree (dynamic)",
    )
    parser.add_argument(
        "--calibration", metavar="DIR", help="folder of low-resolution images that constants and ranges are measured on"
    )
    parser.add_argument(
        "--images",
        metavar="DIR",
        help="folder of low-resolution images to check the file with (those of --calibration, or synthetic ones)",
    )
    parser.add_argument(
        "--weights-format",
        choices=WEIGHTS_FORMATS,
        default="int8",
        help="int4: weights of 2 to 4 bits are packed two to a byte (int8)",
    )
    add_outputs(parser)
    parser.add_argument("--float", action="store_true", help="export the float baseline, without any quantizer")
    add_param_key(parser)


def run(args: argparse.Namespace) -> None:
    """Write the file.

    Raises:
        QuantNASError: something that was given cannot be used, or a runtime computes something else.
    """
    from quantnas_sr.export.command import run as export

    export(args)
