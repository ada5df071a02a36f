"""Kinds of arguments that several commands have: text of the command line to a value, or one line that says why not."""

import argparse
import math
from typing import Tuple

from quantnas_sr.export.choices import IO_KINDS, OUTPUTS
from quantnas_sr.images.limits import MOST_PIXELS, OPENCV_PIXELS


def positive(text: str) -> int:
    """A whole number of 1 or more.

    >>> positive("8")
    8
    """
    return _whole(text, 1)


def not_negative(text: str) -> int:
    """A whole number of 0 or more."""
    return _whole(text, 0)


def _whole(text: str, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed. Allowed: a whole number of {least} or more")
    return number


def penalty(text: str) -> float:
    """A number of 0 or more, infinity not among them."""
    number = _number(text)
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed. Allowed: a number of 0 or more")
    return number


def budget(text: str) -> float:
    """A number above 0, infinity not among them."""
    number = _number(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed. Allowed: a number above 0")
    return number


def pixels(text: str) -> int:
    """A number of pixels that an image may have.

    >>> pixels("300000000"), pixels("300M")
    (300000000, 300000000)
    """
    number = _whole(text[:-1] + "000000" if text[-1:] in ("M", "m") else text, 1)
    if number > OPENCV_PIXELS:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed. Allowed: at most {OPENCV_PIXELS}")
    return number


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def size(text: str) -> Tuple[int, int]:
    """Height and width of an image from ``WIDTHxHEIGHT``, or from one number for a square.

    >>> size("320x180"), size("32")
    ((180, 320), (32, 32))
    """
    width, times, height = text.lower().partition("x")
    try:
        return positive(height if times else width), positive(width)
    except argparse.ArgumentTypeError:
        allowed = "N for a square, or WIDTHxHEIGHT in pixels, such as 320x180"
        raise argparse.ArgumentTypeError(f"{text!r} is not a size. Allowed: {allowed}") from None


def add_outputs(parser: argparse.ArgumentParser) -> None:
    """``--outputs`` and ``--io`` of the commands that export."""
    parser.add_argument(
        "--outputs", choices=OUTPUTS, default="float", help="int8: convolutions round their outputs to 8 bits (float)"
    )
    parser.add_argument(
        "--io", choices=IO_KINDS, default="float", help="uint8: the file takes and gives images of bytes (float)"
    )


def add_max_pixels(parser: argparse.ArgumentParser) -> None:
    """``--max-pixels`` of the commands that read images of users."""
    parser.add_argument(
        "--max-pixels",
        type=pixels,
        default=MOST_PIXELS,
        metavar="N",
        help=f"refuse images with more pixels, such as 300M (default: {MOST_PIXELS})",
    )


def add_param_key(parser: argparse.ArgumentParser) -> None:
    """``--param-key`` of the commands that read a checkpoint."""
    parser.add_argument(
        "--param-key",
        choices=("params", "params_ema"),
        help="which weights of the checkpoint (params_ema, the moving average, where there is one)",
    )
