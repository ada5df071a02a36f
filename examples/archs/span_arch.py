"""SPAN (Wan et al., CVPR Workshops 2024, arXiv:2311.12770): attention without parameters, computed by the features."""

from typing import Any, Dict, Tuple

import torch
import torch.nn.functional as F
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

#: Of the images of DIV2K, RGB in 0..1.
_MEAN = (0.4488, 0.4371, 0.4040)
_BRANCHES = ("sk.", "conv.0.", "conv.1.", "conv.2.")


class Conv3XC(nn.Module):
    """3x3 convolution, which is trained as the sum of two branches: 1x1, 3x3, 1x1 in a row, and one 1x1.

    The module has the sum only. A state dict of the branches (``conv.0``, ``conv.1``, ``conv.2`` and ``sk``) is fused
    when it is loaded. Training pads the image before the first 1x1, so that the sum is exact at the border too.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.eval_conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C_out, H, W)."""
        return self.eval_conv(x)

    def _load_from_state_dict(self, state_dict: Dict[str, Tensor], prefix: str, *args: Any) -> None:
        names = [f"{prefix}{branch}{kind}" for branch in _BRANCHES for kind in ("weight", "bias")]
        if all(name in state_dict for name in names):
            weight, bias = _fused(*(state_dict.pop(name) for name in names))
            state_dict[f"{prefix}eval_conv.weight"], state_dict[f"{prefix}eval_conv.bias"] = weight, bias
        super()._load_from_state_dict(state_dict, prefix, *args)


def _fused(
    skip: Tensor, skip_bias: Tensor, w0: Tensor, b0: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor
) -> Tuple[Tensor, Tensor]:
    """Kernel (O, I, 3, 3) and bias (O,) of the 1x1 ``skip`` plus ``w2 * (w1 * (w0 * x + b0) + b1) + b2``."""
    weight = torch.einsum("on,nmhw,mi->oihw", w2[..., 0, 0], w1, w0[..., 0, 0]) + F.pad(skip, (1, 1, 1, 1))
    bias = w2[..., 0, 0] @ (w1.sum((2, 3)) @ b0 + b1) + b2 + skip_bias
    return weight, bias


class SPAB(nn.Module):
    """Swift parameter-free attention block: the features multiplied by an odd function of themselves (eq. 5).

    Args:
        num_feat: C.
    """

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.c1_r = Conv3XC(num_feat, num_feat)
        self.c2_r = Conv3XC(num_feat, num_feat)
        self.c3_r = Conv3XC(num_feat, num_feat)

    def forward(self, x: Tensor) -> Tuple[Tensor, Tensor]:
        """(N, C, H, W) -> the output and the features of the first convolution, both (N, C, H, W)."""
        first = F.silu(self.c1_r(x))
        features = self.c3_r(F.silu(self.c2_r(first)))
        return (features + x) * (torch.sigmoid(features) - 0.5), first


@ARCH_REGISTRY.register()
class SPAN(nn.Module):
    """SPAN of RGB images. The defaults are those of the x4 baseline of NTIRE 2026.

    Args:
        num_feat: C.
        num_block: number of `SPAB` blocks.
        upscale: s.
        img_range: factor from the images' 0..1 to the range that the weights expect; they give 0..1 themselves.
    """

    mean: Tensor

    def __init__(self, num_feat: int = 28, num_block: int = 6, upscale: int = 4, img_range: float = 255.0) -> None:
        super().__init__()
        self.num_block, self.img_range = num_block, img_range
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.conv_1 = Conv3XC(3, num_feat)
        for i in range(num_block):
            setattr(self, f"block_{i + 1}", SPAB(num_feat))
        self.conv_2 = Conv3XC(num_feat, num_feat)
        self.conv_cat = nn.Conv2d(4 * num_feat, num_feat, 1)
        self.upsampler = nn.Sequential(nn.Conv2d(num_feat, 3 * upscale**2, 3, padding=1), nn.PixelShuffle(upscale))

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) in 0..1 -> (N, 3, s*H, s*W)."""
        shallow = x = self.conv_1((x - self.mean) * self.img_range)
        outputs = []
        for i in range(self.num_block):
            x, first = getattr(self, f"block_{i + 1}")(x)
            outputs.append(x)
        return self.upsampler(self.conv_cat(torch.cat([shallow, self.conv_2(x), outputs[0], first], dim=1)))
