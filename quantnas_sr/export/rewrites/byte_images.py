"""A network from bytes to bytes: its image is rounded to the 256 values of a byte, and so is its result."""

from torch import Tensor, nn

from quantnas_sr.export.rounded_outputs import RoundedOutput
from quantnas_sr.input_shapes import size_multiple
from quantnas_sr.quantization import Rounding

#: How a file of bytes holds 0..1.
BYTES = Rounding(step=1 / 255, zero_point=0, bits=8)


class ByteImages(nn.Module):
    """A network whose images and results are multiples of 1/255 in 0..1; an exported file has bytes there.

    Args:
        network: (N, 3, H, W) -> (N, 3, s*H, s*W).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.given, self.made = (RoundedOutput(BYTES.step, BYTES.zero_point) for _ in range(2))

    @property
    def size_multiple(self) -> int:
        """As the network's."""
        return size_multiple(self.network)

    def forward(self, x: Tensor) -> Tensor:
        """RGB in 0..1, (N, 3, H, W) -> (N, 3, s*H, s*W)."""
        return self.made(self.network(self.given(x)))
