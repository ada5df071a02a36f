"""A BasicSR project in a folder: tiny data in real LMDBs, and the shipped options files made small."""

import multiprocessing
import os
import runpy
import socket
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Dict, Optional, Sequence

import cv2
import numpy as np
import torch
import yaml

ROOT = Path(__file__).resolve().parents[1]

# Where there is a forkserver, it imports once what BasicSR and this package build on, and every process begins with it.
PROCESSES = multiprocessing.get_context(
    "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
)
PROCESSES.set_forkserver_preload(
    ["torch", "torchvision", "torch._dynamo", "torch.utils.tensorboard", "scipy.stats", "scipy.ndimage", "cv2", "lmdb"]
)


def write_image(path: Path, height: int, width: int, seed: int = 0, channels: int = 3) -> None:
    """A smooth coloured picture with some edges in it."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (max(2, height // 8), max(2, width // 8), channels), dtype=np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def load_options(name: str) -> Dict[str, Any]:
    from quantnas_sr.options.base import load_options

    return load_options(ROOT / "options" / name)


class Project:
    """A folder that commands run in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make_data(self) -> None:
        """LMDBs to train on, and a folder to validate on, written by `quantnas prepare`."""
        from quantnas_sr.data.prepare import SubImages, prepare_folder

        for i in range(4):
            write_image(self.folder / f"photos/{i}.png", 96, 128, seed=i)
        write_image(self.folder / "held_out/a.png", 64, 48, seed=10)
        write_image(self.folder / "held_out/b.png", 48, 64, seed=11)
        cut = SubImages(gt_size=64, step=32)
        prepare_folder(self.folder / "photos", self.folder / "datasets", scale=4, cut=cut, name="train", workers=1)
        target = {"scale": 4, "name": "test", "layout": "folders", "workers": 1}
        prepare_folder(self.folder / "held_out", self.folder / "datasets", **target)

    def options(self, name: str, changes: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        """A shipped options file on this project's data, small; ``changes`` by dotted key, None removes a key."""
        opt = load_options(name)
        for phase, dataset in opt["datasets"].items():
            dataset.update(self.training_data() if phase == "train" else self.test_data())
        small = {"logger.print_freq": 1, "logger.use_tb_logger": False, "logger.save_checkpoint_freq": 1000}
        if "train" in opt:
            small.update({"train.total_iter": 2, "train.scheduler.periods": [2], "val.val_freq": 1000})
            small["train.scheduler.restart_weights"] = [1]
        for key, value in {**small, **(changes or {})}.items():
            set_option(opt, key, value)
        return opt

    def training_data(self) -> Dict[str, Any]:
        return {
            "dataroot_gt": "datasets/train_HR_sub.lmdb",
            "dataroot_lq": "datasets/train_LRbicx4_sub.lmdb",
            "io_backend": {"type": "lmdb"},
            "gt_size": 32,
            "num_worker_per_gpu": 0,
            "batch_size_per_gpu": 2,
        }

    def test_data(self, name: str = "test") -> Dict[str, Any]:
        return {
            "dataroot_gt": f"datasets/{name}/GTmod4",
            "dataroot_lq": f"datasets/{name}/LRbicx4",
            "filename_tmpl": "{}",
            "io_backend": {"type": "disk"},
        }

    def write(self, name: str, opt: Dict[str, Any]) -> str:
        (self.folder / name).write_text(yaml.safe_dump(opt, sort_keys=False))
        return name

    def run(self, *command: str, code: int = 0) -> str:
        """Run Python in this folder, as a user would who has installed the package, and return all that it printed."""
        return run_python(*command, folder=self.folder, code=code)

    def train(self, options: str, *arguments: str, code: int = 0) -> str:
        return self.run(str(ROOT / "quantnas_sr/train.py"), "-opt", options, *arguments, code=code)

    def test(self, options: str) -> str:
        return self.run(str(ROOT / "quantnas_sr/test.py"), "-opt", options)


class Started:
    """``python command`` in ``folder``, in a process that has imported torch and the like already, but nothing of ours.

    It ends at the latest with the block of its ``with``.

    Args:
        command: a script and its arguments, or ``-m MODULE ...``, or ``-c CODE ...``.
        folder: the working directory.
        path: folders in which Python looks for modules first.
        environment: variables.
    """

    def __init__(self, *command: str, folder: Path, path: Sequence[Path] = (), **environment: str) -> None:
        self._temporary = tempfile.TemporaryDirectory()
        self.output = Path(self._temporary.name, "output")
        self.output.touch()
        path = [*map(str, path), str(ROOT)]
        environment = {"PYTHONPATH": os.pathsep.join(path), "OMP_NUM_THREADS": "1", **environment}
        started = folder, self.output, command, path, environment
        self.process = PROCESSES.Process(target=_run, args=started)
        self.process._config.pop("quantnas_sr", None)  # with it, the process would import this package first
        self.process.start()

    def __enter__(self) -> "Started":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.join()
        self._temporary.cleanup()

    def finished(self, code: int = 0) -> str:
        """Wait for the end; returns all that was printed."""
        self.process.join(300)
        printed = self.output.read_text()
        assert self.process.exitcode == code, printed[-3000:]
        return printed


def run_python(*command: str, folder: Path, code: int = 0, **more: Any) -> str:
    """Run a command as `Started` does; returns all that it printed."""
    with Started(*command, folder=folder, **more) as started:
        return started.finished(code)


def free_port() -> int:
    """A port of this machine that nobody uses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def run_in_parallel(processes: int, folder: Path, *command: str, code: int = 0) -> str:
    """What `torchrun --nproc_per_node` starts, without its own process; returns what the first process printed."""
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(processes)}
    ranks = [{**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]
    with ExitStack() as stack:
        all_started = [stack.enter_context(Started(*command, folder=folder, **rank)) for rank in ranks]
        return [started.finished(code) for started in all_started][0]


def _run(folder: Path, output: Path, command: Sequence[str], path: Sequence[str], environment: Dict[str, str]) -> None:
    """``python command`` in ``folder``, in this process, with both streams in the file ``output``."""
    os.chdir(folder)
    os.environ.update(environment)
    with output.open("wb") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    sys.path[:0] = path
    torch.set_num_threads(1)
    first, *rest = command
    if first == "-c":
        sys.argv = ["-c", *rest[1:]]
        exec(compile(rest[0], "-c", "exec"), {"__name__": "__main__"})
    elif first == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(command)
        sys.path.insert(0, str(Path(first).resolve().parent))
        runpy.run_path(first, run_name="__main__")


def set_option(opt: Dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        opt = opt.setdefault(parent, {})
    if value is None:
        opt.pop(last, None)
    else:
        opt[last] = value
