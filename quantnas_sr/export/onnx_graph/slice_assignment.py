"""Numbers that are assigned to slices of a tensor, as `torch.where` over positions.

Transformers with shifted windows (SwinIR, HAT, DRCT) number the parts of an image so, for the mask of their attention.
PyTorch's exporter writes each assignment as several ScatterND with indices that depend on the size of the image, which
OpenVINO (2026.4) cannot read.
"""

from typing import Any, Optional, Tuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class SlicesWithWhere(TorchFunctionMode):
    """Within the block ``x[:, a:b, c:d] = number`` computes with `torch.where`; every other assignment is as it was."""

    def __torch_function__(self, func: Any, types: Any, args: Tuple = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.__setitem__ and isinstance(args[2], (int, float)):
            x, places, value = args
            inside = _inside(x, places if isinstance(places, tuple) else (places,))
            if inside is not None:
                x.copy_(torch.where(inside, value, x))
                return None
        return func(*args, **(kwargs or {}))


def _inside(x: Tensor, places: Tuple) -> Optional[Tensor]:
    """Which elements the slices select: booleans that broadcast to the shape of ``x``; None for other indices."""
    if len(places) > x.dim() or not all(map(_is_plain, places)):
        return None
    inside = torch.ones((), dtype=torch.bool, device=x.device)
    for dim, (place, size) in enumerate(zip(places, x.shape)):
        position = torch.arange(size, device=x.device).view(-1, *[1] * (x.dim() - dim - 1))
        if place.start:
            inside = inside & (position >= _counted(place.start, size))
        if place.stop is not None:
            inside = inside & (position < _counted(place.stop, size))
    return inside


def _is_plain(place: Any) -> bool:
    bounds = (place.start, place.stop) if isinstance(place, slice) and place.step in (None, 1) else ("",)
    return all(bound is None or type(bound) is int for bound in bounds)


def _counted(bound: int, size: Any) -> Any:
    """From the first element on."""
    return bound if bound >= 0 else size + bound
