"""Random networks of both search spaces, exported and checked in every runtime that is installed.

    python benchmarks/export_equality.py --count 200

Every operation of the spaces' candidate lists and of `COMMON_OPERATIONS`, at 2 to 8 and 32 bits, in slots that it fits;
scales 2 to 4; all norms; ADQ dynamic and static; weights in int8 and int4. A number stands for one network, always the
same one: ``--first 137 --count 1`` tries a single one again.
"""

import argparse
import random
import sys
import tempfile
import traceback
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Tuple

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

from quantnas_sr.deploy.packages import installed_runtimes
from quantnas_sr.export.check import TOLERANCE, Agreement, check
from quantnas_sr.export.exporting import export
from quantnas_sr.export.static_adq import make_static, statistics
from quantnas_sr.quantization import LSQWeight
from quantnas_sr.search_space import Choice, DerivedNetwork, Genotype, Slot, get_search_space
from quantnas_sr.search_space.operations import COMMON_OPERATIONS
from quantnas_sr.search_space.skeletons.adq import ADQ
from quantnas_sr.search_space.space import check_fits

BITS = (2, 3, 4, 5, 6, 7, 8, 32)
NORMS = ("adq", "adadm", "adq", "batch", "adq", "none", "adadm")
#: Of the second check; the export's own uses crops of 96x96.
SIZES = ((17, 30), (1, 1))


class Case(NamedTuple):
    """A network and how it is exported."""

    number: int
    genotype: Genotype
    adq: str
    weights_format: str

    def __str__(self) -> str:
        return f"number {self.number} ({self.adq} ADQ, {self.weights_format}): {self.genotype.to_dict()}"


class _Deck:
    """Every operation at every width in random order, dealt to slots that they fit; then all of it again."""

    def __init__(self, space: str, rng: random.Random) -> None:
        lists = get_search_space(space).candidates.values()
        candidates = {name for kinds in lists for names in kinds.values() for name in names}
        self.edges = [(name, bits) for name in sorted({*candidates, *COMMON_OPERATIONS}) for bits in BITS]
        self.left: List[Tuple[str, int]] = []
        self.rng = rng

    def deal(self, slot: Slot, num_feat: int) -> Choice:
        for edge in self.left:
            if _fits(edge[0], slot, num_feat):
                self.left.remove(edge)
                return Choice(*edge)
        self.left += self.rng.sample(self.edges, len(self.edges))
        return self.deal(slot, num_feat)


def _fits(operation: str, slot: Slot, num_feat: int) -> bool:
    if operation == "zero" and slot.kind in ("head", "upsample"):
        return False  # the image of such a network is black
    try:
        check_fits(operation, slot, num_feat)
    except ValueError:
        return False
    return True


@cache
def _slots(space: str, scale: int, num_feat: int, num_block: int) -> Dict[str, Slot]:
    return get_search_space(space).slots(scale, num_feat, num_block)


