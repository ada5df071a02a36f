"""The length of a training. BasicSR counts epochs; ``total_iter`` promises iterations."""

import functools
import math
from typing import Any, Dict, Mapping, Optional, Tuple

from basicsr import train
from basicsr.utils.registry import ARCH_REGISTRY, MODEL_REGISTRY

from quantnas_sr.compat.data_order import DataPosition, placing, start
from quantnas_sr.compat.replacing import rebind, replaced
from quantnas_sr.compat.run_files import newest_whole_state, remove_leftovers_of
from quantnas_sr.errors import DataError
from quantnas_sr.pth import read_pth
from quantnas_sr.system.stopping import Stopping

#: The key of the options under which a resumed run notes where its training state was saved.
RESUMED_FROM = "resumed_from"
#: The key of the options under which a model finds the `DataPosition` of its run.
DATA_POSITION = "data_position"
#: The key of the options that says that no seed was given: a resumed run takes the one that was drawn before.
SEED_IS_DRAWN = "seed_is_drawn"


def is_ours(opt: Mapping[str, Any]) -> bool:
    """Whether a run uses a model or a network of this package, or a subclass of one; other runs are left alone."""
    network = opt.get("network_g")
    named = (
        (MODEL_REGISTRY, opt.get("model_type")),
        (ARCH_REGISTRY, network.get("type") if isinstance(network, Mapping) else None),
    )
    classes = (registry.get(name) for registry, name in named if isinstance(name, str) and name in registry)
    return any(base.__module__.startswith("quantnas_sr.") for cls in classes for base in cls.__mro__)


def remember_resumed_iteration() -> None:
    """``create_train_val_dataloader`` is not told where a resumed run goes on: note it in the options."""
    original = train.load_resume_state

    @functools.wraps(original)
    def load_resume_state(opt: Dict[str, Any]) -> Optional[Dict[str, Any]]:
        if not is_ours(opt):
            return original(opt)
        _choose_state(opt)
        state = original(opt)
        if state is not None:
            opt[RESUMED_FROM] = {"epoch": int(state["epoch"]), "iter": int(state["iter"]), "data": state.get("data")}
            if opt.get(SEED_IS_DRAWN):
                opt["manual_seed"] = state.get("options", {}).get("manual_seed", opt["manual_seed"])
        return state

    rebind(original, load_resume_state)


def _choose_state(opt: Dict[str, Any]) -> None:
    """Let BasicSR resume from a checkpoint that is whole, and look at no other file among the training states."""
    if opt["auto_resume"]:
        path = newest_whole_state(opt)
        opt["auto_resume"] = False
        opt["path"]["resume_state"] = path and str(path)
    elif opt["path"].get("resume_state"):
        read_pth(opt["path"]["resume_state"])
    if opt["path"].get("resume_state") and opt.get("rank", 0) == 0:
        remove_leftovers_of(opt)


def train_all_iterations() -> None:
    """``create_train_val_dataloader`` returns too few epochs for ``total_iter`` iterations, and only whole ones.

    It rounds the iterations of an epoch up, although the loader leaves the last incomplete batch out. A resumed run
    starts at the image after those of its training state, however many iterations an epoch had then and has now.
    """
    original = train.create_train_val_dataloader

    @functools.wraps(original)
    def create_train_val_dataloader(opt: Dict[str, Any], logger: Any) -> Tuple[Any, ...]:
        if not is_ours(opt):
            return original(opt, logger)
        space = original.__globals__
        with replaced(space, **placing(space.get("build_dataloader"))):
            loader, sampler, val_loaders, _, total_iter = original(opt, logger)
        if not len(loader):
            raise DataError(too_few_images(opt, len(loader.dataset)) or "datasets.train: no batch can be made")
        resumed = opt.get(RESUMED_FROM, {"epoch": 0, "iter": 0})
        position = start(loader, sampler, resumed["iter"], resumed["epoch"], resumed.get("data"))
        opt[DATA_POSITION] = position
        _log_start(position, total_iter, logger)
        return loader, sampler, val_loaders, position.last_epoch(total_iter), total_iter

    rebind(original, create_train_val_dataloader)


def give_signals_back() -> None:
    """``train_pipeline`` leaves the signals to who had them before, also where it fails: Ctrl-C in a notebook."""
    original = train.train_pipeline

    @functools.wraps(original)
    def train_pipeline(*args: Any, **kwargs: Any) -> Any:
        try:
            return original(*args, **kwargs)
        finally:
            Stopping.release()

    rebind(original, train_pipeline)


def _log_start(position: DataPosition, total_iter: int, logger: Any) -> None:
    if total_iter > position.iteration:
        epochs = position.last_epoch(total_iter) - position.epoch + (position.left > 0)
        within = f"; {position.done} images of the first are done" if position.done else ""
        logger.info(
            f"Training from iteration {position.iteration} to {total_iter} takes {epochs} epochs of {position.length} "
            f"full batches{within}; an incomplete last batch is left out."
        )
    else:
        logger.warning(
            f"Nothing to train: iteration {position.iteration} is done, and train.total_iter is {total_iter}."
        )


def too_few_images(opt: Mapping[str, Any], images: int) -> Optional[str]:
    """The error message where an epoch of ``images`` training images has no full batch; None where it has one.

    Args:
        opt: parsed options; the number of processes is ``world_size``, 1 by default.
        images: length of the training dataset.
    """
    dataset = opt["datasets"]["train"]
    processes = opt.get("world_size", 1)
    devices = 1 if opt.get("dist") or not isinstance(opt["num_gpu"], int) else max(1, opt["num_gpu"])
    ratio = dataset.get("dataset_enlarge_ratio", 1)
    batch = dataset["batch_size_per_gpu"] * devices
    samples = math.ceil(images * ratio / processes)
    if samples >= batch:
        return None
    parts = [f"batch_size_per_gpu {dataset['batch_size_per_gpu']}"]
    parts += [f"{devices} GPUs"] * (devices > 1) + [f"{processes} processes"] * (processes > 1)
    smaller = f"batch_size_per_gpu to {samples // devices} or less, or " if samples >= devices else ""
    enough = math.ceil(((batch - 1) * processes + 1) / images) if images else 0
    remedy = f": set {smaller}dataset_enlarge_ratio to {enough} or more" if images else ""
    enlarged = f" (dataset_enlarge_ratio {ratio})" if ratio != 1 else ""
    return f"datasets.train: {images} images{enlarged} do not fill one batch ({', '.join(parts)}){remedy}"
