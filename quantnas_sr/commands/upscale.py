"""``quantnas upscale``: images, folders and videos through a network of the package, or a trained or exported one."""

import argparse

from quantnas_sr.commands.arguments import add_max_pixels, not_negative, positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.usage = f"{parser.prog} [options] [NETWORK] INPUT [INPUT ...] OUTPUT"
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="NETWORK: an .onnx or .tflite file of `quantnas export`, or the .pth file of a training (default: a "
        "network of the package, see --scale and --network). INPUT: images, videos, and folders of them (with their "
        "sub-folders), one or more. OUTPUT: a file; or a folder, made if need be: for several inputs, for a folder, or "
        "with a slash at the end",
    )
    parser.add_argument("--network", metavar="NAME", help="a network of the package, see `quantnas networks`")
    parser.add_argument("--scale", type=positive, help="the best network of the package for this scale (default: 2)")
    parser.add_argument("--runtime", default="auto", help="auto, openvino, onnxruntime, litert, torch (default: auto)")
    parser.add_argument("--threads", type=positive, help="CPU threads (default: the runtime's)")
    parser.add_argument(
        "--tile", type=positive, metavar="N", help="longest side of a tile in pixels (default: as --memory allows)"
    )
    parser.add_argument(
        "--memory", default="2G", metavar="SIZE", help="memory limit of the whole process, such as 800M (default: 2G)"
    )
    add_max_pixels(parser)
    parser.add_argument(
        "--format",
        help="image format of the output in a folder: png, tif, jpg, webp or bmp "
        "(default: the input's if it is PNG or TIFF, else png)",
    )
    parser.add_argument(
        "--codec",
        help="codec of videos: h264, hevc, av1, vp9, ffv1, prores (default: h264, av1 for 10 bits; in .webm vp9, av1)",
    )
    parser.add_argument(
        "--crf",
        type=not_negative,
        metavar="N",
        help="quality of videos on the scale of the codec, lower is better (default: h264 18, hevc 20, av1 and vp9 26)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="upscale again the files that the output folder already has"
    )


def run(args: argparse.Namespace) -> None:
    """Upscale.

    Raises:
        QuantNASError: nothing, or not everything, was upscaled.
    """
    from quantnas_sr.upscaling.command import run as upscale

    upscale(args)
