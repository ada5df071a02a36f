"""Ways to change what BasicSR's functions see, without touching their text."""

import sys
import types
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, List

#: Packages that BasicSR builds on, most of all loaded modules: they hold nothing of BasicSR's.
_BELOW = frozenset(
    (
        *("torch", "torchvision", "numpy", "scipy", "sympy", "mpmath", "networkx", "jinja2"),
        *("cv2", "PIL", "skimage", "tensorboard", "google"),
    )
)


def loaded_namespaces() -> List[Dict[str, Any]]:
    """The global variables of every loaded module that BasicSR does not build on.

    A module that is loaded when it is first used stays unloaded.
    """
    above = [module for name, module in list(sys.modules.items()) if name.partition(".")[0] not in _BELOW]
    modules = [module for module in above if isinstance(module, types.ModuleType)]
    return [types.ModuleType.__getattribute__(module, "__dict__") for module in modules]


def rebind(original: Callable, replacement: Callable) -> None:
    """Put ``replacement`` wherever a loaded module holds ``original``: ``from m import f as g`` included."""
    for namespace in loaded_namespaces():
        for name in [name for name, value in list(namespace.items()) if value is original]:
            namespace[name] = replacement


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
def replaced(namespace: Dict[str, Any], **own: Any) -> Iterator[None]:
    """Within the block, those global variables in ``namespace`` that ``own`` names have these values."""
    before = {name: namespace[name] for name in own if name in namespace}
    namespace.update({name: own[name] for name in before})
    try:
        yield
    finally:
        namespace.update(before)
