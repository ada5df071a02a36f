"""Quantization-aware training of a converted network on low-resolution images alone; its float network is the teacher.

It is a training like any other, by BasicSR's pipeline with an options file that can be read, changed and run again.
"""

import os
import sys
from pathlib import Path
from typing import Any, Dict, Mapping

import yaml

from quantnas_sr.system.files import written_aside

_HEADER = """# Quantization-aware training on low-resolution images alone; the target is the float network's image.
#   basicsr train -opt {path}
"""
#: Side of a low-resolution patch, patches of a batch, and iterations of an epoch, at least.
_PATCH, _BATCH, _EPOCH = 48, 8, 100
#: Adam's rate at the start, up to this width of the narrowest layer and above it.
_RATES = {5: 5e-4, 32: 1e-4}


def finetuning_options(
    name: str,
    quantized: Mapping[str, Any],
    weights: Mapping[str, Path],
    images: Path,
    scale: int,
    iterations: int,
) -> Dict[str, Any]:
    """The options of the training.

    Args:
        name: of the run, ``experiments/<name>``.
        quantized: the arguments of the `QuantizedArch`.
        weights: checkpoints: ``calibrated``, where it starts, and its teacher ``float``.
        images: folder of low-resolution images.
        scale: how many times as high and wide the output is.
        iterations: of the training.
    """
    count = sum(entry.is_file() for entry in os.scandir(images))
    narrowest = min(quantized["bits_by_layer"].values())
    rate = next(rate for most, rate in _RATES.items() if narrowest <= most)
    return {
        "name": name,
        "model_type": "QuantNASModel",
        "scale": scale,
        "num_gpu": "auto",
        "manual_seed": 0,
        "datasets": {
            "train": {
                "name": "images",
                "type": "QuantNASPatchDataset",
                "dataroot_lq": str(images),
                "io_backend": {"type": "disk"},
                "gt_size": _PATCH * scale,
                "use_hflip": True,
                "use_rot": True,
                "num_worker_per_gpu": min(4, (os.cpu_count() or 1) // 2),
                "batch_size_per_gpu": _BATCH,
                "dataset_enlarge_ratio": max(1, -(-_BATCH * _EPOCH // max(1, count))),
            }
        },
        "network_g": {"type": "QuantizedArch", **quantized},
        "path": {"pretrain_network_g": str(weights["calibrated"])},
        "train": {
            "total_iter": iterations,
            "warmup_iter": -1,
            "ema_decay": 0.99,
            "optim_g": {"type": "Adam", "lr": rate, "betas": [0.9, 0.99]},
            "scheduler": {
                "type": "CosineAnnealingRestartLR",
                "periods": [iterations],
                "restart_weights": [1],
                "eta_min": rate / 100,
            },
            "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"},
            "teacher": {"path": str(weights["float"]), "loss_weight": 0.0},
            "grad_clip": 1.0,
        },
        "logger": {"print_freq": 50, "save_checkpoint_freq": 250, "use_tb_logger": True},
    }


def train(options: Mapping[str, Any], path: Path) -> Path:
    """Write the options to ``path`` and train; go on where an earlier training with the same options stopped.

    Returns:
        The checkpoint of the trained network.

    Raises:
        QuantNASError: the options or the images cannot be used.
    """
    folder = Path("experiments", options["name"])
    resumes = _same_options(folder / path.name, options)
    with written_aside(path) as aside:
        aside.write_text(_HEADER.format(path=path) + yaml.safe_dump(dict(options), sort_keys=False))
    arguments, sys.argv = sys.argv, ["basicsr train", "-opt", str(path), *["--auto_resume"] * resumes]
    try:
        from basicsr.train import train_pipeline

        train_pipeline(os.getcwd())
    finally:
        sys.argv = arguments
    return folder / "models/net_g_latest.pth"


def _same_options(path: Path, options: Mapping[str, Any]) -> bool:
    """Whether the training that left its options file at ``path`` was this one."""
    if not path.is_file():
        return False
    try:
        return yaml.safe_load(path.read_text()) == yaml.safe_load(yaml.safe_dump(dict(options)))
    except yaml.YAMLError:
        return False
