"""The checkpoints in the folder of a run: which are whole, which is the newest, which are too old."""

import re
import sys
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Pattern

from quantnas_sr.errors import CheckpointError
from quantnas_sr.pth import read_pth, read_with_digest
from quantnas_sr.system.files import remove_leftovers

#: The key of a training state with the digests of the networks that were saved with it, by file name.
NETWORKS = "network_digests"
_STATE = re.compile(r"(\d+)\.state")
_NETWORK = re.compile(r"net_(?:g|derived)_(\d+)\.pth")


def iterations_of(folder: Path, pattern: Pattern[str] = _STATE) -> Dict[int, List[Path]]:
    """The files of a folder by iteration, newest first; files of other names do not count."""
    found: Dict[int, List[Path]] = {}
    for path in sorted(folder.glob("*")) if folder.is_dir() else ():
        match = pattern.fullmatch(path.name)
        if match:
            found.setdefault(int(match[1]), []).append(path)
    return dict(sorted(found.items(), reverse=True))


def newest_whole_state(opt: Mapping[str, Any]) -> Optional[Path]:
    """The training state that ``--auto_resume`` goes on from; says in one line each which ones are damaged.

    Args:
        opt: parsed options of a training.

    Returns:
        The newest state that is whole and whose networks are; None where there is no state at all.

    Raises:
        CheckpointError: there are states, and none is whole.
    """
    folder = Path("experiments", opt["name"], "training_states")
    states = iterations_of(folder)
    for iteration, (path, *_) in states.items():
        try:
            _check_pair(path, iteration, opt)
            return path
        except CheckpointError as error:
            if opt.get("rank", 0) == 0:
                print(f"Not resumed from: {error}", file=sys.stderr, flush=True)
    if states:
        raise CheckpointError(
            f"{folder}: none of the {len(states)} checkpoints is whole. Without --auto_resume the run starts anew"
        )
    return None


def _check_pair(path: Path, iteration: int, opt: Mapping[str, Any]) -> None:
    state = read_pth(path)
    if not isinstance(state, dict) or state.get("iter") != iteration:
        raise CheckpointError(f"{path}: not the training state of iteration {iteration}")
    digests, ignored = state.get(NETWORKS) or {}, opt["path"].get("ignore_resume_networks") or ()
    for name in (key for key in opt if key.startswith("network_") and key not in ignored):
        file = Path(opt["path"]["models"], f"net_{name[len('network_') :]}_{iteration}.pth")
        digest = read_with_digest(file)[1]
        if digests.get(file.name) not in (None, digest):
            raise CheckpointError(f"{file}: not the network that was saved with {path.name}")


def remove_leftovers_of(opt: Mapping[str, Any]) -> None:
    """Remove the folders aside that a killed process has left in the folder of a run."""
    root = Path("experiments", opt["name"])
    for folder in (root, *(path for path in root.glob("*") if path.is_dir() and not path.is_symlink())):
        remove_leftovers(folder)


def prune(opt: Mapping[str, Any], keep: int, newest: int) -> None:
    """Remove the checkpoints of all but the last ``keep`` iterations up to ``newest``, states first.

    Args:
        opt: parsed options of a training.
        keep: how many iterations keep their training state and networks.
        newest: the iteration that has just been saved. Files of later ones stay.
    """
    states = iterations_of(Path(opt["path"]["training_states"]))
    networks = iterations_of(Path(opt["path"]["models"]), _NETWORK)
    kept = sorted((iteration for iteration in states if iteration <= newest), reverse=True)[:keep]
    for files in (states, networks):
        for iteration, paths in files.items():
            if iteration < min(kept):
                for path in paths:
                    path.unlink()
