"""``quantnas quantize``: a trained network as an integer file, without a search."""

import argparse

from quantnas_sr.commands.arguments import add_outputs, add_param_key, budget, positive, size


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("model", help="checkpoint of a network in full precision (.pth or .safetensors)")
    parser.add_argument(
        "--images", metavar="DIR", required=True, help="folder of low-resolution images to calibrate on"
    )
    parser.add_argument(
        "--output", metavar="FILE", required=True, help="the .onnx file to write; a .pth comes beside it"
    )
    parser.add_argument("--gt", metavar="DIR", help="folder of their ground truth, to measure PSNR-Y")
    parser.add_argument(
        "--arch",
        nargs="+",
        metavar="WORD",
        help="the network, where the checkpoint does not tell: an options file, or TYPE key=value ...",
    )
    parser.add_argument(
        "--import", dest="import_file", metavar="FILE", help="a Python file of yours that registers the network"
    )
    parser.add_argument("--bits", type=positive, default=8, help="bit width of weights and activations (8)")
    parser.add_argument("--bits-by-layer", metavar="FILE", help="YAML or JSON file with widths of single layers")
    parser.add_argument(
        "--skip",
        nargs="+",
        metavar="PATTERN",
        help="names of layers that stay in float, such as 'conv_first' '*.esa.*'",
    )
    parser.add_argument(
        "--budget",
        type=budget,
        metavar="GBITOPS",
        help="choose the width of every layer up to --bits: the least loss within a cost (10^9, input of 32x32)",
    )
    parser.add_argument(
        "--loss",
        type=budget,
        metavar="DB",
        help="choose the width of every layer up to --bits: the least cost that loses at most this PSNR (needs --gt)",
    )
    parser.add_argument(
        "--finetune",
        type=positive,
        metavar="N",
        help="train it for N iterations on the images, with the float network as the teacher",
    )
    add_outputs(parser)
    parser.add_argument(
        "--size",
        type=size,
        default=(180, 320),
        metavar="WIDTHxHEIGHT",
        help="size of the image that both networks are timed on (320x180)",
    )
    parser.add_argument("--no-timing", dest="size", action="store_const", const=None, help="time nothing")
    parser.add_argument("--threads", type=positive, help="CPU threads of the timing (torch's number)")
    add_param_key(parser)


def run(args: argparse.Namespace) -> None:
    """Quantize, export, check and compare.

    Raises:
        QuantNASError: something that was given cannot be used, or a runtime computes something else.
    """
    from quantnas_sr.conversion.command import run as quantize

    quantize(args)