def cases() -> Iterator[Case]:
    """The networks, from number 0 on: the even ones of the basic space, the odd ones of RFDN's."""
    rng = random.Random(0)
    decks = {space: _Deck(space, rng) for space in ("basic", "rfdn")}
    number = 0
    while True:
        for space, deck in decks.items():
            scale, num_block = 2 + number // 2 % 3, rng.choice((1, 2))
            num_feat = rng.choice((12, 12, get_search_space(space).num_feat))
            slots = _slots(space, scale, num_feat, num_block)
            choices = {name: deck.deal(slot, num_feat) for name, slot in slots.items()}
            norm = NORMS[number // 2 % len(NORMS)]
            static = norm in ("adq", "adadm") and rng.random() < 0.5
            genotype = Genotype(space, scale, num_feat, num_block, norm, choices)
            yield Case(number, genotype, "static" if static else "dynamic", rng.choice(("int8", "int4")))
            number += 1


def settled(network: nn.Module) -> nn.Module:
    """As after a training: quantizers calibrated, normalisation with statistics, and nothing at its initial value.

    Args:
        network: any of this package; it is changed and returned in evaluation mode.
    """
    generator = torch.Generator().manual_seed(0)

    def around(tensor: torch.Tensor, low: float, high: float) -> torch.Tensor:
        return torch.rand(tensor.shape, generator=generator) * (high - low) + low

    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() == 4 and parameter.numel() > parameter.shape[0]:
                parameter.mul_(1.5)  # so that the branches are heard
        network.train()
        for _ in range(3):
            coarse = torch.rand(2, 3, 6, 6, generator=generator)
            network(F.interpolate(coarse, 24, mode="bilinear") + 0.1 * torch.rand(2, 3, 24, 24, generator=generator))
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.mul_(around(module.weight, 0.5, 1.5))
                module.bias.add_(around(module.bias, -0.3, 0.3))
            if isinstance(module, ADQ) and module.norm in ("adq", "adadm"):
                module.gamma.mul_(around(module.gamma, 0.7, 1.3))
                module.beta.add_(around(module.beta, -0.2, 0.2))
            if isinstance(module, LSQWeight):
                module.set_step(module.step * around(module.step, 0.8, 1.2))
    return network.eval()


def exported(case: Case, folder: Path) -> List[Agreement]:
    """Export a network and check the file again, with odd sizes.

    Returns:
        How each runtime's images agree with PyTorch's, on the crops of the export.

    Raises:
        QuantNASError: a runtime computes something else.
    """
    torch.manual_seed(case.number)
    network = settled(DerivedNetwork(case.genotype))
    torch.save({"params": network.state_dict()}, folder / "net.pth")
    path = folder / "net.onnx"
    agreements = export(str(folder / "net.pth"), str(path), adq=case.adq, weights_format=case.weights_format).agreements
    if case.adq == "static":
        make_static(network, statistics(network))
    onnx.checker.check_model(str(path), full_check=True)
    pixels = np.random.default_rng(case.number)
    for size in SIZES:
        image = pixels.integers(0, 256, (1, 3, *size)).astype(np.float32) / np.float32(255)
        check(network, path, installed_runtimes(), [image])
    return agreements


class Summary:
    """What was tried and how it went."""

    def __init__(self) -> None:
        self.tried: List[Case] = []
        self.failures: List[str] = []
        self.agreements: Dict[str, List[Agreement]] = {}

    def add(self, case: Case, folder: Path) -> None:
        """Try a network."""
        self.tried.append(case)
        try:
            for agreement in exported(case, folder):
                self.agreements.setdefault(agreement.runtime, []).append(agreement)
        except Exception as error:  # whatever goes wrong is a finding
            where = "" if isinstance(error, ValueError) else traceback.format_exc()
            self.failures.append(f"{case}\n  {error}{where}")
            tqdm.write(self.failures[-1])

    def _counts(self) -> Iterator[str]:
        genotypes = [case.genotype for case in self.tried]
        for key in ("search_space", "scale", "norm", "num_feat"):
            yield f"{key}: {_counted(getattr(genotype, key) for genotype in genotypes)}"
        yield f"ADQ: {_counted(c.adq for c in self.tried if c.genotype.norm in ('adq', 'adadm'))}"
        yield f"weights: {_counted(case.weights_format for case in self.tried)}"
        for space in ("basic", "rfdn"):
            chosen = [c for g in genotypes if g.search_space == space for c in g.slots.values()]
            edges, there = set(chosen), {Choice(*edge) for edge in _Deck(space, random.Random()).edges}
            there = {choice for choice in there if self._possible(space, choice)}
            yield (
                f"{space}: {len({c.operation for c in edges})} operations in {len(chosen)} slots, with their widths "
                f"{len(edges)} of {len(there)}; bits: {_counted(c.bits for c in chosen)}"
            )
            missing = sorted({c.operation for c in there} - {c.operation for c in edges})
            if missing:
                yield f"{space}: not among them: {', '.join(missing)}"

    @staticmethod
    def _possible(space: str, choice: Choice) -> bool:
        return any(_fits(choice.operation, slot, 12) for slot in _slots(space, 2, 12, 1).values())

    def __str__(self) -> str:
        lines = [f"{len(self.tried)} networks, {len(self.failures)} of them failed", *self._counts()]
        for runtime, found in self.agreements.items():
            equal, off = np.array([a.equal for a in found]), np.array([a.off for a in found])
            lines.append(
                f"{runtime}: every integer a correct rounding in {len(found)}; bytes equal to PyTorch's: "
                f"median {100 * np.median(equal):.3f} %, lowest {100 * equal.min():.3f} %; at most {100 * TOLERANCE} % "
                f"differ by more than 1 in {(off <= TOLERANCE).sum()}, highest share {100 * off.max():.3f} %"
            )
        return "\n".join(lines)


def _counted(values: Iterator[object]) -> str:
    return ", ".join(f"{value} {count}" for value, count in sorted(Counter(values).items()))


def main() -> int:
    """Try them and print the summary; 1 if a network failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=200, help="how many networks (200)")
    parser.add_argument("--first", type=int, default=0, help="number of the first one (0)")
    args = parser.parse_args()
    summary = Summary()
    with tempfile.TemporaryDirectory() as folder:
        for case, _ in zip(cases(), tqdm(range(args.first + args.count), disable=None)):
            if case.number >= args.first:
                summary.add(case, Path(folder))
    print(summary)
    return 1 if summary.failures else 0


if __name__ == "__main__":
    sys.exit(main())
