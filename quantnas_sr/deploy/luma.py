"""Runs one-channel networks on colour images: the network upscales the luma, bicubic interpolation the chroma."""

import torch.nn.functional as F
from torch import Tensor, nn

from quantnas_sr.input_shapes import input_channels, size_multiple

#: Luma of RGB in 0..1 as BasicSR's ``color: y`` computes it (BT.601, 16 to 235 of 255): factors and offset.
_FACTORS = (65.481 / 255, 128.553 / 255, 24.966 / 255)
_OFFSET = 16 / 255
#: How much a change of luma changes each of red, green and blue: 255 / 219.
_GAIN = 1 / sum(_FACTORS)


class LumaNetwork(nn.Module):
    """A network of one channel, trained with ``color: y``, for RGB images.

    The result is that of the usual way: RGB to YCbCr, the network on Y, bicubic interpolation of Cb and Cr, and back.
    (All of that but the network is linear, so the colours need no conversion.) A gray image stays gray.

    Args:
        network: (N, 1, H, W) -> (N, 1, s*H, s*W).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    @property
    def size_multiple(self) -> int:
        """As the network's."""
        return size_multiple(self.network)

    def forward(self, x: Tensor) -> Tensor:
        """RGB in 0..1, (N, 3, H, W) -> (N, 3, s*H, s*W)."""
        luma = self.network(_luma(x))
        colours = F.interpolate(x, size=luma.shape[-2:], mode="bicubic", align_corners=False)
        return colours + _GAIN * (luma - _luma(colours))


def _luma(x: Tensor) -> Tensor:
    red, green, blue = (x[:, i : i + 1] * factor for i, factor in enumerate(_FACTORS))
    return red + green + blue + _OFFSET


def for_rgb(network: nn.Module) -> nn.Module:
    """The network, or a `LumaNetwork` of it if it takes one channel. In evaluation mode."""
    return LumaNetwork(network).eval() if input_channels(network) == 1 else network
