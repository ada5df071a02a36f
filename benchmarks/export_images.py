"""Images of an exported network beside PyTorch's, on test sets and in every runtime that is installed.

    python benchmarks/export_images.py net_g_latest.pth datasets/Set5 datasets/Set14

A set is a folder with LRbicx4 and GTmod4 (x2, x3 likewise), in which images have equal names. PyTorch in float64 stands
beside it: what it differs from PyTorch in float32 is no fault of a runtime's, but as far as numbers on the edge between
two integers are heard in this network.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Tuple

import cv2
import numpy as np
import torch
from torch import nn

from quantnas_sr.deploy.check import to_bytes
from quantnas_sr.deploy.checkpoint import scale_of
from quantnas_sr.deploy.export import ADQ_FORMS, OUTPUTS, WEIGHTS_FORMATS, export, installed_runtimes, load_for_export
from quantnas_sr.deploy.runtimes import open_network

Upscale = Callable[[np.ndarray], np.ndarray]
REFERENCE = "PyTorch"


def pairs(folder: Path, scale: int) -> Iterator[Tuple[np.ndarray, np.ndarray]]:
    """Low-resolution images (1, 3, h, w), RGB in 0..1, and what they should become, (s*h, s*w, 3), BGR."""
    for path in sorted((folder / f"LRbicx{scale}").iterdir()):
        rgb = np.ascontiguousarray(cv2.imread(str(path))[..., ::-1].transpose(2, 0, 1))
        yield rgb[None].astype(np.float32) / np.float32(255), cv2.imread(str(folder / f"GTmod{scale}" / path.name))


def in_pytorch(network: nn.Module, dtype: torch.dtype) -> Upscale:
    """A network as a function of arrays."""
    network = network.to(dtype)

    def run(image: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return network(torch.from_numpy(image).to(dtype)).numpy()

    return run


def compare(networks: Dict[str, Upscale], folder: Path, scale: int) -> List[str]:
    """Rows of the table for one set, one for each network; the first one is what bytes are compared with."""
    from basicsr.metrics import calculate_psnr  # which our import has made importable

    psnr: Dict[str, List[float]] = {name: [] for name in networks}
    differences: Dict[str, List[np.ndarray]] = {name: [] for name in networks}
    for image, target in pairs(folder, scale):
        expected = None
        for name, run in networks.items():
            pixels = to_bytes(run(image))[0].transpose(1, 2, 0)[..., ::-1]
            expected = pixels if expected is None else expected
            differences[name].append(np.abs(pixels - expected).ravel())
            psnr[name].append(calculate_psnr(pixels.astype(np.uint8), target, scale, test_y_channel=True))
    rows = []
    for name in networks:
        off = np.concatenate(differences[name])
        shares = f"{100 * (off == 0).mean():.3f} | {100 * (off > 1).mean():.4f} | {off.max()}"
        rows.append(f"| {folder.name} | {name} | {np.mean(psnr[name]):.4f} | {shares} |")
    return rows


def main() -> None:
    """Export, compare, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", help="the .pth of a trained network")
    parser.add_argument("sets", nargs="+", type=Path)
    parser.add_argument("--adq", choices=ADQ_FORMS, default="dynamic")
    parser.add_argument("--outputs", choices=OUTPUTS, default="float")
    parser.add_argument("--weights-format", choices=WEIGHTS_FORMATS, default="int8")
    parser.add_argument("--calibration", metavar="DIR")
    parser.add_argument("--param-key", choices=("params", "params_ema"))
    args = parser.parse_args()
    form = {name: getattr(args, name) for name in ("adq", "outputs", "calibration", "param_key")}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        written = export(args.weights, str(path), weights_format=args.weights_format, **form)
        kinds = {REFERENCE: torch.float32, f"{REFERENCE}, float64": torch.float64}
        networks = {name: in_pytorch(load_for_export(args.weights, **form), dtype) for name, dtype in kinds.items()}
        networks.update({runtime: open_network(path, runtime) for runtime in installed_runtimes()})
        scale = scale_of(load_for_export(args.weights, **form))
        print(f"{args.weights}, {written.bytes / 1e3:.1f} kB, PSNR-Y without a border of {scale} pixels\n")
        print("| set | network | PSNR-Y, dB | bytes equal, % | off by more than 1, % | at most |")
        print("| --- | --- | --: | --: | --: | --: |")
        for path in args.sets:
            print("\n".join(compare(networks, path, scale)), flush=True)


if __name__ == "__main__":
    main()
