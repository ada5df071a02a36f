"""Names of registered classes in an options file."""

from typing import Any

from quantnas_sr.errors import OptionError, unknown
from quantnas_sr.registration import SharedRegistry
from quantnas_sr.values.kinds import TEXT


def registered(where: str, name: Any, registry: SharedRegistry) -> Any:
    """What is registered under the name that stands at ``where``, such as ``network_g.type``.

    Raises:
        OptionError: nothing is; the line has the nearest name.
    """
    value = registry.find(TEXT.checked(name, where))
    if value is None:
        section, _, key = where.rpartition(".")
        raise OptionError(unknown(key, name, registry.names(), where=section))
    return value


def is_a(registered: Any, kind: Any) -> bool:
    """As ``issubclass``, for whatever is registered: a project may register a function that builds a network."""
    return isinstance(registered, type) and issubclass(registered, kind)
