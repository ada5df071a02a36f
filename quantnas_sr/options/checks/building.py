"""Trial builds: what the options describe is made once, without a trace in the run that follows."""

from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, Mapping, Optional

import torch

from quantnas_sr.bounds import bounded, check_size
from quantnas_sr.errors import GenotypeError, OptionError, QuantNASError
from quantnas_sr.values.kinds import Kind
from quantnas_sr.values.signatures import check_arguments


@contextmanager
def errors_at(where: str) -> Iterator[None]:
    """Turn any error into one line that begins with ``where``; a genotype's error names its own file already."""
    try:
        yield
    except GenotypeError:
        raise
    except QuantNASError as error:
        raise OptionError(f"{where}: {error}") from None
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise OptionError(f"{where}: cannot be used: {reason}") from error


def built(
    cls: type,
    options: Dict[str, Any],
    where: str,
    kinds: Optional[Mapping[str, Kind]] = None,
    device: str = "meta",
    separator: str = ".",
) -> Any:
    """An instance of a class from ``options`` (without ``type``), whose arguments are checked and converted in place.

    The random generators are left as they are.

    Args:
        cls: a registered class.
        options: its arguments, beside ``type``.
        where: place of the options.
        kinds: of arguments whose signature says less.
        separator: between ``where`` and a key in an error.
        device: where its parameters are; ``meta`` takes no memory.

    Raises:
        OptionError: an argument is missing, unknown or not allowed, or the class refuses it.
    """
    arguments = {key: value for key, value in options.items() if key != "type"}
    check_arguments(cls, arguments, where, kinds, strict=False, separator=separator)
    options.update(arguments)
    return made(lambda: cls(**arguments), where, device)


def made(make: Callable[[], Any], where: str, device: str = "meta") -> Any:
    """The result of ``make``; its errors become one line, and the random generators are left as they are."""
    with errors_at(where), bounded(tensors=device != "meta"), torch.random.fork_rng(devices=[]), torch.device(device):
        if device != "meta":
            check_size(make)
        return make()
