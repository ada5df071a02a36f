"""The receptive field of a network, measured by running it."""

from typing import Optional, Set, Tuple

import torch
from torch import Tensor, nn

from quantnas_sr.cost.dry_run import copied
from quantnas_sr.errors import QuantNASError
from quantnas_sr.search_space.skeletons.esa import ESA

#: Width and lengths of the probed strips, in pixels. All are odd; the width is enough for every kernel in use.
_STRIP_WIDTH = 15
_STRIP_LENGTHS = (33, 129, 513)
#: Number of neighbouring positions that are probed. It reveals strides, whose period is at most this.
_POSITIONS = 6


def halo(network: nn.Module, scale: int) -> Optional[int]:
    """The number of low-resolution pixels on each side that an upscaled pixel depends on; None for the whole image.

    One column of pixels (then one row) of the input is set to NaN; the output is NaN exactly where it depends on them.
    The result is None, too, for a network that does not run on narrow strips, and for one that treats positions
    differently, such as one that resamples (ESA): its result for a tile depends on where the tile is cut.

    Args:
        network: (N, 3, H, W) -> (N, 3, scale*H, scale*W), in evaluation mode. It is left as it is.
        scale: the factor of upscaling.
    """
    if any(isinstance(module, ESA) for module in network.modules()):
        return None
    # In double precision a convolution is a plain sum; some fast algorithms for float32 spread NaN to more pixels.
    network = copied(network).cpu().double()
    try:
        across = _reach_along(network, scale, vertical=False)
        along = across and _reach_along(network, scale, vertical=True)
    except QuantNASError:
        raise
    except Exception:  # of a network that does not take strips, or not in double precision
        return None
    if across is None or along is None:
        return None
    reach = max(*across, *along)
    return -(-reach // scale)


_Reach = Tuple[int, int]


def _reach_along(network: nn.Module, scale: int, vertical: bool) -> Optional[_Reach]:
    """Upscaled pixels that one column (``vertical``: row) of pixels reaches to either side beyond its own; or None."""
    for length in _STRIP_LENGTHS:
        middle = length // 2
        found: Set[_Reach] = set()
        for position in range(middle, middle + _POSITIONS):
            reach = _reach(_poisoned(network, length, position, vertical), scale, position)
            if reach is None:
                break
            found.add(reach)
        else:
            return found.pop() if len(found) == 1 else None
    return None


@torch.inference_mode()
def _poisoned(network: nn.Module, length: int, position: int, vertical: bool) -> Tensor:
    """Which lines of the output have NaN when the line ``position`` of a strip is NaN: (scale * length,)."""
    generator = torch.Generator().manual_seed(0)
    strip = torch.rand(1, 3, _STRIP_WIDTH, length, dtype=torch.float64, generator=generator)
    strip[..., position] = float("nan")
    if vertical:
        return network(strip.transpose(2, 3))[0].isnan().any(dim=0).any(dim=1)
    return network(strip)[0].isnan().any(dim=0).any(dim=0)


def _reach(poisoned: Tensor, scale: int, position: int) -> Optional[_Reach]:
    """How far the lines with NaN extend to both sides; None if there are none, or they reach an end of the strip."""
    lines = poisoned.nonzero()
    if len(lines) == 0 or poisoned[0] or poisoned[-1]:
        return None
    before = scale * position - int(lines[0])
    after = int(lines[-1]) - (scale * (position + 1) - 1)
    return max(0, before), max(0, after)
