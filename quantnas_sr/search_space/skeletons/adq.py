"""Adaptive Deviation for Quantization, the paper's section III-B and figure 4."""

from typing import Iterator, Sequence, Tuple

import torch
from torch import Tensor, nn

from quantnas_sr.errors import OptionError, unknown

NORMS = ("adq", "adadm", "batch", "none")


#: Above this number of values in a sample, a single float32 reduction loses precision. Training patches have fewer.
MANY = 2**17
#: With fewer channels than this, batch normalisation is computed in contiguous memory order.
FEW_CHANNELS = 16


def normalized(bn: nn.Module, x: Tensor) -> Tensor:
    """``bn(x)`` in the memory order of x.

    On the CPU batch normalisation is ten times slower when a few channels lie side by side in memory.
    """
    if x.device.type == "cpu" and x.shape[1] < FEW_CHANNELS and isinstance(bn, nn.BatchNorm2d):
        order = torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
        return bn(x.contiguous()).contiguous(memory_format=order)
    return bn(x)


def sample_std(x: Tensor) -> Tensor:
    """Standard deviation of each sample over channels and pixels in float32, (N, C, H, W) -> (N, 1, 1, 1).

    Over two million values `torch.linalg.vector_norm` is off by 4e-5. So large images are reduced in two steps, first
    over the dimension that is contiguous in memory.
    """
    x = x.float()
    norm = x - x.mean(dim=(1, 2, 3), keepdim=True)
    steps: Sequence[Tuple[int, ...]] = [(1, 2, 3)]
    if x[0].numel() > MANY:
        steps = [(1,), (2, 3)] if x.is_contiguous(memory_format=torch.channels_last) else [(2, 3), (1,)]
    for dims in steps:
        norm = torch.linalg.vector_norm(norm, dim=dims, keepdim=True)
    degrees_of_freedom = x[0].numel() - 1
    return norm / degrees_of_freedom**0.5


class ADQ(nn.Module):
    """A residual block whose branch is normalised, and rescaled by the standard deviation of the block's input.

    ======== =================================================================================
    norm     y
    ======== =================================================================================
    adq      ``f(BN(x)) * (gamma * std(x) + beta) + x``, initially gamma 1.5, beta 0
    adadm    ``BN(f(BN(x))) * exp(gamma * log std(x) + beta) + x``, initially gamma 1, beta 0
    batch    ``f(BN(x)) + x``
    none     ``f(x) + x``
    ======== =================================================================================

    AdaDM is Liu et al., 2021 (arXiv:2111.13905).

    Args:
        block: f, from (N, C, H, W) to the same shape.
        channels: C.
        norm: a row of the table.

    Raises:
        OptionError: unknown norm.
    """

    def __init__(self, block: nn.Module, channels: int, norm: str = "adq") -> None:
        super().__init__()
        if norm not in NORMS:
            raise OptionError(unknown("norm", norm, NORMS))
        self.norm = norm
        self.bn = nn.Identity() if norm == "none" else nn.BatchNorm2d(channels)
        self.block = block
        self.bn_after = nn.BatchNorm2d(channels) if norm == "adadm" else nn.Identity()
        if norm in ("adq", "adadm"):
            self.gamma = nn.Parameter(torch.tensor([1.5 if norm == "adq" else 1.0]))
            self.beta = nn.Parameter(torch.zeros(1))

    def factor(self, std: Tensor) -> Tensor:
        """The factor of the branch, from the standard deviation of x; for the norms ``adq`` and ``adadm``."""
        if self.norm == "adq":
            return self.gamma * std + self.beta
        return torch.exp(self.gamma * torch.log(std.clamp_min(1e-12)) + self.beta)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        y = normalized(self.bn_after, self.block(normalized(self.bn, x)))
        if self.norm in ("adq", "adadm"):
            return torch.addcmul(x, y, self.factor(sample_std(x)).to(x.dtype))
        return y + x

    def extra_repr(self) -> str:
        return f"norm={self.norm}"


def adaptive_blocks(network: nn.Module) -> Iterator[Tuple[str, ADQ]]:
    """Name and block of every `ADQ` that is scaled by the standard deviation of its input."""
    for name, module in network.named_modules():
        if isinstance(module, ADQ) and module.norm in ("adq", "adadm"):
            yield name, module


def is_dynamic(network: nn.Module) -> bool:
    """Whether a block of the network needs the whole image for the standard deviation of its input."""
    return any(True for _ in adaptive_blocks(network))
