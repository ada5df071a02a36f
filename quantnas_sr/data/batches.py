"""Checks that the training images fill a batch. BasicSR drops incomplete batches, and so may train on nothing."""

import copy
import logging
import random
from contextlib import contextmanager
from typing import Any, Iterator, Mapping, Optional

import numpy as np
import torch
from basicsr.utils import logger as basicsr_logger
from basicsr.utils.registry import DATASET_REGISTRY
from torch.utils.data import Dataset

from quantnas_sr.compat.training import is_ours, too_few_images
from quantnas_sr.errors import DataError, QuantNASError


def check_batches(opt: Mapping[str, Any]) -> None:
    """Check that an epoch has at least one full batch in every process; runs of other packages are left alone.

    Args:
        opt: parsed options of a training, whose ``datasets.train`` has been checked.

    Raises:
        DataError: there is no full batch; one line with the numbers and a remedy.
    """
    checked = is_ours(opt) and _has_numbers(opt["datasets"].get("train"))
    dataset = _training_dataset(opt) if checked else None
    if dataset is None:
        return
    problem = too_few_images(opt, len(dataset))
    if problem is not None:
        halves = getattr(dataset, "halves", None)
        raise DataError(problem + (f" ({halves})" if halves else ""))


def _has_numbers(options: Optional[Mapping[str, Any]]) -> bool:
    if options is None:
        return False
    values = options.get("batch_size_per_gpu"), options.get("dataset_enlarge_ratio", 1)
    return all(isinstance(value, (int, float)) and value > 0 for value in values)


def _training_dataset(opt: Mapping[str, Any]) -> Optional[Dataset]:
    """The training dataset as BasicSR builds it; None if it cannot be built, which BasicSR will report."""
    options = opt["datasets"]["train"]
    if options.get("type") not in DATASET_REGISTRY:
        return None
    with _without_traces():
        try:
            return DATASET_REGISTRY.get(options["type"])(copy.deepcopy(options))
        except QuantNASError:
            raise
        except Exception:
            return None


@contextmanager
def _without_traces() -> Iterator[None]:
    """Restore the random generators and BasicSR's logger afterwards, so that the run can open the logger itself."""
    logger = logging.getLogger("basicsr")
    opened = getattr(basicsr_logger, "initialized_logger", {})
    before = dict(opened), logger.handlers[:], logger.propagate, logger.level
    generators = random.getstate(), np.random.get_state()
    logger.disabled = True
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        logger.disabled = False
        random.setstate(generators[0])
        np.random.set_state(generators[1])
        opened.clear()
        opened.update(before[0])
        logger.handlers[:], logger.propagate = before[1], before[2]
        logger.setLevel(before[3])
