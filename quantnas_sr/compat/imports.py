"""What must happen before BasicSR can be imported, in this process and in its children, and after."""

import importlib.util
import multiprocessing
import sys
import types
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from typing import Any, Callable, List, Optional


def provide_functional_tensor() -> None:
    """``import basicsr`` needs a module that torchvision dropped in 0.17, for one function that lives on elsewhere."""
    name = "torchvision.transforms.functional_tensor"
    if name in sys.modules or importlib.util.find_spec(name) is not None:
        return
    from torchvision.transforms.functional import rgb_to_grayscale

    shim = types.ModuleType(name, "Stands in for the module that torchvision dropped.")
    shim.rgb_to_grayscale = rgb_to_grayscale
    sys.modules[name] = shim


class _ImportsQuantNAS:
    """Reading a pickled instance imports this module, and so the package, which applies the patches."""


def reach_child_processes() -> None:
    """A spawned or forkserver process has none of our patches when it unpickles its work, such as a dataset of BasicSR.

    The configuration that every process hands down to its children is read before their target and arguments.
    """
    multiprocessing.current_process()._config["quantnas_sr"] = _ImportsQuantNAS()


_waiting: List[Callable[[], None]] = []


class _LastImport(MetaPathFinder):
    """Calls those who wait when ``basicsr.version`` is looked up, the last thing ``basicsr/__init__`` imports."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Optional[ModuleSpec]:
        if fullname != "basicsr.version":
            return None
        sys.meta_path.remove(self)
        callbacks = _waiting[:]
        _waiting.clear()
        for callback in callbacks:
            callback()
        return importlib.util.find_spec(fullname)


def when_basicsr_is_imported(callback: Callable[[], None]) -> None:
    """Call ``callback`` once all of BasicSR can be used: now, or at the end of its import if that is going on.

    It is going on when a file in the ``archs/`` folder of a BasicSR clone imports us: that folder is scanned first, so
    importing ``basicsr.models`` there would be circular. Callbacks run in the order in which they were given.
    """
    if not _is_being_imported():
        import basicsr  # noqa: F401

        callback()
        return
    if not _waiting:
        sys.meta_path.insert(0, _LastImport())
    _waiting.append(callback)


def _is_being_imported() -> bool:
    spec = getattr(sys.modules.get("basicsr"), "__spec__", None)
    return getattr(spec, "_initializing", False) and "basicsr.version" not in sys.modules
