"""``datasets``: their types, and what is in their folders."""

from typing import Any, Dict, Optional

from basicsr.data.paired_image_dataset import PairedImageDataset

from quantnas_sr.data.check import check_paired_dataset, check_single_dataset
from quantnas_sr.data.pairs import Size
from quantnas_sr.data.patch_dataset import QuantNASPatchDataset
from quantnas_sr.data.search_dataset import QuantNASSearchDataset
from quantnas_sr.errors import OptionError
from quantnas_sr.options.registered import is_a, registered
from quantnas_sr.options.tables import DATASET, PATCH_KEYS
from quantnas_sr.registration import DATASET_REGISTRY

Options = Dict[str, Any]

#: BasicSR's class for images without GT; None where a project has a copy of BasicSR without it.
_SINGLE = DATASET_REGISTRY.find("SingleImageDataset")
#: Keys that BasicSR's own datasets of images need.
_NEEDED = {
    PairedImageDataset: ("dataroot_gt", "dataroot_lq", "io_backend"),
    **({_SINGLE: ("dataroot_lq", "io_backend")} if _SINGLE else {}),
}


def image_class(dataset: Options) -> Optional[type]:
    """The class that reads the images: that of a dataset, or of what one of ours splits or takes patches of."""
    cls = DATASET_REGISTRY.find(dataset.get("type"))
    if cls is QuantNASSearchDataset:
        return DATASET_REGISTRY.find(dataset.get("dataset", "PairedImageDataset"))
    return _SINGLE if cls is QuantNASPatchDataset else cls


def lacks_gt(dataset: Options) -> bool:
    """Whether a dataset has no high-resolution images to compare with."""
    return _SINGLE is not None and is_a(image_class(dataset), _SINGLE)


def channels_of(dataset: Options) -> Optional[int]:
    """How many channels the images of one of BasicSR's own datasets have; None for other datasets."""
    if image_class(dataset) not in _NEEDED:
        return None
    return 1 if dataset.get("color") == "y" else 3


def check_datasets(opt: Options) -> Dict[str, Size]:
    """Check every dataset, and look at the images of those that BasicSR has for pairs and for single images.

    Returns:
        By phase, the least height and the least width of a GT image, where they are known.

    Raises:
        QuantNASError: one line that names the key, the folder or the image.
    """
    sizes: Dict[str, Size] = {}
    for phase, dataset in opt["datasets"].items():
        where = f"datasets.{phase}"
        cls = registered(f"{where}.type", dataset["type"], DATASET_REGISTRY)
        if cls is QuantNASSearchDataset:
            registered(f"{where}.dataset", dataset.get("dataset", "PairedImageDataset"), DATASET_REGISTRY)
        is_trained_on = phase == "train"
        if is_trained_on:
            _check_training_type(opt, cls, dataset, where)
        _check_needed(dataset, is_trained_on, where)
        _check_loader(dataset, is_trained_on, where)
        size = check_paired_dataset(dataset, where)
        check_single_dataset(dataset, where)
        sizes.update({phase: size} if size else {})
    return sizes


def _check_training_type(opt: Options, cls: type, dataset: Options, where: str) -> None:
    if cls is QuantNASPatchDataset:
        if opt["train"].get("teacher") is None:
            raise OptionError(
                f"{where}: QuantNASPatchDataset has no GT to train with. Allowed: train.teacher, or PairedImageDataset"
            )
    elif lacks_gt(dataset):
        raise OptionError(
            f"{where}: SingleImageDataset has no GT to train with. Allowed: PairedImageDataset; QuantNASPatchDataset "
            "with train.teacher"
        )
    if opt["model_type"] == "QuantNASSearchModel" and cls.__module__.startswith("basicsr."):
        raise OptionError(f"{where}: a search cannot use type {dataset['type']}. Allowed: QuantNASSearchDataset")


def _check_needed(dataset: Options, is_trained_on: bool, where: str) -> None:
    cls = image_class(dataset)
    needed = _NEEDED.get(cls, ())
    if is_trained_on and cls in _NEEDED:
        needed = (*needed, *PATCH_KEYS)
    for key in needed:
        if dataset.get(key) is None:
            raise OptionError(f"{where}: the key {key!r} is missing. Allowed: {DATASET[key].kind.allowed}")


def _check_loader(dataset: Options, is_trained_on: bool, where: str) -> None:
    """What torch's DataLoader and BasicSR's prefetchers would refuse."""
    workers = dataset.get("num_worker_per_gpu", 0) if is_trained_on else 0
    if dataset.get("persistent_workers") and not workers:
        raise OptionError(f"{where}.persistent_workers: true needs num_worker_per_gpu above 0, in training")
    if is_trained_on and dataset.get("prefetch_mode") == "cuda" and not dataset.get("pin_memory"):
        raise OptionError(f"{where}.prefetch_mode: cuda needs pin_memory: true")
