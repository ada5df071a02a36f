"""What has to happen around the import of BasicSR, in this process and in its children.

Importing this package imports neither BasicSR nor torch: a finder on ``sys.meta_path`` waits for BasicSR's import.
"""

import multiprocessing
import sys
import types
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any, Callable, Optional

from quantnas_sr.compat.end_of_import import call_after_import

_FUNCTIONAL_TENSOR = "torchvision.transforms.functional_tensor"


class _FunctionalTensor(MetaPathFinder, Loader):
    """Makes a module that torchvision dropped in 0.17, for the one function of it that lives on elsewhere.

    It is the last finder, so that a torchvision that still has the module gives its own.
    """

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Optional[ModuleSpec]:
        return ModuleSpec(fullname, self) if fullname == _FUNCTIONAL_TENSOR else None

    def exec_module(self, module: types.ModuleType) -> None:
        from torchvision.transforms.functional import rgb_to_grayscale

        module.rgb_to_grayscale = rgb_to_grayscale


def provide_functional_tensor() -> None:
    """``import basicsr`` fails on torchvision 0.17 and later, which dropped the module ``functional_tensor``."""
    if not any(isinstance(finder, _FunctionalTensor) for finder in sys.meta_path):
        sys.meta_path.append(_FunctionalTensor())


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
    """Call ``callback`` once all of BasicSR can be used. Callbacks run in the order in which they were given.

    - BasicSR is imported already: now.
    - It is not: at the end of its first import, whoever imports it. This function does not.
    - Its import is going on, when a file in the ``archs/`` folder of a BasicSR clone imports us: at the end of it. That
      folder is scanned first, so that importing ``basicsr.models`` there would be circular.
    """
    call_after_import("basicsr", callback)


def when_all_is_imported(callback: Callable[[], None]) -> None:
    """As `when_basicsr_is_imported`, and not before an import of this package that is going on has ended.

    A part of this package may be what imports BasicSR first; ``callback`` can then import that part as a whole.
    """
    call_after_import("basicsr", lambda: call_after_import("quantnas_sr", callback))
