"""A digest of plain data and tensors, from which a checkpoint shows that it is what was saved."""

import hashlib
from typing import Any, Mapping

import torch
from torch import Tensor


def digest_of(content: Any) -> str:
    """SHA-256 of values, types and shapes. The order of keys and the memory order of tensors do not count.

    >>> digest_of({"a": 1, "b": [2.0, None]}) == digest_of({"b": [2.0, None], "a": 1}) != digest_of({"a": 1})
    True
    """
    found = hashlib.sha256()
    _add(found, content)
    return f"sha256:{found.hexdigest()}"


def _add(found: Any, value: Any) -> None:
    if isinstance(value, Tensor):
        flat = value.detach().cpu().contiguous().reshape(-1)
        _say(found, "tensor", value.dtype, tuple(value.shape))
        found.update(memoryview(flat.view(torch.uint8).numpy()))
    elif isinstance(value, Mapping):
        _say(found, "mapping", len(value))
        for key in sorted(value, key=lambda key: (type(key).__name__, repr(key))):
            _say(found, type(key).__name__, key)
            _add(found, value[key])
    elif isinstance(value, (list, tuple)):
        _say(found, "list", len(value))
        for entry in value:
            _add(found, entry)
    else:
        _say(found, type(value).__name__, value)


def _say(found: Any, *words: Any) -> None:
    text = repr(words).encode("utf-8", "surrogateescape")
    found.update(len(text).to_bytes(8, "little") + text)
