"""BitMixer: one operation at several bit widths at once, weighted by alphas (sections III-E to III-G of the paper).

Equation 3 is the ``forward`` of `SeparateBitMixer`; equations 4 and 5 those of `SharedConv2d` and `NoiseConv2d` (see
`multi_bit_conv`) inside `JointBitMixer`. With alpha_b the weight of bit width b, the share of b is alpha^_b = alpha_b /
sum(alpha_b).
"""

from typing import Any, Dict, Optional, Sequence, Type

from torch import Tensor, nn

from quantnas_sr.quantization import FULL_PRECISION, QuantConv2d, full_precision_activation, same_padding
from quantnas_sr.search_space.conv_spec import PAPER_STYLE, ConvStyle, StyledConv, initialize
from quantnas_sr.search_space.mixing.multi_bit_conv import (
    LayerInput,
    MultiBitConv2d,
    NoiseConv2d,
    SharedConv2d,
    weighted_sum,
)
from quantnas_sr.search_space.operations import build_operation


def float_convolution(spec: StyledConv) -> nn.Conv2d:
    """The convolution of an operation in full precision: stride 1, height and width are kept."""
    padding = same_padding(spec.kernel_size, spec.dilation)
    conv = nn.Conv2d(*spec[:3], padding=padding, dilation=spec.dilation, groups=spec.groups, bias=spec.bias)
    initialize(conv, spec)
    return conv


class SeparateBitMixer(nn.Module):
    """Eq. 3: ``sum_b alpha_b o(G(x, b), Q(W_b, b))``, with separate weights for every bit width.

    Args:
        name, in_channels, out_channels, num_feat: the operation, see `operations.convolutions`.
        bits: the bit widths.
        style: the `ConvStyle` of the slot.
    """

    def __init__(
        self,
        name: str,
        in_channels: int,
        out_channels: int,
        num_feat: int,
        bits: Sequence[int],
        style: ConvStyle = PAPER_STYLE,
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleDict()
        for b in bits:
            self.branches[str(b)] = quantized_operation(name, in_channels, out_channels, num_feat, b, style)

    def prepare(self, x: Tensor) -> None:
        """Return None: the operations of a layer share nothing."""

    def forward(self, x: Tensor, alphas: Tensor, prepared: None = None) -> Tensor:
        """(N, C_in, H, W) and alphas (bits,) -> (N, C_out, H, W)."""
        return weighted_sum(alphas, [branch(x) for branch in self.branches.values()])

    def chosen_state(self, bits: int) -> Dict[str, Tensor]:
        """The state of the operation at ``bits`` bits."""
        return self.branches[str(bits)].state_dict()


class JointBitMixer(nn.Module):
    """Eq. 4 and 5: ``(sum_b alpha_b) * o(mixed input, mixed weight)``, one convolution for all bit widths.

    Args:
        conv: `SharedConv2d` for eq. 4, `NoiseConv2d` for eq. 5.
        name, in_channels, out_channels, num_feat: the operation, see `operations.convolutions`.
        bits: the bit widths.
        style: the `ConvStyle` of the slot.
    """

    conv: Type[MultiBitConv2d]

    def __init__(
        self,
        name: str,
        in_channels: int,
        out_channels: int,
        num_feat: int,
        bits: Sequence[int],
        style: ConvStyle = PAPER_STYLE,
    ) -> None:
        super().__init__()
        self.bits = tuple(bits)
        self.shares_input = style.shares_input
        self.operation = build_operation(name, in_channels, out_channels, num_feat, self._convolution, style)

    def _convolution(self, spec: StyledConv) -> MultiBitConv2d:
        activation = full_precision_activation() if FULL_PRECISION in self.bits else None
        return self.conv(float_convolution(spec), self.bits, activation, spec.activation_quantizer, **self._more(spec))

    def _more(self, spec: StyledConv) -> Dict[str, Any]:
        """Further arguments of ``conv``, which only one subclass has."""
        return {}

    @property
    def has_convolutions(self) -> bool:
        """False for ``skip_connect`` and ``zero``."""
        return next(self.operation.children(), None) is not None

    def prepare(self, x: Tensor) -> Optional[LayerInput]:
        """The input that all operations of a layer share; None if each operation quantizes its own input."""
        return self.conv.prepare(x, self.bits) if self.shares_input else None

    def forward(self, x: Tensor, alphas: Tensor, prepared: Optional[LayerInput] = None) -> Tensor:
        """(N, C_in, H, W), alphas (bits,), and the result of `prepare(x)`, if any -> (N, C_out, H, W)."""
        total = alphas.sum()
        first = x if prepared is None or not self.has_convolutions else prepared
        return total * self.operation(first, alphas / total.clamp_min(1e-12))

    def chosen_state(self, bits: int) -> Dict[str, Tensor]:
        """The state of the operation at ``bits`` bits, without what is not trained here."""
        return {
            f"{index}.{key}": value
            for index, convolution in self.operation.named_children()
            for key, value in convolution.chosen_state(bits).items()
        }


class SharedBitMixer(JointBitMixer):
    """Eq. 4: quantized inputs and weights are mixed, the weight is shared by all bit widths."""

    conv = SharedConv2d

    def _more(self, spec: StyledConv) -> Dict[str, Any]:
        return {"trained": spec.identity}


class NoiseBitMixer(JointBitMixer):
    """Eq. 5: noise in place of quantization."""

    conv = NoiseConv2d

    def _more(self, spec: StyledConv) -> Dict[str, Any]:
        return {"noise_size": spec.noise_size}


#: ``bit_mixer:`` of the options.
BIT_MIXERS = {"separate": SeparateBitMixer, "shared": SharedBitMixer, "noise": NoiseBitMixer}


def quantized_operation(
    name: str, in_channels: int, out_channels: int, num_feat: int, bits: int, style: ConvStyle = PAPER_STYLE
) -> nn.Module:
    """The operation of a derived network: every convolution is a `QuantConv2d` of ``bits`` bits."""

    def quantized_convolution(spec: StyledConv) -> QuantConv2d:
        conv = QuantConv2d(
            *spec[:3],
            bits,
            groups=spec.groups,
            dilation=spec.dilation,
            bias=spec.bias,
            activation_quantizer=spec.activation_quantizer,
        )
        initialize(conv, spec)
        if spec.identity and bits != FULL_PRECISION:
            conv.weight_quantizer.trained = True
        conv.init_steps()
        return conv

    return build_operation(name, in_channels, out_channels, num_feat, quantized_convolution, style)
