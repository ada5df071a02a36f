"""Images with random numbers of their own, in whatever process and order they are read.

A module without imports of BasicSR: data loaders' processes that are not forked begin with it.
"""

import hashlib
import random
import threading
from contextlib import contextmanager
from typing import Any, Iterator, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

#: One image at a time has the generators of a process, which `PrefetchGenerator` makes threads of.
_GENERATORS = threading.Lock()
#: What NumPy draws from meanwhile.
_NUMPY = np.random.MT19937()


class Place(NamedTuple):
    """An image of the dataset, and its place in the training: among those of all processes in an epoch."""

    index: int
    epoch: int
    number: int


class SeededDataset(Dataset):
    """A dataset whose items depend on their `Place` and on a seed alone.

    Python's and NumPy's generators are seeded for an item and put back afterwards; torch's on the CPU, too, except in a
    prefetching thread, which shares it with the training.

    Args:
        dataset: any dataset with indices.
        seed: of the run.
    """

    def __init__(self, dataset: Dataset, seed: int) -> None:
        self.dataset, self.seed = dataset, seed

    def __getitem__(self, place: Place) -> Any:
        with _random_numbers(self.seed, place.epoch, place.number):
            return self.dataset[place.index]

    def __len__(self) -> int:
        return len(self.dataset)


@contextmanager
def _random_numbers(*of: int) -> Iterator[None]:
    """Within the block the generators of this process are seeded by these numbers."""
    digest = hashlib.blake2b(repr(of).encode(), digest_size=12).digest()
    first, second, third = (int.from_bytes(digest[i : i + 4], "little") for i in (0, 4, 8))
    with _GENERATORS, _numpy_apart():
        alone = threading.current_thread() is threading.main_thread()
        before = random.getstate(), torch.get_rng_state() if alone else None
        random.seed(first)
        np.random.seed(second)
        if alone:
            torch.default_generator.manual_seed(third)
        try:
            yield
        finally:
            random.setstate(before[0])
            if alone:
                torch.set_rng_state(before[1])


@contextmanager
def _numpy_apart() -> Iterator[None]:
    """Within the block NumPy's functions draw from another generator. Its state as data takes 0.3 ms to and fro."""
    swaps = hasattr(np.random, "set_bit_generator")  # since NumPy 1.24
    before = np.random.get_bit_generator() if swaps else np.random.get_state()
    if swaps:
        np.random.set_bit_generator(_NUMPY)
    try:
        yield
    finally:
        (np.random.set_bit_generator if swaps else np.random.set_state)(before)
