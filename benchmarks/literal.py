"""Equation 5 as it is written: noise for every bit width, operation and convolution. Slow; to compare with."""

from typing import Sequence

import torch
from torch import Tensor

from quantnas_sr.quantization import QNoise
from quantnas_sr.search_space.mixing.bit_mixer import NoiseBitMixer


class LiteralLayer:
    """In place of a `MergedNoise`.

    Args:
        bits: the bit widths of the search.
    """

    def __init__(self, bits: Sequence[int]) -> None:
        self.noise = [QNoise(b) for b in bits]

    def _noisy(self, x: Tensor, shares: Tensor) -> Tensor:
        for share, noise in zip(shares, self.noise):
            x = x + share * noise(x)
        return x

    def __call__(self, x: Tensor, operations: Sequence[NoiseBitMixer], alphas: Tensor) -> Tensor:
        """(N, C_in, H, W), the operations and their alphas (operations, bits) -> (N, C_out, H, W)."""
        total = 0
        for mixer, row in zip(operations, alphas):
            shares = row / row.sum()
            y = x
            for conv in mixer.operation:
                y = conv._conv_forward(self._noisy(torch.relu(y), shares), self._noisy(conv.weight, shares), None)
            total = total + row.sum() * y
        return total
