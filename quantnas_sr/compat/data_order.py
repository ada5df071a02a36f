"""The training images in an order that a resumed run can enter anywhere, each with random numbers of its own.

BasicSR's loop starts a resumed epoch from its first image, and crops and flips come from the generators of whichever
worker reads an image. Here what an image is cropped and flipped by depends on the seed, the epoch and its place in the
epoch alone: neither on the number of workers, nor on how they are prefetched, nor on what was read before.
"""

import functools
import os
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterator, Mapping, Optional, Tuple

import torch
from basicsr.data.data_sampler import EnlargedSampler
from torch.utils.data import DataLoader, Dataset

from quantnas_sr.system.seeded_images import Place, SeededDataset
from quantnas_sr.system.stopping import patient


class PlacedSampler(EnlargedSampler):
    """BasicSR's sampler, which says the place of every image, and whose first epoch can start anywhere."""

    _first_epoch, _done = 0, 0

    def start(self, epoch: int, done: int) -> None:
        """Leave out the first ``done`` images of this process in one epoch."""
        self._first_epoch, self._done = epoch, done

    def __iter__(self) -> Iterator[Place]:
        done = self._done if self.epoch == self._first_epoch else 0
        indices = list(super().__iter__())[done:]
        for number, index in enumerate(indices, done):
            yield Place(index, self.epoch, number * self.num_replicas + self.rank)


@dataclass(frozen=True)
class DataPosition:
    """Where in the data a run started, from which follows where it is after any iteration.

    Args:
        seed: of the crops and flips.
        order: number of places in an epoch, which its order follows from; those of all processes.
        iteration, epoch: where the run started.
        done: images of that epoch that it had had, of all processes.
        left: batches of that epoch that were left.
        length: batches of every other epoch.
        batch: images in a batch, of all processes.
    """

    seed: int
    order: int
    iteration: int
    epoch: int
    done: int
    left: int
    length: int
    batch: int

    def at(self, iteration: int) -> Tuple[int, int]:
        """The epoch of an iteration, and the images that it has had after it.

        >>> run = DataPosition(seed=0, order=6, iteration=1, epoch=0, done=2, left=2, length=3, batch=2)
        >>> [run.at(i) for i in (1, 2, 3, 4, 6, 7)]
        [(0, 2), (0, 4), (0, 6), (1, 2), (1, 6), (2, 2)]
        """
        since = iteration - self.iteration
        if since <= self.left:
            return self.epoch, self.done + since * self.batch
        epochs, batches = divmod(since - self.left - 1, self.length)
        return self.epoch + 1 + epochs, (batches + 1) * self.batch

    def last_epoch(self, total_iter: int) -> int:
        """The epoch that has iteration ``total_iter``; that before the first one, if nothing is left to train."""
        return self.at(total_iter)[0] if total_iter > self.iteration else self.epoch - 1

    def state_dict(self, iteration: int) -> Dict[str, int]:
        """Plain data, for a checkpoint after ``iteration``."""
        epoch, done = self.at(iteration)
        return {"epoch": epoch, "done": done, "order": self.order, "seed": self.seed}


def placing(build: Callable[..., DataLoader]) -> Dict[str, Any]:
    """What to put in the place of BasicSR's sampler and of ``build``, which is its ``build_dataloader``."""

    def build_dataloader(dataset: Dataset, options: Mapping[str, Any], *args: Any, **kwargs: Any) -> DataLoader:
        if options["phase"] != "train":
            return build(dataset, options, *args, **kwargs)
        loader = build(SeededDataset(dataset, kwargs.get("seed") or 0), options, *args, **kwargs)
        loader.generator = torch.Generator()  # by default every epoch takes a number from the training's generator
        loader.worker_init_fn = functools.partial(patient, loader.worker_init_fn, os.getpid())
        return loader

    return {"EnlargedSampler": PlacedSampler, "build_dataloader": build_dataloader}


def start(
    loader: DataLoader, sampler: PlacedSampler, iteration: int, epoch: int, saved: Optional[Mapping[str, int]]
) -> DataPosition:
    """Let a run begin where its training state says.

    Args:
        loader, sampler: made with `placing`.
        iteration, epoch: where the run begins.
        saved: `DataPosition.state_dict`; None at the beginning, and for states without one. Then, and where another
            number of images, of processes or another ``dataset_enlarge_ratio`` has changed the order, the epoch begins
            with its first image.
    """
    dataset, done = loader.dataset, 0
    if saved is not None:
        dataset.seed = saved["seed"]
        if saved["order"] == sampler.total_size:
            epoch, done = saved["epoch"], saved["done"] // sampler.num_replicas
    sampler.start(epoch, done)
    return DataPosition(
        seed=dataset.seed,
        order=sampler.total_size,
        iteration=iteration,
        epoch=epoch,
        done=done * sampler.num_replicas,
        left=(len(sampler) - done) // loader.batch_size,
        length=len(loader),
        batch=loader.batch_size * sampler.num_replicas,
    )
