"""How much faster published networks are in 8 bits: all files of each, side by side in every installed runtime.

    python benchmarks/published_speed.py WEIGHTS --images lr --output speed --threads 2

WEIGHTS is as of `published_networks.py`. SRVGGNetCompact, convolutions throughout, comes beside them, with random
weights. What a network computes does not change its speed, so steps are set on four images only. Files that are there
already are not made again; ``--no-timing`` makes them and nothing else.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any, Dict, Iterator, Sequence

import torch
from published_networks import NETWORKS, recognized
from tqdm import tqdm

from quantnas_sr.benchmark.timing import taking_turns
from quantnas_sr.commands.arguments import positive, size
from quantnas_sr.conversion.command import calibrated, float_export, float_network, uncalibrated
from quantnas_sr.conversion.quality import Pair, pairs
from quantnas_sr.conversion.recognition import Recognized
from quantnas_sr.deploy.packages import usable_runtimes
from quantnas_sr.export.exporting import export
from quantnas_sr.mixed_precision.base_network import build

#: Of realesr-general-x4v3, without its checkpoint.
COMPACT: Dict[str, Any] = {"type": "SRVGGNetCompact", "num_feat": 64, "num_conv": 32, "upscale": 4, "act_type": "prelu"}
#: Options of the exports by name, beside the float network's.
KINDS: Dict[str, Dict[str, str]] = {
    "float32 between layers": {},
    "int8 between layers": {"outputs": "int8"},
    "int8 between layers, bytes": {"outputs": "int8", "io": "uint8"},
}
#: Runs of each network in each round.
TURNS = (1, 3, 3, 3)


def network_of(name: str, weights: Path) -> Recognized:
    """A published network, or `COMPACT` with the weights that it is made with."""
    if name == COMPACT["type"]:
        torch.manual_seed(0)
        return Recognized(COMPACT, build(COMPACT).state_dict(), name)
    return recognized(name, weights)


def files_of(name: str, args: argparse.Namespace, images: Sequence[Pair]) -> Dict[str, Path]:
    """The files of a network by what they are; those that are not there are made."""
    files = {kind: args.output / f"{name}_{number}.onnx" for number, kind in enumerate(["float", *KINDS])}
    missing = [kind for kind, path in files.items() if not path.is_file()]
    if missing:
        found = network_of(name, args.weights)
        if "float" in missing:
            float_export(float_network(found), files["float"])
        weights = args.output / f"{name}.pth"
        torch.save({"params": calibrated(uncalibrated(found), images).state_dict()}, weights)
        for kind in tqdm([kind for kind in missing if kind != "float"], desc=name, disable=None, leave=False):
            export(weights, files[kind], **KINDS[kind])
    return files


def rows(name: str, files: Dict[str, Path], args: argparse.Namespace) -> Iterator[str]:
    """Lines of the table: milliseconds, and how many times as fast as in float."""
    for runtime in usable_runtimes("the timing")[0]:
        turns = taking_turns(list(files.values()), runtime, args.threads, args.size[::-1], TURNS)
        times = [1e3 * statistics.median(turn.seconds) for turn in turns]
        cells = [f"{times[0]:.1f}", *(f"{time:.1f} ({times[0] / time:.2f})" for time in times[1:])]
        yield f"| {name} | {runtime} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("--images", type=Path, required=True, help="low-resolution images")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--names", nargs="+", choices=[*NETWORKS, COMPACT["type"]])
    parser.add_argument("--size", type=size, default=(176, 320), metavar="WIDTHxHEIGHT", help="320x176")
    parser.add_argument("--threads", type=positive, default=torch.get_num_threads())
    parser.add_argument("--no-timing", action="store_true")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    images = pairs(args.images, None, most=4)
    names = args.names or [COMPACT["type"], *NETWORKS]
    files = {name: files_of(name, args, images) for name in names}
    if args.no_timing:
        return
    print(f"| milliseconds | runtime | float | {' | '.join(KINDS)} |\n|---|---|{'---|' * (len(KINDS) + 1)}")
    for name in names:
        for line in rows(name, files[name], args):
            print(line, flush=True)


if __name__ == "__main__":
    main()
