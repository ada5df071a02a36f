"""The order of the training images, and what each is cropped and flipped by, follow from seed, epoch and place."""

import random
import threading

import numpy as np
import pytest
import torch
from basicsr.data.data_sampler import EnlargedSampler
from torch.utils.data import DataLoader, Dataset

from quantnas_sr.compat.data_order import DataPosition, PlacedSampler, SeededDataset, start


class Drawn(Dataset):
    """What the generators of every kind give for an image."""

    def __getitem__(self, index):
        return torch.tensor([index, random.random(), np.random.rand(), torch.rand(()).item()], dtype=torch.float64)

    def __len__(self):
        return 5


def loader_of(rank=0, processes=1, ratio=3, batch=2, workers=0, seed=7):
    sampler = PlacedSampler(Drawn(), processes, rank, ratio)
    return DataLoader(SeededDataset(Drawn(), seed), batch, sampler=sampler, num_workers=workers, drop_last=True)


def images(loader, epoch):
    loader.sampler.set_epoch(epoch)
    return torch.cat(list(loader))


@pytest.mark.parametrize("rank, processes", [(0, 1), (0, 2), (1, 2)])
def test_the_order_is_that_of_basicsr(rank, processes):
    theirs = EnlargedSampler(Drawn(), processes, rank, 3)
    theirs.set_epoch(4)
    found = images(loader_of(rank, processes, batch=1), 4)
    assert found[:, 0].tolist() == list(theirs)


def test_every_place_has_numbers_of_its_own_that_depend_on_no_worker():
    here = images(loader_of(), 1)
    assert torch.equal(images(loader_of(workers=2), 1), here)
    assert len(here[:, 1:].unique()) == here[:, 1:].numel()
    for other in (images(loader_of(), 2), images(loader_of(seed=8), 1)):
        assert not set(other[:, 1].tolist()) & set(here[:, 1].tolist())
    first, second = (images(loader_of(rank, 2), 1)[:, 1].tolist() for rank in (0, 1))
    assert not set(first) & set(second)


def test_the_generators_of_the_process_are_as_before():
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    loader_of().dataset[next(iter(loader_of().sampler))]
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before


def test_a_prefetching_thread_leaves_the_generator_of_the_training_alone():
    before, found = torch.get_rng_state(), []
    thread = threading.Thread(target=lambda: found.append(images(loader_of(), 1)))
    torch.manual_seed(3)
    expected = torch.rand(30, dtype=torch.float32)
    torch.manual_seed(3)
    thread.start()
    thread.join()
    assert torch.equal(found[0][:, :3], images(loader_of(), 1)[:, :3])
    assert torch.isin(found[0][:, 3].float(), expected).all(), "nothing has been seeded"
    torch.set_rng_state(before)


@pytest.mark.parametrize("batch, after", [(2, 2), (2, 3), (1, 2), (7, 2)])
@pytest.mark.parametrize("iteration", [1, 6, 7, 8, 15])
def test_a_run_that_starts_anywhere_has_the_images_of_one_that_starts_at_the_beginning(iteration, batch, after):
    """With another size of batches, too: those images come next that have not come in this epoch."""
    whole = loader_of(batch=batch)
    saved = start(whole, whole.sampler, 0, 0, None).state_dict(iteration)
    assert saved["epoch"] == (iteration - 1) // len(whole)
    loader = loader_of(batch=after, seed=1)
    position = start(loader, loader.sampler, iteration, 0, saved)
    rest = loader.sampler
    rest.set_epoch(saved["epoch"])
    batches = list(loader)
    assert len(batches) == position.left
    if batches:
        all_images = images(loader_of(batch=1), saved["epoch"])
        assert torch.equal(torch.cat(batches), all_images[saved["done"] :][: len(batches) * after])
    assert position.at(iteration) == (saved["epoch"], saved["done"])
    assert torch.equal(images(loader, 9), images(loader_of(batch=after), 9)), "other epochs are whole"


def test_another_number_of_places_starts_the_epoch_anew():
    loader = loader_of(ratio=2)
    position = start(loader, loader.sampler, 9, 4, {"epoch": 4, "done": 6, "order": 15, "seed": 7})
    assert (position.done, position.left) == (0, 5)
    assert position.at(10) == (4, 2)


def test_the_last_epoch_is_the_one_of_the_last_iteration():
    run = DataPosition(seed=0, order=7, iteration=10, epoch=3, done=4, left=1, length=3, batch=2)
    assert [run.last_epoch(total) for total in (9, 10, 11, 12, 14, 15)] == [2, 2, 3, 4, 4, 5]
