"""A trained network in the form that is exported: integer weights, folded normalisation, no more than it takes to run.

Where ONNX has no operator for what a module computes as a whole (a quantizer, a convolution of integers, the standard
deviation of a sample, ESA's padding), the exported graph gets a node of the domain `DOMAIN`, which `lowering` replaces
by ONNX's own when the graph is in its final shape. So these modules are for export only: they do not compute.
"""

from typing import Any, Callable, Dict, List, Optional, Sequence, Type

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quantnas_sr.cost.dry_run import copied
from quantnas_sr.export.rounded_outputs import RoundedOutput
from quantnas_sr.export.static_adq import StaticADQ, affine
from quantnas_sr.quantization import FULL_PRECISION, HWGQ, LSQActivation, QuantConv2d
from quantnas_sr.search_space.skeletons.adq import ADQ
from quantnas_sr.search_space.skeletons.esa import ESA, MIN_SIDE

DOMAIN = "quantnas"


def _node(operator: str, inputs: Sequence[Tensor], shape: Sequence[Any], **attributes: Any) -> Tensor:
    name = f"{DOMAIN}::{operator}"
    return torch.onnx.ops.symbolic(name, inputs, attributes, dtype=torch.float32, shape=shape, version=1)


class IntegerConv(nn.Module):
    """A quantized convolution: the integers of its weight, the scale of each output channel, and how its input rounds.

    Args:
        layer: a `QuantConv2d` of 2 to 16 bits.
    """

    def __init__(self, layer: QuantConv2d) -> None:
        super().__init__()
        step = layer.weight_quantizer.step.detach().float()
        integers = layer.weight_quantizer.to_int(layer.smoothed_weight().detach().float())
        self.register_buffer("weight", integers * step.sign())
        self.register_buffer("scale", step.abs().flatten())
        self.register_buffer("bias", None if layer.bias is None else layer.quantized_bias().detach().float())
        self.smooths = layer.smooths
        self.layer = [layer]  # in a list, so that it is no submodule

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C_out, H', W')."""
        (layer,) = self.layer
        x = layer.smoothed_input(x) if self.smooths else x
        x = _node("Quantize", (x,), x.shape, **input_rounding(layer))
        pads = _pads(layer)
        sides = [
            (side + before + after - dilation * (kernel - 1) - 1) // stride + 1
            for side, kernel, stride, dilation, before, after in zip(
                x.shape[2:], layer.kernel_size, layer.stride, layer.dilation, pads[:2], pads[2:]
            )
        ]
        inputs = [x, self.weight, self.scale] + ([] if self.bias is None else [self.bias])
        attributes = {"strides": list(layer.stride), "dilations": list(layer.dilation), "group": layer.groups}
        shape = (x.shape[0], layer.out_channels, *sides)
        return _node("Conv", inputs, shape, pads=pads, bits=layer.bits, **attributes)


@torch.no_grad()
def input_rounding(layer: QuantConv2d) -> Dict[str, Any]:
    """How a layer rounds its input: to the integers 0 .. 2^bits - 1, of which ``zero_point`` stands for 0."""
    quantizer = layer.input_quantizer
    zero_point = int(quantizer.zero_point) if isinstance(quantizer, LSQActivation) else 0
    return {"step": float(quantizer.effective_step()), "zero_point": zero_point, "bits": layer.bits}


def _pads(layer: nn.Conv2d) -> List[int]:
    """ONNX's: top, left, bottom, right."""
    if layer.padding == "same":
        total = [dilation * (kernel - 1) for kernel, dilation in zip(layer.kernel_size, layer.dilation)]
        before = [side // 2 for side in total]
        return [*before, *(side - first for side, first in zip(total, before))]
    return [0, 0, 0, 0] if layer.padding == "valid" else [*layer.padding, *layer.padding]


class BorderFirst(nn.Module):
    """A convolution whose border is not zero: the border is put around its input, and it pads no more."""

    def __init__(self, layer: QuantConv2d) -> None:
        super().__init__()
        top, left, bottom, right = _pads(layer)
        self.pad, self.mode = (left, right, top, bottom), layer.padding_mode
        layer.padding, layer.padding_mode = (0, 0), "zeros"
        self.conv = IntegerConv(layer)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C_out, H', W')."""
        return self.conv(F.pad(x, self.pad, mode=self.mode))


def _integer(layer: QuantConv2d) -> nn.Module:
    return IntegerConv(layer) if layer.padding_mode == "zeros" else BorderFirst(layer)


class FloatConv(nn.Module):
    """The same convolution in full precision: a ReLU where HWGQ has one, no rounding."""

    def __init__(self, layer: QuantConv2d) -> None:
        super().__init__()
        self.layer = layer
        self.layer.quantize = False
        self.rectifies = isinstance(layer.input_quantizer, HWGQ)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C_out, H', W')."""
        x = torch.relu(x) if self.rectifies else x
        return self.layer._conv_forward(x, self.layer.weight, self.layer.bias)


