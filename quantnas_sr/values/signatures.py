"""Options that are the arguments of a class or function: their names and kinds, read off its signature."""

import collections.abc
import inspect
import re
import types
from inspect import Parameter
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, MutableMapping, Optional, Union, get_args, get_origin, get_type_hints

from quantnas_sr.errors import OptionError, misspelt, unknown
from quantnas_sr.values.kinds import ANYTHING, MAPPING, SWITCH, TEXT, Kind, either, many, number, optional, whole

#: Arguments that count something. Of the others, a whole number as the default says little: ``img_range=1`` takes 0.5.
_COUNTS = re.compile(r"^num_|_ch$|_channels$|_feat$|^upscale$|^scale$")
_COUNT = whole(at_least=1, at_most=2**16)
_UNIONS = (Union, getattr(types, "UnionType", Union))
_SIMPLE: Dict[Any, Kind] = {int: whole(), float: number(), bool: SWITCH, str: TEXT, Path: TEXT, type(None): ANYTHING}


def check_arguments(
    function: Callable[..., object],
    options: MutableMapping[str, Any],
    where: str,
    kinds: Optional[Mapping[str, Kind]] = None,
    strict: bool = True,
    complete: bool = True,
    separator: str = ".",
) -> None:
    """Check options that a class or function will be called with, and give them their own types in place.

    Args:
        function: what will be called.
        options: its keyword arguments.
        where: place of ``options``, such as ``network_g``.
        kinds: by argument, where more is known than the signature says.
        strict: refuse every argument that the signature does not name; else, where it ends in ``**kwargs``, only what
            looks like a misspelt one.
        complete: refuse options that lack an argument without a default value.
        separator: between ``where`` and the key in an error.

    Raises:
        OptionError: one line that names the key, and says what is allowed.
    """
    named = check_names(function, options, where, strict, complete)
    expected = {**argument_kinds(function), **(kinds or {})}
    for key in options:
        if key in named:
            options[key] = expected[key].checked(options[key], f"{where}{separator}{key}")


def check_names(
    function: Callable[..., object], given: Mapping[str, Any], where: str, strict: bool = True, complete: bool = True
) -> Mapping[str, Parameter]:
    """Check the names of arguments only; as `check_arguments`. Returns the parameters that have names."""
    parameters = inspect.signature(function).parameters
    named = {key: p for key, p in parameters.items() if p.kind not in (Parameter.VAR_KEYWORD, Parameter.VAR_POSITIONAL)}
    check_keys(given, named, where, strict or len(named) == len(parameters))
    for key, parameter in named.items():
        if complete and parameter.default is parameter.empty and key not in given:
            raise OptionError(f"{where}: the key {key!r} is missing")
    return named


def check_keys(given: Mapping[str, Any], allowed: Mapping[str, Any], where: str, strict: bool = True) -> None:
    """Refuse unknown keys: all of them, or only those that look like a misspelt one.

    Raises:
        OptionError: one line with the key and the nearest right one.
    """
    for key in given:
        missing = [name for name in allowed if name not in given]
        if key not in allowed and (strict or misspelt(key, missing)):
            raise OptionError(unknown("key", key, allowed, where=where))


def argument_kinds(function: Callable[..., object]) -> Dict[str, Kind]:
    """The kind of every argument, by annotation, else by default value, else by name.

    >>> def network(num_feat=64, img_range=255.0, residual=True): ...
    >>> {name: kind.allowed for name, kind in argument_kinds(network).items()}["num_feat"]
    'a whole number from 1 to 65536'
    """
    parameters = inspect.signature(function).parameters
    hints = _hints(function)
    return {
        name: _annotated(name, hints[name], parameter.default) if name in hints else _plain(name, parameter.default)
        for name, parameter in parameters.items()
    }


def _hints(function: Callable[..., object]) -> Dict[str, Any]:
    try:
        return get_type_hints(function.__init__ if inspect.isclass(function) else function)
    except Exception:  # names that only a type checker can resolve
        return {}


def _annotated(name: str, hint: Any, default: Any) -> Kind:
    if hint in (int, Optional[int]) and _COUNTS.search(name):
        return optional(_COUNT) if hint is not int or default is None else _COUNT
    if hint is float and isinstance(default, (int, float)) and default >= 0:
        return number(at_least=0)
    return optional(_of_hint(hint)) if default is None else _of_hint(hint)


def _of_hint(hint: Any) -> Kind:
    if hint in _SIMPLE:
        return _SIMPLE[hint]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in _UNIONS:
        kinds = [_of_hint(entry) for entry in arguments if entry is not type(None)]
        kind = ANYTHING if ANYTHING in kinds else either(*kinds)
        return optional(kind) if type(None) in arguments else kind
    if origin is tuple and arguments and Ellipsis not in arguments:
        return many(_of_hint(arguments[0]), len(arguments))
    if inspect.isclass(origin) and issubclass(origin, collections.abc.Mapping):
        return MAPPING
    if inspect.isclass(origin) and issubclass(origin, collections.abc.Iterable):
        return many(_of_hint(arguments[0]) if arguments else ANYTHING)
    return ANYTHING


def _plain(name: str, default: Any) -> Kind:
    """The kind of an argument without annotation."""
    if isinstance(default, bool):
        return SWITCH
    if _COUNTS.search(name) and (default is Parameter.empty or isinstance(default, int)):
        return _COUNT
    if isinstance(default, (int, float)):
        numbers = number(at_least=0) if default >= 0 else number()
        return either(numbers, many(numbers))
    if isinstance(default, str):
        return optional(either(TEXT, SWITCH))
    return ANYTHING
