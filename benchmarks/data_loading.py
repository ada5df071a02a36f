"""How many batches the data loader delivers in the time of one step.

    python benchmarks/data_loading.py --gt LMDB --lq LMDB [--workers 2] [--batches 200]

The loader and the step are measured one after the other, each with the machine to itself.
"""

import argparse
import importlib
import os
import statistics
import time
from pathlib import Path

import torch
from side_by_side import Case, measure
from tqdm import tqdm


def loader_of(args: argparse.Namespace, dataset: str, gt_size: int) -> torch.utils.data.DataLoader:
    """BasicSR's loader of a paired LMDB, or of its two halves for a search."""
    importlib.import_module("quantnas_sr")  # registers the datasets, and makes basicsr importable
    from basicsr.data import build_dataloader, build_dataset

    opt = {
        "name": "benchmark",
        "phase": "train",
        "scale": 4,
        "type": dataset,
        "dataroot_gt": str(args.gt),
        "dataroot_lq": str(args.lq),
        "io_backend": {"type": "lmdb"},
        "gt_size": gt_size,
        "use_hflip": True,
        "use_rot": True,
        "num_worker_per_gpu": args.workers,
        "batch_size_per_gpu": args.batch,
    }
    return build_dataloader(build_dataset(opt), opt, num_gpu=0, dist=False, sampler=None, seed=0)


def seconds_per_batch(loader: torch.utils.data.DataLoader, batches: int) -> float:
    """Median of ten stretches, epochs back to back."""
    stretch = max(1, batches // 10)

    def endless():
        while True:
            yield from loader

    source = endless()
    for _ in range(stretch):
        next(source)
    times = []
    for _ in tqdm(range(10), desc="loading"):
        start = time.perf_counter()
        for _ in range(stretch):
            next(source)
        times.append((time.perf_counter() - start) / stretch)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gt", type=Path, required=True, help="LMDB of the HR sub-images")
    parser.add_argument("--lq", type=Path, required=True, help="LMDB of the LR sub-images")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--batches", type=int, default=200)
    parser.add_argument("--batch", type=int, default=16)
    args = parser.parse_args()
    steps = [
        Case("training step", ("steps", "train"), {"batch": args.batch, "patch": 32}),
        Case("search iteration", ("steps", "search"), {"space": "basic", "batch": args.batch, "patch": 32}),
    ]
    results, _ = measure(steps, rounds=7)
    for result, dataset in zip(results, ("PairedImageDataset", "QuantNASSearchDataset")):
        batch = seconds_per_batch(loader_of(args, dataset, 128), args.batches)
        print(
            f"{result.case.name}: {1e3 * result.median:.0f} ms; a batch of {args.batch} from {dataset} with "
            f"{args.workers} workers: {1e3 * batch:.1f} ms; {result.median / batch:.1f} batches in the time of a step"
        )


if __name__ == "__main__":
    main()
