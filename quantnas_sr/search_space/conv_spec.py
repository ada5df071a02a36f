"""What a convolution of a slot is: its shape follows from the operation, its style from the search space."""

from typing import List, NamedTuple, Sequence, Tuple

import torch
from torch import nn

#: Standard deviation of the noise that weights near the identity start with, as a share of that of PyTorch's default.
_IDENTITY_NOISE = 0.25


class ConvSpec(NamedTuple):
    """One convolution of an operation: stride 1, padding that keeps the size.

    The first five fields follow from the operation's name, the others from the `ConvStyle` of its slot.
    """

    in_channels: int
    out_channels: int
    kernel_size: Tuple[int, int]
    groups: int = 1
    dilation: int = 1
    bias: bool = False
    activation_quantizer: str = "hwgq"
    identity: bool = False


class ConvStyle(NamedTuple):
    """How the convolutions of a slot are made, whatever the operation.

    Attributes:
        bias: they have biases.
        activation_quantizer: what quantizes their inputs, a key of `quantization.INPUT_QUANTIZERS`.
        reads_image: the input of the slot is the image in 0..1; the first convolution reads it with a fixed step.
        identity: their weights start near the identity, see `initialize`.
    """

    bias: bool = False
    activation_quantizer: str = "hwgq"
    reads_image: bool = False
    identity: bool = False

    @property
    def shares_input(self) -> bool:
        """Whether all operations of the slot read the same quantized input: HWGQ has nothing to train."""
        return self.activation_quantizer == "hwgq" and not self.reads_image

    def applied(self, specs: Sequence[ConvSpec]) -> List[ConvSpec]:
        """The convolutions of an operation, first to last, in this style."""
        styled = [
            spec._replace(bias=self.bias, activation_quantizer=self.activation_quantizer, identity=self.identity)
            for spec in specs
        ]
        if self.reads_image and styled:
            styled[0] = styled[0]._replace(activation_quantizer="image")
        return styled


#: The paper's convolutions: no bias, HWGQ.
PAPER_STYLE = ConvStyle()


@torch.no_grad()
def initialize(conv: nn.Conv2d, spec: ConvSpec) -> None:
    """Start a new convolution near the identity if ``spec`` says so: a dirac kernel and noise. Biases start at zero.

    A row of such convolutions hands on what it reads, so that a deep network trains without residual sums
    (QuickSRNet; Berger et al., arXiv:2303.04336). Their LSQ steps start where the rounding error is least, as those of
    trained weights do: LSQ's own rule would cut off the ones on the diagonal.
    """
    if spec.identity:
        noise = conv.weight * _IDENTITY_NOISE
        nn.init.dirac_(conv.weight, spec.groups)
        conv.weight.add_(noise)
    if spec.bias:
        conv.bias.zero_()
