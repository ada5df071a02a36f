"""Adaptive pooling to a size that is computed from that of the image, which ONNX does not have.

SAFMN and SMFANet pool to an eighth of the height and width. Where eight divides both, that is pooling with a kernel and
a stride of eight. So the graph has such a pooling, and whoever runs the file pads images to multiples of eight.
"""

import math
from contextlib import ExitStack, contextmanager
from typing import Any, Callable, Iterator, List, Optional, Sequence, Tuple

import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from quantnas_sr.cost.dry_run import dry_run
from quantnas_sr.errors import NetworkError
from quantnas_sr.input_shapes import size_multiple

#: Height and width of a kernel; None for a pooling that has none, because its output has the same size for all images.
Kernel = Optional[Tuple[int, int]]

_PLAIN = {"adaptive_max_pool2d": F.max_pool2d, "adaptive_avg_pool2d": F.avg_pool2d}
#: The sides of the images that show the kernels are multiples of this, times factors that no kernel has.
_UNIT, _FACTORS = 64, ((11, 13), (17, 19))


class _Watched(TorchFunctionMode):
    """Hands every adaptive pooling to a function."""

    def __init__(self, pool: Callable[..., Any]) -> None:
        super().__init__()
        self._pool = pool

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") not in _PLAIN or kwargs.get("return_indices"):
            return func(*args, **kwargs)
        given = dict(zip(("input", "output_size"), args))
        return self._pool(func, **given, **{key: kwargs[key] for key in kwargs.keys() & {"input", "output_size"}})


def kernels_of(network: nn.Module) -> List[Kernel]:
    """The kernel of every adaptive pooling of a network, in the order of the calls.

    Args:
        network: (N, C, H, W) -> (N, C', s*H, s*W); nothing of it is computed.
    """
    unit = math.lcm(_UNIT, size_multiple(network))
    try:
        if not _ratios(network, (unit, unit)):
            return []
        one, other = (_ratios(network, (unit * height, unit * width)) for height, width in _FACTORS)
    except NetworkError:
        return []
    return [first if first == second else None for first, second in zip(one, other)]


def _ratios(network: nn.Module, size: Tuple[int, int]) -> List[Kernel]:
    found: List[Kernel] = []

    def pool(func: Any, input: Any, output_size: Any) -> Any:
        y = func(input, output_size)
        whole = [pair for pair in zip(input.shape[-2:], y.shape[-2:]) if pair[0] % pair[1] == 0]
        found.append(tuple(before // after for before, after in whole) if len(whole) == 2 else None)
        return y

    @contextmanager
    def watched(_: nn.Module) -> Iterator[None]:
        found.clear()
        with _Watched(pool):
            yield

    dry_run(network, size, watched=watched)
    return found


def multiple_of_export(network: nn.Module, kernels: Sequence[Kernel]) -> int:
    """What the sides of an exported file's images must be multiples of: what the network and its kernels need."""
    return math.lcm(size_multiple(network), *(side for kernel in kernels if kernel for side in kernel))


@contextmanager
def plain_pooling(kernels: Sequence[Kernel]) -> Iterator[None]:
    """Compute adaptive pooling with kernels.

    Args:
        kernels: of `kernels_of`. A network may run several times; the sides of its images are multiples of them.
    """
    calls = 0

    def pool(func: Any, input: Any, output_size: Any) -> Any:
        nonlocal calls
        kernel, calls = kernels[calls % len(kernels)], calls + 1
        return func(input, output_size) if kernel is None else _PLAIN[func.__name__](input, kernel, kernel)

    with ExitStack() as stack:
        if any(kernels):
            stack.enter_context(_Watched(pool))
        yield
