"""``quantnas export``: a trained network as an integer ONNX file that is checked before it is announced."""

import argparse

from quantnas_sr.export.choices import ADQ_FORMS, OUTPUTS, WEIGHTS_FORMATS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("weights", help="the .pth of a trained network")
    parser.add_argument("output", help="the .onnx file to write")
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
    parser.add_argument(
        "--outputs", choices=OUTPUTS, default="float", help="int8: convolutions round their outputs to 8 bits (float)"
    )
    parser.add_argument("--float", action="store_true", help="export the float baseline, without any quantizer")
    parser.add_argument(
        "--param-key",
        choices=("params", "params_ema"),
        help="which weights of the checkpoint (params_ema, the moving average, where there is one)",
    )


def run(args: argparse.Namespace) -> None:
    """Write the file.

    Raises:
        QuantNASError: something that was given cannot be used, or a runtime computes something else.
    """
    from quantnas_sr.export.command import run as export

    export(args)
