"""A file that was exported: written aside, checked in every usable runtime, and kept only if it passes."""

import os
from pathlib import Path
from typing import Any, Callable, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from torch import nn

from quantnas_sr.deploy.onnx.overflow import IN_FLOAT
from quantnas_sr.deploy.opening import exact_runtimes
from quantnas_sr.errors import CheckError, DataError, QuantNASError
from quantnas_sr.system.files import written_aside

#: The feature that needs runtimes, for error messages.
CHECK = "the check of an exported file"


class Exported(NamedTuple):
    """A file that was written and checked.

    Attributes:
        path: of the file.
        agreements: how the images of each runtime agree with PyTorch's.
        convolutions: in the file.
        bytes: of the file.
        packed: convolutions whose weights are packed, two in a byte.
        left_out: one line for each installed runtime that could not check the file.
        quantized_share: share of the multiply-adds that are computed with less than 32 bits, 0 to 1.
        limited: weights of a ``.tflite`` that were raised by 1, to the lowest one that it may have.
        lost: what a symmetric file loses to the network as trained, in words; None if nothing.
    """

    path: Path
    agreements: List[Any]
    convolutions: int
    bytes: int
    packed: int = 0
    left_out: Sequence[str] = ()
    quantized_share: float = 0.0
    limited: int = 0
    lost: Optional[str] = None


def kept(
    network: nn.Module,
    write: Callable[[Path], Any],
    output: Path,
    runtimes: Sequence[str],
    images: Sequence[np.ndarray],
) -> Tuple[List[Any], List[str], int]:
    """Write a file aside, and rename it if it passes its check.

    Args:
        network: what the file must compute, in PyTorch.
        write: writes the file to a path.
        output: the name of the file when it has passed.
        runtimes: names of those that check it.
        images: (1, 3, H, W) each, in 0..1.

    Returns:
        How the runtimes agree with PyTorch, one line for each runtime that cannot check the file, and its bytes.

    Raises:
        CheckError: a runtime cannot run it, or computes something else; then nothing is left.
        DataError: the file cannot be written.
    """
    try:
        with written_aside(output) as aside:
            write(aside)
            agreements, others = _agreements(network, aside, runtimes, images)
            return agreements, others, aside.stat().st_size
    except OSError as error:
        raise DataError(f"{output}: cannot be written ({error.strerror})") from None


def _agreements(
    network: nn.Module, aside: Path, runtimes: Sequence[str], images: Sequence[np.ndarray]
) -> Tuple[List[Any], List[str]]:
    """How the runtimes that can check the file agree with PyTorch, and one line for each of the others."""
    from quantnas_sr.export.check import check

    try:
        exact = exact_runtimes(aside, runtimes)
        others = [f"{runtime}: {IN_FLOAT}" for runtime in runtimes if runtime not in exact]
        return check(network, aside, exact, images), others
    except DataError as error:
        raise CheckError(str(error).replace(f"{aside.parent}{os.sep}", "")) from None
    except (QuantNASError, OSError):
        raise
    except Exception as error:
        line = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise CheckError(f"{aside.name}: a runtime cannot run it ({line[0].strip()})") from error
