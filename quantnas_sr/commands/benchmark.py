"""``quantnas benchmark``: a trained network in integers against its float baseline, counted and measured."""

import argparse
from pathlib import Path

_SIZES = ("320x180", "640x360")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("weights", help="the .pth of a trained network")
    parser.add_argument(
        "--sizes", nargs="+", default=_SIZES, metavar="WIDTHxHEIGHT", help=f"sizes of the input ({' '.join(_SIZES)})"
    )
    parser.add_argument("--threads", type=int, help="CPU threads (torch's default)")
    parser.add_argument("--repeats", type=int, default=20, help="runs of which the median is taken (20)")
    parser.add_argument(
        "--adq", nargs="+", metavar="FORM", help="forms of ADQ: dynamic, static (both, where the network has ADQ)"
    )
    parser.add_argument("--outputs", nargs="+", metavar="FORM", help="outputs of convolutions: float, int8 (both)")
    parser.add_argument(
        "--io", nargs="+", default=["float"], metavar="KIND", help="images of the files: float, uint8 (float)"
    )
    parser.add_argument(
        "--runtimes", nargs="+", metavar="RUNTIME", help="openvino, onnxruntime, litert (the first two, if installed)"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("experiments/benchmark"), help="folder to write (experiments/benchmark)"
    )


def run(args: argparse.Namespace) -> None:
    """Measure, and write the table and the plot.

    Raises:
        QuantNASError: something that was given cannot be used; or a runtime cannot run the network.
    """
    from quantnas_sr.benchmark.command import run as benchmark

    benchmark(args)
