"""Trainings of tiny networks in this process: of a model, iteration by iteration, and of BasicSR's whole pipeline."""

import copy
import glob
import logging
from pathlib import Path
from typing import Any, Dict, List, Tuple

import torch
import yaml
from basicsr.models import build_model
from basicsr.utils import logger as basicsr_logger
from basicsr.utils.misc import check_resume
from project import set_option, write_image

ESPCN = {"type": "QuantizedArch", "arch": {"type": "ESPCN", "num_feat": 4, "upscale": 2, "activation": "relu"}}
SUPERNET = {
    "type": "QuantNASSupernet",
    "search_space": "basic",
    "candidates": {
        "head": ["simple_3x3"],
        "body": ["simple_3x3", "conv_3x1_1x3"],
        "skip": ["simple_1x1"],
        "upsample": ["simple_3x3"],
        "tail": ["simple_1x1", "simple_3x3"],
    },
    "scale": 2,
    "num_feat": 4,
    "num_block": 1,
}

TRAIN = {
    "total_iter": 16,
    "optim_g": {"type": "Adam", "lr": 1e-2},
    "scheduler": {"type": "MultiStepLR", "milestones": [7], "gamma": 0.5},
    "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"},
}
SEARCH = {
    "optim_alpha": {"type": "Adam", "lr": 1e-2},
    "hardware_opt": {"type": "HardwareCostLoss", "loss_weight": 1e-2},
    "entropy_opt": {"type": "EntropyLoss", "loss_weight": 1e-1},
}


def options(folder: Path, changes: Dict[str, Any], search: bool = False) -> Dict[str, Any]:
    """Options as BasicSR has parsed them, of a run in ``folder``; ``changes`` by dotted key, None removes a key."""
    train = {**TRAIN, **SEARCH} if search else TRAIN
    opt = {
        "name": "run",
        "model_type": "QuantNASSearchModel" if search else "QuantNASModel",
        "scale": 2,
        "num_gpu": 0,
        "manual_seed": 0,
        "is_train": True,
        "dist": False,
        "rank": 0,
        "world_size": 1,
        "root_path": str(folder),
        "datasets": {"train": {"batch_size_per_gpu": 2, "dataset_enlarge_ratio": 1}},
        "network_g": copy.deepcopy(SUPERNET if search else ESPCN),
        "path": {name: str(folder / name) for name in ("models", "training_states", "visualization")},
        "train": copy.deepcopy(train),
        "logger": {"print_freq": 1000},
    }
    for key, value in changes.items():
        set_option(opt, key, value)
    return opt


def new_model(opt: Dict[str, Any]) -> Any:
    torch.manual_seed(0)
    return build_model(copy.deepcopy(opt))


def train(model: Any, first: int, last: int, save: bool = False) -> None:
    """Iterations ``first`` .. ``last``; the batch depends on the number of the iteration alone."""
    for i in range(first, last + 1):
        generator = torch.Generator().manual_seed(i)
        shapes = {"lq": 4, "gt": 8, "lq_alpha": 4, "gt_alpha": 8}
        batch = {key: torch.rand(2, 3, side, side, generator=generator) for key, side in shapes.items()}
        model.update_learning_rate(i, warmup_iter=model.opt["train"].get("warmup_iter", -1))
        model.feed_data(batch)
        model.optimize_parameters(i)
        if save:
            model.save(0, i)


def resumed(opt: Dict[str, Any], iteration: int, without: Tuple[str, ...] = ()) -> Any:
    """A new model that goes on from a checkpoint; ``without`` these keys of its training state."""
    opt = copy.deepcopy(opt)
    path = f"{opt['path']['training_states']}/{iteration}.state"
    state = torch.load(path, weights_only=True)
    opt["path"]["resume_state"] = path
    check_resume(opt, iteration)
    torch.manual_seed(99)
    model = build_model(opt)
    model.lines = []
    model.say = model.lines.append
    model.resume_training({key: value for key, value in state.items() if key not in without})
    return model


def everything(model: Any) -> Dict[str, torch.Tensor]:
    """All that a training changes: weights, statistics, moving averages, moments, rates."""
    found = {f"net.{key}": value for key, value in model.net_g.state_dict().items()}
    if hasattr(model, "net_g_ema"):
        found.update({f"ema.{key}": value for key, value in model.net_g_ema.state_dict().items()})
    for i, optimizer in enumerate(model.optimizers):
        state = optimizer.state_dict()
        for index, entry in state["state"].items():
            found.update({f"{i}.{index}.{key}": torch.as_tensor(value) for key, value in entry.items()})
        found[f"{i}.lr"] = torch.tensor([group["lr"] for group in state["param_groups"]], dtype=torch.float64)
    return {key: value.clone() for key, value in found.items()}


def assert_same(one: Any, other: Any) -> None:
    """Bit by bit."""
    ours, theirs = everything(one), everything(other)
    assert set(ours) == set(theirs)
    different = [key for key in ours if not torch.equal(ours[key], theirs[key])]
    assert not different, different[:5]


def close_logger() -> None:
    """Let the next run in this process open BasicSR's logger with a file of its own."""
    logger = logging.getLogger("basicsr")
    for handler in logger.handlers[:]:
        handler.close()
        logger.removeHandler(handler)
    basicsr_logger.initialized_logger.clear()


class Pipeline:
    """BasicSR's ``train`` and ``test`` in a folder with images on disk, 32x32, by way of our command."""

    def __init__(self, folder: Path, images: int, monkeypatch: Any, capfd: Any) -> None:
        self.folder, self.capfd = folder, capfd
        for i in range(images):
            write_image(folder / f"hr/{i}.png", 16, 16, seed=i)
            write_image(folder / f"lr/{i}.png", 8, 8, seed=i)
        monkeypatch.chdir(folder)
        monkeypatch.setattr("sys.argv", ["basicsr"])

    def options(self, changes: Dict[str, Any], search: bool = False) -> Dict[str, Any]:
        data = {"type": "PairedImageDataset", "dataroot_gt": "hr", "dataroot_lq": "lr", "io_backend": {"type": "disk"}}
        opt = options(self.folder, {}, search)
        for key in ("is_train", "dist", "rank", "world_size", "root_path"):
            del opt[key]
        loader = {"gt_size": 8, "use_hflip": True, "use_rot": True, "num_worker_per_gpu": 0, "batch_size_per_gpu": 2}
        opt["datasets"] = {"train": {"name": "tiny", **data, **loader, "dataset_enlarge_ratio": 1}}
        opt["path"] = {}
        opt["logger"] = {"print_freq": 1, "save_checkpoint_freq": 1000, "use_tb_logger": False}
        for key, value in changes.items():
            set_option(opt, key, value)
        return opt

    def write(self, opt: Dict[str, Any]) -> None:
        (self.folder / "opt.yml").write_text(yaml.safe_dump(opt, sort_keys=False), encoding="utf-8")

    def run(self, command: str, opt: Dict[str, Any], *arguments: str) -> Tuple[int, str]:
        """The exit code, and what was printed to both streams."""
        from quantnas_sr.cli import basicsr_main

        self.write(opt)
        self.capfd.readouterr()
        close_logger()
        code = basicsr_main([command, "-opt", "opt.yml", *arguments])
        close_logger()
        return code, "".join(self.capfd.readouterr())

    def states(self, name: str = "run") -> List[int]:
        """The iterations of the saved training states."""
        return sorted(int(Path(path).stem) for path in glob.glob(f"experiments/{name}/training_states/*.state"))
