"""Bits by sensitivity: which layers of a trained network bear fewer bits, each tried alone."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict

import torch
from basicsr.data import build_dataset
from torch import Tensor

from quantnas_sr.checkpoints import load_network
from quantnas_sr.conversion.sensitivity import Sensitivity
from quantnas_sr.cost import count
from quantnas_sr.quantization import calibrate_on, set_quantize
from quantnas_sr.search_space import DerivedNetwork, Genotype
from quantnas_sr.system.seeded_images import Place, SeededDataset

#: What depends on bits.
_OF_QUANTIZERS = re.compile(r"_quantizer\.|channel_scale$")


def patches(options: Dict[str, Any], number: int) -> Tensor:
    """Small patches of a training's images, (number, 3, h, w), the same ones in every call."""
    dataset = build_dataset({**options["datasets"]["train"], "phase": "train", "scale": options.get("scale", 4)})
    images = SeededDataset(dataset, seed=0)
    chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:number].tolist()
    return torch.stack([images[Place(index, 0, place)]["lq"] for place, index in enumerate(chosen)])


def with_weights_of(trained: DerivedNetwork, genotype: Genotype, images: Tensor) -> DerivedNetwork:
    """The network of a genotype with the weights of one that differs from it in bits, quantized anew on images."""
    network = DerivedNetwork(genotype)
    state = {key: value for key, value in trained.skeleton.state_dict().items() if not _OF_QUANTIZERS.search(key)}
    network.skeleton.load_state_dict(state, strict=False)
    set_quantize(network, False)
    set_quantize(network, True)
    calibrate_on(network, images)
    return network.eval()


@torch.no_grad()
def greedy_genotype(weights: Path, options: Dict[str, Any], low: int, budget: float, number: int) -> Genotype:
    """The bits of the slots with the least sum of losses within a budget.

    The loss of a slot is the mean squared distance between the images of the trained network with this slot alone at
    ``low`` bits and its images in full precision, less that of the trained network as it is.

    Args:
        weights: of a trained network with the same bits in all slots.
        options: of its training, whose images are taken.
        low: bits of the slots that lose least; the others keep theirs.
        budget: GBitOps (10^9) for an input of 32x32.
        number: of training patches.

    Raises:
        OptionError: the network costs more than the budget at ``low`` bits.
    """
    trained = load_network(weights).eval()
    images = patches(options, number)
    set_quantize(trained, False)
    expected = trained(images)
    genotype: Genotype = trained.genotype

    def loss_of(candidate: Genotype) -> float:
        return float((with_weights_of(trained, candidate, images)(images) - expected).square().mean())

    whole, cost = loss_of(genotype), _gbitops(genotype)
    (high,) = {choice.bits for choice in genotype.slots.values()}
    costs: Dict[str, Tensor] = {}
    losses: Dict[str, Tensor] = {}
    for slot, choice in genotype.slots.items():
        one = replace(genotype, slots={**genotype.slots, slot: choice._replace(bits=low)})
        costs[slot] = torch.tensor([[0.0, cost - _gbitops(one)]], dtype=torch.float64)
        losses[slot] = torch.tensor([[max(0.0, loss_of(one) - whole), 0.0]], dtype=torch.float64)
    fixed = cost - sum(float(table.max()) for table in costs.values())
    widths = Sensitivity((low, high), costs, losses, whole, fixed).within_budget(budget)
    slots = {slot: choice._replace(bits=widths[slot]) for slot, choice in genotype.slots.items()}
    return replace(genotype, slots=slots, origin={"sensitivity": {"bits": [low, high]}})


def _gbitops(genotype: Genotype) -> float:
    return count(DerivedNetwork(genotype)).bitops / 1e9
