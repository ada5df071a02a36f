"""``quantnas networks``: the networks that come with the package."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("name", nargs="?", help="one of them, to see all that is known of it")


def run(args: argparse.Namespace) -> None:
    """Print a table of all networks, or the card of one.

    Raises:
        OptionError: there is no such network.
    """
    from quantnas_sr.networks.described import described, table

    print(described(args.name) if args.name else table())
