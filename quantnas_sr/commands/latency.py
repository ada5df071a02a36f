"""``quantnas latency``: the table for ``cost: {type: latency}``, measured on this machine."""

import argparse

from quantnas_sr.commands.arguments import positive, size


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("search", help="options file of a search, which says the space, candidates, bits and sizes")
    parser.add_argument(
        "--output", default="latency.json", help="the table to write; what it has already is kept (latency.json)"
    )
    parser.add_argument(
        "--size",
        type=size,
        metavar="WIDTHxHEIGHT",
        help="size of the input, or N for NxN (hardware_opt.size of the search)",
    )
    parser.add_argument("--threads", type=positive, help="CPU threads (torch's default)")
    parser.add_argument("--repeats", type=positive, default=20, help="timings of which the median is taken (20)")
    parser.add_argument("--again", action="store_true", help="measure again what the table has already")


def run(args: argparse.Namespace) -> None:
    """Measure what is missing in the table.

    Raises:
        QuantNASError: the options or the table cannot be used, or this torch has no integer convolutions.
    """
    from quantnas_sr.cost.measure import measure_latency
    from quantnas_sr.options.read import cost_size, supernet_of

    input_size = args.size or cost_size(args.search)
    table = measure_latency(supernet_of(args.search), input_size, args.output, args.threads, args.repeats, args.again)
    print(f"wrote {args.output}: {len(table.seconds)} times, {table.machine}")
