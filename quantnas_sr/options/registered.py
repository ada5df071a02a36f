"""Names of registered classes in an options file."""

from typing import Any

from quantnas_sr.errors import OptionError, unknown
from quantnas_sr.kinds import TEXT

#: What BasicSR's registries look for where a name alone is not there.
_SUFFIX = "_basicsr"


def found(name: Any, registry: Any) -> Any:
    """What is registered under a name, or under the name with BasicSR's suffix; None if nothing is."""
    for candidate in (name, f"{name}{_SUFFIX}"):
        if isinstance(name, str) and candidate in registry:
            return registry.get(candidate)
    return None


def registered(where: str, name: Any, registry: Any) -> Any:
    """What is registered under the name that stands at ``where``, such as ``network_g.type``.

    Raises:
        OptionError: nothing is; the line has the nearest name.
    """
    value = found(TEXT.checked(name, where), registry)
    if value is None:
        section, _, key = where.rpartition(".")
        raise OptionError(unknown(key, name, registry.keys(), where=section))
    return value


def is_ours(cls: Any) -> bool:
    """Whether a class, or one that it is made from, is of this package."""
    return any(base.__module__.startswith("quantnas_sr.") for base in getattr(cls, "__mro__", ()))
