"""One convolution at several bit widths at once.

Equation 4 of the paper is `SharedConv2d.forward`, equation 5 `NoiseConv2d.forward`. alpha^_b is the share of bit width
b; the shares sum to 1.
"""

from typing import Dict, Mapping, NamedTuple, Optional, Sequence, Union

import torch
from torch import Tensor, nn

from quantnas_sr.quantization import (
    FULL_PRECISION,
    HWGQ,
    INPUT_QUANTIZERS,
    NOISE_SIZES,
    LSQWeight,
    arguments_of,
    draw,
    integer_bias,
)

#: Bit depth of image files. An image that is quantized to this many bits or more loses nothing.
_IMAGE_BITS = 8


def with_prefix(prefix: str, state: Mapping[str, Tensor]) -> Dict[str, Tensor]:
    """A state dict of a submodule as part of its parent's."""
    return {f"{prefix}.{key}": value for key, value in state.items()}


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
    """A layer's input and noise, drawn once for all operations of the layer. Each scales the noise by its shares."""

    x: Tensor
    rectified: Tensor
    noise: Optional[Tensor]


LayerInput = Union[QuantizedInput, NoisyInput]


class MultiBitConv2d(nn.Conv2d):
    """A convolution at several bit widths that replaces ``conv`` and shares its parameters ``weight`` and ``bias``.

    Args:
        conv: any `torch.nn.Conv2d`.
        bits: the bit widths.
        activation: activation function of the input at 32 bits; needed if 32 is among the bits.
    """

    def __init__(self, conv: nn.Conv2d, bits: Sequence[int], activation: Optional[nn.Module] = None) -> None:
        # on the meta device, so that initialising the weight, which is replaced below, draws no random numbers
        super().__init__(**arguments_of(conv), device="meta")
        self.weight, self.bias = conv.weight, conv.bias
        self.bits = tuple(bits)
        self.activation = activation

    def float_state(self) -> Dict[str, Tensor]:
        """The state of the convolution in full precision."""
        return {name: value for name, value in (("weight", self.weight), ("bias", self.bias)) if value is not None}

    @staticmethod
    def prepare(x: Tensor, bits: Sequence[int]) -> LayerInput:
        """The part of the computation that all operations with the input x can share."""
        raise NotImplementedError

    def chosen_state(self, bits: int) -> Dict[str, Tensor]:
        """The state dict of a `QuantConv2d` of ``bits`` bits that continues from this convolution.

        What is not trained here (the LSQ steps in a search with noise) is left out; the caller initialises it.
        """
        raise NotImplementedError


class SharedConv2d(MultiBitConv2d):
    """Inner part of eq. 4: ``o(sum_b alpha^_b G(x, b), sum_b alpha^_b Q(W, b))``, one weight, one LSQ step per width.

    HWGQ has no parameters, so all operations of a layer can share their quantized input (`prepare`). Other quantizers
    of the input belong to this convolution, one for each width.

    Args:
        conv, bits, activation: see `MultiBitConv2d`.
        activation_quantizer: quantizer of the input, a key of `INPUT_QUANTIZERS`.
        trained: see `LSQWeight`.
    """

    def __init__(
        self,
        conv: nn.Conv2d,
        bits: Sequence[int],
        activation: Optional[nn.Module] = None,
        activation_quantizer: str = "hwgq",
        trained: bool = False,
    ) -> None:
        super().__init__(conv, bits, activation)
        quantized = [b for b in bits if b != FULL_PRECISION]
        self.weight_quantizers = nn.ModuleDict({str(b): LSQWeight(b, conv.out_channels, trained) for b in quantized})
        for quantizer in self.weight_quantizers.values():
            quantizer.init_step(self.weight)
        new_quantizer = INPUT_QUANTIZERS[activation_quantizer]
        self.input_quantizers = nn.ModuleDict({str(b): new_quantizer(b) for b in quantized})

    @staticmethod
    def prepare(x: Tensor, bits: Sequence[int]) -> QuantizedInput:
        """The input quantized by HWGQ to each width but 32, where the activation has parameters and is not shared."""
        return QuantizedInput(x, {b: HWGQ(b)(x) for b in bits if b != FULL_PRECISION})

    def forward(self, x: Union[Tensor, QuantizedInput], shares: Tensor) -> Tensor:
        """(N, C_in, H, W), as it is or prepared, and shares (bits,) -> (N, C_out, H, W)."""
        given = QuantizedInput(x, {}) if isinstance(x, Tensor) else x
        inputs = [self._input_at(b, given) for b in self.bits]
        weights = [self._weight_at(b) for b in self.bits]
        return self._conv_forward(weighted_sum(shares, inputs), weighted_sum(shares, weights), self._bias(shares))

    def _input_at(self, bits: int, given: QuantizedInput) -> Tensor:
        if bits == FULL_PRECISION:
            return self.activation(given.x)
        return given.by_bits[bits] if bits in given.by_bits else self.input_quantizers[str(bits)](given.x)

    def _weight_at(self, bits: int) -> Tensor:
        return self.weight if bits == FULL_PRECISION else self.weight_quantizers[str(bits)](self.weight)

    def _bias(self, shares: Tensor) -> Optional[Tensor]:
        return None if self.bias is None else weighted_sum(shares, [self._bias_at(b) for b in self.bits])

    def _bias_at(self, bits: int) -> Tensor:
        if bits == FULL_PRECISION:
            return self.bias
        return integer_bias(self.bias, self.input_quantizers[str(bits)], self.weight_quantizers[str(bits)])

    def chosen_state(self, bits: int) -> Dict[str, Tensor]:
        state = self.float_state()
        if bits == FULL_PRECISION:
            return {**state, **with_prefix("input_quantizer", self.activation.state_dict())}
        state.update(with_prefix("weight_quantizer", self.weight_quantizers[str(bits)].state_dict()))
        state.update(with_prefix("input_quantizer", self.input_quantizers[str(bits)].state_dict()))
        return state


