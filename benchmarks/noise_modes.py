"""Does ``noise_mode: fast`` find what ``exact`` finds? Outputs, gradients of the alphas, genotypes, trained networks.

    python benchmarks/noise_modes.py --train FOLDER_OF_LMDBS --valid FOLDER --output experiments/noise_modes

Every seed is searched in both modes with small options (`chain`), and each genotype is trained and measured. Finished
steps are not repeated, so a second call goes on where the first one stopped.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, List, Tuple

import numpy as np
import torch
from chain import Chain, add_arguments, settle

from quantnas_sr.search_space import Supernet

MODES = ("exact", "fast")


def searched_and_trained(chain: Chain, seed: int, mode: str) -> Dict[str, Any]:
    """Search, train and measure once."""
    genotype = chain.search(mode, seed, network_g__noise_mode=mode)
    return {**chain.train(mode, seed, genotype), "mode": mode}


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


def agreement(rows: List[Dict[str, Any]]) -> Dict[str, float]:
    """Share of slots that get the same operation, and the same bits, between pairs of searches."""
    pairs = {"between the modes, same seed": [], "between seeds, exact": [], "between seeds, fast": []}
    for i, a in enumerate(rows):
        for b in rows[i + 1 :]:
            same = np.mean([a["slots"][s] == b["slots"][s] for s in a["slots"]])
            if a["seed"] == b["seed"]:
                pairs["between the modes, same seed"].append(same)
            elif a["mode"] == b["mode"]:
                pairs[f"between seeds, {a['mode']}"].append(same)
    return {key: float(np.mean(values)) for key, values in pairs.items() if values}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, output="experiments/noise_modes", seeds=5, train_iter=1500, weights="params_ema")
    parser.add_argument("--draws", type=int, default=400)
    args = parser.parse_args()
    settle(args)

    chain = Chain(args)
    with ThreadPoolExecutor(args.jobs) as pool:
        jobs = [pool.submit(searched_and_trained, chain, seed, mode) for seed in range(args.seeds) for mode in MODES]
        rows = [job.result() for job in jobs]
    print("| seed | mode | GBitOps | PSNR-Y, dB |\n|---|---|---|---|")
    for row in rows:
        print(f"| {row['seed']} | {row['mode']} | {row['gbitops']:.3f} | {row['psnr']:.3f} |")
    for mode in MODES:
        for key in ("gbitops", "psnr"):
            values = [row[key] for row in rows if row["mode"] == mode]
            print(f"{mode}: {key} {np.mean(values):.3f} +- {np.std(values, ddof=1):.3f}")
    for key, value in agreement(rows).items():
        print(f"slots with the same choice, {key}: {100 * value:.0f} %")
    found = [distributions(seed, args.draws) for seed in range(args.seeds)]
    for key in found[0]:
        values = [f[key] for f in found]
        print(f"{key}: {np.mean(values):.4f} ({min(values):.4f} to {max(values):.4f})")


if __name__ == "__main__":
    main()
