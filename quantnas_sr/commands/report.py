"""``quantnas report``: the report of a sweep, written again."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument(
        "folder", type=Path, help="the folder that `quantnas pareto` wrote, such as experiments/pareto_basic_x4"
    )


def run(args: argparse.Namespace) -> None:
    """Write the report.

    Raises:
        QuantNASError: it is not the folder of a sweep, or an extra is missing.
    """
    from quantnas_sr.report import write_report

    print(f"wrote {write_report(args.folder)}")