class NoiseConv2d(MultiBitConv2d):
    """Inner part of eq. 5: ``o(x + sum_b alpha^_b QNoise_b(x), W + sum_b alpha^_b QNoise_b(W))``: search against noise.

    The sum over b of independent Gaussians is one Gaussian of variance sum_b alpha^_b^2 sigma_b^2, so one draw is
    enough for all widths. The noise passes gradients to the shares, but not to x and W. x goes through ReLU first
    (PReLU for the share of 32 bits, which adds no noise).

    Args:
        conv, bits, activation: see `MultiBitConv2d`.
        activation_quantizer: quantizer of the input in derived networks. An ``image`` gets no noise at 8 bits or more.
        noise_size: a key of `NOISE_SIZES`.
    """

    def __init__(
        self,
        conv: nn.Conv2d,
        bits: Sequence[int],
        activation: Optional[nn.Module] = None,
        activation_quantizer: str = "hwgq",
        noise_size: str = "range",
    ) -> None:
        super().__init__(conv, bits, activation)
        size = NOISE_SIZES[noise_size]
        is_image = activation_quantizer == "image"
        of_input = size.image if is_image else size.activation
        unit_std = [0.0 if b == FULL_PRECISION else size.weight(b) for b in bits]
        exact = [b == FULL_PRECISION or (is_image and b >= _IMAGE_BITS) for b in bits]
        input_unit_std = [0.0 if is_exact else of_input(b) for b, is_exact in zip(bits, exact)]
        self.extent = size.extent
        self.register_buffer("unit_std", torch.tensor(unit_std), persistent=False)
        self.register_buffer("input_unit_std", torch.tensor(input_unit_std), persistent=False)

    @staticmethod
    def prepare(x: Tensor, bits: Sequence[int]) -> NoisyInput:
        """The ReLU of x and its noise; None in place of noise where all widths are 32 bits."""
        return NoisyInput(x, torch.relu(x), None if set(bits) == {FULL_PRECISION} else draw(x.detach()))

    def forward(self, x: Union[Tensor, NoisyInput], shares: Tensor) -> Tensor:
        """(N, C_in, H, W), as it is or prepared, and shares (bits,) -> (N, C_out, H, W)."""
        given = self.prepare(x, self.bits) if isinstance(x, Tensor) else x
        activated = self._activated(given, shares)
        if given.noise is None:
            return self._conv_forward(activated, self.weight, self.bias)
        std = torch.linalg.vector_norm(shares * self.unit_std)
        input_std = torch.linalg.vector_norm(shares * self.input_unit_std)
        noisy_input = torch.addcmul(activated, given.noise, self.extent(activated) * input_std)
        noisy_weight = torch.addcmul(self.weight, draw(self.weight.detach()), self.extent(self.weight) * std)
        return self._conv_forward(noisy_input, noisy_weight, self.bias)

    def _activated(self, given: NoisyInput, shares: Tensor) -> Tensor:
        if self.activation is None:
            return given.rectified
        share = shares[self.bits.index(FULL_PRECISION)]
        return torch.lerp(given.rectified, self.activation(given.x), share)

    def chosen_state(self, bits: int) -> Dict[str, Tensor]:
        state = self.float_state()
        if bits == FULL_PRECISION:
            state.update(with_prefix("input_quantizer", self.activation.state_dict()))
        return state
