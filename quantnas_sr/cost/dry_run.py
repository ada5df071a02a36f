"""Runs a network to find shapes: on fake tensors (nothing is computed) where that is possible, else on real ones.

What little there is to compute for a small image is computed: keeping the books of fake tensors takes longer.
"""

from contextlib import ExitStack
from typing import Any, Callable, ContextManager, Iterator, List, Optional, Tuple

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from quantnas_sr.errors import NetworkError
from quantnas_sr.input_shapes import copied, quiet_failures
from quantnas_sr.quantization import set_quantize

#: Sides of the image that `output_shape` tries, one after the other: networks with windows or a pixel unshuffle accept
#: only multiples of some size.
_SIDES = (48, 56, 64, 60)
#: Weights times pixels, about the multiply-adds at the resolution of the input, up to which a run is on real tensors.
_QUICK = 2**29
#: A network with fewer weights counts as one with so many: its tensors take memory too.
_FEW = 2**12
Shape = Tuple[int, ...]


def dry_run(
    network: nn.Module,
    size: Tuple[int, int],
    channels: Optional[int] = None,
    watched: Optional[Callable[[nn.Module], ContextManager[Any]]] = None,
) -> Tuple[Shape, Shape]:
    """Run a copy of a network once, in evaluation mode and full precision.

    Nothing is computed, unless that is quick or the network needs values in its forward pass.

    Args:
        network: takes (1, channels, H, W).
        size: height and width of the input.
        channels: of the input; by default 3, or another number that the network accepts.
        watched: makes a context manager for the run from the copy; it is called again when a failed run is repeated.

    Returns:
        The shapes of input and output.

    Raises:
        NetworkError: one line, if the network does not run for this size.
    """
    errors: List[Exception] = []
    for number in [channels] if channels else _possible_channels(network):
        for fake in [False] if _is_quick(network, size) else [True, False]:
            try:
                return _run(network, (1, number, *size), fake, watched)
            except Exception as error:
                if not fake:
                    errors.append(error)
    on_real_tensors = errors[0]
    raise NetworkError(
        f"{name_of(network)} does not run for an input of {size[0]}x{size[1]}: {in_one_line(on_real_tensors)}"
    )


def _is_quick(network: nn.Module, size: Tuple[int, int]) -> bool:
    weights = sum(parameter.numel() for parameter in network.parameters())
    return max(weights, _FEW) * size[0] * size[1] <= _QUICK


def _run(network: nn.Module, shape: Shape, fake: bool, watched: Any) -> Tuple[Shape, Shape]:
    network = copied(network).eval()
    set_quantize(network, False)  # quantizers are not counted, and may have no step before training
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    with ExitStack() as modes:
        if fake:
            modes.enter_context(quiet_failures())
            modes.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        if watched:
            modes.enter_context(watched(network))
        modes.enter_context(torch.no_grad())
        x = torch.full(shape, 0.5, device=device)
        return shape, tuple(network(x).shape)


def _possible_channels(network: nn.Module) -> Iterator[int]:
    yield 3
    first = next((layer.in_channels for layer in network.modules() if isinstance(layer, nn.Conv2d)), 1)
    yield from dict.fromkeys(number for number in (first, 1) if number != 3)


def output_shape(network: nn.Module) -> Tuple[Shape, Shape]:
    """Shapes of a small input and of the network's output for it: (1, C, H, W) each. Raises as `dry_run`."""
    for side in _SIDES[:-1]:
        try:
            return dry_run(network, (side, side))
        except NetworkError:
            continue
    return dry_run(network, (_SIDES[-1], _SIDES[-1]))


def name_of(network: nn.Module) -> str:
    """The name of a network's class; if a class of this package wraps another network, the name of that one's class."""
    inside = getattr(network, "network", None)
    if isinstance(inside, nn.Module) and type(network).__module__.startswith("quantnas_sr."):
        return name_of(inside)
    return type(network).__name__


def place_of(network: nn.Module, name: str) -> str:
    """A module's name and class, such as ``body.0 (ECB)``; the name is without the prefix of a wrapper."""
    inside = name[len("network.") :] if name.startswith("network.") else name
    return f"{inside} ({type(network.get_submodule(name)).__name__})"


def in_one_line(error: Optional[BaseException], most: int = 200) -> str:
    """The first line of an error's message, cut to ``most`` characters; the error's class if the message is empty."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[0] if len(lines[0]) <= most else f"{lines[0][:most]} ..."
