"""The RFDN search space: residual feature distillation (Liu, Tang, Wu, 2020) with searched convolutions."""

from typing import List

import torch
from torch import Tensor, nn

from quantnas_sr.errors import OptionError
from quantnas_sr.quantization import QuantConv2d
from quantnas_sr.search_space.skeletons.adq import ADQ
from quantnas_sr.search_space.skeletons.esa import ESA
from quantnas_sr.search_space.slots import Fill
from quantnas_sr.search_space.space import SearchSpace, register_search_space

#: Bit width of the convolutions that are not searched.
FIXED_BITS = 8


def fixed_conv(in_channels: int, out_channels: int, kernel_size: int, **kwargs) -> QuantConv2d:
    """A convolution that is not searched: 8 bits, no bias."""
    return QuantConv2d(in_channels, out_channels, kernel_size, FIXED_BITS, **kwargs)


def repeat_channels(image: Tensor, channels: int) -> Tensor:
    """Repeat the image's channels until there are ``channels``: (N, 3, H, W) -> (N, channels, H, W)."""
    return image.repeat(1, -(-channels // image.shape[1]), 1, 1)[:, :channels]


class RFDNCell(nn.Module):
    """Three distillation steps, ``distilled_i = skip_i(x); x = x + body_i(x)``, then ``body_3``, fusion and ESA.

    Slots: ``body_<cell>_0`` to ``body_<cell>_3``, ``skip_<cell>_0`` to ``skip_<cell>_2``.
    """

    def __init__(self, fill: Fill, num_feat: int, cell: int) -> None:
        super().__init__()
        half = num_feat // 2
        self.skip = nn.ModuleList(fill(f"skip_{cell}_{i}", num_feat, half) for i in range(3))
        self.body = nn.ModuleList(fill(f"body_{cell}_{i}", num_feat, num_feat if i < 3 else half) for i in range(4))
        self.fuse = fixed_conv(4 * half, num_feat, 1)
        self.esa = ESA(num_feat, fixed_conv)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        distilled: List[Tensor] = []
        for skip, body in zip(self.skip, self.body):
            distilled.append(skip(x))
            x = x + body(x)
        distilled.append(self.body[3](x))
        return self.esa(self.fuse(torch.cat(distilled, dim=1)))


class RFDNSkeleton(nn.Module):
    """RFDN without its first convolution: the image's channels are repeated instead. Every cell has its own alphas.

    Args:
        fill: makes the module of a slot.
        scale: s, 2, 3 or 4.
        num_feat: C, at least 4.
        num_block: number of cells.
        norm: of the `ADQ` around each cell.
    """

    def __init__(self, fill: Fill, scale: int, num_feat: int, num_block: int, norm: str) -> None:
        super().__init__()
        if num_feat < 4:
            raise OptionError(
                f"num_feat: {num_feat} leaves ESA without a channel. Allowed in the space rfdn: 4 or more"
            )
        self.num_feat = num_feat
        self.cells = nn.ModuleList(ADQ(RFDNCell(fill, num_feat, i), num_feat, norm) for i in range(num_block))
        self.fuse = nn.Sequential(fixed_conv(num_block * num_feat, num_feat, 1), fixed_conv(num_feat, num_feat, 3))
        self.upsample = nn.Sequential(fill("upsample", num_feat, 3 * scale**2), nn.PixelShuffle(scale))
        self.tail = fill("tail", 3, 3)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 3, s*H, s*W)."""
        x = features = repeat_channels(image, self.num_feat)
        outputs = []
        for cell in self.cells:
            x = cell(x)
            outputs.append(x)
        x = self.fuse(torch.cat(outputs, dim=1)) + features
        x = self.upsample(x)
        return self.tail(x) + x


_SIX = tuple(f"{family}_{k}x{k}" for family in ("simple", "growth1") for k in (1, 3, 5))
_NINE = (*_SIX, *(f"simple_{k}x{k}_grouped_2" for k in (1, 3, 5)))

RFDN_SPACE = register_search_space(
    SearchSpace(
        name="rfdn",
        skeleton=RFDNSkeleton,
        num_feat=48,
        num_block=4,
        candidates={
            "default": dict.fromkeys(("body", "skip", "upsample", "tail"), _SIX),
            # two groups do not divide the tail's three channels
            "large": {"body": _NINE, "skip": _NINE, "upsample": _NINE, "tail": _SIX},
        },
    )
)
