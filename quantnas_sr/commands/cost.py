"""``quantnas cost``: parameters, GMACs and GBitOps of a network."""

import argparse

from quantnas_sr.commands.arguments import size


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("file", help="the .pth of a trained network, what a search found (.yml), or an options file")
    parser.add_argument(
        "--size", type=size, default=(32, 32), metavar="WIDTHxHEIGHT", help="size of the input, or N for NxN (32)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, layer by layer")


def run(args: argparse.Namespace) -> None:
    """Print what the network costs.

    Raises:
        QuantNASError: the file describes no network, or none of its multiply-adds is quantized although layers are.
    """
    from quantnas_sr.cost.summary import print_cost
    from quantnas_sr.options.described import network_of_file

    print_cost(args.file, network_of_file(args.file), args.size, args.json)
