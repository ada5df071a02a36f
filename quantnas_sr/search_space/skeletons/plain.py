"""The plain search space: a chain of convolutions at low resolution, which can be computed in integers throughout.

After ABPN (Du et al., arXiv:2105.09750) and QuickSRNet (Berger et al., arXiv:2303.04336).
"""

import torch
from torch import Tensor, nn

from quantnas_sr.search_space.slots import Fill
from quantnas_sr.search_space.space import SearchSpace, register_search_space


class Anchor(nn.Module):
    """Repeats every channel s^2 times, which a pixel shuffle turns into nearest-neighbour upscaling (ABPN)."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.register_buffer("channels", torch.arange(3).repeat_interleave(scale**2), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 3*s*s, H, W)."""
        return image.index_select(1, self.channels)


class PlainSkeleton(nn.Module):
    """``pixel_shuffle(upsample(body(head(image))) + anchor)``; the anchor is the image with repeated channels.

    There is no normalisation, and no residual connection around layers. Every body slot has alphas of its own; with
    ``skip_connect`` among the candidates, the search also chooses the depth.

    Args:
        fill: makes the module of a slot.
        scale: s, 2, 3 or 4.
        num_feat: C.
        num_block: number of body slots.
        norm: ``none``.
    """

    def __init__(self, fill: Fill, scale: int, num_feat: int, num_block: int, norm: str) -> None:
        super().__init__()
        self.head = fill("head", 3, num_feat)
        self.body = nn.Sequential(*(fill(f"body_{i}", num_feat, num_feat) for i in range(num_block)))
        self.upsample = fill("upsample", num_feat, 3 * scale**2)
        self.anchor = Anchor(scale)
        self.shuffle = nn.PixelShuffle(scale)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 3, s*H, s*W)."""
        features = self.body(self.head(image))
        return self.shuffle(self.upsample(features) + self.anchor(image))


PLAIN_SPACE = register_search_space(
    SearchSpace(
        name="plain",
        skeleton=PlainSkeleton,
        num_feat=32,
        num_block=7,
        norms=("none",),
        activation_quantizer="lsq",
        noise_size="error",
        bias=True,
        image_slots=("head",),
        identity_slots=("body",),
        candidates={
            "default": {
                "head": ("simple_3x3",),
                "body": ("simple_3x3", "simple_1x1", "skip_connect"),
                "upsample": ("simple_3x3", "simple_1x1"),
            },
            "large": {
                "head": ("simple_3x3", "simple_5x5"),
                "body": ("simple_3x3", "simple_1x1", "conv_3x1_1x3", "simple_5x5", "skip_connect"),
                "upsample": ("simple_3x3", "simple_1x1"),
            },
        },
    )
)
