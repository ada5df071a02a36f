"""BitMixer: one operation at several bit widths at once, weighted by alphas (sections III-E to III-G of the paper).

Equations 3, 4 and 5 are the ``forward`` of `SeparateBitMixer`, and of `SharedConv2d` and `NoiseConv2d` inside
`JointBitMixer`. With alpha_b the weight of bit width b, the share of b is alpha^_b = alpha_b / sum(alpha_b).
"""

from typing import Dict, NamedTuple, Optional, Sequence, Type, Union

import torch
from torch import Tensor, nn

from quantnas_sr.quantization import (
    FULL_PRECISION,
    HWGQ,
    LSQWeight,
    QuantConv2d,
    draw,
    full_precision_activation,
    same_padding,
    unit_noise_std,
    value_range,
)
from quantnas_sr.search_space.operations import ConvSpec, build_operation


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


class _MixingConv2d(nn.Conv2d):
    """A bias-free convolution of stride 1 at several bit widths."""

    def __init__(self, spec: ConvSpec, bits: Sequence[int]) -> None:
        super().__init__(
            spec.in_channels,
            spec.out_channels,
            spec.kernel_size,
            padding=same_padding(spec.kernel_size, spec.dilation),
            dilation=spec.dilation,
            groups=spec.groups,
            bias=False,
        )
        self.bits = tuple(bits)

    @staticmethod
    def prepare(x: Tensor, bits: Sequence[int]) -> LayerInput:
        """What does not depend on the operation: all that read the same x can be given the same result instead."""
        raise NotImplementedError

    def _prepared(self, x: Union[Tensor, LayerInput]) -> LayerInput:
        return self.prepare(x, self.bits) if isinstance(x, Tensor) else x

    def chosen_state(self, bits: int) -> Dict[str, Tensor]:
        """The state of a `QuantConv2d` of ``bits`` bits that continues from this convolution.

        What this mode does not train (the LSQ steps under noise) is left out; whoever loads it sets it anew.
        """
        raise NotImplementedError


class SharedConv2d(_MixingConv2d):
    """Eq. 4 inside: ``o(sum_b alpha^_b G(x, b), sum_b alpha^_b Q(W, b))``, one weight, one LSQ step per width."""

    def __init__(self, spec: ConvSpec, bits: Sequence[int]) -> None:
        super().__init__(spec, bits)
        quantized = [b for b in bits if b != FULL_PRECISION]
        self.weight_quantizers = nn.ModuleDict({str(b): LSQWeight(b, spec.out_channels) for b in quantized})
        for quantizer in self.weight_quantizers.values():
            quantizer.init_step(self.weight)
        self.activation = full_precision_activation() if FULL_PRECISION in bits else None

    @staticmethod
    def prepare(x: Tensor, bits: Sequence[int]) -> QuantizedInput:
        """The input at each quantized width. 32 bits have an activation with a parameter for each operation."""
        return QuantizedInput(x, {b: HWGQ(b)(x) for b in bits if b != FULL_PRECISION})

    def forward(self, x: Union[Tensor, QuantizedInput], shares: Tensor) -> Tensor:
        """(N, C_in, H, W), as it is or prepared, and shares (bits,) -> (N, C_out, H, W)."""
        given = self._prepared(x)
        inputs = [given.by_bits[b] if b in given.by_bits else self.activation(given.x) for b in self.bits]
        weights = [self._weight_at(b) for b in self.bits]
        return self._conv_forward(weighted_sum(shares, inputs), weighted_sum(shares, weights), None)

    def _weight_at(self, bits: int) -> Tensor:
        return self.weight if bits == FULL_PRECISION else self.weight_quantizers[str(bits)](self.weight)

    def chosen_state(self, bits: int) -> Dict[str, Tensor]:
        if bits == FULL_PRECISION:
            return {"weight": self.weight, "input_quantizer.weight": self.activation.weight}
        return {"weight": self.weight, "weight_quantizer.step": self.weight_quantizers[str(bits)].step}


