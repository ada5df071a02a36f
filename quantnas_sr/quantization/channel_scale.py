"""A scale for each input channel of a convolution, so that one step suits channels of small and of large values.

A convolution computes the same from ``x / r`` and ``weight * r``, with a factor r for each input channel. Activations
have one step for all channels: beside a channel with values up to 100, one with values up to 1 is rounded to a few
integers. Weights have a step for each output channel, and can take over the difference. The factors are
``r = max|x|^a / max|w|^(1 - a)`` (SmoothQuant; Xiao et al., ICML 2023); ``a`` is chosen for each layer (as in AWQ; Lin
et al., MLSys 2024), and so is whether to scale at all.
"""

import torch
from torch import Tensor

from quantnas_sr.quantization.calibration import RangeObserver, least_error_steps
from quantnas_sr.quantization.lsq import lsq_range

#: The values of a that are tried.
_EXPONENTS = (0.25, 0.5, 0.75, 1.0)
#: Largest ratio of a channel's maximum to the geometric mean of all, and of this to a channel of zeros.
_LARGEST_RATIO = 1e3


def least_error_channel_scale(seen: RangeObserver, weight: Tensor, bits: int, groups: int = 1) -> Tensor:
    """The channel scale with the least squared error of a layer's output, for independent rounding errors.

    Args:
        seen: observed inputs of the layer.
        weight: (O, C / groups, kH, kW).
        bits: bit width of input and weight.
        groups: groups of the convolution.

    Returns:
        (C,), all above zero; ones where scaling does not lower the error.
    """
    by_input = by_input_channel(weight.detach().float(), groups)
    of_inputs, of_weights = seen.largest(), by_input.abs().amax(dim=1)
    tried = [torch.ones_like(of_inputs)]
    tried += [_normalised(of_inputs, a) / _normalised(of_weights, 1 - a) for a in _EXPONENTS]
    errors = [_output_error(seen, weight.detach().float(), scale, bits, groups) for scale in tried]
    return tried[int(torch.stack(errors).argmin())]


def by_input_channel(weight: Tensor, groups: int) -> Tensor:
    """The weights by the input channel that they multiply: (O, C / groups, kH, kW) -> (C, O / groups * kH * kW)."""
    grouped = weight.unflatten(0, (groups, -1))
    return grouped.transpose(1, 2).reshape(groups * weight.shape[1], -1)


def scaled_weight(weight: Tensor, scale: Tensor, groups: int) -> Tensor:
    """``weight * r``: (O, C / groups, kH, kW) and (C,) -> (O, C / groups, kH, kW)."""
    return (weight.unflatten(0, (groups, -1)) * scale.view(groups, 1, -1, 1, 1)).flatten(0, 1)


def _normalised(largest: Tensor, exponent: float) -> Tensor:
    """``largest ** exponent``, divided by its geometric mean over the channels that are not all zero."""
    tiny = torch.finfo(largest.dtype).tiny
    logs = largest.clamp_min(tiny).log()
    used = logs[largest > tiny]
    middle = used.mean() if len(used) else logs.mean()
    reach = torch.tensor(_LARGEST_RATIO).log().item()
    return ((logs - middle).clamp(-reach, reach) * exponent).exp()


def _output_error(seen: RangeObserver, weight: Tensor, scale: Tensor, bits: int, groups: int) -> Tensor:
    """Mean squared error of an output pixel, summed over channels, from rounding inputs and from rounding weights."""
    step, zero_point = seen.least_error_range(bits, scale)
    of_inputs = seen.errors(bits, step, zero_point, scale) * by_input_channel(weight, groups).square().sum(dim=1)
    scaled = scaled_weight(weight, scale, groups)
    low, high = lsq_range(bits)
    steps = least_error_steps(scaled, low, high)
    rounded = (scaled / steps).round().clamp(low, high) * steps
    lost = by_input_channel(scaled_weight(rounded - scaled, 1 / scale, groups), groups).square().sum(dim=1)
    return (of_inputs + seen.mean_squares() * lost).sum()
