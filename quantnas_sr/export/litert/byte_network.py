"""What a ``.tflite`` computes, in PyTorch: a plain network from bytes to bytes.

The network is a chain of integer convolutions, except for its end: there the sum of the last convolution and the
repeated image is a real number. In the file that convolution writes integers, too: its output in steps of 1/255, which
are those of an image file. The sum of two such numbers is the byte to which their real sum would be rounded. So nothing
is lost, unless the output of the convolution is beyond -128/255 or 127/255.
"""

from typing import Iterator, Tuple

import numpy as np
import torch
from torch import Tensor, nn

from quantnas_sr.cost.dry_run import name_of
from quantnas_sr.errors import NetworkError
from quantnas_sr.export.rounded_outputs import RoundedOutput
from quantnas_sr.input_shapes import copied
from quantnas_sr.quantization import QuantConv2d
from quantnas_sr.search_space import DerivedNetwork
from quantnas_sr.search_space.operations import Operation
from quantnas_sr.search_space.skeletons.plain import PlainSkeleton

#: The step of bytes for an image in 0..1, and the byte that stands for 0 in the output of the last convolution.
STEP, MIDDLE = 1 / 255, 128
#: The lowest integer of a weight in TFLite. ARM kernels add two products in 16 bits, where two of -128 do not fit.
LOWEST_WEIGHT = -127
#: The widest integers of a file.
_MOST_BITS = 8


class ByteNetwork(nn.Module):
    """A copy of a plain network that reads and writes images in steps of 1/255.

    Attributes:
        scale: of the network.
        limited: the number of weights that were raised to `LOWEST_WEIGHT`.
        residual_rounding: name of the module that rounds the output of the last convolution.

    Args:
        network: one that `check_plain` takes, its activations calibrated.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.scale = network.genotype.scale
        self.image = RoundedOutput(STEP, 0)
        self.skeleton = copied(network.skeleton)
        self.limited = sum(_limit(layer) for _, layer in chain(self))
        self.residual_rounding = f"skeleton.upsample.{len(self.skeleton.upsample)}"
        self.skeleton.upsample.append(RoundedOutput(STEP, MIDDLE))
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """RGB in 0..1, (N, 3, H, W) -> (N, 3, s*H, s*W)."""
        return self.skeleton(self.image(x)).clamp(0, 1)


def chain(network: nn.Module) -> Iterator[Tuple[str, QuantConv2d]]:
    """Name and layer of the convolutions of a plain network, first to last."""
    for name, module in network.named_modules():
        if isinstance(module, QuantConv2d):
            yield name, module


def pixel_order(scale: int) -> np.ndarray:
    """The channel of PyTorch's pixel shuffle that becomes each channel of TFLite's, whose colours are innermost.

    >>> pixel_order(2).tolist()
    [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]
    """
    return np.arange(3 * scale**2).reshape(3, scale**2).T.flatten()


@torch.no_grad()
def _limit(layer: QuantConv2d) -> int:
    """Raise integers of the weight to `LOWEST_WEIGHT`; the number of those that were below."""
    integers = layer.weight_quantizer.to_int(layer.scaled_weight())
    below = integers < LOWEST_WEIGHT
    if below.any():
        value = LOWEST_WEIGHT * layer.weight_quantizer.scale * (layer.weight / layer.scaled_weight()).nan_to_num(1)
        layer.weight = nn.Parameter(torch.where(below, value, layer.weight))
    return int(below.sum())


def check_plain(network: nn.Module) -> None:
    """Check that a network can be a ``.tflite``.

    Raises:
        NetworkError: it cannot; one line that says why.
    """
    skeleton = getattr(network, "skeleton", None)
    if not isinstance(network, DerivedNetwork) or not isinstance(skeleton, PlainSkeleton):
        what = f"the {network.genotype.search_space} space" if isinstance(network, DerivedNetwork) else "no space"
        raise NetworkError(f"{name_of(network)} is a network of {what}; a .tflite is written for the plain space only")
    slots = {"head": skeleton.head, "upsample": skeleton.upsample}
    slots.update((f"body_{i}", slot) for i, slot in enumerate(skeleton.body))
    for slot, operation in slots.items():
        problem = _problem(operation, is_last=slot == "upsample")
        if problem:
            raise NetworkError(f"{name_of(network)}: the slot {slot} {problem}, which a .tflite cannot have")


def _problem(operation: nn.Module, is_last: bool) -> str:
    """Why a file cannot have the operation of a slot; empty if it can."""
    if not isinstance(operation, Operation):
        return "is zero"
    wide = [layer.bits for layer in operation if layer.bits > _MOST_BITS]
    if wide:
        return f"has {wide[0]} bits"
    if is_last and not len(operation):
        return "has no convolution"
    if is_last and operation[-1].groups > 1:
        return "ends in a convolution with groups"
    return ""
