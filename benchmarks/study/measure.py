"""What trained networks are worth: the PSNR of their exported integers; and what a supernet says of them before."""

from pathlib import Path
from typing import Callable, Dict, Iterator, List, Sequence, Tuple

import numpy as np
import torch
from study.plan import Images
from study.run import Run
from study.sensitivity import patches

from quantnas_sr import open_network, upscale
from quantnas_sr.export.exporting import export
from quantnas_sr.images.bgr import read_bgr
from quantnas_sr.options.read import supernet_of
from quantnas_sr.pth import fill, read_pth
from quantnas_sr.quantization import calibrate_on
from quantnas_sr.search_space import Genotype, Supernet

#: Patches of the training that the networks of a supernet are calibrated on.
CALIBRATION = 32
_RGB = slice(None, None, -1)


def pairs(images: Images) -> Iterator[Tuple[np.ndarray, np.ndarray]]:
    """Large and small images, (H, W, 3) BGR, uint8."""
    for path in sorted(Path(images.dataroot_gt).iterdir()):
        yield read_bgr(path), read_bgr(Path(images.dataroot_lq) / path.name)


def psnr(make: Callable[[np.ndarray], np.ndarray], images: Images, scale: int) -> float:
    """Mean PSNR-Y in dB, without a border of ``scale`` pixels, of what is made of small images, (h, w, 3) RGB."""
    from basicsr.metrics import calculate_psnr

    values = [
        calculate_psnr(make(np.ascontiguousarray(small[..., _RGB]))[..., _RGB], large, scale, test_y_channel=True)
        for large, small in pairs(images)
    ]
    return float(np.mean(values))


def psnr_of_file(path: Path, images: Images, scale: int, threads: int) -> float:
    """PSNR-Y of an exported network."""
    network = open_network(path, threads=threads)
    return psnr(lambda image: upscale(image, network), images, scale)


def exported(run: Run, folder: Path) -> Path:
    """The integers of a training, exported and checked once."""
    path = folder / f"{run.name}.onnx"
    if not path.is_file():
        export(run.network, path)
    return path


def searched_supernet(run: Run) -> Supernet:
    """The supernet at the end of a search."""
    net = supernet_of(run.options, run.name)
    fill(net, read_pth(run.network)["params"], f"{run.network}: not the supernet of {run.name}")
    return net.eval()


def decision(run: Run) -> Dict[str, float]:
    """How decided a search is.

    Returns:
        ``probability``: mean, over the slots, of the probabilities of the chosen edges; ``agreement``: the share of
        slots whose choice has the largest alpha.
    """
    net, genotype = searched_supernet(run), Genotype.load(run.genotype)
    probabilities, largest = [], []
    with torch.no_grad():
        tables = net.probabilities()
    for slot, table in tables.items():
        choice = genotype.slots[slot]
        chosen = table[net.candidates[slot].index(choice.operation), net.bits.index(choice.bits)]
        probabilities.append(float(chosen))
        largest.append(bool(chosen == table.max()))
    return {"probability": float(np.mean(probabilities)), "agreement": float(np.mean(largest))}


def psnr_in_supernet(run: Run, genotypes: Sequence[Genotype], images: Images, scale: int) -> List[float]:
    """PSNR-Y of networks with the weights that a search ended with, calibrated and not trained."""
    net, patches_ = searched_supernet(run), patches(run.options, CALIBRATION)
    values = []
    for genotype in genotypes:
        network = net.derive(genotype)
        calibrate_on(network, patches_)
        values.append(psnr(_in_torch(network.eval()), images, scale))
    return values


def _in_torch(network: torch.nn.Module) -> Callable[[np.ndarray], np.ndarray]:
    def make(image: np.ndarray) -> np.ndarray:
        planes = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
        with torch.inference_mode():
            made = network(planes).clamp(0, 1)[0].permute(1, 2, 0)
        return (made * 255).round().to(torch.uint8).numpy()

    return make
