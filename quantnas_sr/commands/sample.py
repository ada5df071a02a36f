"""``quantnas sample``: random genotypes of a search space."""

import argparse
from pathlib import Path

from quantnas_sr.commands.arguments import positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("search", help="options file of a search, which says the space, candidates, bits and sizes")
    parser.add_argument("--count", type=positive, default=1, help="number of genotypes (1)")
    parser.add_argument("--seed", type=int, default=0, help="random seed; the same seed gives the same genotypes (0)")
    parser.add_argument(
        "--gbitops", type=float, nargs=2, metavar=("MIN", "MAX"), help="range of GBitOps for a 32x32 input (any)"
    )
    parser.add_argument("--output", default="samples", help="folder for sample_0.yml, sample_1.yml, ... (samples)")


def run(args: argparse.Namespace) -> None:
    """Write the genotypes, and print what each costs.

    Raises:
        QuantNASError: the options cannot be used, or there are not so many genotypes in the range.
    """
    from quantnas_sr.cost import count, sample_genotypes
    from quantnas_sr.options.read import supernet_of
    from quantnas_sr.search_space import DerivedNetwork

    for i, genotype in enumerate(sample_genotypes(supernet_of(args.search), args.count, args.seed, args.gbitops)):
        path = Path(args.output) / f"sample_{i}.yml"
        genotype.save(path)
        print(f"{path}  {count(DerivedNetwork(genotype)).bitops / 1e9:.3f} GBitOps")
