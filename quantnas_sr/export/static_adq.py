"""ADQ with a constant in place of the standard deviation.

ADQ scales each branch by the standard deviation of its input over all pixels of the image. So the result for a tile
differs from that for the whole image, and a video flickers. With a constant per block the network is local.
"""

from contextlib import ExitStack
from typing import Any, Callable, Dict, Iterable, List

import torch
from torch import Tensor, nn

from quantnas_sr.search_space.skeletons.adq import ADQ, adaptive_blocks, sample_std


class Affine(nn.Module):
    """``x * scale + shift`` per channel."""

    def __init__(self, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale.view(-1, 1, 1))
        self.register_buffer("shift", shift.view(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        return x * self.scale + self.shift


def affine(bn: nn.Module) -> nn.Module:
    """Batch normalisation in evaluation mode as `Affine`; any other module as it is."""
    if not isinstance(bn, nn.BatchNorm2d):
        return bn
    scale = (bn.weight / torch.sqrt(bn.running_var + bn.eps)).detach()
    return Affine(scale, (bn.bias - bn.running_mean * scale).detach())


class StaticADQ(nn.Module):
    """`ADQ` of norm ``adq`` or ``adadm`` with the factor of its branch fixed.

    Args:
        adq: the block.
        std: the constant that replaces the standard deviation of its input.
    """

    def __init__(self, adq: ADQ, std: float) -> None:
        super().__init__()
        self.bn, self.block, self.bn_after = adq.bn, adq.block, adq.bn_after
        self.factor = float(adq.factor(torch.tensor(std)).detach())

    def folded(self) -> "StaticADQ":
        """Replace its normalisation by one multiplication and one addition; changes and returns this module."""
        self.bn, self.bn_after = affine(self.bn), affine(self.bn_after)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        return self.bn_after(self.block(self.bn(x))) * self.factor + x


def statistics(network: nn.Module) -> Dict[str, float]:
    """By block, the standard deviation that follows from the running statistics of its batch normalisation.

    It includes the differences between images, and so is larger than that of most single images.
    """
    found = {}
    for name, adq in adaptive_blocks(network):
        variance = adq.bn.running_var.mean() + adq.bn.running_mean.var(unbiased=False)
        found[name] = float(variance.sqrt())
    return found


@torch.no_grad()
def calibrated(network: nn.Module, images: Iterable[Tensor]) -> Dict[str, float]:
    """By block, the standard deviation of its input, averaged over images.

    Args:
        network: in evaluation mode.
        images: (1, 3, H, W) each, of any sizes.
    """
    seen: Dict[str, List[float]] = {}

    def note(name: str) -> Callable[..., None]:
        return lambda module, inputs: seen.setdefault(name, []).append(float(sample_std(inputs[0]).mean()))

    with ExitStack() as hooks:
        for name, adq in adaptive_blocks(network):
            hooks.enter_context(adq.register_forward_pre_hook(note(name)))
        for image in images:
            network(image)
    return {name: sum(values) / len(values) for name, values in seen.items()}


def make_static(network: nn.Module, stds: Dict[str, float]) -> nn.Module:
    """Replace every block by a `StaticADQ`; changes and returns the network."""
    blocks: Dict[str, Any] = dict(adaptive_blocks(network))
    # the innermost first: a block may lie within another one
    for name in sorted(blocks, key=lambda n: -n.count(".")):
        parent, _, child = name.rpartition(".")
        setattr(network.get_submodule(parent), child, StaticADQ(blocks[name], stds[name]))
    return network
