"""Which runs are this package's to check. The options of all others are left as BasicSR reads them."""

import re
from typing import Any, Iterator, Mapping, Tuple

from quantnas_sr.registration import (
    ARCH_REGISTRY,
    DATASET_REGISTRY,
    LOSS_REGISTRY,
    MODEL_REGISTRY,
    SharedRegistry,
    is_ours,
)

#: A number with an exponent, which YAML 1.1 and ``--force_yml`` read as text unless it has a point and a sign.
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")


def is_our_run(opt: Any) -> bool:
    """Whether the model, a network, a dataset or a loss of a run is a class of this package."""
    return any(is_ours(registry.find(name)) for registry, name in _types(opt))


def _types(opt: Any) -> Iterator[Tuple[SharedRegistry, Any]]:
    """Every name of a registered class that the options of a run say, with its registry."""
    opt = _mapping(opt)
    yield MODEL_REGISTRY, opt.get("model_type")
    for key, value in opt.items():
        if str(key).startswith("network"):
            yield ARCH_REGISTRY, _mapping(value).get("type")
    for dataset in _mapping(opt.get("datasets")).values():
        yield DATASET_REGISTRY, _mapping(dataset).get("type")
    for options in _mappings(opt.get("train")):
        yield LOSS_REGISTRY, options.get("type")


def _mapping(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}


def _mappings(value: Any) -> Iterator[Mapping[Any, Any]]:
    """Every mapping in nested mappings and lists."""
    if isinstance(value, Mapping):
        yield value
    children = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    for child in children:
        yield from _mappings(child)


def read_numbers(options: Any) -> None:
    """Turn text such as ``1e-4`` into the number that it is, everywhere in ``options``, in place; nothing else changes.

    BasicSR hands the values below ``train:`` to torch, which takes no text for a number.
    """
    entries = options.items() if isinstance(options, dict) else enumerate(options) if isinstance(options, list) else ()
    for key, value in list(entries):
        if isinstance(value, str) and _NUMBER.fullmatch(value):
            options[key] = number_of(value)
        read_numbers(value)


def number_of(text: str) -> float:
    """The number that a text says: an integer if it is a whole one without a point or a negative exponent.

    >>> number_of("1e3"), number_of("1e-3"), number_of("2.0")
    (1000, 0.001, 2.0)

    Raises:
        ValueError: it says none.
    """
    number = float(text)
    return int(number) if number.is_integer() and "." not in text and "-" not in text[1:] else number
