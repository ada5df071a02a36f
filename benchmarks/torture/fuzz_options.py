"""Mutated, misspelt and odd options files, read and checked as a run does before it starts: ``--count N --seed S``."""

import os
import sys
from pathlib import Path
from random import Random
from typing import Any, Callable, Dict, List, Tuple

import cv2
import numpy as np
import torch
from fuzzing import OF_TEXT, main
from mutations import from_yaml, misspelt, mutated, mutated_bytes, mutated_text, places, to_yaml

from quantnas_sr.archs.quantized_arch import QuantizedArch
from quantnas_sr.search_space import DerivedNetwork, Supernet

SCALE = 2
_DATASET = {"type": "PairedImageDataset", "dataroot_gt": "gt", "dataroot_lq": "lq", "filename_tmpl": "{}"}
_DISK = {"io_backend": {"type": "disk"}}
_VAL = {"name": "small", **_DATASET, **_DISK}
_LOADED = {"gt_size": 8, "use_hflip": True, "use_rot": True, "num_worker_per_gpu": 0, "batch_size_per_gpu": 2}
_LOADED.update(dataset_enlarge_ratio=1, prefetch_mode=None)
_METRICS = {"psnr": {"type": "calculate_psnr", "crop_border": 2, "test_y_channel": True}}
_OPTIMIZER = {"type": "Adam", "lr": "1e-3", "weight_decay": 0, "betas": [0.9, 0.99]}
_SCHEDULE = {"type": "CosineAnnealingRestartLR", "periods": [100], "restart_weights": [1], "eta_min": "1e-7"}
_TRAIN = {"total_iter": 100, "warmup_iter": -1, "ema_decay": 0.999, "optim_g": _OPTIMIZER, "scheduler": _SCHEDULE}
_TRAIN["pixel_opt"] = {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"}
_RUN = {"scale": SCALE, "num_gpu": 0, "manual_seed": 10}
_LOGGER = {"print_freq": 10, "save_checkpoint_freq": 50, "use_tb_logger": False, "wandb": {"project": None}}
_TRAINED = {
    "logger": {**_LOGGER, "wandb": {"project": None, "resume_id": None}},
    "dist_params": {"backend": "nccl", "port": 29500},
    "val": {"val_freq": 50, "save_img": False, "pbar": False, "metrics": _METRICS},
}
SEARCH: Dict[str, Any] = {
    "name": "search",
    "model_type": "QuantNASSearchModel",
    **_RUN,
    "datasets": {
        "train": {"name": "train", **_DATASET, **_DISK, **_LOADED, "type": "QuantNASSearchDataset"},
        "val": _VAL,
    },
    "network_g": {"type": "QuantNASSupernet", "search_space": "plain", "num_feat": 6, "num_block": 1, "bits": [4, 8]},
    "path": {"resume_state": None},
    "train": {
        **_TRAIN,
        "optim_alpha": {"type": "Adam", "lr": "3e-4"},
        "alpha_warmup": 0.1,
        "hardware_opt": {"type": "HardwareCostLoss", "cost": "bitops", "loss_weight": "1e-4"},
        "entropy_opt": {"type": "EntropyLoss", "loss_weight": "1e-3"},
        "grad_clip": 5,
        "precise_bn": 5,
        "amp": "none",
    },
    **_TRAINED,
}
SEARCH["datasets"]["train"].update(dataset="PairedImageDataset", alpha_fraction=0.5)
QUANTIZED: Dict[str, Any] = {
    "name": "train",
    "model_type": "QuantNASModel",
    **_RUN,
    "datasets": {"train": {"name": "train", **_DATASET, **_DISK, **_LOADED}, "val": _VAL},
    "network_g": {"type": "QuantizedArch", "arch": {"type": "ESPCN", "num_feat": 4, "upscale": 2}, "bits": 8},
    "path": {"pretrain_network_g": "quantized.pth", "param_key_g": "params", "strict_load_g": True},
    "train": {**_TRAIN, "fp_warmup": 0.1, "calibration_iter": 2, "step_lr": 0.01},
    **_TRAINED,
}
TEST: Dict[str, Any] = {
    "name": "test",
    "model_type": "QuantNASModel",
    **_RUN,
    "datasets": {"test": _VAL, "test_2": {**_VAL, "name": "second"}},
    "network_g": {"type": "QuantNASPlain", "genotype": "genotype.yml"},
    "path": {"pretrain_network_g": "derived.pth", "strict_load_g": True},
    "val": {"save_img": True, "suffix": None, "metrics": _METRICS},
}


def write_image(path: Path, side: int, rng: np.random.Generator) -> None:
    """A picture of noise."""
    path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(path), rng.integers(0, 256, (side, side, 3), dtype=np.uint8))


