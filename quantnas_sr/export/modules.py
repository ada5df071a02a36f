"""Converts a trained network to the form that is exported: integer weights, folded normalisation, nothing to train.

Some modules compute what no single ONNX operator does: a quantizer, a convolution of integers, the standard deviation
of a sample, ESA's padding. Each becomes one node of the domain `DOMAIN`, which `lowering` replaces by operators of ONNX
when the graph has its final shape. So these modules can be traced but not run.
"""

from collections import Counter
from functools import partial
from typing import Any, Callable, Dict, List, Sequence, Type

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quantnas_sr.export.rounded_outputs import RoundedOutput
from quantnas_sr.export.static_adq import StaticADQ, affine
from quantnas_sr.input_shapes import copied
from quantnas_sr.quantization import FULL_PRECISION, QuantConv2d
from quantnas_sr.search_space.skeletons.adq import ADQ
from quantnas_sr.search_space.skeletons.esa import ESA, MIN_SIDE

DOMAIN = "quantnas"


def _node(operator: str, inputs: Sequence[Tensor], shape: Sequence[Any], **attributes: Any) -> Tensor:
    name = f"{DOMAIN}::{operator}"
    return torch.onnx.ops.symbolic(name, inputs, attributes, dtype=torch.float32, shape=shape, version=1)


#: Attributes of a node: the name of its layer, and the number of the call (see `deploy.onnx.onnx_format.Call`).
_Mark = Callable[[], Dict[str, Any]]


class CallCounter:
    """Numbers the calls of each layer while a network is traced."""

    def __init__(self) -> None:
        self._calls: Counter[str] = Counter()

    def restart(self, *_: Any) -> None:
        """Count from 0 again; a hook in front of the network, which may be traced more than once."""
        self._calls.clear()

    def mark(self, layer: str) -> Dict[str, Any]:
        """The attributes of the node of the next call."""
        self._calls[layer] += 1
        return {"layer": layer, "call": self._calls[layer] - 1}


class IntegerConv(nn.Module):
    """A quantized convolution: its integer weight, the scale of each output channel, and the rounding of its input.

    Args:
        layer: a `QuantConv2d` of 2 to 16 bits.
        mark: gives the name of the layer and the number of the call.
    """

    @torch.no_grad()
    def __init__(self, layer: QuantConv2d, mark: _Mark) -> None:
        super().__init__()
        self.register_buffer("weight", layer.weight_quantizer.to_int(layer.scaled_weight().float()))
        self.register_buffer("scale", layer.weight_quantizer.scale.float().flatten())
        self.register_buffer("bias", None if layer.bias is None else layer.quantized_bias().float())
        self.scales_channels = layer.scales_channels
        self.rounding = layer.input_quantizer.rounding()  # here, for reading tensors is traced, which takes time
        self.layer, self.mark = [layer], mark  # in a list, so that it is no submodule

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C_out, H', W')."""
        (layer,) = self.layer
        x = layer.scaled_input(x) if self.scales_channels else x
        x = _node("Quantize", (x,), x.shape, **self.rounding._asdict())
        pads = pads_of(layer)
        sides = [
            _out_side(side, before + after - dilation * (kernel - 1), stride)
            for side, kernel, stride, dilation, before, after in zip(
                x.shape[2:], layer.kernel_size, layer.stride, layer.dilation, pads[:2], pads[2:]
            )
        ]
        inputs = [x, self.weight, self.scale] + ([] if self.bias is None else [self.bias])
        attributes = {"strides": list(layer.stride), "dilations": list(layer.dilation), "group": layer.groups}
        shape = (x.shape[0], layer.out_channels, *sides)
        return _node("Conv", inputs, shape, pads=pads, bits=layer.bits, **self.mark(), **attributes)


def _out_side(side: Any, change: int, stride: int) -> Any:
    """Side of the output of a convolution; without arithmetic where it stays, for each step costs time in tracing."""
    return side if change == 0 and stride == 1 else (side + change - 1) // stride + 1


def pads_of(layer: nn.Conv2d) -> List[int]:
    """The padding of a convolution in ONNX's order: top, left, bottom, right."""
    if layer.padding == "same":
        total = [dilation * (kernel - 1) for kernel, dilation in zip(layer.kernel_size, layer.dilation)]
        before = [side // 2 for side in total]
        return [*before, *(side - first for side, first in zip(total, before))]
    return [0, 0, 0, 0] if layer.padding == "valid" else [*layer.padding, *layer.padding]


class BorderFirst(nn.Module):
    """A convolution whose padding is not zeros: the padding, then the convolution without padding."""

    def __init__(self, layer: QuantConv2d, mark: _Mark) -> None:
        super().__init__()
        top, left, bottom, right = pads_of(layer)
        self.pad, self.mode = (left, right, top, bottom), layer.padding_mode
        layer.padding, layer.padding_mode = (0, 0), "zeros"
        self.conv = IntegerConv(layer, mark)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C_out, H', W')."""
        return self.conv(F.pad(x, self.pad, mode=self.mode))


def _integer(layer: QuantConv2d, mark: _Mark) -> nn.Module:
    return IntegerConv(layer, mark) if layer.padding_mode == "zeros" else BorderFirst(layer, mark)


class FloatConv(nn.Module):
    """A quantized convolution in full precision: without rounding, but with the ReLU of its quantizer, if any."""

    def __init__(self, layer: QuantConv2d) -> None:
        super().__init__()
        self.layer = layer
        self.layer.quantize = False
        self.rectifies = layer.input_quantizer.rectifies

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C_out, H', W')."""
        x = torch.relu(x) if self.rectifies else x
        return self.layer._conv_forward(x, self.layer.weight, self.layer.bias)


