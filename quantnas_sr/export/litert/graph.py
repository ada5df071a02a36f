"""The graph of a plain network in a ``.tflite``: convolutions that write bytes, the anchor, the pixel shuffle.

A tensor that a layer rounds is named after its call (see `deploy.onnx.onnx_format.Call`), a weight after its layer.
"""

from typing import List, Mapping, Optional

from torch import nn

from quantnas_sr.deploy.litert.tflite_format import DIGEST_KEY, UNSEALED, sealed
from quantnas_sr.deploy.onnx.onnx_format import INPUT, METADATA_PREFIX, OUTPUT, Call
from quantnas_sr.export.litert.byte_network import MIDDLE, STEP, ByteNetwork, chain, pixel_order
from quantnas_sr.export.litert.convolutions import Convolution, StoredRounding, copying
from quantnas_sr.export.litert.flat_buffer import FlatBuffer
from quantnas_sr.export.litert.layer_check import WEIGHT
from quantnas_sr.quantization import Rounding

#: Of an image in int8, and of the output of the last convolution.
_IMAGE = StoredRounding.of(Rounding(STEP, 0, 8))
_RESIDUAL = StoredRounding.of(Rounding(STEP, MIDDLE, 8))


def build(network: nn.Module, scale: int, metadata: Mapping[str, str]) -> bytes:
    """The content of the file that computes a network.

    Args:
        network: a `ByteNetwork`; or a plain network whose quantizers are off, in evaluation mode.
        scale: of the network.
        metadata: texts by key, without the prefix of the keys.

    Raises:
        NetworkError: an integer does not fit its type.
        MissingExtraError: LiteRT is not installed.
    """
    graph = _IntegerGraph(network, scale) if isinstance(network, ByteNetwork) else _Graph(network, scale)
    entries = {METADATA_PREFIX + key: text for key, text in metadata.items()}
    return sealed(graph.written({**entries, DIGEST_KEY: UNSEALED.decode("ascii")}))


class _Graph:
    """A file whose operators are added one after the other: in float."""

    #: Whether there are no integers.
    in_float = True
    #: Name of the output of the last convolution.
    last = "residual"

    def __init__(self, network: nn.Module, scale: int) -> None:
        self.network, self.scale = network, scale
        self.layers = list(chain(network))
        self.file = FlatBuffer(f"quantnas_sr x{scale}")

    def written(self, metadata: Mapping[str, str]) -> bytes:
        """Add everything; returns the content of the file."""
        given, image = self.entrance()
        residual, channels = self.convolutions(image), 3 * self.scale**2
        anchor = self.convolution(copying("anchor", self.scale**2, self.in_float), image, _IMAGE, _IMAGE, "anchor")
        summed = self.tensor("sum", channels, _IMAGE)
        self.file.operator("ADD", 2, [residual, anchor], summed, "AddOptions")
        return self.file.finish(given, self.exit(summed), metadata)

    def tensor(self, name: str, channels: int, rounding: Optional[StoredRounding]) -> int:
        """Add the tensor of an image with the integers of a rounding, if there are integers."""
        return self.file.image(name, channels, "FLOAT32")

    def entrance(self) -> List[int]:
        """The small image as it is given, and as the anchor reads it."""
        given = self.tensor(INPUT, 3, None)
        return [given, given]

    def exit(self, summed: int) -> int:
        """The large image, from the channels of its pixels."""
        return self.shuffle(summed, self.tensor(OUTPUT, 3, None))

    def shuffle(self, summed: int, made: int) -> int:
        """The channels of a sum to pixels of the tensor ``made``, which is returned."""
        return self.file.operator("DEPTH_TO_SPACE", 1, [summed], made, "DepthToSpaceOptions", blockSize=self.scale)

    def roundings(self) -> List[Optional[StoredRounding]]:
        """Those of the inputs of all convolutions."""
        return [None for _ in self.layers]

    def convolutions(self, image: int) -> int:
        """All of the network's; returns the output of the last one."""
        roundings = self.roundings()
        convolutions = [Convolution.of(*layer) for layer in self.layers]
        if roundings[0] not in (None, _IMAGE):
            convolutions, roundings = [copying("entrance", 1, self.in_float), *convolutions], [_IMAGE, *roundings]
        last = convolutions.pop().permuted(pixel_order(self.scale))
        x = image
        for i, (conv, (name, reader)) in enumerate(zip(convolutions, self.layers[-len(convolutions) :])):
            if reader.scales_channels and not self.in_float:
                conv = conv.divided(reader.channel_scale.double().numpy())
            made = Call(name, 0).node_name
            x = self.convolution(conv, x, roundings[i], roundings[i + 1], made, rectifies=True)
        return self.convolution(last, x, roundings[-1], _RESIDUAL, self.last)

    def convolution(
        self,
        conv: Convolution,
        x: int,
        reads: Optional[StoredRounding],
        writes: Optional[StoredRounding],
        name: str,
        rectifies: bool = False,
    ) -> int:
        """Add a convolution; returns its output, a tensor of that name."""
        depthwise = conv.groups > 1 and conv.weight.shape[1] == 1
        kernel = conv.weight.transpose(1, 2, 3, 0) if depthwise else conv.weight.transpose(0, 2, 3, 1)
        scale = conv.weight_scale
        weight = self.file.constant(conv.name + WEIGHT, kernel, scale, axis=3 if depthwise else 0)
        bias = self.file.constant(f"{conv.name}.bias", conv.bias, None if scale is None else scale * reads.scale)
        made = self.tensor(name, len(conv.bias), writes)
        activation = self.file.schema.ActivationFunctionType
        shape = {
            "padding": self.file.schema.Padding.SAME,
            "strideW": 1,
            "strideH": 1,
            "dilationWFactor": conv.dilation,
            "dilationHFactor": conv.dilation,
            "fusedActivationFunction": activation.RELU if rectifies else activation.NONE,
        }
        if depthwise:
            shape["depthMultiplier"] = len(conv.bias) // conv.groups
        kind, options = ("DEPTHWISE_CONV_2D", "DepthwiseConv2D") if depthwise else ("CONV_2D", "Conv2D")
        return self.file.operator(kind, 3, [x, weight, bias], made, f"{options}Options", **shape)


class _IntegerGraph(_Graph):
    """From bytes to bytes: between the first and the last operator, which change their type, all are int8."""

    in_float = False

    def __init__(self, network: ByteNetwork, scale: int) -> None:
        super().__init__(network, scale)
        self.last = Call(network.residual_rounding, 0).node_name

    def tensor(self, name: str, channels: int, rounding: Optional[StoredRounding]) -> int:
        """Add a tensor of int8."""
        return self.file.image(name, channels, "INT8", *rounding)

    def entrance(self) -> List[int]:
        """The image in uint8, and in int8."""
        given, image = self.file.image(INPUT, 3, "UINT8", STEP, 0), self.tensor(Call("image", 0).node_name, 3, _IMAGE)
        return [given, self.file.operator("QUANTIZE", 2, [given], image, "QuantizeOptions")]

    def exit(self, summed: int) -> int:
        """The image in uint8."""
        pixels = self.shuffle(summed, self.tensor("shuffled", 3, _IMAGE))
        made = self.file.image(OUTPUT, 3, "UINT8", STEP, 0)
        return self.file.operator("QUANTIZE", 2, [pixels], made, "QuantizeOptions")

    def roundings(self) -> List[Optional[StoredRounding]]:
        """As int8 holds them."""
        return [StoredRounding.of(layer.input_quantizer.rounding()) for _, layer in self.layers]
