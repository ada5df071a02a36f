"""RFDN in full precision (Liu, Tang, Wu, ECCV Workshops 2020), winner of the AIM 2020 efficient SR challenge."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quantnas_sr.errors import OptionError
from quantnas_sr.registration import ARCH_REGISTRY
from quantnas_sr.search_space import ESA


def _conv(in_channels: int, out_channels: int, kernel_size: int, **kwargs) -> nn.Conv2d:
    kwargs.setdefault("padding", kernel_size // 2)
    return nn.Conv2d(in_channels, out_channels, kernel_size, **kwargs)


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, negative_slope=0.05)


class RFDB(nn.Module):
    """Residual feature distillation block.

    Args:
        num_feat: C; half of it is distilled in each step.
    """

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        half = num_feat // 2
        for i in (1, 2, 3):
            setattr(self, f"c{i}_d", _conv(num_feat, half, 1))
            setattr(self, f"c{i}_r", _conv(num_feat, num_feat, 3))
        self.c4 = _conv(num_feat, half, 3)
        self.c5 = _conv(4 * half, num_feat, 1)
        self.esa = ESA(num_feat, _conv)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        distilled = []
        for distil, refine in ((self.c1_d, self.c1_r), (self.c2_d, self.c2_r), (self.c3_d, self.c3_r)):
            distilled.append(_leaky(distil(x)))
            x = _leaky(refine(x) + x)
        distilled.append(_leaky(self.c4(x)))
        return self.esa(self.c5(torch.cat(distilled, dim=1)))


@ARCH_REGISTRY.register()
class RFDN(nn.Module):
    """RFDN. The published x4 weights load as they are, with ``param_key_g: ~``.

    Args:
        num_in_ch, num_out_ch: channels of the images.
        num_feat: C; at least 4, of which ESA's attention has a quarter.
        num_block: number of `RFDB` blocks.
        upscale: s.
        img_range: factor from the images' 0..1 to the range that the weights expect.

    Raises:
        OptionError: too few channels, or a range that is not above 0.
    """

    def __init__(
        self,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 50,
        num_block: int = 4,
        upscale: int = 4,
        img_range: float = 255.0,
    ) -> None:
        super().__init__()
        if num_feat < 4:
            raise OptionError(f"num_feat: {num_feat} is not a whole number of at least 4")
        if not img_range > 0:
            raise OptionError(f"img_range: {img_range} is not a number above 0")
        self.num_block, self.img_range = num_block, img_range
        self.fea_conv = _conv(num_in_ch, num_feat, 3)
        for i in range(num_block):
            setattr(self, f"B{i + 1}", RFDB(num_feat))
        self.c = nn.Sequential(_conv(num_block * num_feat, num_feat, 1), nn.LeakyReLU(0.05))
        self.LR_conv = _conv(num_feat, num_feat, 3)
        self.upsampler = nn.Sequential(_conv(num_feat, num_out_ch * upscale**2, 3), nn.PixelShuffle(upscale))

    def forward(self, x: Tensor) -> Tensor:
        """(N, num_in_ch, H, W) in 0..1 -> (N, num_out_ch, s*H, s*W)."""
        features = x = self.fea_conv(x * self.img_range)
        outputs = []
        for i in range(self.num_block):
            x = getattr(self, f"B{i + 1}")(x)
            outputs.append(x)
        x = self.LR_conv(self.c(torch.cat(outputs, dim=1))) + features
        return self.upsampler(x) / self.img_range
