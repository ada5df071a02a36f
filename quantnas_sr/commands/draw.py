"""``quantnas draw``: a picture of a genotype."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("genotype", help="a genotype.yml, or the .pth of a trained network")
    parser.add_argument("output", help="the picture to write, FILE.svg or FILE.png")


def run(args: argparse.Namespace) -> None:
    """Draw the genotype.

    Raises:
        QuantNASError: it cannot be read, or the picture cannot be drawn.
    """
    from quantnas_sr.report import draw_genotype

    draw_genotype(args.genotype, args.output)
    print(f"wrote {args.output}")
