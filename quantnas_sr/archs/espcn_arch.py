"""ESPCN in full precision (Shi et al., CVPR 2016), the network that introduced sub-pixel convolution."""

from typing import Callable, Dict

import torch
from torch import Tensor, nn

from quantnas_sr.errors import OptionError, unknown
from quantnas_sr.registration import ARCH_REGISTRY

_ACTIVATIONS: Dict[str, Callable[[Tensor], Tensor]] = {"tanh": torch.tanh, "relu": torch.relu}
_SCALES = (2, 3, 4)


@ARCH_REGISTRY.register()
class ESPCN(nn.Module):
    """Three convolutions at low resolution, then PixelShuffle.

    Args:
        num_in_ch, num_out_ch: channels of the images.
        num_feat: C, channels after the first convolution; half of them after the second.
        upscale: s; 2, 3 or 4.
        activation: ``tanh``, as published, or ``relu``.

    Raises:
        OptionError: an activation or scale that is not one of these.
    """

    def __init__(
        self,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 64,
        upscale: int = 4,
        activation: str = "tanh",
    ) -> None:
        super().__init__()
        if activation not in _ACTIVATIONS:
            raise OptionError(unknown("activation", activation, _ACTIVATIONS))
        if upscale not in _SCALES:
            raise OptionError(unknown("upscale", upscale, map(str, _SCALES)))
        self.activation = activation
        self.conv1 = nn.Conv2d(num_in_ch, num_feat, 5, padding=2)
        self.conv2 = nn.Conv2d(num_feat, num_feat // 2, 3, padding=1)
        self.conv3 = nn.Conv2d(num_feat // 2, num_out_ch * upscale**2, 3, padding=1)
        self.upsampler = nn.PixelShuffle(upscale)

    def forward(self, x: Tensor) -> Tensor:
        """(N, num_in_ch, H, W) in 0..1 -> (N, num_out_ch, s*H, s*W)."""
        activation = _ACTIVATIONS[self.activation]
        x = activation(self.conv1(x))
        x = activation(self.conv2(x))
        return self.upsampler(self.conv3(x))
