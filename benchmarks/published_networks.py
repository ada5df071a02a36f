"""Published networks in integers, on a test set and in every runtime that is installed.

    python benchmarks/published_networks.py WEIGHTS --images lr --gt Set14/GTmod4 --lr Set14/LRbicx4 --output quantized

WEIGHTS is a folder with the checkpoints of `NETWORKS`. Each goes through ``quantnas quantize`` once for each of
``--kinds``: calibrated at 8 bits, fine-tuned at 8 bits, or fine-tuned at 4 bits with the first and the last layer at 8.
Files that are there already are not made again. Nothing is chosen by the test set.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import Dict, Iterator, List

import torch
import yaml

from quantnas_sr.conversion.command import float_network
from quantnas_sr.conversion.quality import Pair, outputs, pairs, quality
from quantnas_sr.conversion.recognition import Recognized, import_file, recognize
from quantnas_sr.deploy.packages import usable_runtimes
from quantnas_sr.deploy.runtimes import open_network

ARCHS = Path(__file__).resolve().parent.parent / "examples" / "archs"
#: Type of the arch: its published checkpoint.
NETWORKS = {
    "SPAN": "SPAN_x4_NTIRE2026_baseline.pth",
    "SAFMN": "SAFMN_x4_NTIRE2023.pth",
    "EFDN": "EFDN_x4_NTIRE2025_baseline.pth",
    "RLFN": "RLFN_ntire_x4.pth",
    "RFDN": "RFDN_AIM.pth",
}


def imported(name: str) -> List[str]:
    """The option that brings the class, where the package does not have it."""
    path = ARCHS / f"{name.lower()}_arch.py"
    return ["--import", str(path)] if path.is_file() else []


def recognized(name: str, weights: Path) -> Recognized:
    """A published network of the folder ``weights``."""
    for path in imported(name)[1:]:
        import_file(path)
    return recognize(weights / NETWORKS[name], {"type": name})


def in_float(name: str, weights: Path) -> torch.nn.Module:
    """The network of `recognized`, in evaluation mode."""
    return float_network(recognized(name, weights))


def quantized(name: str, weights: Path, images: str, output: Path, *options: str) -> float:
    """Run ``quantnas quantize`` unless the file is there; returns the minutes that it took."""
    start = time.monotonic()
    if not output.is_file():
        command = ["-m", "quantnas_sr", "quantize", str(weights), "--arch", name, *imported(name), "--images", images]
        log = output.with_suffix(".log")
        with log.open("w", encoding="utf-8") as file:
            subprocess.run(
                [sys.executable, *command, "--output", output.name, "--no-timing", *options],
                check=True,
                cwd=output.parent,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
    return (time.monotonic() - start) / 60


def four_bits(network: torch.nn.Module, folder: Path, name: str) -> str:
    """A file of widths: 4 bits, and 8 in the first and the last layer."""
    layers = [key for key, layer in network.network.named_modules() if isinstance(layer, torch.nn.Conv2d)]
    path = folder / f"{name}_widths.yml"
    path.write_text(yaml.safe_dump({layers[0]: 8, layers[-1]: 8}), encoding="utf-8")
    return path.name


def rows(name: str, args: argparse.Namespace, test: List[Pair]) -> Iterator[str]:
    """Lines of the table."""
    weights = Path(args.weights, NETWORKS[name]).resolve()
    network = in_float(name, args.weights)
    target = outputs(network, test)
    yield f"| {name} | float | | {quality(target, None, test).luma:.3f} | |"
    kinds: Dict[str, List[str]] = {
        "8": [],
        "8_finetuned": ["--finetune", str(args.iterations[0])],
        "4_finetuned": [
            *("--bits", "4", "--bits-by-layer", four_bits(network, args.output, name)),
            *("--finetune", str(args.iterations[1])),
        ],
    }
    for kind in args.kinds:
        file = args.output / f"{name}_{kind}.onnx"
        minutes = quantized(name, weights, str(args.images.resolve()), file, *kinds[kind])
        for runtime in usable_runtimes("the comparison")[0]:
            opened = open_network(file, runtime)
            made = outputs(lambda x, run=opened: torch.from_numpy(run(x.numpy())), test)
            luma = quality(made, target, test).luma
            yield f"| {name} | {kind} | {runtime} | {luma:.3f} | {minutes:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("--images", type=Path, required=True, help="low-resolution images to calibrate and train on")
    parser.add_argument("--lr", type=Path, required=True, help="low-resolution images of the test set")
    parser.add_argument("--gt", type=Path, required=True, help="their ground truth")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--names", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--kinds", nargs="+", choices=["8", "8_finetuned", "4_finetuned"], default=["8"])
    parser.add_argument("--iterations", nargs=2, type=int, default=[2000, 1500], help="at 8 and at 4 bits")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    test = pairs(args.lr, args.gt, most=10**6)
    print("| network | bits | runtime | PSNR-Y, dB | minutes |\n|---|---|---|---|---|")
    for name in args.names:
        for line in rows(name, args, test):
            print(line, flush=True)


if __name__ == "__main__":
    main()
