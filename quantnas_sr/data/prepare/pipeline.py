"""Turns image files into encoded (GT, LR) pairs: in parallel, in order, with only a few images in memory at a time."""

import os
import signal
import threading
from collections import deque
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process
from typing import Callable, Deque, Generator, List, Optional, Sequence, Tuple

import cv2
import numpy as np
from tqdm import tqdm

from quantnas_sr.data.prepare.images import (
    BrokenImageError,
    ImageFile,
    SubImages,
    decode,
    downscale,
    encode,
    modcrop,
    shrink_slices,
)
from quantnas_sr.errors import DataError
from quantnas_sr.system.cpus import available_cpus

IMAGES_PER_WORKER_IN_FLIGHT = 3
IMAGES_WORTH_A_WORKER = 16


@dataclass(frozen=True)
class PrepareTask:
    """One image to prepare.

    Attributes:
        key: the name of its results.
        gt: the image.
        scale: GT size over LR size.
        minimum: the shortest side that an image may have, in pixels.
        cut: how it is cut into sub-images; None keeps it whole.
        lq: its LR image; None makes one by bicubic downscaling.
    """

    key: str
    gt: ImageFile
    scale: int
    minimum: int
    cut: Optional[SubImages] = None
    lq: Optional[ImageFile] = None


@dataclass(frozen=True)
class Encoded:
    """A PNG and its (height, width, channels)."""

    png: bytes
    shape: Tuple[int, int, int]


@dataclass(frozen=True)
class Pair:
    """What a sink writes: one GT image and its LR image, under one key."""

    key: str
    gt: Encoded
    lq: Encoded


@dataclass(frozen=True)
class Outcome:
    """The result of a task: its pairs, none if the image is too small; or ``broken``, the reason why it has none."""

    pairs: List[Pair] = field(default_factory=list)
    pixels: int = 0
    had_alpha: bool = False
    broken: Optional[str] = None


@dataclass
class Tally:
    """Counts for the summary. ``shortest`` is the shortest GT side that was written."""

    images: int = 0
    pixels: int = 0
    pairs: int = 0
    too_small: int = 0
    alpha: int = 0
    broken: int = 0
    shortest: int = 0

    def add(self, outcome: Outcome) -> None:
        """Count one outcome."""
        if outcome.broken is not None:
            self.broken += 1
        elif not outcome.pairs:
            self.too_small += 1
        else:
            sides = [side for pair in outcome.pairs for side in pair.gt.shape[:2]]
            self.shortest = min([*sides, self.shortest or sides[0]])
            self.images += 1
            self.pixels += outcome.pixels
            self.pairs += len(outcome.pairs)
            self.alpha += outcome.had_alpha


def _matched(task: PrepareTask, gt: np.ndarray, lq: np.ndarray) -> np.ndarray:
    """``gt`` cropped to ``lq``'s size times the scale. Raises DataError when the two cannot be one picture."""
    height, width = lq.shape[0] * task.scale, lq.shape[1] * task.scale
    if not (0 <= gt.shape[0] - height < task.scale and 0 <= gt.shape[1] - width < task.scale):
        raise DataError(
            f"{task.lq} is {lq.shape[1]}x{lq.shape[0]} and {task.gt} is {gt.shape[1]}x{gt.shape[0]}: "
            f"not {task.scale} times its size"
        )
    return gt[:height, :width]


def _encoded(pixels: np.ndarray) -> Encoded:
    height, width, channels = pixels.shape
    return Encoded(encode(pixels), (height, width, channels))


def _cut(task: PrepareTask, gt: np.ndarray, lq: np.ndarray) -> List[Pair]:
    if task.cut is None:
        return [Pair(task.key, _encoded(gt), _encoded(lq))]
    return [
        Pair(f"{task.key}_s{number:03d}", _encoded(gt[window]), _encoded(lq[shrink_slices(window, task.scale)]))
        for number, window in enumerate(task.cut.windows(*gt.shape[:2]), start=1)
    ]


def prepare_image(task: PrepareTask) -> Outcome:
    """Decode, crop, shrink, cut and encode one image. Raises DataError when GT and LR sizes do not belong together."""
    try:
        gt, had_alpha = decode(task.gt)
        if task.lq is not None:
            lq, _ = decode(task.lq)
            gt = _matched(task, gt, lq)
        else:
            gt = modcrop(gt, task.scale)
            if min(gt.shape[:2]) < task.minimum:
                return Outcome()
            lq = downscale(gt, task.scale)
    except BrokenImageError as error:
        return Outcome(broken=str(error))
    return Outcome(_cut(task, gt, lq), pixels=gt.shape[0] * gt.shape[1], had_alpha=had_alpha)


def _start_worker() -> None:
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def _end_with_parent() -> None:
    """End this worker process when its parent ends, even if the parent was killed."""
    parent_process().join()
    os._exit(1)


def outcomes(tasks: Sequence[PrepareTask], workers: Optional[int] = None) -> Generator[Outcome, None, None]:
    """The outcome of each task, in the order of the tasks.

    Worker processes are spawned, so a script that calls this needs the ``if __name__ == "__main__"`` guard. With one
    worker, or with too few images to make more worthwhile, everything is done in this process. Raises DataError.
    """
    workers = workers or min(available_cpus(), len(tasks) // IMAGES_WORTH_A_WORKER)
    if workers <= 1:
        yield from map(prepare_image, tasks)
        return
    pending: Deque[Future[Outcome]] = deque()
    with ProcessPoolExecutor(workers, get_context("spawn"), _start_worker) as pool:
        try:
            for task in tasks:
                pending.append(pool.submit(prepare_image, task))
                if len(pending) >= workers * IMAGES_PER_WORKER_IN_FLIGHT:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BrokenProcessPool as error:
            raise DataError(
                "a worker process ended early, perhaps for lack of memory: --workers 1 needs the least"
            ) from error
        finally:
            for future in pending:
                future.cancel()


def pour(
    tasks: Sequence[PrepareTask],
    put: Callable[[Pair], None],
    what: str,
    skip_broken: bool,
    workers: Optional[int] = None,
) -> Tally:
    """Prepare all ``tasks`` and ``put`` every pair, behind a progress bar called ``what``.

    Raises BrokenImageError for the first broken image unless ``skip_broken``, DataError when no image is left.
    """
    tally = Tally()
    with closing(outcomes(tasks, workers)) as results:
        for outcome in tqdm(results, total=len(tasks), desc=what, unit="image"):
            if outcome.broken is not None and not skip_broken:
                raise BrokenImageError(outcome.broken)
            tally.add(outcome)
            for pair in outcome.pairs:
                put(pair)
    if not tally.images:
        raise DataError(
            f"{what}: none of the {len(tasks)} images can be used: {tally.too_small} with a side below "
            f"{tasks[0].minimum} pixels (--min-size), {tally.broken} that do not decode"
        )
    return tally
