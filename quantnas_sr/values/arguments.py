"""What users type on a command line, or pass from Python, as values: positive numbers, sizes of images, memory.

Each function takes the value and the name of the option that it was given for, which begins the error message.
"""

import re
from numbers import Integral
from typing import Iterable, Tuple

from quantnas_sr.errors import OptionError, unknown

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def _named(where: str, value: object) -> str:
    return f"{where} {value}".strip()


def parse_positive(value: object, where: str = "") -> int:
    """A whole number above zero, from a number or from text.

    >>> parse_positive("16")
    16

    Raises:
        OptionError: it is something else.
    """
    if isinstance(value, str) and re.fullmatch(r"\s*\d{1,18}\s*", value, re.ASCII):
        value = int(value)
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise OptionError(f"{_named(where, value)}: not a positive number")
    return int(value)


def parse_size(value: object, where: str = "") -> Tuple[int, int]:
    """Width and height in pixels, from text such as ``320x180`` (320 wide, as sizes of videos are written).

    >>> parse_size("320x180")
    (320, 180)

    Raises:
        OptionError: it is no size.
    """
    match = re.fullmatch(r"([1-9]\d{0,8})x([1-9]\d{0,8})", str(value), re.ASCII)
    if not match:
        raise OptionError(f"{_named(where, value)}: not a size. Allowed: WIDTHxHEIGHT in pixels, such as 320x180")
    return int(match[1]), int(match[2])


def parse_memory(value: object, where: str = "--memory") -> int:
    """Bytes, from a number of bytes or from text such as ``800M`` or ``1.5G``.

    >>> parse_memory("1.5G")
    1610612736

    Raises:
        OptionError: it is no amount of memory.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]?)(?:i?B)?", str(value).strip(), re.IGNORECASE)
    size = int(float(match[1]) * _UNITS[match[2].upper()]) if match else 0
    if size < 1:
        raise OptionError(f"{_named(where, value)}: not an amount of memory. Allowed: bytes, or such as 800M, 2G, 1.5G")
    return size


def check_word(value: object, allowed: Iterable[str], what: str, where: str) -> None:
    """Check that a value is one of the allowed words.

    Args:
        value: what was given.
        allowed: the words.
        what: what they are, for the message.
        where: name of the option.

    Raises:
        OptionError: it is not, with the nearest of the words.
    """
    allowed = tuple(allowed)
    if not isinstance(value, str) or value not in allowed:
        raise OptionError(unknown(what, value, allowed, where=where))
