"""The basic search space, figure 3 of the paper."""

from torch import Tensor, nn

from quantnas_sr.search_space.skeletons.adq import ADQ
from quantnas_sr.search_space.slots import Fill
from quantnas_sr.search_space.space import SearchSpace, register_search_space


class BasicCell(nn.Module):
    """Two layers in sequence, in parallel with a third one: ``body_1(body_0(x)) + skip(x)``."""

    def __init__(self, fill: Fill, num_feat: int) -> None:
        super().__init__()
        self.body = nn.Sequential(fill("body_0", num_feat, num_feat), fill("body_1", num_feat, num_feat))
        self.skip = fill("skip", num_feat, num_feat)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        return self.body(x) + self.skip(x)


class BasicSkeleton(nn.Sequential):
    """Head, body cells inside ADQ, sub-pixel upsampling, and a tail that refines the large image.

    The cells share their alphas, not their weights.

    Args:
        fill: makes the module of a slot.
        scale: s, 2, 3 or 4.
        num_feat: C.
        num_block: number of body cells.
        norm: of `ADQ`.
    """

    def __init__(self, fill: Fill, scale: int, num_feat: int, num_block: int, norm: str) -> None:
        super().__init__()
        self.head = nn.Sequential(fill("head_0", 3, num_feat), fill("head_1", num_feat, num_feat))
        cells = [ADQ(BasicCell(fill, num_feat), num_feat, norm) for _ in range(num_block)]
        self.body = ADQ(nn.Sequential(*cells), num_feat, norm)
        self.upsample = nn.Sequential(fill("upsample", num_feat, 3 * scale**2), nn.PixelShuffle(scale))
        self.tail = ADQ(nn.Sequential(fill("tail_0", 3, num_feat), fill("tail_1", num_feat, 3)), 3, norm)


_BODY = ("conv_5x1_1x5", "conv_3x1_1x3", "simple_3x3", "simple_5x5")
_BIG_HEAD = (
    *("simple_3x3", "simple_5x5", "growth2_5x5", "growth2_3x3"),
    *("simple_3x3_grouped_3", "simple_5x5_grouped_3", "simple_1x1_grouped_3", "simple_1x1"),
)

BASIC_SPACE = register_search_space(
    SearchSpace(
        name="basic",
        skeleton=BasicSkeleton,
        num_feat=36,
        num_block=3,
        candidates={
            "default": {
                "head": ("simple_3x3", "simple_5x5", "simple_3x3_grouped_3", "simple_5x5_grouped_3"),
                "body": _BODY,
                "skip": ("simple_1x1", "simple_3x3", "simple_5x5"),
                "upsample": _BODY,
                "tail": ("simple_1x1", "simple_3x3", "simple_5x5"),
            },
            "big": {
                "head": _BIG_HEAD,
                "body": (
                    *("simple_3x3", "simple_5x5", "simple_3x3_grouped_3", "simple_5x5_grouped_3"),
                    *("decenc_3x3_2", "decenc_5x5_2", "simple_1x1_grouped_3"),
                ),
                "skip": ("decenc_3x3_2", "decenc_5x5_2", "simple_3x3", "simple_5x5"),
                "upsample": (
                    *_BODY,
                    *("growth2_5x5", "growth2_3x3", "decenc_3x3_2", "decenc_5x5_2"),
                    *("simple_3x3_grouped_3", "simple_5x5_grouped_3", "simple_1x1_grouped_3", "simple_1x1"),
                ),
                "tail": _BIG_HEAD,
            },
        },
    )
)
