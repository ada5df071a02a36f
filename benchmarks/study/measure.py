"""What trained networks are worth: the PSNR of their exported integers; and what a supernet says of them before."""

import sys
from pathlib import Path
from typing import Callable, Dict, List, Sequence

import numpy as np
import torch
from study.plan import Images
from study.run import Run
from study.sensitivity import patches
from torch import Tensor

from quantnas_sr import open_network
from quantnas_sr.conversion.quality import outputs, pairs, quality
from quantnas_sr.export.exporting import export
from quantnas_sr.options.read import supernet_of
from quantnas_sr.pth import fill, read_pth
from quantnas_sr.quantization import calibrate_on
from quantnas_sr.search_space import Genotype, Supernet

#: Patches of the training that the networks of a supernet are calibrated on.
CALIBRATION = 32


def psnr(network: Callable[[Tensor], Tensor], images: Images) -> float:
    """Mean PSNR-Y in dB, without a border of the scale, of a network in evaluation mode."""
    chosen = pairs(Path(images.dataroot_lq), Path(images.dataroot_gt), most=sys.maxsize)
    return quality(outputs(network, chosen), None, chosen).luma


def psnr_of_file(path: Path, images: Images, threads: int) -> float:
    """PSNR-Y of an exported network."""
    network = open_network(path, threads=threads)
    return psnr(lambda x: torch.from_numpy(network(x.numpy())), images)


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


def psnr_in_supernet(run: Run, genotypes: Sequence[Genotype], images: Images) -> List[float]:
    """PSNR-Y of networks with the weights that a search ended with, calibrated and not trained."""
    net, patches_ = searched_supernet(run), patches(run.options, CALIBRATION)
    values = []
    for genotype in genotypes:
        network = net.derive(genotype)
        calibrate_on(network, patches_)
        values.append(psnr(network.eval(), images))
    return values
