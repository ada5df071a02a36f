"""The folders of a run. BasicSR makes them anew, and moves away whatever there is under their names."""

from pathlib import Path
from typing import Any, Dict, Iterator, Sequence, Tuple

from quantnas_sr.errors import OptionError

Options = Dict[str, Any]

#: What a run leaves in its folder at once, by the part of the path that names the folder.
_LEFT: Dict[str, Sequence[str]] = {
    "experiments_root": ("training_states", "models", "train_*.log"),
    "results_root": ("visualization", "test_*.log", "metrics.json"),
    "tb_logger": ("events.out.tfevents.*",),
}


def check_folders(opt: Options) -> None:
    """Raise an OptionError where a folder that is of no run has the name of this run: it would be moved away."""
    for kind, folder in _folders(opt):
        if not folder.exists() and not folder.is_symlink():
            continue
        if not folder.is_dir() or (any(folder.iterdir()) and not any(_found(folder, kind))):
            raise OptionError(
                f"name: {opt['name']}: there is {folder}, which is not the folder of a run, and would be moved away. "
                "Allowed: another name"
            )


def _folders(opt: Options) -> Iterator[Tuple[str, Path]]:
    """The folders that a run would move away where they exist."""
    root = opt["path"].get("experiments_root" if opt["is_train"] else "results_root")
    if not isinstance(root, str):
        return
    yield "experiments_root" if opt["is_train"] else "results_root", Path(root)
    if opt["is_train"] and opt["logger"].get("use_tb_logger") and "debug" not in opt["name"]:
        yield "tb_logger", Path(root).parents[1] / "tb_logger" / opt["name"]


def _found(folder: Path, kind: str) -> Iterator[Path]:
    for pattern in _LEFT[kind]:
        yield from folder.glob(pattern)
