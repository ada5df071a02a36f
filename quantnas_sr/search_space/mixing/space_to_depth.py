"""Faster convolutions to very few channels on a CPU, by space-to-depth.

A convolution to 3 channels uses 3 of the 16 SIMD lanes of a CPU. When the pixels of each 2x2 block become channels, a
5x5 convolution becomes a 3x3 convolution of four times the channels on a quarter of the pixels. It has 1.4 times the
multiplications, in lanes that are three quarters full.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

_FEW, _MANY = 4, 16


def is_faster(x: Tensor, kernel: Tensor) -> bool:
    """Whether `folded_conv2d` is faster than conv2d for an image (N, C_in, H, W) and a kernel (C_out, C_in, kH, kW)."""
    few = kernel.shape[0] <= _FEW and kernel.shape[1] >= _MANY and kernel.shape[2:] == (5, 5)
    return few and x.device.type == "cpu" and x.shape[2] % 2 == 0 and x.shape[3] % 2 == 0


def folded_conv2d(x: Tensor, kernel: Tensor) -> Tensor:
    """``conv2d(x, kernel, padding=2)`` for a 5x5 kernel and even height and width."""
    return _unfold(F.conv2d(_fold(x), _fold_kernel(kernel), padding=1))


def _fold(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, 2*2*C, H/2, W/2), channels-last."""
    batch, channels, height, width = x.shape
    pairs = x.permute(0, 2, 3, 1).reshape(batch, height // 2, 2, width // 2, 2, channels)
    folded = pairs.transpose(2, 3).reshape(batch, height // 2, width // 2, 4 * channels)
    return folded.permute(0, 3, 1, 2)


def _unfold(y: Tensor) -> Tensor:
    """The inverse of `_fold`."""
    batch, channels, height, width = y.shape
    pairs = y.permute(0, 2, 3, 1).reshape(batch, height, width, 2, 2, channels // 4)
    pixels = pairs.transpose(2, 3).reshape(batch, 2 * height, 2 * width, channels // 4)
    return pixels.permute(0, 3, 1, 2)


@lru_cache(maxsize=4)
def _taps(device: torch.device, dtype: torch.dtype) -> Tensor:
    """1 where a tap of the 5x5 kernel connects two pixels of folded images: (5*5, out 2*2 * in 2*2 * offset 3*3)."""
    line = torch.zeros(5, 2, 2, 3, device=device, dtype=dtype)
    for tap in range(5):
        for out in range(2):
            offset, place = divmod(out + tap - 2, 2)
            line[tap, out, place, offset + 1] = 1
    return torch.einsum("apqx,brsy->abprqsxy", line, line).reshape(25, -1)


def _fold_kernel(kernel: Tensor) -> Tensor:
    """(C_out, C_in, 5, 5) -> (4 * C_out, 4 * C_in, 3, 3)."""
    out_channels, in_channels = kernel.shape[:2]
    with torch.autocast(kernel.device.type, enabled=False):
        folded = kernel.reshape(-1, 25) @ _taps(kernel.device, kernel.dtype)
    folded = folded.view(out_channels, in_channels, 2, 2, 2, 2, 3, 3).permute(2, 3, 0, 4, 5, 1, 6, 7)
    return folded.reshape(4 * out_channels, 4 * in_channels, 3, 3)