class ExportedADQ(nn.Module):
    """`ADQ` with one multiplication and one addition as its normalisation, and one node for its standard deviation."""

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
    """`ESA` for images of any size: the graph pads small ones."""

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

    def __init__(self, rounded: RoundedOutput, mark: _Mark) -> None:
        super().__init__()
        self.rounding, self.mark = rounded.rounding, mark

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return _node("Quantize", (x,), x.shape, **self.rounding._asdict(), **self.mark())


def exportable(network: nn.Module, quantized: bool = True) -> nn.Module:
    """A copy of a trained network in the form that is exported.

    Args:
        network: in evaluation mode; its activations calibrated.
        quantized: False for the float baseline: the same weights before rounding, ReLU where a quantizer has one.
    """
    network, calls = copied(network).eval(), CallCounter()
    names = {module: name for name, module in network.named_modules()}

    def marked(make: Callable[[Any, _Mark], nn.Module]) -> Callable[[Any], nn.Module]:
        return lambda module: make(module, partial(calls.mark, names[module]))

    replacements: Dict[Type[nn.Module], Callable[[Any], nn.Module]] = {
        QuantConv2d: marked(_integer) if quantized else FloatConv,
        ADQ: ExportedADQ,
        StaticADQ: StaticADQ.folded,
        ESA: ExportedESA,
        RoundedOutput: marked(ExportedRounding),
    }
    network = _Replacer(replacements)(network)
    network.register_forward_pre_hook(calls.restart)
    return network


class _Replacer:
    """Replaces modules according to their class, innermost first; a module that occurs several times is made once."""

    def __init__(self, replacements: Dict[Type[nn.Module], Callable[[Any], nn.Module]]) -> None:
        self._replacements = replacements
        self._done: Dict[nn.Module, nn.Module] = {}

    def __call__(self, module: nn.Module) -> nn.Module:
        if module not in self._done:
            for name, child in list(module._modules.items()):  # named_children skips the second name of a child
                if child is not None:
                    setattr(module, name, self(child))
            self._done[module] = self._made(module)
        return self._done[module]

    def _made(self, module: nn.Module) -> nn.Module:
        make = self._replacements.get(type(module))
        if make is None or (isinstance(module, QuantConv2d) and module.bits == FULL_PRECISION):
            return module
        return make(module)
