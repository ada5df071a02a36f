"""Small searches and trainings with the options in ``options/`` beside this file, one after another or at once."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict

from quantnas_sr.cost import count
from quantnas_sr.search_space import DerivedNetwork, Genotype
from quantnas_sr.system.files import written_aside

REPOSITORY = Path(__file__).resolve().parents[1]
OPTIONS = Path(__file__).resolve().parent / "options"


def basicsr(command: str, options: str, folder: Path, changes: Dict[str, Any]) -> None:
    """Run BasicSR's pipeline in ``folder`` with one thread.

    Raises:
        RuntimeError: it failed; the message has the end of what it printed.
    """
    script = [sys.executable, str(REPOSITORY / f"quantnas_sr/{command}.py")]
    script += ["-opt", str(OPTIONS / options)]
    script += ["--force_yml", *(f"{key}={value}" for key, value in changes.items())]
    captured = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    done = subprocess.run(script, cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"}, **captured)
    if done.returncode:
        raise RuntimeError(f"{' '.join(script)} failed:\n{done.stdout[-3000:]}")


def add_arguments(parser: argparse.ArgumentParser, output: str, seeds: int, train_iter: int, weights: str) -> None:
    """Where the data are, where the runs go, how long they are, and which weights of the trained networks count."""
    parser.add_argument("--train", type=Path, required=True, help="folder of NAME_{HR,LRbicx4}_sub.lmdb")
    parser.add_argument("--name", default="Train190", help="of the LMDBs (Train190)")
    parser.add_argument("--valid", type=Path, required=True, help="folder of GTmod4 and LRbicx4")
    parser.add_argument("--output", type=Path, default=Path(output))
    parser.add_argument("--seeds", type=int, default=seeds)
    parser.add_argument("--search-iter", type=int, default=300)
    parser.add_argument("--train-iter", type=int, default=train_iter)
    parser.add_argument("--weights", choices=("params", "params_ema"), default=weights, help="what is measured")
    parser.add_argument("--jobs", type=int, default=2)


def settle(args: argparse.Namespace) -> None:
    """Make the paths absolute, and the folder for the runs."""
    args.train, args.valid, args.output = (path.resolve() for path in (args.train, args.valid, args.output))
    args.output.mkdir(parents=True, exist_ok=True)


class Chain:
    """Runs that are named by what they compare; finished ones are not repeated."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.valid = {"dataroot_gt": args.valid / "GTmod4", "dataroot_lq": args.valid / "LRbicx4"}

    def _training(self, name: str, seed: int, iterations: int) -> Dict[str, Any]:
        args = self.args
        return {
            "name": name,
            "manual_seed": seed,
            "datasets:train:dataroot_gt": args.train / f"{args.name}_HR_sub.lmdb",
            "datasets:train:dataroot_lq": args.train / f"{args.name}_LRbicx4_sub.lmdb",
            "datasets:train:dataset_enlarge_ratio": 5,
            "train:total_iter": iterations,
            "train:scheduler:periods": f"[{iterations}]",
        }

    def search(self, name: str, seed: int, **changes: Any) -> Path:
        """The genotype that a search finds; ``changes`` as ``network_g__norm="adq"``."""
        name = f"search_{name}_{seed}"
        genotype = self.args.output / "experiments" / name / "genotype.yml"
        if not (genotype.parent / "models" / "net_g_latest.pth").exists():
            options = self._training(name, seed, self.args.search_iter)
            options.update({f"datasets:val:{key}": value for key, value in self.valid.items()})
            options["val:val_freq"] = 10 * self.args.search_iter
            options.update({key.replace("__", ":"): value for key, value in changes.items()})
            basicsr("train", "search.yml", self.args.output, options)
        return genotype

    def train(self, name: str, seed: int, genotype: Path) -> Dict[str, Any]:
        """Train and measure: seed, PSNR-Y in dB, GBitOps for 32x32, and the choice in every slot."""
        result = self.args.output / f"{name}_{seed}.json"
        if result.exists():
            return json.loads(result.read_text())
        network = self.args.output / "experiments" / f"train_{name}_{seed}" / "models" / "net_g_latest.pth"
        if not network.exists():
            options = self._training(f"train_{name}_{seed}", seed, self.args.train_iter)
            basicsr("train", "train.yml", self.args.output, {**options, "network_g:genotype": genotype.resolve()})
        options = {f"datasets:test:{key}": value for key, value in self.valid.items()}
        options.update({"name": f"test_{name}_{seed}", "path:pretrain_network_g": network.resolve()})
        options["path:param_key_g"] = self.args.weights
        basicsr("test", "test.yml", self.args.output, {**options, "network_g:genotype": genotype.resolve()})
        measured = json.loads((self.args.output / "results" / options["name"] / "metrics.json").read_text())["datasets"]
        found = Genotype.load(genotype)
        row = {
            "seed": seed,
            "psnr": next(iter(measured.values()))["metrics"]["psnr"],
            "gbitops": count(DerivedNetwork(found)).bitops / 1e9,
            "slots": {slot: list(choice) for slot, choice in found.slots.items()},
        }
        with written_aside(result) as aside:
            aside.write_text(json.dumps(row))
        return row
