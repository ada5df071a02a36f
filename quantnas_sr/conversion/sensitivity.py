"""Mixed precision without a search: what each layer alone loses at fewer bits, and the best widths within a limit.

The losses of layers are added up, as if their errors were independent (as in HAWQ, arXiv:1905.03696); which widths are
best is then a multiple-choice knapsack.
"""

import math
from typing import Dict, List, NamedTuple, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from quantnas_sr.archs.quantized_arch import QuantizedArch
from quantnas_sr.conversion.quality import Pair
from quantnas_sr.cost import count
from quantnas_sr.cost.knapsack import best_under
from quantnas_sr.errors import OptionError
from quantnas_sr.input_shapes import copied
from quantnas_sr.mixed_precision.base_network import replace


class Sensitivity(NamedTuple):
    """What the layers of a network cost and lose at several widths.

    Attributes:
        widths: bit widths, ascending.
        costs: by layer, (1, widths), GBitOps (10^9) for an input of 32x32.
        losses: by layer, (1, widths): the mean squared distance from the images of the network in full precision, as a
            share of that network's distance from the ground truth (in units of 1 without ground truth), less what the
            network loses with all layers at the largest width.
        least: this loss of the network with all layers at the largest width.
        fixed: GBitOps of what is not quantized.
    """

    widths: Tuple[int, ...]
    costs: Dict[str, Tensor]
    losses: Dict[str, Tensor]
    least: float
    fixed: float

    def within_budget(self, budget: float) -> Dict[str, int]:
        """The widths with the least loss that cost at most ``budget`` GBitOps.

        Raises:
            OptionError: nothing is so cheap; says the lowest cost.
        """
        cheapest = self.fixed + sum(float(table.min()) for table in self.costs.values())
        if cheapest > budget:
            raise OptionError(
                f"--budget: {budget:g} GBitOps is below {cheapest:.3f}, the cost at {self.widths[0]} bits"
            )
        values = {name: -table for name, table in self.losses.items()}
        return self._widths(best_under(self.costs, values, budget - self.fixed))

    def within_loss(self, decibel: float) -> Dict[str, int]:
        """The cheapest widths with which at most so much PSNR to the ground truth is expected to be lost.

        Raises:
            OptionError: all layers at the largest width lose more already.
        """
        allowed = 10 ** (decibel / 10) - 1 - self.least
        if allowed < 0:
            lost = 10 * math.log10(1 + self.least)
            raise OptionError(f"--loss: {decibel:g} dB is below {lost:.3f}, the loss at {self.widths[-1]} bits")
        values = {name: -table for name, table in self.costs.items()}
        return self._widths(best_under(self.losses, values, allowed))

    def _widths(self, edges: Dict[str, int]) -> Dict[str, int]:
        return {name: self.widths[edge] for name, edge in edges.items()}


def measure(
    networks: Dict[int, QuantizedArch], baseline: nn.Module, images: Sequence[Pair], crop: int = 64
) -> Sensitivity:
    """Measure every layer alone at every width, with all others at the largest.

    Args:
        networks: by bit width, the network quantized and calibrated, in evaluation mode.
        baseline: the network in full precision, in evaluation mode.
        images: to compare on; of each the middle, ``crop`` pixels high and wide.
        crop: of a low-resolution image.
    """
    widths = tuple(sorted(networks))
    distance = _Distance(baseline, images, crop)
    whole = copied(networks[widths[-1]])
    least = distance(whole)
    names = [name for name, _ in whole.quantized_layers()]
    losses = {name: torch.zeros(1, len(widths), dtype=torch.float64) for name in names}
    with tqdm(total=len(names) * (len(widths) - 1), desc="sensitivity", unit="layer", disable=None) as bar:
        for place, width in enumerate(widths[:-1]):
            layers = dict(networks[width].quantized_layers())
            for name, layer in list(whole.quantized_layers()):
                replace(whole.network, {layer: layers[name]})
                losses[name][0, place] = max(0.0, distance(whole) - least)
                replace(whole.network, {layers[name]: layer})
                bar.update()
    costs, fixed = _costs(networks, widths, names)
    return Sensitivity(widths, costs, losses, least, fixed)


class _Distance:
    """Mean squared distance of a network's images from those of the one in full precision, see `Sensitivity`."""

    def __init__(self, baseline: nn.Module, images: Sequence[Pair], crop: int) -> None:
        self.crops, self.targets, self.scales = [], [], []
        with torch.inference_mode():
            for lq, gt in images:
                top, left = (max(0, side - crop) // 2 for side in lq.shape[2:])
                self.crops.append(lq[..., top : top + crop, left : left + crop])
                self.targets.append(baseline(self.crops[-1]).clamp(0, 1))
                self.scales.append(1.0 if gt is None else self._error(gt, top, left))

    def _error(self, gt: np.ndarray, top: int, left: int) -> float:
        made = self.targets[-1]
        scale = made.shape[-1] // self.crops[-1].shape[-1]
        height, width = made.shape[2:]
        part = gt[scale * top : scale * top + height, scale * left : scale * left + width, ::-1].copy()
        expected = torch.from_numpy(part).permute(2, 0, 1)[None] / 255
        return max(float((made - expected).square().mean()), 1e-8)

    @torch.inference_mode()
    def __call__(self, network: nn.Module) -> float:
        found = [
            float((network(crop).clamp(0, 1) - target).square().mean()) / scale
            for crop, target, scale in zip(self.crops, self.targets, self.scales)
        ]
        return float(np.mean(found))


def _costs(
    networks: Dict[int, QuantizedArch], widths: Sequence[int], names: List[str]
) -> Tuple[Dict[str, Tensor], float]:
    """By layer (1, widths), and what all other layers cost, in GBitOps."""
    tables = {name: torch.zeros(1, len(widths), dtype=torch.float64) for name in names}
    fixed = 0.0
    for place, width in enumerate(widths):
        fixed = 0.0
        for layer in count(networks[width]).layers:
            name = layer.name.removeprefix("network.")
            if name in tables:
                tables[name][0, place] += layer.bitops / 1e9
            else:
                fixed += layer.bitops / 1e9
    return tables, fixed
