"""Three ways to change what a module of BasicSR sees, without touching its text."""

import sys
import types
from contextlib import contextmanager
from typing import Any, Callable, Iterator


def rebind(original: Callable, replacement: Callable) -> None:
    """Put ``replacement`` wherever a loaded module holds ``original``, ``from m import f`` included."""
    name = original.__name__
    for module in list(sys.modules.values()):
        if getattr(module, "__dict__", {}).get(name) is original:
            setattr(module, name, replacement)


def alike(module: types.ModuleType, **own: Any) -> types.ModuleType:
    """A module that is ``module`` but for the attributes given.

    >>> import math
    >>> rounded = alike(math, pi=3)
    >>> rounded.pi, rounded.cos(0), math.pi > 3
    (3, 1.0, True)
    """
    copy = types.ModuleType(module.__name__)
    copy.__dict__.update(vars(module))
    copy.__dict__.update(own)
    return copy


@contextmanager
def replaced(module: types.ModuleType, **own: Any) -> Iterator[None]:
    """Within the block, the globals of ``module`` named in ``own`` have these values."""
    before = {name: getattr(module, name) for name in own}
    vars(module).update(own)
    try:
        yield
    finally:
        vars(module).update(before)
