"""``quantnas cost``: parameters, GMACs and GBitOps of a network."""

import argparse

from quantnas_sr.commands.arguments import size


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("file", help="a genotype.yml, the .pth of a trained network, or an options file")
    parser.add_argument(
        "--size", type=size, default=(32, 32), metavar="WIDTHxHEIGHT", help="size of the input, or N for NxN (32)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, layer by layer")


def run(args: argparse.Namespace) -> None:
    """Print what the network costs.

    Raises:
        QuantNASError: the file does not say a network.
    """
    from quantnas_sr.cost.summary import derived_network, print_cost
    from quantnas_sr.options.described import described_network

    network = described_network(args.file)
    print_cost(args.file, derived_network(args.file) if network is None else network, args.size, args.json)
