"""SAFMN (Sun et al., ICCV 2023, arXiv:2302.13800) as its authors entered it to the NTIRE 2023 efficient SR challenge.

Where the paper normalises before each part of a block, this network normalises once, after the first convolution, by
global response normalisation (Woo et al., CVPR 2023, arXiv:2301.00808), and adds the image, enlarged, to its output.
"""

import torch
import torch.nn.functional as F
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

#: Resolutions of the features in `SAFM`: full, 1/2, 1/4, 1/8.
_LEVELS = 4


class GRN(nn.Module):
    """Global response normalisation: channels compete by their norms over the image.

    Args:
        num_feat: C.
    """

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, num_feat, 1, 1))
        self.beta = nn.Parameter(torch.zeros(1, num_feat, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        norm = torch.linalg.vector_norm(x, dim=(2, 3), keepdim=True)
        response = norm / (norm.mean(dim=1, keepdim=True) + 1e-6)
        return self.gamma * (x * response) + self.beta + x


class SAFM(nn.Module):
    """Spatially-adaptive feature modulation, of images of at least 8x8.

    Args:
        num_feat: C; a quarter of them is filtered at each of four resolutions.
    """

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        part = num_feat // _LEVELS
        self.mfr = nn.ModuleList(nn.Conv2d(part, part, 3, padding=1, groups=part, bias=False) for _ in range(_LEVELS))
        self.aggr = nn.Conv2d(num_feat, num_feat, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        height, width = x.shape[2:]
        parts = []
        for i, (conv, part) in enumerate(zip(self.mfr, x.chunk(_LEVELS, dim=1))):
            if i > 0:
                part = conv(F.adaptive_max_pool2d(part, (height // 2**i, width // 2**i)))
                parts.append(F.interpolate(part, size=(height, width), mode="nearest"))
            else:
                parts.append(conv(part))
        return F.gelu(self.aggr(torch.cat(parts, dim=1))) * x


class CCM(nn.Module):
    """Convolutional channel mixer.

    Args:
        num_feat: C.
        expansion: its hidden channels, as a multiple of C.
    """

    def __init__(self, num_feat: int, expansion: float) -> None:
        super().__init__()
        hidden = int(num_feat * expansion)
        self.ccm = nn.Sequential(
            nn.Conv2d(num_feat, hidden, 3, padding=1, bias=False),
            nn.GELU(),
            nn.Conv2d(hidden, num_feat, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        return self.ccm(x)


class FMM(nn.Module):
    """Feature mixing module: `SAFM`, then `CCM`, each with a residual connection."""

    def __init__(self, num_feat: int, expansion: float) -> None:
        super().__init__()
        self.safm = SAFM(num_feat)
        self.ccm = CCM(num_feat, expansion)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        x = self.safm(x) + x
        return self.ccm(x) + x


@ARCH_REGISTRY.register()
class SAFMN(nn.Module):
    """SAFMN of RGB images. The defaults are those of its authors' x4 entry to NTIRE 2023, which takes and gives 0..1.

    Args:
        num_feat: C; a multiple of 4.
        num_block: number of `FMM` blocks.
        expansion: hidden channels of `CCM`, as a multiple of C.
        upscale: s.
    """

    def __init__(self, num_feat: int = 36, num_block: int = 8, expansion: float = 2.0, upscale: int = 4) -> None:
        super().__init__()
        self.upscale = upscale
        self.to_feat = nn.Conv2d(3, num_feat, 3, padding=1)
        self.norm = GRN(num_feat)
        self.feats = nn.Sequential(*(FMM(num_feat, expansion) for _ in range(num_block)))
        self.to_img = nn.Sequential(nn.Conv2d(num_feat, 3 * upscale**2, 3, padding=1), nn.PixelShuffle(upscale))

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) in 0..1 -> (N, 3, s*H, s*W)."""
        enlarged = F.interpolate(x, scale_factor=self.upscale, mode="bilinear", align_corners=False)
        return self.to_img(self.feats(self.norm(self.to_feat(x)))) + enlarged
