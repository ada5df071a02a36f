"""What users see when something they gave us cannot be used: one line that says what, where and what is allowed."""

import difflib
from typing import Iterable, Optional

#: Characters of a word that an error shows.
_LONGEST_WORD = 80
#: Of a whole message.
_LONGEST_LINE = 1200


class QuantNASError(ValueError):
    """Bad input. The message is one complete line for the user; the commands print it without a traceback.

    What a file says may be of any length: a line that is too long is cut. A process that loads data sends its traceback
    before the line, which is left whole.
    """

    def __init__(self, message: str = "") -> None:
        if "\n" not in message:
            message = " ".join(message.splitlines())  # of separators that only some programs know
            message = message if len(message) <= _LONGEST_LINE else f"{message[:_LONGEST_LINE]} ..."
        super().__init__(message)


class OptionError(QuantNASError):
    """A key or a value of an options file that cannot be used."""


class GenotypeError(QuantNASError):
    """A genotype, or a checkpoint's genotype, that cannot be used."""


class DataError(QuantNASError):
    """A folder, an LMDB or an image that cannot be used."""


class CheckpointError(DataError, GenotypeError):
    """A ``.pth`` that cannot be used; whoever asks it for a genotype need not tell the two apart."""


class CheckError(DataError):
    """An exported file with which a runtime does not compute what PyTorch computes."""


class NetworkError(QuantNASError):
    """A network that cannot be run, counted, traced or converted."""


class TrainingError(QuantNASError):
    """A training whose numbers have gone wrong: it cannot go on, and nothing is derived or saved from them."""


class CalibrationError(QuantNASError):
    """A quantizer of activations is used before calibration: no batch has set its step.

    Args:
        quantizer: the one that has no step.
        layer: the layer that reads its output, where the name is known.
    """

    def __init__(self, quantizer: object = None, layer: str = "") -> None:
        self.quantizer = quantizer
        message = (
            "the activations have no quantization steps yet: train the network, or load a checkpoint of its training"
        )
        if layer:
            message = (
                f"the layer {layer} is used in evaluation but was not in training, so its input has no quantization "
                "step: train with it, or leave it in full precision"
            )
        super().__init__(message)


class MissingExtraError(QuantNASError):
    """A feature whose optional dependency is not installed."""

    def __init__(self, feature: str, package: str, extra: str) -> None:
        super().__init__(f"{feature} needs {package}: pip install 'quantnas_sr[{extra}]'")


def printable(text: str) -> str:
    """A text that an error names, with its control characters by their codes, so that it stays on one line.

    >>> print(printable("a\\nb"))
    a\\nb
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def nearest(word: object, allowed: Iterable[str]) -> Optional[str]:
    """The allowed word that ``word`` was most probably meant to be, or None when nothing resembles it.

    Of the three that resemble it most, one that begins with it comes first.

    >>> nearest("plain_x2", ["plain_x2_2.6", "plain_x4_2.6"])
    'plain_x2_2.6'
    """
    given, by_lower_case = str(word).lower(), {str(entry).lower(): str(entry) for entry in allowed}
    matches = difflib.get_close_matches(given, by_lower_case, cutoff=0.6)
    begins = [entry for entry in matches if entry.startswith(given)]
    return by_lower_case[(begins or matches)[0]] if matches else None


def misspelt(word: object, allowed: Iterable[str]) -> bool:
    """Whether ``word`` is so close to an allowed one that it can hardly be meant as something else.

    >>> misspelt("val_frq", ["val_freq"]), misspelt("vla", ["val"]), misspelt("name", ["mean"]), misspelt("x", ["y"])
    (True, True, False, False)
    >>> misspelt("po7t", ["port"])
    True
    """
    given, known = str(word).lower(), [entry.lower() for entry in allowed]
    near = any(_swapped(given, entry) or _one_letter(given, entry) for entry in known)
    return near or bool(difflib.get_close_matches(given, known, cutoff=0.8))


def _swapped(word: str, other: str) -> bool:
    """Whether two neighbouring letters have changed places."""
    differing = [i for i, (a, b) in enumerate(zip(word, other)) if a != b]
    return sorted(word) == sorted(other) and len(differing) == 2 and differing[1] - differing[0] == 1


def _one_letter(word: str, other: str) -> bool:
    """Whether one letter of two words of four letters or more differs."""
    return len(word) == len(other) > 3 and sum(a != b for a, b in zip(word, other)) == 1


def _short(word: str) -> str:
    return word if len(word) <= _LONGEST_WORD else f"{word[:_LONGEST_WORD]} ..."


def unknown(what: str, word: object, allowed: Iterable[str], where: str = "") -> str:
    """The line for a word that is not one of ``allowed``.

    >>> unknown("selector", "sofmax", ["softmax", "gumbel"], where="network_g")
    "network_g: unknown selector 'sofmax', did you mean 'softmax'? Allowed: gumbel, softmax"
    """
    allowed = sorted(allowed)
    guess = nearest(word, allowed)
    hint = f", did you mean {guess!r}?" if guess else "."
    prefix = f"{where}: " if where else ""
    return f"{prefix}unknown {what} {_short(str(word))!r}{hint} Allowed: {', '.join(allowed) or 'none'}"
