"""Calling functions at the end of an import that is going on."""

import sys
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
            if self.name in sys.modules:  # otherwise the import has failed
                for callback in callbacks:
                    callback()


def call_after_import(package: str, callback: Callback) -> None:
    """Call ``callback`` now, or at the end of the outermost import of ``package`` or one of its modules.

    Callbacks run in the order in which they were given; one that a callback gives runs at once. If the import fails,
    they do not run.
    """
    spec = _outermost(package)
    if spec is None:
        callback()
        return
    if not isinstance(spec, _WatchedSpec):
        spec._callbacks = []
        spec.__class__ = _WatchedSpec
    callbacks: List[Callback] = spec._callbacks
    callbacks.append(callback)


def _outermost(package: str) -> Optional[ModuleSpec]:
    """The spec of the first module that is being imported: ``sys.modules`` has them in the order of their imports."""
    for name, module in list(sys.modules.items()):
        if name == package or name.startswith(f"{package}."):
            spec = getattr(module, "__spec__", None)
            if getattr(spec, "_initializing", False):
                return spec
    return None
