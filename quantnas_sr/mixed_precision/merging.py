"""Re-parameterised blocks: several convolutions in training, whose sum is one convolution in evaluation.

Such blocks compute the weight of that convolution at every call, where it is neither quantized nor exported. Here it
becomes an ``nn.Conv2d`` of its own.
"""

from typing import Tuple

import torch
from torch import Tensor, nn

#: What `Conv3XC` multiplies negative values with.
_SLOPE = 0.05


class MergedBlock(nn.Module):
    """A convolution and its activation.

    Args:
        conv: the merged convolution.
        act: what the block computes after it.
    """

    def __init__(self, conv: nn.Conv2d, act: nn.Module) -> None:
        super().__init__()
        self.conv, self.act = conv, act

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C_out, H', W')."""
        return self.act(self.conv(x))


@torch.no_grad()
def merge(network: nn.Module) -> None:
    """Replace the re-parameterised blocks of a network by the convolutions that they are in evaluation.

    Args:
        network: changed in place.
    """
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if is_block(child):
                setattr(parent, name, _merged(child).train(child.training))


def is_block(module: nn.Module) -> bool:
    """Whether it is a block of ECBSR (`ECB`) or SPAN (`Conv3XC`), which have methods that merge their weights."""
    is_conv3xc = hasattr(module, "update_params") and isinstance(getattr(module, "eval_conv", None), nn.Conv2d)
    return is_conv3xc or (hasattr(module, "rep_params") and isinstance(getattr(module, "conv3x3", None), nn.Conv2d))


def _merged(block: nn.Module) -> MergedBlock:
    if hasattr(block, "rep_params"):
        act = getattr(block, "act", None)
        return MergedBlock(_convolution(*block.rep_params()), act if isinstance(act, nn.Module) else nn.Identity())
    block.update_params()
    conv = _convolution(block.eval_conv.weight, block.eval_conv.bias, block.eval_conv.stride)
    return MergedBlock(conv, nn.LeakyReLU(_SLOPE) if getattr(block, "has_relu", False) else nn.Identity())


def _convolution(weight: Tensor, bias: Tensor, stride: Tuple[int, int] = (1, 1)) -> nn.Conv2d:
    """Of a weight (O, I, k, k), padded so that with a stride of 1 the image keeps its size."""
    out_channels, in_channels, *kernel = weight.shape
    padding = tuple(side // 2 for side in kernel)
    conv = nn.Conv2d(in_channels, out_channels, tuple(kernel), stride, padding, device=weight.device)
    conv.weight, conv.bias = nn.Parameter(weight.detach().clone()), nn.Parameter(bias.detach().clone())
    return conv
