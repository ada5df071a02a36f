"""``quantnas upscale``: images, folders and videos through a trained or exported network."""

import argparse
import signal
import sys
from pathlib import Path

from quantnas_sr.errors import DataError

__all__ = ["run"]


def run(args: argparse.Namespace) -> None:
    """Do what the command line says.

    Raises:
        QuantNASError: nothing, or not everything, was upscaled.
    """
    from quantnas_sr.deploy.runtimes import open_network
    from quantnas_sr.images.folders import left_out_line
    from quantnas_sr.upscaling.batch import Upscaler
    from quantnas_sr.upscaling.tasks import counted, plan
    from quantnas_sr.values.arguments import parse_memory

    # `kill` cleans up as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    memory = parse_memory(args.memory)
    planned = plan(args.input, args.output, args.format and f".{args.format.lower().lstrip('.')}")
    if planned.left_out:
        print(left_out_line(planned.left_out), file=sys.stderr)
    todo = planned.unfinished() if planned.into_folder and not args.overwrite else planned.tasks
    if todo:
        network = open_network(args.network, args.runtime, args.threads)
        broken = Upscaler(network, args.tile, memory, args.max_pixels).files(todo)
        if broken and len(planned.tasks) == 1:
            raise DataError(broken[0])
        for line in broken:
            print(line, file=sys.stderr)
        if broken:
            raise DataError(f"{len(broken)} of {counted(planned.tasks)} were not upscaled")
    skipped = len(planned.tasks) - len(todo)
    there = f", {skipped} of them were there already (--overwrite upscales them again)" if skipped else ""
    if planned.into_folder:
        print(f"wrote {Path(args.output)}: {counted(planned.tasks)}{there}")
    else:
        print(f"wrote {planned.tasks[0].target}")
