"""Numbers that YAML 1.1 and ``--force_yml`` read as text: ``1e-4``, ``5e1``, ``1e3``."""

import re
from typing import Any, Iterator, List, Mapping, Tuple

from quantnas_sr.options.gate import number_of
from quantnas_sr.options.tables import TEXT_KEYS

_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?")

#: A mapping or list, a key or index of it, the value there, and its place, such as ``train.optim_g.lr``.
Entry = Tuple[Any, Any, Any, str]


def entries(options: Any, where: str = "") -> Iterator[Entry]:
    """Every value of nested mappings and lists, outer ones first; what is nested in itself is visited once."""
    return _entries(options, where, [])


def _entries(options: Any, where: str, above: List[int]) -> Iterator[Entry]:
    if id(options) in above:
        return
    items = options.items() if isinstance(options, Mapping) else enumerate(options)
    for key, value in list(items):
        place = f"{where}.{key}" if where else str(key)
        yield options, key, value, place
        if isinstance(value, (Mapping, list)):
            yield from _entries(value, place, [*above, id(options)])


def to_numbers(options: Any) -> None:
    """Turn text that is a number into one, in place, everywhere but where text is meant: names, types, paths.

    Text that is not a number is left alone.
    """
    for holder, key, value, place in entries(options):
        if isinstance(value, str) and _NUMBER.fullmatch(value) and not _is_text(place):
            holder[key] = number_of(value)


def _is_text(place: str) -> bool:
    keys = place.split(".")
    return keys[0] == "path" or any(key in TEXT_KEYS or key.startswith("dataroot") for key in keys)
