"""``quantnas upscale``: images, folders and videos through a trained or exported network."""

import argparse
import signal
import sys
from pathlib import Path
from typing import List, Optional, Sequence, Tuple

from quantnas_sr.errors import DataError, OptionError

__all__ = ["run"]


def run(args: argparse.Namespace) -> None:
    """Do what the command line says.

    Raises:
        QuantNASError: nothing, or not everything, was upscaled.
    """
    from quantnas_sr.deploy.runtimes import open_network
    from quantnas_sr.images.folders import left_out_line
    from quantnas_sr.networks import opened
    from quantnas_sr.upscaling.batch import Upscaler
    from quantnas_sr.upscaling.tasks import counted, plan
    from quantnas_sr.upscaling.video.encoders import Encoding
    from quantnas_sr.values.arguments import parse_memory

    # `kill` cleans up as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    memory = parse_memory(args.memory)
    encoding = Encoding(args.codec, args.crf)
    encoding.check()
    given, inputs, output = _sorted_paths(args.paths, args.network, args.scale)
    planned = plan(inputs, output, args.format and f".{args.format.lower().lstrip('.')}")
    if planned.left_out:
        print(left_out_line(planned.left_out), file=sys.stderr)
    todo = planned.unfinished() if planned.into_folder and not args.overwrite else planned.tasks
    if todo:
        running = args.runtime, args.threads
        network = open_network(given, *running) if given else opened(args.network, args.scale, *running)
        broken = Upscaler(network, args.tile, memory, args.max_pixels, encoding).files(todo)
        if broken and len(planned.tasks) == 1:
            raise DataError(broken[0])
        for line in broken:
            print(line, file=sys.stderr)
        if broken:
            raise DataError(f"{len(broken)} of {counted(planned.tasks)} were not upscaled")
    skipped = len(planned.tasks) - len(todo)
    there = f", {skipped} of them were there already (--overwrite upscales them again)" if skipped else ""
    if planned.into_folder:
        print(f"wrote {Path(output)}: {counted(planned.tasks)}{there}")
    else:
        print(f"wrote {planned.tasks[0].target}")


def _sorted_paths(
    paths: Sequence[str], name: Optional[str], scale: Optional[int]
) -> Tuple[Optional[Path], List[Path], str]:
    """The network that a command line gives, the inputs and the output; None for one of the package, which is there."""
    from quantnas_sr.deploy.runtimes import NETWORKS
    from quantnas_sr.networks import chosen

    given = Path(paths[0]) if Path(paths[0]).suffix.lower() in NETWORKS else None
    inputs = paths[given is not None : -1]
    if not inputs:
        missing = "an input and an output" if len(paths) == 1 else "an output"
        raise OptionError(f"{paths[-1]}: {missing} must follow. Allowed: [NETWORK] INPUT [INPUT ...] OUTPUT")
    if given is not None and (name or scale):
        option = f"--network {name}" if name else f"--scale {scale}"
        raise OptionError(f"{given}: a network is given already; {option} chooses one of the package")
    if given is None:
        chosen(name, scale)
    return given, [Path(path) for path in inputs], paths[-1]
