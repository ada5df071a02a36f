"""The specification of a convolution in a slot: the operation gives its shape, the search space its style."""

from typing import List, NamedTuple, Sequence, Tuple

import torch
from torch import nn

#: Initialisation near the identity: the noise is PyTorch's default initialisation times this factor.
_IDENTITY_NOISE = 0.25


class ConvSpec(NamedTuple):
    """The shape of one convolution of an operation: stride 1, padding that keeps the size."""

    in_channels: int
    out_channels: int
    kernel_size: Tuple[int, int]
    groups: int = 1
    dilation: int = 1


class StyledConv(NamedTuple):
    """One convolution of a slot: the fields of `ConvSpec`, and what the `ConvStyle` of the slot says of it."""

    in_channels: int
    out_channels: int
    kernel_size: Tuple[int, int]
    groups: int
    dilation: int
    bias: bool
    activation_quantizer: str
    identity: bool
    noise_size: str


class ConvStyle(NamedTuple):
    """Properties of the convolutions of a slot that do not depend on the operation.

    Attributes:
        bias: whether they have biases.
        activation_quantizer: the quantizer of their inputs, a key of `quantization.INPUT_QUANTIZERS`.
        reads_image: whether the input of the slot is the image in 0..1, which is quantized with a fixed step.
        identity: whether their weights start near the identity, see `initialize`.
        noise_size: of the noise that stands for their quantization in a search, a key of `quantization.NOISE_SIZES`.
    """

    bias: bool = False
    activation_quantizer: str = "hwgq"
    reads_image: bool = False
    identity: bool = False
    noise_size: str = "range"

    @property
    def shares_input(self) -> bool:
        """Whether all operations of the slot can share one quantized input: with HWGQ, which has no parameters."""
        return self.activation_quantizer == "hwgq" and not self.reads_image

    def applied(self, specs: Sequence[ConvSpec]) -> List[StyledConv]:
        """The convolutions of an operation, first to last, in this style."""
        styled = [
            StyledConv(*spec, self.bias, self.activation_quantizer, self.identity, self.noise_size) for spec in specs
        ]
        if self.reads_image and styled:
            styled[0] = styled[0]._replace(activation_quantizer="image")
        return styled


#: The paper's convolutions: no bias, HWGQ.
PAPER_STYLE = ConvStyle()


@torch.no_grad()
def initialize(conv: nn.Conv2d, spec: StyledConv) -> None:
    """Start a new convolution near the identity if ``spec`` says so: a dirac kernel and noise. Biases start at zero.

    A chain of such convolutions is close to the identity, so that a deep network trains without residual connections
    (QuickSRNet; Berger et al., arXiv:2303.04336). Their LSQ steps minimise the rounding error, as for trained weights;
    LSQ's own initialisation would clip the ones of the identity.
    """
    if spec.identity:
        noise = conv.weight * _IDENTITY_NOISE
        nn.init.dirac_(conv.weight, spec.groups)
        conv.weight.add_(noise)
    if spec.bias:
        conv.bias.zero_()