class Options:
    """Options files of a search, a training and a test."""

    name = "options"
    limits = OF_TEXT

    def prepare(self, folder: Path) -> None:
        """Images, a genotype and checkpoints for the options to name."""
        from basicsr.utils.options import parse_options

        self.folder, self.parse = folder, parse_options
        rng = np.random.default_rng(0)
        for i in range(4):
            write_image(folder / f"gt/{i}.png", 32, rng)
            write_image(folder / f"lq/{i}.png", 32 // SCALE, rng)
        genotype = Supernet("plain", num_feat=6, num_block=1, scale=SCALE).genotype()
        genotype.save(folder / "genotype.yml")
        torch.save({"params": DerivedNetwork(genotype).state_dict()}, folder / "derived.pth")
        quantized = QuantizedArch(QUANTIZED["network_g"]["arch"])
        torch.save({"params": quantized.state_dict()}, folder / "quantized.pth")
        (folder / "mydocs").mkdir()
        (folder / "mydocs" / "letter.txt").write_text("dear all")

    def case(self, rng: Random) -> Callable[[], Any]:
        """Write a file; read it as a run does."""
        options = rng.choice((SEARCH, QUANTIZED, TEST))
        is_train, misspelt_key = options is not TEST, ""
        chance = rng.random()
        text = to_yaml(options)
        if chance < 0.55:
            text = to_yaml(mutated(rng, options))
        elif chance < 0.7:
            changed, misspelt_key = one_misspelt(rng, options)
            text = to_yaml(changed)
        elif chance < 0.95:
            text = mutated_text(rng, text)
        raw = text.encode("utf-8", "surrogatepass")
        (self.folder / "tried.yml").write_bytes(raw if chance < 0.95 else mutated_bytes(rng, raw))
        return lambda: self.read(is_train, misspelt_key)

    def read(self, is_train: bool, misspelt_key: str) -> Any:
        """The options as a run gets them; those with a misspelt key should not come so far."""
        os.chdir(self.folder)
        before, sys.argv = sys.argv, ["basicsr", "-opt", "tried.yml"]
        try:
            options = self.parse(str(self.folder), is_train=is_train)
        finally:
            sys.argv = before
        assert not misspelt_key, f"the misspelt key {misspelt_key} was accepted"
        return options


def one_misspelt(rng: Random, options: Dict[str, Any]) -> Tuple[Dict[str, Any], str]:
    """Options with one key misspelt, and the key. Names that are free to choose are left alone."""
    changed = from_yaml(to_yaml(options))
    found: List[Tuple[Any, Any]] = [entry for entry in places(changed) if isinstance(entry[0], dict)]
    holder, key = rng.choice([entry for entry in found if entry[1] not in ("psnr", "val", "test", "test_2", "train")])
    wrong = misspelt(rng, key)
    if wrong in holder or wrong == key:
        wrong = key + "s"
    items = [(wrong if name == key else name, value) for name, value in holder.items()]
    holder.clear()
    holder.update(items)
    return changed, f"{key} as {wrong}"


if __name__ == "__main__":
    main(Options())
