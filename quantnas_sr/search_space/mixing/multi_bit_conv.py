"""One convolution at several bit widths at once.

Equation 4 of the paper is `SharedConv2d.forward`, equation 5 `NoiseConv2d.forward`. alpha^_b is the share of bit width
b; the shares sum to 1.
"""

from typing import Dict, NamedTuple, Optional, Sequence, Union

import torch
from torch import Tensor, nn

from quantnas_sr.quantization import (
    FULL_PRECISION,
    HWGQ,
    LSQWeight,
    arguments_of,
    draw,
    unit_noise_std,
    value_range,
)


def weighted_sum(weights: Tensor, terms: Sequence[Tensor]) -> Tensor:
    """sum_i weights[i] * terms[i]; the terms share one shape."""
    total = weights[0] * terms[0]
    for weight, term in zip(weights[1:], terms[1:]):
        total = torch.addcmul(total, weight, term)
    return total


class QuantizedInput(NamedTuple):
    """A layer's input at every bit width of the search, computed once for all operations of the layer."""

    x: Tensor
    by_bits: Dict[int, Tensor]


class NoisyInput(NamedTuple):
    """A layer's input and its noise, drawn once for all operations of the layer, which scale it by their shares."""

    x: Tensor
    rectified: Tensor
    noise: Optional[Tensor]


LayerInput = Union[QuantizedInput, NoisyInput]


class MultiBitConv2d(nn.Conv2d):
    """A convolution at several bit widths that replaces ``conv`` and shares its parameters ``weight`` and ``bias``.

    Args:
        conv: any `torch.nn.Conv2d`.
        bits: the bit widths.
        activation: activation function of the input at 32 bits, if they are among the bits.
    """

    def __init__(self, conv: nn.Conv2d, bits: Sequence[int], activation: Optional[nn.Module] = None) -> None:
        # on the meta device, so that the weight that is replaced at once draws no random numbers
        super().__init__(**arguments_of(conv), device="meta")
        self.weight, self.bias = conv.weight, conv.bias
        self.bits = tuple(bits)

    @staticmethod
    def prepare(x: Tensor, bits: Sequence[int]) -> LayerInput:
        """The part of the computation that all operations with the input x can share."""
        raise NotImplementedError

    def _prepared(self, x: Union[Tensor, LayerInput]) -> LayerInput:
        return self.prepare(x, self.bits) if isinstance(x, Tensor) else x

    def chosen_state(self, bits: int) -> Dict[str, Tensor]:
        """The state dict of a `QuantConv2d` of ``bits`` bits that continues from this convolution.

        What is not trained here (the LSQ steps under noise) is left out, and has to be initialised by the caller.
        """
        raise NotImplementedError


class SharedConv2d(MultiBitConv2d):
    """Inner part of eq. 4: ``o(sum_b alpha^_b G(x, b), sum_b alpha^_b Q(W, b))``, one weight, one LSQ step per width.

    Args:
        conv, bits, activation: as of `MultiBitConv2d`.
        trained: as of `LSQWeight`.
    """

    def __init__(
        self, conv: nn.Conv2d, bits: Sequence[int], activation: Optional[nn.Module] = None, trained: bool = False
    ) -> None:
        super().__init__(conv, bits)
        quantized = [b for b in bits if b != FULL_PRECISION]
        self.weight_quantizers = nn.ModuleDict({str(b): LSQWeight(b, conv.out_channels, trained) for b in quantized})
        for quantizer in self.weight_quantizers.values():
            quantizer.init_step(self.weight)
        self.activation = activation

    @staticmethod
    def prepare(x: Tensor, bits: Sequence[int]) -> QuantizedInput:
        """The input at each quantized width. The activation of 32 bits has parameters, so it is not shared."""
        return QuantizedInput(x, {b: HWGQ(b)(x) for b in bits if b != FULL_PRECISION})

    def forward(self, x: Union[Tensor, QuantizedInput], shares: Tensor) -> Tensor:
        """(N, C_in, H, W), as it is or prepared, and shares (bits,) -> (N, C_out, H, W)."""
        given = self._prepared(x)
        inputs = [given.by_bits[b] if b in given.by_bits else self.activation(given.x) for b in self.bits]
        weights = [self._weight_at(b) for b in self.bits]
        return self._conv_forward(weighted_sum(shares, inputs), weighted_sum(shares, weights), self._bias(shares))

    def _bias(self, shares: Tensor) -> Optional[Tensor]:
        return self.bias

    def _weight_at(self, bits: int) -> Tensor:
        return self.weight if bits == FULL_PRECISION else self.weight_quantizers[str(bits)](self.weight)

    def chosen_state(self, bits: int) -> Dict[str, Tensor]:
        if bits == FULL_PRECISION:
            return {"weight": self.weight, "input_quantizer.weight": self.activation.weight}
        return {"weight": self.weight, **self._weight_quantizer_state(bits)}

    def _weight_quantizer_state(self, bits: int) -> Dict[str, Tensor]:
        state = self.weight_quantizers[str(bits)].state_dict()
        return {f"weight_quantizer.{key}": value for key, value in state.items()}


class NoiseConv2d(MultiBitConv2d):
    """Inner part of eq. 5: ``o(x + sum_b alpha^_b QNoise_b(x), W + sum_b alpha^_b QNoise_b(W))``: search against noise.

    The sum over b of independent Gaussians is one Gaussian of variance sum_b alpha^_b^2 sigma_b^2, so one draw is
    enough for all widths. The noise is differentiable in the shares, but has no gradient to x and W. x goes through
    ReLU first (PReLU for the share of 32 bits, which adds no noise).
    """

    def __init__(self, conv: nn.Conv2d, bits: Sequence[int], activation: Optional[nn.Module] = None) -> None:
        super().__init__(conv, bits)
        unit_std = [0.0 if b == FULL_PRECISION else unit_noise_std(b) for b in bits]
        self.register_buffer("unit_std", torch.tensor(unit_std), persistent=False)
        self.activation = activation

    @staticmethod
    def prepare(x: Tensor, bits: Sequence[int]) -> NoisyInput:
        """The ReLU of x and its noise; None in place of noise where all widths are 32 bits."""
        return NoisyInput(x, torch.relu(x), None if set(bits) == {FULL_PRECISION} else draw(x.detach()))

    def forward(self, x: Union[Tensor, NoisyInput], shares: Tensor) -> Tensor:
        """(N, C_in, H, W), as it is or prepared, and shares (bits,) -> (N, C_out, H, W)."""
        given = self._prepared(x)
        activated = self._activated(given, shares)
        if given.noise is None:
            return self._conv_forward(activated, self.weight, self.bias)
        std = torch.linalg.vector_norm(shares * self.unit_std)
        noisy_input = torch.addcmul(activated, given.noise, value_range(activated) * std)
        noisy_weight = torch.addcmul(self.weight, draw(self.weight.detach()), value_range(self.weight) * std)
        return self._conv_forward(noisy_input, noisy_weight, self.bias)

    def _activated(self, given: NoisyInput, shares: Tensor) -> Tensor:
        if self.activation is None:
            return given.rectified
        share = shares[self.bits.index(FULL_PRECISION)]
        return torch.lerp(given.rectified, self.activation(given.x), share)

    def chosen_state(self, bits: int) -> Dict[str, Tensor]:
        state = {"weight": self.weight}
        if bits == FULL_PRECISION:
            state["input_quantizer.weight"] = self.activation.weight
        return state
