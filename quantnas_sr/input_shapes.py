"""What images a network takes: channels, and sides that are multiples of a number; found by running it without values.

Networks that begin with a pixel unshuffle (RRDBNet at scale 1 and 2) or attend within windows (SwinIR) fail on images
whose sides are no multiples of a number. Such images are padded at the right and at the bottom, as BasicSR's own
`SwinIRModel` does, and the output is cropped.
"""

import copy
import logging
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Callable, Iterator, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.utils._python_dispatch import _disable_current_modes

from quantnas_sr.errors import QuantNASError
from quantnas_sr.padding import run_padded

_CHANNELS = (3, 1)
_MULTIPLES = (*range(1, 11), 12, 14, 16, 18, 20, 24, 28, 32, 36, 40, 48, 56, 64)
#: Primes that divide none of these: a multiple times them is a multiple of nothing else.
_HEIGHT, _WIDTH = 37, 41


def copied(network: nn.Module) -> nn.Module:
    """A deep copy, also of a network that keeps results of its last run as attributes (PyTorch refuses those)."""
    kept = (value for module in network.modules() for value in vars(module).values())
    memo = {id(value): value.detach().clone() for value in kept if isinstance(value, Tensor) and not value.is_leaf}
    return copy.deepcopy(network, memo)


@dataclass(frozen=True)
class InputShape:
    """What a network takes, and makes of it.

    Args:
        channels: of its input.
        multiple: the least number that the sides of its input must be multiples of.
        scale: how many times as high and wide the output is.
        out_channels: of its output.
    """

    channels: int
    multiple: int
    scale: int
    out_channels: int


def input_shape(network: nn.Module) -> Optional[InputShape]:
    """Find out what a network takes, in evaluation mode. It is left as it is, and nothing is computed.

    Args:
        network: (N, C, H, W) -> (N, C', s*H, s*W); what it quantizes is calibrated, or its quantizers are off.

    Returns:
        None if it takes no image of 3 channels or 1, with sides that are multiples of a number up to 64; or cannot run
        without values.
    """
    with outside_of_modes():
        try:
            network = copied(network).eval()
        except Exception:
            return None
        for module in network.modules():
            module._forward_pre_hooks.clear()
            module._forward_hooks.clear()
        tried = (_tried(network, channels, multiple) for channels in _CHANNELS for multiple in _MULTIPLES)
        try:
            return next((found for found in tried if found), None)
        except (DataDependentOutputException, DynamicOutputShapeException):  # with values only, whatever the size
            return None


@contextmanager
def outside_of_modes() -> Iterator[None]:
    """Tensors are real ones again: what a network takes may be asked in the middle of a run without values."""
    with _disable_current_modes():
        yield


def _tried(network: nn.Module, channels: int, multiple: int) -> Optional[InputShape]:
    height, width = _HEIGHT * multiple, _WIDTH * multiple
    try:
        output = output_shape(network, (1, channels, height, width))
    except (DataDependentOutputException, DynamicOutputShapeException):
        raise
    except Exception:
        return None
    scale = output[-1] // width
    fits = len(output) == 4 and scale > 0 and output[2:] == (scale * height, scale * width)
    return InputShape(channels, multiple, scale, output[1]) if fits else None


@contextmanager
def quiet_failures() -> Iterator[None]:
    """torch logs the traceback of an operation that fails without values, which is an answer here."""
    logger = logging.getLogger(FakeTensorMode.__module__)
    disabled, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = disabled


@quiet_failures()
@torch.no_grad()
def output_shape(network: nn.Module, shape: Tuple[int, ...]) -> Tuple[int, ...]:
    """Shape of a network's output for an input of a shape, without computing it. Raises what the network raises."""
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    with torch.device(device):
        if device.type == "meta":
            return tuple(network(torch.empty(shape)).shape)
        with FakeTensorMode(allow_non_fake_inputs=True):
            return tuple(network(torch.empty(shape)).shape)


def input_channels(network: nn.Module) -> int:
    """How many channels a network takes: 3 unless it is sure to take another number. Arguments as of `input_shape`."""
    first = next((layer for layer in network.modules() if isinstance(layer, nn.Conv2d)), None)
    if first is None or first.in_channels == 3:
        return 3
    found = network.input_shape if hasattr(type(network), "input_shape") else input_shape(network)
    return found.channels if found else 3


def size_multiple(network: nn.Module) -> int:
    """What the sides of an image must be multiples of, or else are padded to; 1 for a network that says nothing."""
    return int(getattr(network, "size_multiple", 1))


def run_fitting(network: Callable[[Tensor], Tensor], x: Tensor, multiple: Callable[[], int]) -> Tensor:
    """The output of a network for an image of any size; the image is padded only where the network needs it.

    Args:
        network: (N, C, H, W) -> (N, C', s*H, s*W), at least for sides that are multiples of a number.
        x: (N, C, H, W).
        multiple: tells the number. It is asked only if the network fails on ``x``, or the output does not fit ``x``.

    Returns:
        (N, C', s*H, s*W).
    """
    height, width = x.shape[-2:]
    try:
        output = network(x.clone())  # some networks write into their image (``x *= 255`` in spandrel's RCAN)
    except QuantNASError:
        raise
    except Exception:
        if not _lacking(x, multiple()):
            raise
    else:
        scale = output.shape[-1] // width
        if (scale and output.shape[-2:] == (scale * height, scale * width)) or not _lacking(x, multiple()):
            return output
    return run_padded(network, x, multiple(), _pad)


def _lacking(x: Tensor, multiple: int) -> bool:
    return any(side % multiple for side in x.shape[-2:])


def _pad(x: Tensor, down: int, right: int, mirrors: bool) -> Tensor:
    return F.pad(x, (0, right, 0, down), "reflect" if mirrors else "replicate")
