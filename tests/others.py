"""Small imitations of what other people's networks do that is hard to count, to trace or to quantize."""

import numpy as np
import torch
import torch.nn.functional as F
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from quantnas_sr.archs.quantized_arch import QuantizedArch


class _Small(nn.Module):
    """A convolution in, one out to twice the size, and something between them."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.body = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.tail = nn.Sequential(nn.Conv2d(8, 12, 3, padding=1), nn.PixelShuffle(2))

    def between(self, x):
        return self.body(x)

    def forward(self, x):
        return self.tail(self.between(self.head(x)))


@ARCH_REGISTRY.register()
class PoolsToAFixedSize(_Small):
    """Whatever the size of the image: to 3x3, and to one pixel in each channel, which ONNX has."""

    def between(self, x):
        y = F.adaptive_max_pool2d(self.body(x), (3, 3))
        return x * F.interpolate(y, size=x.shape[2:], mode="nearest") + F.adaptive_avg_pool2d(x, 1)


@ARCH_REGISTRY.register()
class PoolsToAComputedSize(_Small):
    """As SAFMN and SMFANet."""

    def between(self, x):
        height, width = x.shape[2:]
        y = self.body(F.adaptive_max_pool2d(x, (height // 4, width // 4)))
        return x * F.interpolate(y, size=(height, width), mode="nearest")


class MergedConv(nn.Module):
    """As SPAN's Conv3XC: in evaluation another convolution runs, which is given its weight at every call."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(8, 8, 1, bias=False), nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.merged = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.kept = None

    def forward(self, x):
        if self.training:
            return self.second(self.first(x))
        self.kept = torch.einsum("omhw,mi->oihw", self.second.weight, self.first.weight[..., 0, 0])
        self.merged.weight.data = self.kept
        return self.merged(x)


@ARCH_REGISTRY.register()
class MakesWeightsInForward(_Small):
    def __init__(self) -> None:
        super().__init__()
        self.body = MergedConv()


@ARCH_REGISTRY.register()
class KeepsATensor(_Small):
    """As SPAN's and SeeMoRe's mean: a tensor that is no buffer, replaced at every call."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = torch.full((1, 8, 1, 1), 0.5)

    def between(self, x):
        self.mean = self.mean.type_as(x) * 1
        return self.body(x - self.mean)


@ARCH_REGISTRY.register()
class DecidesByValues(_Small):
    """As a mixture of experts."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList([nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 1)])

    def between(self, x):
        return self.experts[int(x.mean(dim=(0, 2, 3)).argmax()) % 2](x) + self.body(x)


@ARCH_REGISTRY.register()
class BranchesOnValues(_Small):
    def between(self, x):
        return self.body(x) if x.mean() > 0 else x


@ARCH_REGISTRY.register()
class DecidesDeepInside(_Small):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(8, 3, 1), DecidesByValues(), nn.Conv2d(3, 8, 2, stride=2))


@ARCH_REGISTRY.register()
class HasATableOfOneSize(_Small):
    """As the attention masks that DAT and SRFormer compute with numpy."""

    def between(self, x):
        height, width = x.shape[2:]
        table = torch.from_numpy(np.linspace(0, 1, int(height) * int(width), dtype=np.float32))
        return self.body(x) * table.view(1, 1, int(height), int(width))


@ARCH_REGISTRY.register()
class ForgetsTheSize(_Small):
    """Computes with the size as a value, without a trace of where it came from."""

    def between(self, x):
        return self.body(x) * (x.shape[3] // 1 if not torch.compiler.is_exporting() else 41)


@ARCH_REGISTRY.register()
class AttendsInWindows(_Small):
    """As SwinIR and its descendants, with the image padded to windows: they find the batch by a division."""

    window = 4

    def between(self, x):
        n, c, height, width = x.shape
        window = self.window
        x = F.pad(x, (0, -width % window, 0, -height % window))
        rows, columns = x.shape[2] // window, x.shape[3] // window
        y = x.view(n, c, rows, window, columns, window).permute(0, 2, 4, 3, 5, 1).reshape(-1, window * window, c)
        y = torch.softmax(y @ y.transpose(1, 2) / c, -1) @ y
        n = int(y.shape[0] / (rows * columns))
        y = y.view(n, rows, columns, window, window, c).permute(0, 5, 1, 3, 2, 4).reshape(n, c, *x.shape[2:])
        return self.body(y[..., :height, :width])


@ARCH_REGISTRY.register()
class TakesMultiplesOnly(_Small):
    """As BasicSR's SwinIR and RRDBNet at scale 2: no padding."""

    def between(self, x):
        return self.body(F.pixel_shuffle(F.pixel_unshuffle(x, 8), 8))


@ARCH_REGISTRY.register()
class HasAReparameterisedBlock(nn.Module):
    """As ECBSR: several convolutions in training, one that is none of them in evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Conv2d(3, 12, 3, padding=1), nn.Conv2d(3, 12, 1)
        self.shuffle = nn.PixelShuffle(2)

    def forward(self, x):
        if self.training:
            return self.shuffle(self.wide(x) + self.narrow(x))
        weight = self.wide.weight + F.pad(self.narrow.weight, (1, 1, 1, 1))
        return self.shuffle(F.conv2d(x, weight, self.wide.bias + self.narrow.bias, padding=1))


@ARCH_REGISTRY.register()
class GrayNetwork(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.shuffle = nn.Conv2d(1, 4, 3, padding=1), nn.PixelShuffle(2)

    def forward(self, x):
        return self.shuffle(self.conv(x))


SWINIR = {
    "type": "SwinIR",
    "img_size": 16,
    "embed_dim": 12,
    "depths": [1],
    "num_heads": [2],
    "window_size": 4,
    "upscale": 2,
    "upsampler": "pixelshuffledirect",
}


def trained(arch, bits: int = 8, channels: int = 3) -> QuantizedArch:
    """A `QuantizedArch` after one batch, in evaluation mode; ``arch`` is a name or options."""
    network = QuantizedArch({"type": arch} if isinstance(arch, str) else arch, bits)
    with torch.no_grad():
        network(torch.rand(2, channels, 32, 32))
    return network.eval()


def save(network: nn.Module, path) -> str:
    torch.save({"params": network.state_dict()}, path)
    return str(path)