class NoiseConv2d(_MixingConv2d):
    """Eq. 5 inside: ``o(x + sum_b alpha^_b QNoise_b(x), W + sum_b alpha^_b QNoise_b(W))``: search against noise.

    The sum over b of independent Gaussians is one Gaussian of variance sum_b alpha^_b^2 sigma_b^2, so that one draw
    serves any number of widths. Its strength is differentiable in the shares; it has no gradient to x and W. x goes
    through ReLU first (PReLU for the share of 32 bits, which adds no noise).
    """

    def __init__(self, spec: ConvSpec, bits: Sequence[int]) -> None:
        super().__init__(spec, bits)
        unit_std = [0.0 if b == FULL_PRECISION else unit_noise_std(b) for b in bits]
        self.register_buffer("unit_std", torch.tensor(unit_std), persistent=False)
        self.activation = full_precision_activation() if FULL_PRECISION in bits else None

    @staticmethod
    def prepare(x: Tensor, bits: Sequence[int]) -> NoisyInput:
        """ReLU, and the draw. At 32 bits alone there is no noise."""
        return NoisyInput(x, torch.relu(x), None if set(bits) == {FULL_PRECISION} else draw(x.detach()))

    def forward(self, x: Union[Tensor, NoisyInput], shares: Tensor) -> Tensor:
        """(N, C_in, H, W), as it is or prepared, and shares (bits,) -> (N, C_out, H, W)."""
        given = self._prepared(x)
        activated = self._activated(given, shares)
        if given.noise is None:
            return self._conv_forward(activated, self.weight, None)
        std = torch.linalg.vector_norm(shares * self.unit_std)
        noisy_input = torch.addcmul(activated, given.noise, value_range(activated) * std)
        noisy_weight = torch.addcmul(self.weight, draw(self.weight.detach()), value_range(self.weight) * std)
        return self._conv_forward(noisy_input, noisy_weight, None)

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


class SeparateBitMixer(nn.Module):
    """Eq. 3: ``sum_b alpha_b o(G(x, b), Q(W_b, b))``, weights of its own for every bit width.

    Args:
        name, in_channels, out_channels, num_feat: the operation, see `operations.convolutions`.
        bits: the bit widths.
    """

    def __init__(self, name: str, in_channels: int, out_channels: int, num_feat: int, bits: Sequence[int]) -> None:
        super().__init__()
        self.branches = nn.ModuleDict()
        for b in bits:
            self.branches[str(b)] = quantized_operation(name, in_channels, out_channels, num_feat, b)

    def prepare(self, x: Tensor) -> None:
        """Nothing is shared by the operations of a layer."""

    def forward(self, x: Tensor, alphas: Tensor, prepared: None = None) -> Tensor:
        """(N, C_in, H, W) and alphas (bits,) -> (N, C_out, H, W)."""
        return weighted_sum(alphas, [branch(x) for branch in self.branches.values()])

    def chosen_state(self, bits: int) -> Dict[str, Tensor]:
        """The state of the operation at ``bits`` bits alone."""
        return self.branches[str(bits)].state_dict()


class JointBitMixer(nn.Module):
    """Eq. 4 and 5: ``(sum_b alpha_b) * o(mixed input, mixed weight)``, one convolution for all bit widths.

    Args:
        conv: `SharedConv2d` for eq. 4, `NoiseConv2d` for eq. 5.
        name, in_channels, out_channels, num_feat: the operation, see `operations.convolutions`.
        bits: the bit widths.
    """

    conv: Type[_MixingConv2d]

    def __init__(self, name: str, in_channels: int, out_channels: int, num_feat: int, bits: Sequence[int]) -> None:
        super().__init__()
        self.bits = tuple(bits)
        self.operation = build_operation(
            name, in_channels, out_channels, num_feat, conv=lambda spec: self.conv(spec, bits)
        )

    @property
    def has_convolutions(self) -> bool:
        """False for ``skip_connect`` and ``zero``."""
        return next(self.operation.children(), None) is not None

    def prepare(self, x: Tensor) -> LayerInput:
        """What all operations of a layer share; to be given to each of them."""
        return self.conv.prepare(x, self.bits)

    def forward(self, x: Tensor, alphas: Tensor, prepared: Optional[LayerInput] = None) -> Tensor:
        """(N, C_in, H, W), alphas (bits,), and `prepare(x)` if it is there already -> (N, C_out, H, W)."""
        total = alphas.sum()
        first = x if prepared is None or not self.has_convolutions else prepared
        return total * self.operation(first, alphas / total.clamp_min(1e-12))

    def chosen_state(self, bits: int) -> Dict[str, Tensor]:
        """The state of the operation at ``bits`` bits alone, as far as it is trained here."""
        return {
            f"{index}.{key}": value
            for index, convolution in self.operation.named_children()
            for key, value in convolution.chosen_state(bits).items()
        }


class SharedBitMixer(JointBitMixer):
    """Eq. 4: quantized inputs and weights are mixed, the weight is shared by all bit widths."""

    conv = SharedConv2d


class NoiseBitMixer(JointBitMixer):
    """Eq. 5: noise in place of quantization."""

    conv = NoiseConv2d


#: ``bit_mixer:`` of the options.
BIT_MIXERS = {"separate": SeparateBitMixer, "shared": SharedBitMixer, "noise": NoiseBitMixer}


def quantized_operation(name: str, in_channels: int, out_channels: int, num_feat: int, bits: int) -> nn.Module:
    """The operation of a derived network: every convolution a `QuantConv2d` of ``bits`` bits."""

    def conv(spec: ConvSpec) -> QuantConv2d:
        return QuantConv2d(
            spec.in_channels, spec.out_channels, spec.kernel_size, bits, groups=spec.groups, dilation=spec.dilation
        )

    return build_operation(name, in_channels, out_channels, num_feat, conv)
