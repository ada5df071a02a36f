"""Skeletons as users write them, each wired in another way."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quantnas_sr.quantization import QuantConv2d
from quantnas_sr.search_space import ADQ, ESA, Fill, SearchSpace, register_search_space


class Skeleton(nn.Module):
    """Takes the arguments of every skeleton; ``self.up`` ends with the large image."""

    def __init__(self, fill: Fill, scale: int, num_feat: int, num_block: int, norm: str) -> None:
        super().__init__()
        self.head = fill("head", 3, num_feat)
        self.make(fill, num_feat, num_block, norm)
        self.up = nn.Sequential(fill("up", num_feat, 3 * scale**2), nn.PixelShuffle(scale))

    def make(self, fill: Fill, c: int, num_block: int, norm: str) -> None:
        raise NotImplementedError


class TwoArms(nn.Module):
    """Slots with no, one and two numbers, one that stands in two places, and a convolution that is not searched."""

    def __init__(self, fill: Fill, scale: int, num_feat: int, num_block: int, norm: str) -> None:
        super().__init__()
        width = 3 * scale**2
        self.stem = nn.Sequential(nn.Conv2d(3, width, 1), fill("featureextraction", width, width))
        arms = [[fill(f"{arm}_{i}_0", width, width) for arm in ("left", "right")] for i in range(num_block)]
        self.cells = nn.ModuleList(map(nn.ModuleList, arms))
        self.neck = nn.Sequential(
            fill("neck_0", width, width), fill("neck_1", width, width), fill("neck_1", width, width)
        )
        self.shuffle = nn.PixelShuffle(scale)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for left, right in self.cells:
            x = left(x) + right(x)
        return self.shuffle(self.neck(x))


class DenseBlock(nn.Module):
    """``fuse(cat(x, a(x), b(a(x)))) + x``."""

    def __init__(self, fill: Fill, c: int, i: int) -> None:
        super().__init__()
        self.a, self.b = fill(f"a_{i}", c, c), fill(f"b_{i}", c, c)
        self.fuse = QuantConv2d(3 * c, c, 1, 8)

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x)
        return self.fuse(torch.cat([x, a, self.b(a)], 1)) + x


class Dense(Skeleton):
    """Dense blocks and a sum around all of them."""

    def make(self, fill: Fill, c: int, num_block: int, norm: str) -> None:
        self.blocks = nn.ModuleList(DenseBlock(fill, c, i) for i in range(num_block))

    def forward(self, x: Tensor) -> Tensor:
        x = features = F.relu(self.head(x))
        for block in self.blocks:
            x = block(x)
        return self.up(x + features)


class Inception(nn.Module):
    """Three branches of different length."""

    def __init__(self, fill: Fill, c: int) -> None:
        super().__init__()
        self.a = fill("a", c, c)
        self.b = nn.Sequential(fill("b_0", c, c), nn.ReLU(), fill("b_1", c, c))
        self.c = nn.Sequential(*(fill(f"c_{i}", c, c) for i in range(3)))
        self.fuse = nn.Conv2d(3 * c, c, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fuse(torch.cat([self.a(x), self.b(x), self.c(x)], 1))


class Branching(Skeleton):
    """A sum of three, a product, and cells with three branches, which share their slots."""

    def make(self, fill: Fill, c: int, num_block: int, norm: str) -> None:
        self.left, self.right, self.third = fill("left", c, c), fill("right", c, c), fill("third", c, c)
        self.attention = nn.Sequential(fill("squeeze", c, c), nn.ReLU(), fill("excite", c, c), nn.Sigmoid())
        self.cells = nn.ModuleList(ADQ(Inception(fill, c), c, norm) for _ in range(num_block))
        self.esa = ESA(c, lambda *sizes, **options: QuantConv2d(*sizes, 8, **options))

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        x = self.left(x) + self.right(x) + self.third(x)
        x = x * self.attention(x)
        for cell in self.cells:
            x = cell(x)
        return self.up(self.esa(x))


class UNet(Skeleton):
    """What the head makes is brought back after the narrow part; the image is added to the result."""

    def make(self, fill: Fill, c: int, num_block: int, norm: str) -> None:
        self.down = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * c, c, 1), fill("down", c, c))
        self.expand = nn.Sequential(nn.Conv2d(c, 4 * c, 1), nn.PixelShuffle(2))
        self.fuse = nn.Conv2d(2 * c, c, 1)

    def forward(self, x: Tensor) -> Tensor:
        features = self.head(x)
        wide = self.expand(self.down(features))
        large = self.up(self.fuse(torch.cat([wide, features], 1)))
        return large + F.interpolate(x, size=large.shape[-2:], mode="bilinear", align_corners=False)


class Crossed(Skeleton):
    """Branches that meet crosswise, which no picture of chains and branches shows."""

    def make(self, fill: Fill, c: int, num_block: int, norm: str) -> None:
        self.a, self.b, self.c, self.d = (fill(name, c, c) for name in "abcd")

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        a, b = self.a(x), self.b(x)
        return self.up(a + self.c(a + b) + self.d(b))


SKELETONS = {
    "two_arms": (TwoArms, "featureextraction left right neck"),
    "dense": (Dense, "head a b up"),
    "branching": (Branching, "head left right third squeeze excite a b c up"),
    "unet": (UNet, "head down up"),
    "crossed": (Crossed, "head a b c d up"),
}


def register(name: str, operations: tuple) -> None:
    """Register one of `SKELETONS` as a search space whose slots may all hold these operations."""
    skeleton, kinds = SKELETONS[name]
    candidates = dict.fromkeys(kinds.split(), operations)
    register_search_space(SearchSpace(name, skeleton, {"default": candidates}, num_feat=12, num_block=2))
