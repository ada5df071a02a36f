"""Images of an exported network beside PyTorch's, on test sets and in every runtime that is installed.

    python benchmarks/export_images.py net_g_latest.pth datasets/Set5 datasets/Set14

A set is a folder with LRbicx4 and GTmod4 (x2, x3 likewise), in which images have equal names. PyTorch in float64 stands
beside it: what it differs from PyTorch in float32 is no fault of a runtime's, but as far as numbers on the edge between
two integers are heard in this network. With ``--litert`` the ``.tflite`` of a plain network stands there too.
"""

import argparse
import tempfile
from copy import deepcopy
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Tuple

import numpy as np
import torch
from torch import nn

from quantnas_sr.checkpoints import scale_of
from quantnas_sr.deploy.packages import LITERT_RUNTIMES, installed_runtimes
from quantnas_sr.deploy.runtimes import open_network
from quantnas_sr.export.check import agreement, to_bytes
from quantnas_sr.export.choices import ADQ_FORMS, OUTPUTS, WEIGHTS_FORMATS
from quantnas_sr.export.exporting import export
from quantnas_sr.export.options import ExportOptions
from quantnas_sr.export.preparation import load_for_export
from quantnas_sr.images.bgr import read_planes

Upscale = Callable[[np.ndarray], np.ndarray]
REFERENCE = "PyTorch"


def pairs(folder: Path, scale: int) -> Iterator[Tuple[np.ndarray, np.ndarray]]:
    """Low-resolution images and what they should become, both (1, 3, h, w), RGB in 0..1."""
    for path in sorted((folder / f"LRbicx{scale}").iterdir()):
        yield read_planes(path), read_planes(folder / f"GTmod{scale}" / path.name)


def in_pytorch(network: nn.Module, dtype: torch.dtype) -> Upscale:
    """A network as a function of arrays; the network stays what it is."""
    network = deepcopy(network).to(dtype)

    def run(image: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return network(torch.from_numpy(image).to(dtype)).numpy()

    return run


def compare(networks: Dict[str, Upscale], folder: Path, scale: int) -> List[str]:
    """Rows of the table for one set, one for each network; the first one is what bytes are compared with."""
    from basicsr.metrics import calculate_psnr  # which our import has made importable

    def bgr(image: np.ndarray) -> np.ndarray:
        return to_bytes(image)[0].transpose(1, 2, 0)[..., ::-1].astype(np.uint8)

    images, targets = zip(*pairs(folder, scale))
    made = {name: [run(image) for image in images] for name, run in networks.items()}
    expected = next(iter(made.values()))
    rows = []
    for name, found in made.items():
        psnr = [calculate_psnr(bgr(a), bgr(b), scale, test_y_channel=True) for a, b in zip(found, targets)]
        seen = agreement(name, expected, found)
        shares = f"{100 * seen.equal:.3f} | {100 * seen.off:.4f} | {seen.largest}"
        rows.append(f"| {folder.name} | {name} | {np.mean(psnr):.4f} | {shares} |")
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
    parser.add_argument("--litert", action="store_true", help="also the .tflite, in LiteRT")
    parser.add_argument("--param-key", choices=("params", "params_ema"))
    args = parser.parse_args()
    names = ("adq", "outputs", "calibration", "param_key", "weights_format")
    options = ExportOptions(**{name: getattr(args, name) for name in names})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        written = export(args.weights, str(path), options)
        network = load_for_export(args.weights, options)
        kinds = {REFERENCE: torch.float32, f"{REFERENCE}, float64": torch.float64}
        networks: Dict[str, Upscale] = {name: in_pytorch(network, dtype) for name, dtype in kinds.items()}
        networks.update({runtime: open_network(path, runtime) for runtime in installed_runtimes()})
        if args.litert:
            lite = export(args.weights, Path(folder) / "net.tflite", param_key=args.param_key).path
            networks.update({runtime: open_network(lite, runtime) for runtime in LITERT_RUNTIMES})
        scale = scale_of(network)
        print(f"{args.weights}, {written.bytes / 1e3:.1f} kB, PSNR-Y without a border of {scale} pixels\n")
        print("| set | network | PSNR-Y, dB | bytes equal, % | off by more than 1, % | at most |")
        print("| --- | --- | --: | --: | --: | --: |")
        for path in args.sets:
            print("\n".join(compare(networks, path, scale)), flush=True)


if __name__ == "__main__":
    main()
