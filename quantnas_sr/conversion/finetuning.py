"""Quantization-aware training of a converted network on low-resolution images alone; its float network is the teacher.

It is a training like any other, by BasicSR's pipeline with an options file that can be read, changed and run again.
"""

import multiprocessing
import os
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Sequence

import yaml

from quantnas_sr.conversion.recognition import import_file
from quantnas_sr.data.folders import files_in, image_size
from quantnas_sr.errors import QuantNASError
from quantnas_sr.system.files import written_aside
from quantnas_sr.values.plain_yaml import PlainYamlError, parse_yaml, read_yaml

_PROCESSES: Any = multiprocessing.get_context("spawn")
_HEADER = """# Quantization-aware training on low-resolution images alone; the target is the float network's image.
#   basicsr train -opt {path}
"""
#: Side of a low-resolution patch, patches of a batch, and iterations of an epoch, at least.
_PATCH, _BATCH, _EPOCH = 32, 4, 200
#: Muon's rate at the start, up to this width of the narrowest layer and above it.
_RATES = {5: 1e-3, 32: 5e-4}


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

    Raises:
        DataError: a file in the folder is no image.
    """
    sizes = [image_size(images / name, str(images)) for name in files_in(images, "--images", "quantize")]
    patch = min(_PATCH, *(min(size) for size in sizes))
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
                "gt_size": patch * scale,
                "use_hflip": True,
                "use_rot": True,
                "num_worker_per_gpu": min(4, (os.cpu_count() or 1) // 2),
                "batch_size_per_gpu": _BATCH,
                "dataset_enlarge_ratio": max(1, -(-_BATCH * _EPOCH // len(sizes))),
            }
        },
        "network_g": {"type": "QuantizedArch", **quantized},
        "path": {"pretrain_network_g": str(weights["calibrated"])},
        "train": {
            "total_iter": iterations,
            "warmup_iter": -1,
            "ema_decay": 0.99,
            "optim_g": {"type": "Muon", "lr": rate},
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


def train(options: Mapping[str, Any], path: Path, import_file: Optional[str] = None) -> Path:
    """Write the options to ``path`` and train; go on where an earlier training with the same options stopped.

    The training has a process of its own: data loaders fork theirs, and a process with open runtimes does not survive
    that.

    Args:
        options: of `finetuning_options`.
        path: the options file.
        import_file: see `recognition.import_file`.

    Returns:
        The checkpoint of the trained network.

    Raises:
        QuantNASError: the options or the images cannot be used, or the training broke off.
    """
    folder = Path("experiments", options["name"])
    resumes = _same_options(folder / path.name, options)
    with written_aside(path) as aside:
        aside.write_text(_HEADER.format(path=path) + yaml.safe_dump(dict(options), sort_keys=False), encoding="utf-8")
    arguments = ["basicsr train", "-opt", str(path), *["--auto_resume"] * resumes]
    problem, sender = _PROCESSES.Pipe(duplex=False)
    process = _PROCESSES.Process(target=_train, args=(arguments, import_file, sender))
    process.start()
    process.join()
    if problem.poll():
        raise QuantNASError(problem.recv())
    if process.exitcode:
        raise QuantNASError(f"{path}: the training broke off (exit code {process.exitcode})")
    return folder / "models/net_g_latest.pth"


def _train(arguments: Sequence[str], file: Optional[str], problem: Connection) -> None:
    """BasicSR's training in this process; sends the message of bad input."""
    sys.argv = list(arguments)
    try:
        if file:
            import_file(file)
        from basicsr.train import train_pipeline

        train_pipeline(os.getcwd())
    except QuantNASError as error:
        problem.send(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


def _same_options(path: Path, options: Mapping[str, Any]) -> bool:
    """Whether the training that left its options file at ``path`` was this one."""
    if not path.is_file():
        return False
    try:
        return read_yaml(path) == parse_yaml(yaml.safe_dump(dict(options)))
    except PlainYamlError:
        return False
