"""BasicSR's registries as this package uses them: its names give way to a project's own, look-ups follow BasicSR's.

A project may register a class under a name that this package has too, such as ``RFDN``, and BasicSR refuses to register
a name twice. The project's class wins, whichever of the two is imported first. The class of this package is always
registered under its name with the suffix ``_quantnas`` as well.
"""

import contextlib
import importlib
import io
import pkgutil
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

import basicsr

try:
    from basicsr.utils import registry as basicsr_registries
except ImportError as error:
    raise ImportError(
        f"quantnas_sr needs BasicSR 1.3.4.9 or newer; the one in {list(basicsr.__path__)} has no registries"
    ) from error

#: What follows the unambiguous names of this package's classes.
SUFFIX = "_quantnas"
#: What follows the names of BasicSR's classes that give way to a project's own; `Registry.get` adds it.
BASICSR_SUFFIX = "_basicsr"


class SharedRegistry:
    """A registry of BasicSR in which the names of this package give way.

    Args:
        registry: one of ``basicsr.utils.registry``.
    """

    def __init__(self, registry: Any) -> None:
        self._registry = registry
        self._lent: Dict[str, Any] = {}
        self._register = registry._do_register
        registry._do_register = self._register_for_others

    def register(self, obj: Any = None) -> Any:
        """Register a class as ``NAME_quantnas``, and as ``NAME`` if that is free. A decorator or a function."""
        if obj is None:
            return self.register
        name = obj.__name__
        self._register(name + SUFFIX, obj)
        if self.find(name) is None:
            self._register(name, obj)
            self._lent[name] = obj
        return obj

    def _register_for_others(self, name: str, obj: Any, suffix: Optional[str] = None) -> None:
        """BasicSR's ``_do_register``, after a name of this package that is in the way has been taken back."""
        wanted = (f"{name}_{suffix}" if isinstance(suffix, str) else name).removesuffix(BASICSR_SUFFIX)
        if self._lent.pop(wanted, None) is not None:
            del self._registry._obj_map[wanted]
        self._register(name, obj, *(() if suffix is None else (suffix,)))

    def find(self, name: Any) -> Optional[Callable[..., Any]]:
        """What ``registry.get(name)`` of this BasicSR returns, or None. Since 1.4.0 it tries ``NAME_basicsr`` too."""
        if not isinstance(name, str):
            return None
        with contextlib.suppress(KeyError), contextlib.redirect_stdout(io.StringIO()):  # it prints what it tries
            return self._registry.get(name)
        return None

    def names(self) -> List[str]:
        """What an options file can say: names without BasicSR's suffix, and without ours where they are not taken."""
        names = (name.removesuffix(BASICSR_SUFFIX) for name in tuple(self._registry.keys()))
        hidden = {name + SUFFIX for name in self._lent}
        return [name for name in dict.fromkeys(names) if name not in hidden]

    def __contains__(self, name: Any) -> bool:
        return self.find(name) is not None


ARCH_REGISTRY = SharedRegistry(basicsr_registries.ARCH_REGISTRY)
DATASET_REGISTRY = SharedRegistry(basicsr_registries.DATASET_REGISTRY)
LOSS_REGISTRY = SharedRegistry(basicsr_registries.LOSS_REGISTRY)
METRIC_REGISTRY = SharedRegistry(basicsr_registries.METRIC_REGISTRY)
MODEL_REGISTRY = SharedRegistry(basicsr_registries.MODEL_REGISTRY)


def is_ours(registered: Any) -> bool:
    """Whether a registered class is of this package or derived from one that is."""
    classes = getattr(registered, "__mro__", (registered,))
    return any(str(getattr(entry, "__module__", "")).startswith("quantnas_sr.") for entry in classes)


def import_registered(package: str, file: str, suffix: str) -> None:
    """Import every module of ``package`` whose name ends in ``suffix``.

    Args:
        package, file: ``__name__`` and ``__file__`` of the package.
        suffix: such as ``_arch``.
    """
    for module in pkgutil.iter_modules([str(Path(file).parent)]):
        if module.name.endswith(suffix):
            importlib.import_module(f"{package}.{module.name}")
