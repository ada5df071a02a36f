"""Enhanced spatial attention of RFDN (Liu, Tang, Wu, ECCV Workshops 2020), for any kind of convolution."""

from typing import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Side below which the strided convolution and the pooling would leave nothing.
MIN_SIDE = 15


class ESA(nn.Module):
    """Multiplies each pixel by a weight that it computes from a wide neighbourhood at low resolution.

    Args:
        channels: C.
        conv: makes a convolution: ``conv(in_channels, out_channels, kernel_size, stride=1, padding=0)``.
    """

    def __init__(self, channels: int, conv: Callable[..., nn.Module]) -> None:
        super().__init__()
        f = channels // 4
        self.conv1 = conv(channels, f, 1)
        self.conv_f = conv(f, f, 1)
        self.conv_max = conv(f, f, 3, padding=1)
        self.conv2 = conv(f, f, 3, stride=2, padding=0)
        self.conv3 = conv(f, f, 3, padding=1)
        self.conv3_ = conv(f, f, 3, padding=1)
        self.conv4 = conv(f, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W). Sides below 15 are padded by repeating the border, and cropped again."""
        height, width = x.shape[-2:]
        a = self.conv1(x)
        if min(height, width) < MIN_SIDE:
            a = F.pad(a, (0, max(0, MIN_SIDE - width), 0, max(0, MIN_SIDE - height)), mode="replicate")
        y = F.max_pool2d(self.conv2(a), kernel_size=7, stride=3)
        y = torch.relu(self.conv_max(y))
        y = self.conv3_(torch.relu(self.conv3(y)))
        y = F.interpolate(y, size=a.shape[-2:], mode="bilinear", align_corners=False)
        mask = torch.sigmoid(self.conv4(y + self.conv_f(a)))
        return x * mask[..., :height, :width]
