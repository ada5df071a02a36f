"""What has to happen around the import of BasicSR, in this process and in its children.

Importing this package imports neither BasicSR nor torch: a finder on ``sys.meta_path`` waits for BasicSR's import.
"""

import importlib.util
import multiprocessing
import sys
import types
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from typing import Any, Callable, List, Optional

_FUNCTIONAL_TENSOR = "torchvision.transforms.functional_tensor"
#: Modules of this package that import neither BasicSR nor torch (and, for those that end in a dot, all below them).
LIGHT = (
    "quantnas_sr.__main__",
    "quantnas_sr.cli",
    "quantnas_sr.commands",
    "quantnas_sr.commands.",
    "quantnas_sr.compat",
    "quantnas_sr.compat.imports",
    "quantnas_sr.cpus",
    "quantnas_sr.data",
    "quantnas_sr.data.prepare",
    "quantnas_sr.data.prepare.settings",
    "quantnas_sr.errors",
    "quantnas_sr.export",
    "quantnas_sr.export.choices",
    "quantnas_sr.files",
    "quantnas_sr.lazy",
    "quantnas_sr.test",
    "quantnas_sr.train",
    "quantnas_sr.version",
)


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


class _ImportsQuantNAS:
    """Reading a pickled instance imports this module, and so the package, which applies the patches."""


def reach_child_processes() -> None:
    """A spawned or forkserver process has none of our patches when it unpickles its work, such as a dataset of BasicSR.

    The configuration that every process hands down to its children is read before their target and arguments.
    """
    multiprocessing.current_process()._config["quantnas_sr"] = _ImportsQuantNAS()


_waiting: List[Callable[[], None]] = []


def _call_waiting() -> None:
    callbacks = _waiting[:]
    _waiting.clear()
    for callback in callbacks:
        callback()


class _FirstImport(MetaPathFinder):
    """Waits for the first import of BasicSR, and calls those who wait when ``basicsr/__init__`` has run to its end.

    It also sees to it that BasicSR comes before those modules of this package that build on it. Otherwise the import of
    ``quantnas_sr.cost``, say, would import BasicSR half-way, and the registration that follows would find a
    ``quantnas_sr.cost`` that has only half its names.
    """

    running = False
    imported = False

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Optional[ModuleSpec]:
        if fullname.startswith("quantnas_sr.") and not _is_light(fullname):
            import basicsr  # noqa: F401
        return self._basicsr(path, target) if fullname == "basicsr" else None

    def _basicsr(self, path: Any, target: Any) -> Optional[ModuleSpec]:
        """The spec that the other finders have, whose loader calls those who wait once it has executed the module."""
        others = (finder.find_spec("basicsr", path, target) for finder in sys.meta_path[:] if finder is not self)
        spec = next((spec for spec in others if spec is not None), None)
        if spec is None or spec.loader is None:
            return spec
        loader = spec.loader
        execute = loader.exec_module

        def exec_module(module: types.ModuleType) -> None:
            del loader.exec_module  # which leaves the loader as it was
            self.running = True
            try:
                execute(module)
            finally:
                self.running = False
            self.imported = True
            sys.meta_path.remove(self)
            _call_waiting()

        loader.exec_module = exec_module
        return spec


def _is_light(name: str) -> bool:
    return any(name == light or (light.endswith(".") and name.startswith(light)) for light in LIGHT)


class _LastImport(MetaPathFinder):
    """Calls those who wait when ``basicsr.version`` is looked up, the last thing ``basicsr/__init__`` imports."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Optional[ModuleSpec]:
        if fullname != "basicsr.version":
            return None
        sys.meta_path.remove(self)
        _call_waiting()
        return importlib.util.find_spec(fullname)


_first_import = _FirstImport()


def when_basicsr_is_imported(callback: Callable[[], None]) -> None:
    """Call ``callback`` once all of BasicSR can be used. Callbacks run in the order in which they were given.

    - BasicSR is imported already: now.
    - It is not: at the end of its import, whoever imports it. This function does not.
    - It is being imported, and one of the files that it scans in its folders imports us: at the end of its import, for
      importing ``basicsr.models`` now would be circular.
    """
    if "basicsr" not in sys.modules:
        if _first_import not in sys.meta_path:
            sys.meta_path.insert(0, _first_import)
        _waiting.append(callback)
    elif _first_import.running:
        _waiting.append(callback)
    elif _first_import.imported or not _is_being_imported():
        callback()
    else:
        if not any(isinstance(finder, _LastImport) for finder in sys.meta_path):
            sys.meta_path.insert(0, _LastImport())
        _waiting.append(callback)


def _is_being_imported() -> bool:
    spec = getattr(sys.modules.get("basicsr"), "__spec__", None)
    return getattr(spec, "_initializing", False) and "basicsr.version" not in sys.modules
