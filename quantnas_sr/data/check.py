"""Checks of a data set before a run: they find what BasicSR would report only during the run, or not at all."""

import os
from pathlib import Path
from typing import Any, Dict, List, Optional

from quantnas_sr.data import folders, lmdbs
from quantnas_sr.data.pairs import NAMED_IN_ERRORS, ROOTS, Size, SizedPair
from quantnas_sr.errors import DataError, unknown

PAIRED = "PairedImageDataset"
SINGLE = "SingleImageDataset"
WRAPPER = "QuantNASSearchDataset"
PATCHES = "QuantNASPatchDataset"
BACKENDS = ("disk", "lmdb", "memcached")
#: GT of a test set is often cropped to multiples of 12 before it is shrunk, and published uncropped.
LARGEST_VALIDATION_MARGIN = 11

Options = Dict[str, Any]


def check_paired_dataset(opt: Options, where: str) -> Optional[Size]:
    """Check the images of BasicSR's PairedImageDataset, alone or split for a search.

    The check covers the folders or LMDBs, whether GT and LQ have the same images, and all sizes, which are read from
    file headers or meta_info.txt. Other types of dataset pass.

    Args:
        opt: the options of the dataset.
        where: their place in the options file, such as ``datasets.train``.

    Returns:
        The smallest height and the smallest width of a GT image, if they are known.

    Raises:
        DataError: the dataset could not be trained or tested on; one line.
    """
    if _type(opt) != PAIRED:
        return None
    scale = _positive(opt, "scale", where)
    patch = _patch(opt, scale, where)
    backend = _backend(opt, where)
    if backend == "memcached":
        return None
    gt, lq = (_root(opt, key, where) for key in ROOTS)
    found = lmdbs.paired_sizes(gt, lq, where) if backend == "lmdb" else folders.paired_sizes(opt, gt, lq, where)
    pairs = list(found)
    _check_sizes(pairs, scale, patch, where)
    return min(size[0] for _, size, _ in pairs), min(size[1] for _, size, _ in pairs)


def check_single_dataset(opt: Options, where: str) -> None:
    """Check the images of BasicSR's SingleImageDataset, whole or in patches; other types of dataset pass.

    Arguments as in `check_paired_dataset`.

    Raises:
        DataError: the images cannot be read, or are smaller than a patch; one line.
    """
    if _type(opt) != SINGLE:
        return
    patch = 1
    if opt.get("type") == PATCHES:
        scale = _positive(opt, "scale", where)
        patch = _patch({**opt, "phase": "train"}, scale, where) // scale  # in every phase it reads patches
    backend = _backend(opt, where)
    if backend == "memcached":
        return
    root = _root(opt, "dataroot_lq", where)
    if backend == "lmdb":
        lmdbs.meta_info(root, f"{where}: dataroot_lq {root}")
        return
    if "meta_info_file" in opt:
        names = folders.listed_names(opt["meta_info_file"], where)
    else:
        names = folders.files_in(root, "dataroot_lq", where)
    for name in names:
        size = folders.image_size(root / name, where)
        if min(size) < patch:
            raise DataError(
                f"{where}: {name} is {_text(size)}, smaller than a patch of {patch}x{patch} (gt_size / scale); leave "
                "it out, or set gt_size to a smaller size"
            )


def _type(opt: Options) -> Any:
    kind = opt.get("type")
    if kind == PATCHES:
        return SINGLE
    return opt.get("dataset", PAIRED) if kind == WRAPPER else kind


def _backend(opt: Options, where: str) -> str:
    backend = (opt.get("io_backend") or {}).get("type", "disk")
    if backend not in BACKENDS:
        raise DataError(unknown("io_backend type", backend, BACKENDS, where=where))
    return backend


def _positive(opt: Options, key: str, where: str) -> int:
    value = opt.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise DataError(f"{where}: {key} must be a whole number above 0, not {value!r}")
    return value


def _patch(opt: Options, scale: int, where: str) -> Optional[int]:
    """The side of a training patch; None for validation, where images stay whole."""
    if opt.get("phase", "train") != "train":
        return None
    size = _positive(opt, "gt_size", where)
    if size % scale:
        raise DataError(f"{where}: gt_size {size} must be a multiple of the scale {scale}")
    return size


def check_root(opt: Options, key: str, where: str) -> None:
    """Raise a DataError unless the options of a dataset have a path under ``key``, whether or not it exists."""
    value = opt.get(key)
    if not isinstance(value, (str, os.PathLike)) or not str(value):
        raise DataError(f"{where}: {key} must be the path of a folder or an LMDB, not {value!r}")


def _root(opt: Options, key: str, where: str) -> Path:
    check_root(opt, key, where)
    value = opt[key]
    lmdb = (opt.get("io_backend") or {}).get("type") == "lmdb"
    if lmdb and not str(value).endswith(".lmdb"):
        raise DataError(f"{where}: {key} {value}: io_backend type lmdb needs a path that ends in .lmdb")
    root = Path(value).expanduser()
    if not root.is_dir():
        raise DataError(f"{where}: {key} {value}: {'not a folder' if root.exists() else 'no such folder'}")
    if not lmdb and (root / "data.mdb").exists():
        raise DataError(f"{where}: {key} {value}: this is an LMDB, which needs io_backend: {{type: lmdb}}")
    return root


def _check_sizes(pairs: List[SizedPair], scale: int, patch: Optional[int], where: str) -> None:
    margin = LARGEST_VALIDATION_MARGIN if patch is None else 0
    wrong = [pair for pair in pairs if not _fits(pair, scale, margin)]
    if wrong:
        name, gt, lq = wrong[0]
        raise DataError(
            f"{where}: GT must be {scale} times as large as LQ; of {name} GT is {_text(gt)} and LQ is {_text(lq)} "
            f"({len(wrong)} of {len(pairs)} pairs are wrong)"
        )
    small = [(name, gt) for name, gt, _ in pairs if patch is not None and min(gt) < patch]
    if small:
        named = ", ".join(f"{name} ({_text(size)})" for name, size in small[:NAMED_IN_ERRORS])
        largest = min(min(size) for _, size in small)
        raise DataError(
            f"{where}: {len(small)} of {len(pairs)} GT images are smaller than gt_size {patch}: {named}; "
            f"leave them out, or set gt_size to {largest} or less"
        )


def _fits(pair: SizedPair, scale: int, margin: int) -> bool:
    _, gt, lq = pair
    return all(0 <= gt_side - scale * lq_side <= margin for gt_side, lq_side in zip(gt, lq))


def _text(size: Size) -> str:
    return f"{size[1]}x{size[0]}"
