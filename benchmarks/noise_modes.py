"""Does ``noise_mode: fast`` find what ``exact`` finds? Outputs, gradients of the alphas, genotypes.

    python benchmarks/evidence.py options/evidence/noise_modes.yml --jobs 2
    python benchmarks/noise_modes.py experiments/noise_modes/results.json

The plan searches every seed in both modes, and trains and measures each genotype. This compares the genotypes, and
distributions that need no search.
"""

import argparse
import json
from itertools import combinations
from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np
import torch

from quantnas_sr.search_space import Supernet

MODES = ("exact", "fast")


def sampled(net: Supernet, x: torch.Tensor, gt: torch.Tensor, draws: int) -> Tuple[torch.Tensor, torch.Tensor]:
    """Outputs and gradients of all alphas over many draws of the noise."""
    outputs, gradients = [], []
    alphas = list(net.alphas.values())
    for _ in range(draws):
        y = net(x)
        gradient = torch.autograd.grad((y - gt).abs().mean(), alphas)
        outputs.append(y.detach())
        gradients.append(torch.cat([g.flatten() for g in gradient]))
    return torch.stack(outputs), torch.stack(gradients)


def distributions(seed: int, draws: int) -> Dict[str, float]:
    """Compare the two modes on one supernet, from its random start."""
    torch.manual_seed(seed)
    nets = {mode: Supernet("basic", num_block=2, noise_mode=mode).train() for mode in MODES}
    nets["fast"].load_state_dict(nets["exact"].state_dict())
    for net in nets.values():
        for p in net.weights():
            p.requires_grad_(False)
    x, gt = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 64, 64)
    out, grad = zip(*(sampled(nets[mode], x, gt, draws) for mode in MODES))
    half = draws // 2
    mean = [g.mean(0) for g in grad]
    again = [grad[0][:half].mean(0), grad[0][half:].mean(0)]
    cosine = torch.nn.functional.cosine_similarity
    return {
        "difference of the outputs' means / their standard error": float(
            ((out[0].mean(0) - out[1].mean(0)) / ((out[0].var(0) + out[1].var(0)) / draws).sqrt()).pow(2).mean().sqrt()
        ),
        "output variance, fast / exact": float(out[1].var(0).mean() / out[0].var(0).mean()),
        "cosine of the mean alpha gradients": float(cosine(mean[0], mean[1], dim=0)),
        "the same, two halves of exact": float(cosine(again[0], again[1], dim=0)),
        "spread of an alpha gradient, fast / exact": float((grad[1].std(0) / grad[0].std(0)).mean()),
    }


def agreement(slots: Dict[str, List[Dict[str, Any]]]) -> Dict[str, float]:
    """Share of slots that get the same operation, and the same bits, between pairs of searches.

    Args:
        slots: by mode, what each search chose, seed by seed.
    """

    def same(a: Dict[str, Any], b: Dict[str, Any]) -> float:
        return float(np.mean([a[slot] == b[slot] for slot in a]))

    pairs = {"between the modes, same seed": [same(a, b) for a, b in zip(*slots.values())]}
    for mode, searches in slots.items():
        pairs[f"between seeds, {mode}"] = [same(a, b) for a, b in combinations(searches, 2)]
    return {key: float(np.mean(values)) for key, values in pairs.items() if values}


def main() -> None:
    """Print what the plan's genotypes have in common, and the distributions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="results.json of the plan")
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=5, help="supernets whose distributions are compared (5)")
    args = parser.parse_args()
    rows = json.loads(args.results.read_text(encoding="utf-8"))["rows"]
    searched = {mode: [network["slots"] for network in rows[mode]["networks"]] for mode in MODES}
    for key, value in agreement(searched).items():
        print(f"slots with the same choice, {key}: {100 * value:.0f} %")
    found = [distributions(seed, args.draws) for seed in range(args.seeds)]
    for key in found[0]:
        values = [f[key] for f in found]
        print(f"{key}: {np.mean(values):.4f} ({min(values):.4f} to {max(values):.4f})")


if __name__ == "__main__":
    main()
