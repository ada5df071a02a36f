"""Weights, biases and weight steps of a calibrated network that make up for what rounding does, without a training.

Layer by layer, in the order in which they run, on the inputs that the quantized network has by then:

1. The weights become those of least squared error to what the layer gives in full precision, so that errors of the
   layers before are corrected where a convolution can (as in GPTAQ; Li et al. 2025, arXiv:2504.02692).
2. They are rounded one after the other, the largest inputs first, and what each one's rounding does is made up for by
   those that are not yet rounded (GPTQ; Frantar et al., ICLR 2023, arXiv:2210.17323).
3. The bias takes over what is left of the mean (Nagel et al., ICCV 2019, arXiv:1906.04721).

All of it happens in one forward pass: a layer is fitted when its input comes, before it computes.
"""

from contextlib import ExitStack
from typing import Any, Callable, Dict, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quantnas_sr.quantization.calibration import least_error_steps
from quantnas_sr.quantization.channel_scale import scaled_weight
from quantnas_sr.quantization.conv import FULL_PRECISION, QuantConv2d

#: Output pixels that a layer is fitted to, of all images together.
_PIXELS = 2**15
#: What is added to the variance of every input, as a share of their mean: few pixels must not decide much.
_DAMPING = 0.001

#: (image, row, column) of output pixels, each (P,), int64.
_Positions = Tuple[Tensor, Tensor, Tensor]


@torch.no_grad()
def compensate(network: nn.Module, baseline: nn.Module, images: Tensor) -> None:
    """Fit every quantized convolution of a network to what it gives in full precision.

    Layers that do not run are left alone, and one that runs several times is fitted to the first.

    Args:
        network: calibrated, in evaluation mode; its `QuantConv2d` layers that quantize are changed.
        baseline: the same in full precision, in evaluation mode; its layers have the same names.
        images: (N, C, H, W), an input of both.
    """
    layers = {
        name: layer
        for name, layer in network.named_modules()
        if isinstance(layer, QuantConv2d) and layer.quantize and layer.bits != FULL_PRECISION
    }
    wanted: Dict[str, Tuple[_Positions, Tensor]] = {}

    def remember(name: str) -> Callable[..., None]:
        def hook(layer: nn.Module, inputs: Any, output: Tensor) -> None:
            if name not in wanted:
                positions = _positions(output)
                wanted[name] = positions, _at(output, positions)

        return hook

    def fit(name: str) -> Callable[..., None]:
        def hook(layer: QuantConv2d, inputs: Tuple[Tensor, ...]) -> None:
            if name in wanted:
                positions, target = wanted.pop(name)
                _fit(layer, _patches(layer, inputs[0], positions), target)

        return hook

    with ExitStack() as stack:
        for name, layer in baseline.named_modules():
            if name in layers:
                stack.callback(layer.register_forward_hook(remember(name)).remove)
        baseline(images)
    with ExitStack() as stack:
        for name, layer in layers.items():
            stack.callback(layer.register_forward_pre_hook(fit(name)).remove)
        network(images)


def _positions(output: Tensor) -> _Positions:
    """Random pixels of an output (N, O, H, W), the same ones for outputs of the same shape."""
    count, _, height, width = output.shape
    total = count * height * width
    chosen = torch.randperm(total, generator=torch.Generator().manual_seed(0))[:_PIXELS].sort().values
    chosen = chosen.to(output.device)
    return chosen // (height * width), chosen // width % height, chosen % width


def _at(values: Tensor, positions: _Positions) -> Tensor:
    """(N, C, H, W) -> (P, C)."""
    image, row, column = positions
    return values[image, :, row, column]


def _patches(layer: QuantConv2d, x: Tensor, positions: _Positions) -> Tensor:
    """What the weights of each group multiply, rounded: (N, C, H, W) -> (groups, P, C / groups * kH * kW)."""
    x = layer.input_quantizer(layer.scaled_input(x))
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    x = F.pad(x, layer._reversed_padding_repeated_twice, mode=mode)
    image, row, column = positions
    taps = [
        _at(x, (image, row * layer.stride[0] + i * layer.dilation[0], column * layer.stride[1] + j * layer.dilation[1]))
        for i in range(layer.kernel_size[0])
        for j in range(layer.kernel_size[1])
    ]
    patches = torch.stack(taps, dim=2).unflatten(1, (layer.groups, -1))  # (P, groups, C / groups, kH * kW)
    return patches.movedim(1, 0).flatten(2)


def _fit(layer: QuantConv2d, patches: Tensor, target: Tensor) -> None:
    """Set weight, bias and weight steps of a layer.

    Args:
        patches: (groups, P, K), as of `_patches`.
        target: the output in full precision, (P, O).
    """
    groups = layer.groups
    x, y = patches.double(), target.double().unflatten(1, (groups, -1)).movedim(1, 0)  # (groups, P, O / groups)
    means = (x.mean(1, keepdim=True), y.mean(1, keepdim=True))
    if layer.bias is not None:
        x, y = x - means[0], y - means[1]
    squares = x.mT @ x / x.shape[1]
    variance = squares.diagonal(dim1=1, dim2=2).mean()
    if not variance > 0:
        return
    damped = squares + _DAMPING * variance * torch.eye(x.shape[2], dtype=x.dtype, device=x.device)
    scaled = layer.scaled_weight()
    weight = scaled.double().flatten(1).unflatten(0, (groups, -1))  # (groups, O / groups, K)
    # the ridge regression that stays close to the weights as they are
    weight = weight + torch.linalg.solve(damped, (y.mT @ x) / x.shape[1] - weight @ squares, left=False)
    quantizer = layer.weight_quantizer
    steps = least_error_steps(weight.flatten(0, 1).view_as(scaled).float(), quantizer.low, quantizer.high)
    rounded = _rounded(weight, steps.double().view(*weight.shape[:2], 1), damped, quantizer.low, quantizer.high)
    quantizer.set_step(steps)
    weight = rounded.flatten(0, 1).view_as(scaled).to(scaled.dtype)
    layer.weight.copy_(
        weight if layer.channel_scale is None else scaled_weight(weight, 1 / layer.channel_scale, groups)
    )
    if layer.bias is not None:
        layer.bias.copy_((means[1] - means[0] @ rounded.mT).flatten())


def _rounded(weight: Tensor, steps: Tensor, squares: Tensor, low: int, high: int) -> Tensor:
    """GPTQ's rounding of the weights (groups, O, K) to multiples low .. high of the steps (groups, O, 1).

    Args:
        squares: positive definite, (groups, K, K), the mean products of the inputs.
    """
    order = squares.diagonal(dim1=1, dim2=2).mean(0).argsort(descending=True)
    factor = torch.linalg.cholesky(torch.linalg.inv(squares[:, order][:, :, order]), upper=True)
    left, rounded = weight[:, :, order], torch.empty_like(weight)
    for i, place in enumerate(order.tolist()):
        rounded[:, :, place : place + 1] = (left[:, :, i : i + 1] / steps).round().clamp(low, high) * steps
        error = (left[:, :, i : i + 1] - rounded[:, :, place : place + 1]) / factor[:, i : i + 1, i : i + 1]
        left[:, :, i + 1 :] -= error @ factor[:, i : i + 1, i + 1 :]
    return rounded
