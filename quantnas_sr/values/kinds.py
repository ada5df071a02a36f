"""Kinds of option values (whole numbers, switches, words, ...): what is allowed, in words and as a check.

A table of keys and kinds gives both the errors of a bad options file and its documentation.
"""

import math
from dataclasses import dataclass
from typing import Any, Callable, Mapping, Optional, Tuple

from quantnas_sr.errors import OptionError, unknown

_SHOWN_CHARACTERS = 60
#: Of a name, to which runs add times, phases and suffixes; file systems take 255 bytes.
_LONGEST_NAME = 150


class WrongValue(ValueError):
    """A value is not of a kind; the message goes behind the value: ``is not a number``."""


@dataclass(frozen=True)
class Kind:
    """The values that an option may have.

    Args:
        allowed: in words, such as ``a whole number of at least 1``.
        take: returns the value, in its own type (``50.0`` as 50 where a whole number is needed); raises `WrongValue`.
        words: all values, where they are words.
        nullable: whether null is allowed.
    """

    allowed: str
    take: Callable[[Any], Any]
    words: Tuple[str, ...] = ()
    nullable: bool = False

    def checked(self, value: Any, where: str) -> Any:
        """The value, in its own type.

        Args:
            value: what the options file has.
                where: its place, such as ``train.optim_g.lr`` or ``network_g: bits``.

        Raises:
            OptionError: it is not of this kind; one line with the place, the value, and what is allowed.
        """
        try:
            return self.take(value)
        except WrongValue as error:
            section, key = _split(where)
            if self.words and isinstance(value, str):
                raise OptionError(unknown(key, value, self.words, where=section)) from None
            problem = str(error)
            allowed = "" if problem == f"is not {self.allowed}" else f". Allowed: {self.allowed}"
            raise OptionError(f"{where}: {shown(value)} {problem}{allowed}") from None


def _split(where: str) -> Tuple[str, str]:
    """
    >>> _split("train.amp"), _split("network_g: arch: act"), _split("name")
    (('train', 'amp'), ('network_g: arch', 'act'), ('', 'name'))
    """
    dotted, colon = where.rfind("."), where.rfind(": ")
    if dotted > colon:
        return where[:dotted], where[dotted + 1 :]
    return (where[:colon], where[colon + 2 :]) if colon >= 0 else ("", where)


def shown(value: Any) -> str:
    """A value as an error shows it: on one line, and not too long.

    >>> shown(None), shown("fast"), shown(True), shown([4, 8])
    ('null', "'fast'", 'true', '[4, 8]')
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(dict(value) if isinstance(value, Mapping) else value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 4]} ..."


def number(
    at_least: Optional[float] = None,
    above: Optional[float] = None,
    at_most: Optional[float] = None,
    below: Optional[float] = None,
) -> Kind:
    """Finite numbers within bounds.

    >>> number(at_least=0, below=1).allowed
    'a number of at least 0 and below 1'
    """
    bounds = _in_words(at_least, above, at_most, below)

    def take(value: Any) -> Any:
        _check_number(value)
        _check_bounds(value, at_least, above, at_most, below)
        return value

    return Kind(f"a number{bounds}", take)


def whole(at_least: Optional[int] = None, at_most: Optional[int] = None) -> Kind:
    """Whole numbers within bounds; ``5e1`` is one.

    >>> whole(at_least=1).take(50.0)
    50
    """
    bounds = _in_words(at_least, None, at_most, None)

    def take(value: Any) -> int:
        _check_number(value)
        if value != int(value):
            raise WrongValue("is not a whole number")
        _check_bounds(value, at_least, None, at_most, None)
        return int(value)

    return Kind(f"a whole number{bounds}", take)


def _in_words(
    at_least: Optional[float], above: Optional[float], at_most: Optional[float], below: Optional[float]
) -> str:
    bounds = [("of at least", at_least), ("above", above), ("of at most", at_most), ("below", below)]
    words = " and ".join(f"{phrase} {bound}" for phrase, bound in bounds if bound is not None)
    if at_least is not None and at_most is not None:
        words = f"from {at_least} to {at_most}"
    return f" {words}" if words else ""


def _check_number(value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise WrongValue("is not a number")
    if isinstance(value, float) and not math.isfinite(value):
        raise WrongValue("is not a finite number")


def _check_bounds(
    value: float,
    at_least: Optional[float],
    above: Optional[float],
    at_most: Optional[float],
    below: Optional[float],
) -> None:
    inside = (
        (at_least is None or value >= at_least)
        and (above is None or value > above)
        and (at_most is None or value <= at_most)
        and (below is None or value < below)
    )
    if not inside:
        raise WrongValue("is not allowed")


def words(*allowed: str) -> Kind:
    """One of some words."""

    def take(value: Any) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise WrongValue("is not allowed")
        return value

    return Kind(", ".join(word or "''" for word in allowed), take, allowed)


def many(kind: Kind, length: Optional[int] = None) -> Kind:
    """A list whose entries are all of one kind.

    >>> many(number(above=0), length=2).allowed
    'a list of 2, each a number above 0'
    """
    noun = "a list" if length is None else f"a list of {length}"

    def take(value: Any) -> Any:
        if not isinstance(value, (list, tuple)) or length not in (None, len(value)):
            raise WrongValue(f"is not {noun}")
        return type(value)([kind.take(entry) for entry in value])

    return Kind(f"{noun}, each {kind.allowed}", take)


def either(first: Kind, *others: Kind) -> Kind:
    """A value of any of several kinds."""
    if not others:
        return first
    kinds = (first, *others)

    def take(value: Any) -> Any:
        for kind in kinds:
            try:
                return kind.take(value)
            except WrongValue:
                continue
        raise WrongValue("is not allowed")

    listed = tuple(word for kind in kinds for word in kind.words)
    only_words = listed if all(kind.words for kind in kinds) else ()
    return Kind(", or ".join(dict.fromkeys(kind.allowed for kind in kinds)), take, only_words)


def optional(kind: Kind) -> Kind:
    """A value of a kind, or null."""
    if kind.nullable:
        return kind

    def take(value: Any) -> Any:
        return None if value is None else kind.take(value)

    return Kind(f"{kind.allowed}, or ~", take, kind.words, nullable=True)


def _of_type(allowed: str, *types: type) -> Kind:
    def take(value: Any) -> Any:
        if not isinstance(value, types):
            raise WrongValue(f"is not {allowed}")
        return value

    return Kind(allowed, take)


def _take_text(value: Any) -> str:
    if not isinstance(value, str):
        raise WrongValue("is not text")
    if not value.strip() or "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise WrongValue("is empty" if not value.strip() else "is not allowed")
    return value


def _take_file_name(value: Any) -> str:
    if isinstance(value, (int, float)):
        raise WrongValue("is not text: put it in quotes")
    name = _take_text(value)
    if name.startswith(".") or not name.isprintable() or any(character in name for character in "/\\"):
        raise WrongValue("is not a name for a file or folder")
    if len(name.encode()) > _LONGEST_NAME:
        raise WrongValue(f"is longer than {_LONGEST_NAME} bytes")
    return name


ANYTHING = Kind("anything", lambda value: value, nullable=True)
SWITCH = _of_type("true or false", bool)
MAPPING = _of_type("a mapping of keys to values", Mapping)
TEXT = Kind("text", _take_text)
#: A part of the name of a file or folder: BasicSR puts it into paths, and moves away what it finds there.
FILE_NAME = Kind("a name for a file or folder, without / and \\, and without a dot at its start", _take_file_name)
