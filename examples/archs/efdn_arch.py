"""EFDN (Wang, CVPR Workshops 2022, arXiv:2204.08759): convolutions that are trained with branches of edge filters."""

from typing import Any, Dict, Tuple

import torch
import torch.nn.functional as F
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

#: Branches of a 1x1 and a fixed filter: Sobel in both directions, Laplace.
_EDGES = ("conv1x1_sbx.", "conv1x1_sby.", "conv1x1_lpl.")


class EDBB(nn.Module):
    """Edge-enhanced diverse branch block, fused: one 3x3 convolution and PReLU.

    In training, a 1x1 and three branches of a 1x1 and a scaled edge filter are added to the 3x3. A state dict with
    these (``conv1x1`` and ``conv1x1_sbx``, ``_sby``, ``_lpl``) is fused when it is loaded. In training the result of a
    branch's 1x1 is padded with its bias, which is the 1x1 of the padded image, so that the sum is exact at the border.

    Args:
        num_feat: C.
    """

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.rep_conv = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.act = nn.PReLU(num_feat)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        return self.act(self.rep_conv(x))

    def _load_from_state_dict(self, state_dict: Dict[str, Tensor], prefix: str, *args: Any) -> None:
        if f"{prefix}conv1x1.weight" in state_dict:
            branches = {name: state_dict.pop(name) for name in list(state_dict) if name.startswith(f"{prefix}conv1x1")}
            weight, bias = _fused({name.removeprefix(prefix): tensor for name, tensor in branches.items()})
            for name, added in ((f"{prefix}rep_conv.weight", weight), (f"{prefix}rep_conv.bias", bias)):
                state_dict[name] = state_dict[name] + added
        super()._load_from_state_dict(state_dict, prefix, *args)


def _fused(branches: Dict[str, Tensor]) -> Tuple[Tensor, Tensor]:
    """Kernel (O, I, 3, 3) and bias (O,) of the sum of the branches."""
    weight, bias = F.pad(branches["conv1x1.weight"], (1, 1, 1, 1)), branches["conv1x1.bias"]
    for edge in _EDGES:
        kernel = branches[f"{edge}scale"] * branches[f"{edge}mask"]
        weight = weight + kernel * branches[f"{edge}k0"]
        bias = bias + kernel.sum((1, 2, 3)) * branches[f"{edge}b0"] + branches[f"{edge}bias"]
    return weight, bias


class PointwiseConv(nn.Module):
    """1x1 convolution and PReLU.

    Args:
        num_feat: C.
    """

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.conv1x1 = nn.Conv2d(num_feat, num_feat, 1)
        self.act = nn.PReLU(num_feat)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        return self.act(self.conv1x1(x))


class ESA(nn.Module):
    """Enhanced spatial attention, of images of at least 15x15.

    Args:
        num_feat: C; the attention has a quarter of them.
    """

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        f = num_feat // 4
        self.conv1 = nn.Conv2d(num_feat, f, 1)
        self.conv_f = nn.Conv2d(f, f, 1)
        self.conv2 = nn.Conv2d(f, f, 3, stride=2)
        self.conv_max = nn.Conv2d(f, f, 3, padding=1)
        self.conv3 = nn.Conv2d(f, f, 3, padding=1)
        self.conv3_ = nn.Conv2d(f, f, 3, padding=1)
        self.conv4 = nn.Conv2d(f, num_feat, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        a = self.conv1(x)
        y = F.max_pool2d(self.conv2(a), kernel_size=7, stride=3)
        y = self.conv3_(torch.relu(self.conv3(torch.relu(self.conv_max(y)))))
        y = F.interpolate(y, size=a.shape[2:], mode="bilinear", align_corners=False)
        return x * torch.sigmoid(self.conv4(y + self.conv_f(a)))


class EFDB(nn.Module):
    """Edge-enhanced feature distillation block.

    Args:
        num_feat: C; half of them are distilled from the input and from each of the three convolutions.
    """

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.conv1 = PointwiseConv(num_feat)
        self.conv2 = EDBB(num_feat)
        self.conv3 = EDBB(num_feat)
        self.branch = nn.ModuleList(nn.Conv2d(num_feat, num_feat // 2, 1) for _ in range(4))
        self.fuse = nn.Conv2d(4 * (num_feat // 2), num_feat, 1)
        self.att = ESA(num_feat)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        features = [x]
        for conv in (self.conv1, self.conv2, self.conv3):
            features.append(conv(features[-1]))
        distilled = torch.cat([branch(feature) for branch, feature in zip(self.branch, features)], dim=1)
        return self.att(self.fuse(distilled)) + x


@ARCH_REGISTRY.register()
class EFDN(nn.Module):
    """EFDN of RGB images. The defaults are those of the x4 baseline of NTIRE 2025, which takes and gives 0..1.

    Args:
        num_feat: C; at least 4.
        upscale: s.
    """

    def __init__(self, num_feat: int = 48, upscale: int = 4) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, num_feat, 3, padding=1)
        self.cells = nn.ModuleList(EFDB(num_feat) for _ in range(4))
        self.local_fuse = nn.ModuleList(nn.Conv2d(2 * num_feat, num_feat, 1) for _ in range(3))
        self.tail = nn.Sequential(nn.Conv2d(num_feat, 3 * upscale**2, 3, padding=1), nn.PixelShuffle(upscale))

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) in 0..1 -> (N, 3, s*H, s*W)."""
        shallow = self.head(x)
        first = self.cells[0](shallow)
        second = self.cells[1](first)
        third = self.cells[2](self._fuse(0, first, second))
        fourth = self.cells[3](self._fuse(1, second, third))
        return self.tail(self._fuse(2, second, fourth) + shallow)

    def _fuse(self, i: int, *features: Tensor) -> Tensor:
        return self.local_fuse[i](torch.cat(features, dim=1))
