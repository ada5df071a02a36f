"""What must happen before BasicSR can be imported, in this process and in its children, and after."""

import importlib.util
import multiprocessing
import sys
import types
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any, Callable, Optional

from quantnas_sr.compat.end_of_import import call_after_import


def provide_functional_tensor() -> None:
    """``import basicsr`` needs a module that torchvision dropped in 0.17, for one function that lives on elsewhere."""
    name = "torchvision.transforms.functional_tensor"
    if name in sys.modules or importlib.util.find_spec(name) is not None:
        return
    from torchvision.transforms.functional import rgb_to_grayscale

    shim = types.ModuleType(name, "Stands in for the module that torchvision dropped.")
    shim.rgb_to_grayscale = rgb_to_grayscale
    sys.modules[name] = shim


class _MissingVersion(MetaPathFinder, Loader):
    """Makes ``basicsr.version`` where there is no such file. It is the last finder, so that a file comes first."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Optional[ModuleSpec]:
        return ModuleSpec(fullname, self) if fullname == "basicsr.version" else None

    def exec_module(self, module: types.ModuleType) -> None:
        file = Path(next(iter(sys.modules["basicsr"].__path__))).parent / "VERSION"
        module.__version__ = file.read_text(encoding="utf-8").strip() if file.is_file() else "unknown"
        module.__gitsha__ = "unknown"


def provide_version() -> None:
    """A Git clone of BasicSR, or a copy inside a project, has no ``version.py`` until its setup.py writes it."""
    sys.meta_path.append(_MissingVersion())


class _ImportsQuantNAS:
    """Reading a pickled instance imports this module, and so the package, which applies the patches."""


def reach_child_processes() -> None:
    """A spawned or forkserver process has none of our patches when it unpickles its work, such as a dataset of BasicSR.

    The configuration that every process hands down to its children is read before their target and arguments.
    """
    multiprocessing.current_process()._config["quantnas_sr"] = _ImportsQuantNAS()


def when_basicsr_is_imported(callback: Callable[[], None]) -> None:
    """Call ``callback`` once all of BasicSR can be used: now, or at the end of its import if that is going on.

    It is going on when a file in the ``archs/`` folder of a BasicSR clone imports us: that folder is scanned first, so
    importing ``basicsr.models`` there would be circular.
    """
    if "basicsr" not in sys.modules:
        import basicsr  # noqa: F401

    call_after_import("basicsr", callback)
