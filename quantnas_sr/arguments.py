"""What users type on a command line, or pass from Python, as values: positive numbers, sizes of images, memory.

Each function takes the value and the name of the option that it was given for, which begins the error message.
"""

import argparse
import re
from functools import wraps
from typing import Any, Callable, Iterable, Tuple, TypeVar

from quantnas_sr.errors import OptionError, unknown

T = TypeVar("T")
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
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise OptionError(f"{_named(where, value)}: not a positive number")
    return value


def parse_size(value: object, where: str = "", square: bool = False) -> Tuple[int, int]:
    """Width and height in pixels, from text such as ``320x180`` (320 wide, as sizes of videos are written).

    >>> parse_size("320x180"), parse_size("32", square=True)
    ((320, 180), (32, 32))

    Args:
        value: the text.
        where: name of the option.
        square: whether one number is a size too: that of a square.

    Raises:
        OptionError: it is no size.
    """
    match = re.fullmatch(r"([1-9]\d{0,8})(?:x([1-9]\d{0,8}))?", str(value), re.ASCII)
    if not match or not (match[2] or square):
        allowed = "WIDTHxHEIGHT in pixels, such as 320x180" + (", or N for NxN" if square else "")
        raise OptionError(f"{_named(where, value)}: not a size. Allowed: {allowed}")
    return int(match[1]), int(match[2] or match[1])


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


def argument(parse: Callable[..., T]) -> Callable[[str], T]:
    """A function of this module in the form that argparse takes as ``type=``: its message becomes argparse's.

    >>> argument(parse_positive)("16")
    16
    """

    @wraps(parse)
    def convert(text: str, **options: Any) -> T:
        try:
            return parse(text, "", **options)
        except OptionError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert
