"""``quantnas upscale``: images, folders and videos through a trained or exported network."""

import argparse
from pathlib import Path

from quantnas_sr.commands.arguments import positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("network", help="an .onnx file of `quantnas export`, or the .pth of a trained network")
    parser.add_argument("input", type=Path, help="an image, a video, or a folder of images and its sub-folders")
    parser.add_argument("output", type=Path, help="the file or folder to write")
    parser.add_argument("--runtime", default="auto", help="auto, openvino, onnxruntime or torch (auto)")
    parser.add_argument("--threads", type=positive, help="CPU threads (the runtime's default)")
    parser.add_argument(
        "--tile", type=positive, metavar="N", help="longest side of a tile in pixels (the largest that --memory allows)"
    )
    parser.add_argument("--memory", default="2G", metavar="SIZE", help="memory limit of the whole process (2G)")
    parser.add_argument(
        "--format", help="format of the files in a folder: png, tif, jpg, webp or bmp (that of the input, or png)"
    )
    parser.add_argument("--overwrite", action="store_true", help="upscale images again that the output folder has")


def run(args: argparse.Namespace) -> None:
    """Upscale.

    Raises:
        QuantNASError: nothing, or not everything, was upscaled.
    """
    from quantnas_sr.upscaling.command import run as upscale

    upscale(args)
