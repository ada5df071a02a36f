"""RLFN (Kong et al., CVPR Workshops 2022, arXiv:2205.07514), the fastest network of the NTIRE 2022 challenge."""

import torch
import torch.nn.functional as F
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, negative_slope=0.05)


class ESA(nn.Module):
    """Enhanced spatial attention with one convolution at low resolution, of images of at least 15x15.

    Args:
        num_feat: C.
        esa_feat: channels of the attention.
    """

    def __init__(self, num_feat: int, esa_feat: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_feat, esa_feat, 1)
        self.conv_f = nn.Conv2d(esa_feat, esa_feat, 1)
        self.conv2 = nn.Conv2d(esa_feat, esa_feat, 3, stride=2)
        self.conv3 = nn.Conv2d(esa_feat, esa_feat, 3, padding=1)
        self.conv4 = nn.Conv2d(esa_feat, num_feat, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        a = self.conv1(x)
        y = self.conv3(F.max_pool2d(self.conv2(a), kernel_size=7, stride=3))
        y = F.interpolate(y, size=a.shape[2:], mode="bilinear", align_corners=False)
        return x * torch.sigmoid(self.conv4(y + self.conv_f(a)))


class RLFB(nn.Module):
    """Residual local feature block: three convolutions in a row, without distillation.

    Args:
        num_feat: C.
        mid_feat: channels between the convolutions.
        esa_feat: channels of the attention.
    """

    def __init__(self, num_feat: int, mid_feat: int, esa_feat: int) -> None:
        super().__init__()
        self.c1_r = nn.Conv2d(num_feat, mid_feat, 3, padding=1)
        self.c2_r = nn.Conv2d(mid_feat, mid_feat, 3, padding=1)
        self.c3_r = nn.Conv2d(mid_feat, num_feat, 3, padding=1)
        self.c5 = nn.Conv2d(num_feat, num_feat, 1)
        self.esa = ESA(num_feat, esa_feat)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        y = _leaky(self.c3_r(_leaky(self.c2_r(_leaky(self.c1_r(x))))))
        return self.esa(self.c5(x + y))


@ARCH_REGISTRY.register()
class RLFN(nn.Module):
    """RLFN of RGB images. The defaults are those of its authors' entry to NTIRE 2022.

    Args:
        num_feat: C.
        mid_feat: channels between the convolutions of a block.
        esa_feat: channels of the attention.
        num_block: number of `RLFB` blocks.
        upscale: s.
        img_range: factor from the images' 0..1 to the range of the weights.
    """

    def __init__(
        self,
        num_feat: int = 46,
        mid_feat: int = 48,
        esa_feat: int = 16,
        num_block: int = 4,
        upscale: int = 4,
        img_range: float = 255.0,
    ) -> None:
        super().__init__()
        self.num_block, self.img_range = num_block, img_range
        self.conv_1 = nn.Conv2d(3, num_feat, 3, padding=1)
        for i in range(num_block):
            setattr(self, f"block_{i + 1}", RLFB(num_feat, mid_feat, esa_feat))
        self.conv_2 = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.upsampler = nn.Sequential(nn.Conv2d(num_feat, 3 * upscale**2, 3, padding=1), nn.PixelShuffle(upscale))

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) in 0..1 -> (N, 3, s*H, s*W)."""
        shallow = x = self.conv_1(x * self.img_range)
        for i in range(self.num_block):
            x = getattr(self, f"block_{i + 1}")(x)
        return self.upsampler(self.conv_2(x) + shallow) / self.img_range
