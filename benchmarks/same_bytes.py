"""Bytes that PyTorch, OpenVINO and ONNX Runtime make of the same images with plain networks: how many differ.

    python benchmarks/same_bytes.py [--data FOLDER] [NETWORK ...]

NETWORK is a checkpoint, or the name of a network of the package (all of them). FOLDER has Set5 and Set14, each with
LRbicx<scale> or, where a scale has none, images of another one; without it there are random images alone, of 20 odd
sizes. Each network is exported with ``io="uint8"``. "trained" is the checkpoint as it is, in PyTorch, whose weight
steps are not yet cleared (`export/rewrites/clear_sums.py`); "64 bits" is the exported network in PyTorch in float64.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Callable, Dict, Iterator, Tuple

import cv2
import numpy as np
import torch
from export_images import in_pytorch

from quantnas_sr import networks
from quantnas_sr.checkpoints import load_network, scale_of
from quantnas_sr.deploy.packages import installed_runtimes
from quantnas_sr.deploy.runtimes import open_network
from quantnas_sr.export.exporting import export
from quantnas_sr.export.options import ExportOptions
from quantnas_sr.export.preparation import load_for_export
from quantnas_sr.export.rewrites.byte_images import ByteImages
from quantnas_sr.images.bgr import read_planes
from quantnas_sr.images.units import from_unit

#: (N, 3, h, w) in 0..1 -> (N, 3, s*h, s*w).
Upscale = Callable[[np.ndarray], np.ndarray]
#: What the others are compared with.
REFERENCE = "PyTorch"
SIZES, SETS = 20, ("Set5", "Set14")


def random_images(number: int = SIZES) -> Iterator[np.ndarray]:
    """Blocks, gradients and noise, of odd sizes from 1 to 130."""
    generator = np.random.default_rng(0)
    for _ in range(number):
        height, width = (int(side) for side in generator.integers(0, 65, 2) * 2 + 1)
        coarse = generator.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
        smooth = cv2.resize(coarse, (width, height), interpolation=int(generator.choice([0, 1, 2])))
        noisy = smooth + generator.normal(0, generator.choice([0, 4]), smooth.shape)
        yield np.clip(noisy, 0, 255).astype(np.uint8).transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)


def images_of(folder: Path, scale: int) -> Iterator[np.ndarray]:
    """The small images of a test set."""
    fitting = folder / f"LRbicx{scale}"
    for path in sorted((fitting if fitting.is_dir() else next(folder.glob("LRbicx*"))).iterdir()):
        yield read_planes(path)


def runs_of(weights: str, folder: Path) -> Tuple[int, Dict[str, Upscale]]:
    """The scale of a network, and all that runs it, by name; `REFERENCE` is the first."""
    path = folder / "net.onnx"
    export(weights, path, io="uint8")
    network = load_for_export(weights, ExportOptions(io="uint8"))
    trained = ByteImages(load_network(weights)).eval()
    runs = {
        REFERENCE: in_pytorch(network, torch.float32),
        "64 bits": in_pytorch(network, torch.float64),
        "trained": in_pytorch(trained, torch.float32),
    }
    return scale_of(network), {**runs, **{name: open_network(path, name, 1) for name in installed_runtimes()}}


def main() -> None:
    """Export, compare, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK")
    parser.add_argument("--data", type=Path, help="folder of Set5 and Set14")
    args = parser.parse_args()
    print("| network | images | bytes | that differ from PyTorch's | |\n| --- | --- | --: | --- | --: |")
    for name in args.networks or networks.names():
        weights = str(networks.file_of(name, "network.pth")) if name in networks.names() else name
        with tempfile.TemporaryDirectory() as folder:
            scale, runs = runs_of(weights, Path(folder))
            sets = {f"{SIZES} odd sizes": random_images()}
            if args.data:
                sets.update({one: images_of(args.data / one, scale) for one in SETS})
            for images, given in sets.items():
                off, total = dict.fromkeys(runs, 0), 0
                for image in given:
                    made = {run: from_unit(upscale(image), np.uint8) for run, upscale in runs.items()}
                    total += made[REFERENCE].size
                    for run, found in made.items():
                        off[run] += int((found != made[REFERENCE]).sum())
                for run in list(runs)[1:]:
                    print(f"| {name} | {images} | {total} | {run} | {off[run]} |", flush=True)


if __name__ == "__main__":
    main()
