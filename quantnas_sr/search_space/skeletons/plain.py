"""The plain search space: convolutions in a row at low resolution, for integers from the first layer to the last.

After ABPN (Du et al., arXiv:2105.09750) and QuickSRNet (Berger et al., arXiv:2303.04336).
"""

from torch import Tensor, nn

from quantnas_sr.search_space.slots import Fill
from quantnas_sr.search_space.space import SearchSpace, register_search_space


def nearest_neighbour(image: Tensor, scale: int) -> Tensor:
    """What `torch.nn.PixelShuffle` turns into the image, every pixel scale x scale times (ABPN's "anchor").

    (N, C, H, W) -> (N, C * scale**2, H, W), every channel repeated.
    """
    n, c, h, w = image.shape
    return image.unsqueeze(2).expand(n, c, scale**2, h, w).reshape(n, c * scale**2, h, w)


class PlainSkeleton(nn.Module):
    """``pixel_shuffle(upsample(body(head(image))) + anchor)``, the anchor being the image's channels repeated.

    No normalisation and no sums around layers. Every body slot has alphas of its own; with ``skip_connect`` among the
    candidates the search chooses the depth.

    Args:
        fill: makes the module of a slot.
        scale: s, 2, 3 or 4.
        num_feat: C.
        num_block: number of body slots.
        norm: ``none``.
    """

    def __init__(self, fill: Fill, scale: int, num_feat: int, num_block: int, norm: str) -> None:
        super().__init__()
        self.scale = scale
        self.head = fill("head", 3, num_feat)
        self.body = nn.Sequential(*(fill(f"body_{i}", num_feat, num_feat) for i in range(num_block)))
        self.upsample = fill("upsample", num_feat, 3 * scale**2)
        self.shuffle = nn.PixelShuffle(scale)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 3, s*H, s*W)."""
        features = self.body(self.head(image))
        return self.shuffle(self.upsample(features) + nearest_neighbour(image, self.scale))


PLAIN_SPACE = register_search_space(
    SearchSpace(
        name="plain",
        skeleton=PlainSkeleton,
        num_feat=44,
        num_block=6,
        norms=("none",),
        activation_quantizer="lsq",
        bias=True,
        image_slots=("head",),
        identity_slots=("body",),
        candidates={
            "default": {
                "head": ("simple_3x3", "simple_5x5"),
                "body": ("simple_3x3", "simple_1x1", "conv_3x1_1x3", "simple_5x5", "skip_connect"),
                "upsample": ("simple_3x3", "simple_1x1"),
            },
        },
    )
)
