"""The state of all random generators that a training uses, as plain data and tensors."""

import random
from contextlib import contextmanager
from typing import Any, Dict, Iterator

import numpy as np
import torch
from basicsr.utils import set_random_seed


def random_state() -> Dict[str, Any]:
    """The states of Python's, NumPy's and torch's generators, and of the current GPU's where there is one."""
    name, keys, *rest = np.random.get_state()
    state = {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(keys.astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: Dict[str, Any]) -> None:
    """The inverse of `random_state`."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"].cpu())
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())


def seed_by(*numbers: int) -> None:
    """Seed all generators by these numbers together."""
    set_random_seed(int(np.random.SeedSequence(numbers).generate_state(1)[0]))


@contextmanager
def random_numbers_untouched() -> Iterator[None]:
    """After the block all generators are as they were before it."""
    before = random_state()
    try:
        yield
    finally:
        set_random_state(before)
