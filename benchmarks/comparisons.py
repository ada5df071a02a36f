"""The parts of the method, each with and without, at one equal small budget and over several seeds.

    python benchmarks/comparisons.py --train FOLDER_OF_LMDBS --valid FOLDER --output experiments/comparisons

Searches and trains with small options (`chain`) and prints tables of mean and standard deviation. Finished runs are not
repeated, so a second call goes on where the first one stopped. Trainings are so short that the moving average of the
weights lags behind them by two dB, so that the weights themselves are measured.
"""

import argparse
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, Dict, List

import numpy as np
from chain import Chain, add_arguments, settle

from quantnas_sr.cost import count, sample_genotypes
from quantnas_sr.search_space import DerivedNetwork, Genotype, Supernet
from quantnas_sr.search_space.skeletons.adq import NORMS

#: What is searched: by the words of the table, the options that differ from those of `chain`.
SEARCHES: Dict[str, Dict[str, Any]] = {
    "noise": {},
    "shared": {"network_g__bit_mixer": "shared"},
    "separate": {"network_g__bit_mixer": "separate"},
    "no_entropy": {"train__entropy_opt__loss_weight": 0},
}
BLOCKS = 2
PARTS = ("norms", "searches", "sampled")


class Comparisons:
    """All runs, each submitted once."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.chain = args, Chain(args)
        self.seeds = range(args.seeds)
        self.pool = ThreadPoolExecutor(args.jobs)

    def _many(self, run: Callable[[int], Dict[str, Any]]) -> List["Future[Dict[str, Any]]"]:
        return [self.pool.submit(run, seed) for seed in self.seeds]

    def _samples(self, number: int, **options: Any) -> List[Path]:
        net = Supernet("basic", num_block=BLOCKS, norm=options.pop("norm", "adq"))
        paths = []
        for i, genotype in enumerate(sample_genotypes(net, number, **options)):
            paths.append(self.args.output / "genotypes" / f"{net.norm}_{number}_{i}.yml")
            genotype.save(paths[-1])
        return paths

    def norms(self) -> str:
        """Table 2: the same two sampled genotypes with every norm."""
        train, runs = self.chain.train, {}
        for norm in NORMS:
            for i, path in enumerate(self._samples(2, seed=self.args.sample_seed, norm=norm)):
                runs[norm, i] = self._many(lambda s, n=f"norm_{norm}_{i}", p=path: train(n, s, p))
        lines = ["| norm | genotype A | genotype B |", "|---|---|---|"]
        for norm in NORMS:
            cells = [_psnr([job.result() for job in runs[norm, i]]) for i in range(2)]
            lines.append(f"| {norm} | {' | '.join(cells)} |")
        return "\n".join(lines)

    def _searched(self, name: str, seed: int) -> Dict[str, Any]:
        return self.chain.train(name, seed, self.chain.search(name, seed, **SEARCHES[name]))

    def searches(self) -> str:
        """Tables 1 and 3: entropy on and off; noise, shared and separate weights."""
        runs = {name: self._many(lambda s, n=name: self._searched(n, s)) for name in self.args.searches}
        lines = ["| search | PSNR-Y | GBitOps of each seed |", "|---|---|---|"]
        for name, jobs in runs.items():
            rows = [job.result() for job in jobs]
            costs = ", ".join(f"{row['gbitops']:.2f}" for row in rows)
            lines.append(f"| {name} | {_psnr(rows)} | {costs} |")
        return "\n".join(lines)

    def sampled(self) -> str:
        """Appendix F: what the first seed's search found, and random genotypes of the same cost within 5 %."""
        found = self.chain.search("noise", 0)
        bitops = count(DerivedNetwork(Genotype.load(found))).bitops / 1e9
        paths = {"found": found}
        drawn = self._samples(5, seed=self.args.sample_seed, gbitops=(0.95 * bitops, 1.05 * bitops))
        paths.update({f"sampled_{i}": path for i, path in enumerate(drawn)})
        runs = {n: self._many(lambda s, n=n, p=p: self.chain.train(f"of_{n}", s, p)) for n, p in paths.items()}
        lines = ["| genotype | PSNR-Y | GBitOps |", "|---|---|---|"]
        for name, jobs in runs.items():
            rows = [job.result() for job in jobs]
            lines.append(f"| {name} | {_psnr(rows)} | {rows[0]['gbitops']:.2f} |")
        return "\n".join(lines)


def _psnr(rows: List[Dict[str, Any]]) -> str:
    values = [row["psnr"] for row in rows]
    return f"{np.mean(values):.3f} +- {np.std(values, ddof=1):.3f} dB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, output="experiments/comparisons", seeds=3, train_iter=600, weights="params")
    parser.add_argument("--sample-seed", type=int, default=0, help="of the sampled genotypes (0)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--searches", nargs="+", choices=SEARCHES, default=list(SEARCHES))
    args = parser.parse_args()
    settle(args)
    comparisons = Comparisons(args)
    for part in args.parts:
        print(f"\n{part}: {args.seeds} seeds\n\n{getattr(comparisons, part)()}", flush=True)


if __name__ == "__main__":
    main()
