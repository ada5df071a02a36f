"""``quantnas export``: a trained network as an integer ONNX or LiteRT file, checked before it is announced."""

import argparse

from quantnas_sr.commands.arguments import add_outputs, add_param_key
from quantnas_sr.export.choices import ADQ_FORMS, OPSETS, WEIGHTS_FORMATS


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
    parser.add_argument(
        "--static", metavar="SIZE", help="the only size of image that the file takes, such as 320x180 (all sizes)"
    )
    parser.add_argument(
        "--symmetric", action="store_true", help="signed activations with the zero point 0, as TensorRT wants them"
    )
    parser.add_argument(
        "--opset",
        type=int,
        choices=OPSETS,
        default=OPSETS[-1],
        metavar="N",
        help=f"version of the ONNX operators, {OPSETS[0]} to {OPSETS[-1]}, for older runtimes ({OPSETS[-1]})",
    )
    parser.add_argument("--float", action="store_true", help="export the float baseline, without any quantizer")
    add_param_key(parser)


def run(args: argparse.Namespace) -> None:
    """Write the file.

    Raises:
        QuantNASError: something that was given cannot be used, or a runtime computes something else.
    """
    from quantnas_sr.export.command import run as export

    export(args)
