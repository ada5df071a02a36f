"""Names that a package offers and imports when they are first used (PEP 562)."""

import importlib
from typing import Any, Callable, List, Mapping, Sequence, Tuple


def lazily(package: str, homes: Mapping[str, str], present: Sequence[str] = ()) -> Tuple[Callable, Callable, List[str]]:
    """``__getattr__``, ``__dir__`` and ``__all__`` of a package.

    Args:
        package: its ``__name__``.
        homes: by name, the module that defines it; ``module:other`` where it is called ``other`` there.
        present: names that the package has already.

    >>> getattribute, _, names = lazily("example", {"root": "math:sqrt"}, ["own"])
    >>> getattribute("root")(9), names
    (3.0, ['own', 'root'])
    """
    names = sorted([*homes, *present])

    def __getattr__(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, _, other = homes[name].partition(":")
        return getattr(importlib.import_module(module), other or name)

    return __getattr__, lambda: names, names
