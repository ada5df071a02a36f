"""Errors of the datasets and loaders of BasicSR that would otherwise name no file, or not appear at all."""

import functools
import os
from typing import Any, Dict, Optional

import cv2
import lmdb
import numpy as np
from basicsr.data.paired_image_dataset import PairedImageDataset
from basicsr.data.prefetch_dataloader import PrefetchGenerator

from quantnas_sr.errors import DataError

_checks_scale = True


def check_scales(check: bool) -> None:
    """Whether a GT of validation that is too small is an error. Without metrics a run of BasicSR can do with one."""
    global _checks_scale
    _checks_scale = check


def take_luma_of_bgr(take: bool) -> None:
    """``SingleImageDataset`` with ``color: y`` takes red for blue: it converts its BGR images as if they were RGB.

    Only a run of ours is changed by the repair, for its results are others.
    """
    try:
        from basicsr.data import single_image_dataset
        from basicsr.utils import bgr2ycbcr, rgb2ycbcr
    except ImportError:  # a project's reduced copy of BasicSR
        return
    if hasattr(single_image_dataset, "rgb2ycbcr"):
        single_image_dataset.rgb2ycbcr = bgr2ycbcr if take else rgb2ycbcr


def name_broken_pairs() -> None:
    """``PairedImageDataset`` fails on an image that does not decode, or on a pair of wrong sizes, and names no file."""
    original = PairedImageDataset.__getitem__

    @functools.wraps(original)
    def __getitem__(self: PairedImageDataset, index: int) -> Dict[str, Any]:
        try:
            item = original(self, index)
        except Exception as error:
            pair = _pair(self, index)
            if pair is not None:
                _blame_pair(self, pair, error)
            raise
        if _checks_scale:
            _check_scale(self, index, item)
        return item

    PairedImageDataset.__getitem__ = __getitem__


def _pair(dataset: PairedImageDataset, index: int) -> Optional[Dict[str, str]]:
    """The paths of a pair; None past the end, and in a project's own version of the dataset that keeps other things."""
    try:
        pair = dataset.paths[index]
        return pair if {"gt_path", "lq_path"} <= pair.keys() else None
    except (AttributeError, IndexError, TypeError):
        return None


def _blame_pair(dataset: PairedImageDataset, pair: Dict[str, str], error: Exception) -> None:
    """Raise a DataError if it was the images that made ``error`` happen."""
    if dataset.file_client is None:
        return
    for kind in ("gt", "lq"):
        problem = _image_problem(dataset, pair, kind)
        if problem is not None:
            raise DataError(f"{_name_pair(dataset, pair)}: the {kind.upper()} image {problem}") from error
    if isinstance(error, ValueError):
        raise DataError(f"{_name_pair(dataset, pair)}: {''.join(map(str, error.args))}") from error


def _image_problem(dataset: PairedImageDataset, pair: Dict[str, str], kind: str) -> Optional[str]:
    try:
        content = dataset.file_client.get(pair[f"{kind}_path"], kind)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except lmdb.Error as error:
        return f"cannot be read from the LMDB ({error})"
    if content is None:
        return "is not in the LMDB"
    if not content or cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) is None:
        return "does not decode as an image"
    return None


def _check_scale(dataset: PairedImageDataset, index: int, item: Dict[str, Any]) -> None:
    """Outside of training BasicSR crops a GT that is too large, and lets one through that is too small."""
    pair, scale = _pair(dataset, index), dataset.opt.get("scale")
    if dataset.opt["phase"] == "train" or pair is None or scale is None or not {"gt", "lq"} <= item.keys():
        return
    gt, lq = tuple(item["gt"].shape[-2:]), tuple(item["lq"].shape[-2:])
    if gt != (lq[0] * scale, lq[1] * scale):
        raise DataError(f"{_name_pair(dataset, pair)}: GT {gt} is smaller than {scale} times LQ {lq}")


def _name_pair(dataset: PairedImageDataset, pair: Dict[str, str]) -> str:
    gt, lq = pair["gt_path"], pair["lq_path"]
    if dataset.file_client.backend == "lmdb":
        gt, lq = os.path.join(dataset.gt_folder, gt), os.path.join(dataset.lq_folder, lq)
    return f"{gt} / {lq}"


class _Failure:
    """An exception on its way from the prefetching thread to the one that waits for data."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


def report_prefetch_failures() -> None:
    """With ``prefetch_mode: cpu``, an error in the dataset ends the prefetching thread and training waits for ever."""
    run, following = PrefetchGenerator.run, PrefetchGenerator.__next__

    @functools.wraps(run)
    def run_to_failure(self: PrefetchGenerator) -> None:
        try:
            run(self)
        except BaseException as error:
            self.queue.put(_Failure(error))
            self.queue.put(None)

    @functools.wraps(following)
    def next_or_failure(self: PrefetchGenerator) -> Any:
        item = following(self)
        if isinstance(item, _Failure):
            raise item.error
        return item

    PrefetchGenerator.run, PrefetchGenerator.__next__ = run_to_failure, next_or_failure
