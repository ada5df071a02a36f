"""Calling functions at the end of an import: one that is going on, or one that is still to come."""

import importlib.util
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from typing import Any, Callable, List, Optional

Callback = Callable[[], None]


class _WatchedSpec(ModuleSpec):
    """The spec of a module that is being imported. Python clears ``_initializing`` when the module has run to its end.

    This is the one place where the end of an import shows: a finder on ``sys.meta_path`` sees only the beginning of
    imports, and what a package imports last differs between the versions and copies of BasicSR.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "_initializing" and not value:
            self.__class__ = ModuleSpec
            callbacks = self.__dict__.pop("_callbacks")
            if self.name in sys.modules:
                for callback in callbacks:
                    callback()
            elif self._finder is not None:  # the import has failed: wait for the next one
                sys.meta_path.insert(0, self._finder)


class _FirstImport(MetaPathFinder):
    """Waits for the first import of a package and has its spec watched."""

    def __init__(self, package: str) -> None:
        self.package = package
        self.callbacks: List[Callback] = []

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Optional[ModuleSpec]:
        if fullname != self.package:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is None:
            sys.meta_path.insert(0, self)
        else:
            _watch(spec).extend(self.callbacks)
            spec._finder = self
        return spec


def call_after_import(package: str, callback: Callback) -> None:
    """Call ``callback`` once ``package`` can be used: now, or at the end of the outermost import of one of its modules.

    Where the package is not imported yet, that is at the end of its first import, whoever imports it. Callbacks run in
    the order in which they were given; one that a callback gives runs at once. When an import fails, those that were
    given during it do not run; those that were given before wait for the next import.
    """
    spec = _outermost(package)
    if spec is not None:
        _watch(spec).append(callback)
    elif package in sys.modules:
        callback()
    else:
        _finder(package).callbacks.append(callback)


def _watch(spec: ModuleSpec) -> List[Callback]:
    """The functions that are called at the end of the import of ``spec``."""
    if not isinstance(spec, _WatchedSpec):
        spec._callbacks, spec._finder = [], None
        spec.__class__ = _WatchedSpec
    return spec._callbacks


def _finder(package: str) -> _FirstImport:
    for finder in sys.meta_path:
        if isinstance(finder, _FirstImport) and finder.package == package:
            return finder
    sys.meta_path.insert(0, _FirstImport(package))
    return sys.meta_path[0]


def _outermost(package: str) -> Optional[ModuleSpec]:
    """The spec of the first module that is being imported: ``sys.modules`` has them in the order of their imports."""
    for name, module in list(sys.modules.items()):
        if name == package or name.startswith(f"{package}."):
            spec = getattr(module, "__spec__", None)
            if getattr(spec, "_initializing", False):
                return spec
    return None