class ExportedADQ(nn.Module):
    """`ADQ` with its normalisation as one multiplication and one addition, and its deviation as one node."""

    def __init__(self, adq: ADQ) -> None:
        super().__init__()
        self.norm, self.block = adq.norm, adq.block
        self.before, self.after = affine(adq.bn), affine(adq.bn_after)
        if self.norm in ("adq", "adadm"):
            self.gamma, self.beta = float(adq.gamma.detach()), float(adq.beta.detach())

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        y = self.after(self.block(self.before(x)))
        if self.norm not in ("adq", "adadm"):
            return y + x
        std = _node("Std", (x,), (x.shape[0], 1, 1, 1))
        if self.norm == "adq":
            return y * (std * self.gamma + self.beta) + x
        return y * torch.exp(torch.log(std.clamp_min(1e-12)) * self.gamma + self.beta) + x


class ExportedESA(nn.Module):
    """`ESA` for images of any size: the padding of small ones is part of the graph."""

    def __init__(self, esa: ESA) -> None:
        super().__init__()
        for name, layer in esa.named_children():
            setattr(self, name, layer)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        a = self.conv1(x)
        sides = [torch.sym_max(side, MIN_SIDE) for side in a.shape[2:]]
        a = _node("PadTo", (a,), (a.shape[0], a.shape[1], *sides), side=MIN_SIDE)
        y = F.max_pool2d(self.conv2(a), kernel_size=7, stride=3)
        y = torch.relu(self.conv_max(y))
        y = self.conv3_(torch.relu(self.conv3(y)))
        y = F.interpolate(y, size=a.shape[-2:], mode="bilinear", align_corners=False)
        mask = torch.sigmoid(self.conv4(y + self.conv_f(a)))
        return x * _node("CropLike", (mask, x), x.shape)


class ExportedRounding(nn.Module):
    """`RoundedOutput` as one node."""

    def __init__(self, rounded: RoundedOutput) -> None:
        super().__init__()
        self.rounding = rounded.rounding

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return _node("Quantize", (x,), x.shape, **self.rounding)


_Replacements = Dict[Type[nn.Module], Callable[[Any], nn.Module]]


def exportable(network: nn.Module, quantized: bool = True) -> nn.Module:
    """A copy of a trained network in the form for export.

    Args:
        network: in evaluation mode; its activations calibrated.
        quantized: False for the float baseline: the same weights before rounding, ReLU in place of HWGQ.
    """
    replacements: _Replacements = {
        QuantConv2d: _integer if quantized else FloatConv,
        ADQ: ExportedADQ,
        StaticADQ: StaticADQ.folded,
        ESA: ExportedESA,
        RoundedOutput: ExportedRounding,
    }
    return _replaced(copied(network).eval(), replacements)


def _replaced(module: nn.Module, replacements: _Replacements) -> nn.Module:
    for name, child in list(module.named_children()):
        setattr(module, name, _replaced(child, replacements))
    make: Optional[Callable[[Any], nn.Module]] = replacements.get(type(module))
    if make is None or (isinstance(module, QuantConv2d) and module.bits == FULL_PRECISION):
        return module
    return make(module)
