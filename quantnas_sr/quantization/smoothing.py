"""One step for channels that reach far and channels that do not: range that moves from activations to weights.

A convolution computes the same from ``x / r`` and ``weight * r``, r a factor of each input channel. Activations have
one step for all channels, so a channel that reaches to 1 beside one that reaches to 100 is rounded to nothing; weights
have a step for each output channel, and room. The factors are ``r = max|x|^a / max|w|^(1 - a)`` (SmoothQuant; Xiao et
al., ICML 2023), and ``a`` is chosen by layer (as in AWQ; Lin et al., MLSys 2024), as is whether there are any factors.
"""

import torch
from torch import Tensor

from quantnas_sr.quantization.calibration import RangeObserver, least_error_steps
from quantnas_sr.quantization.lsq import lsq_range

#: The exponents a that are tried.
_EXPONENTS = (0.25, 0.5, 0.75, 1.0)
#: Factors lie within this share of their geometric mean, so that a channel that is always 0 gets one too.
_FURTHEST = 1e3


def smoothing_factors(seen: RangeObserver, weight: Tensor, bits: int, groups: int = 1) -> Tensor:
    """The factors at which a layer's output has the least error, if rounding errors are independent of each other.

    Args:
        seen: inputs of the layer.
        weight: (O, C / groups, kH, kW).
        bits: width of both.
        groups: of the convolution.

    Returns:
        (C,), all above zero; ones where no factors are better.
    """
    by_input = by_input_channel(weight.detach().float(), groups)
    furthest, largest = seen.largest(), by_input.abs().amax(dim=1)
    tried = [torch.ones_like(furthest)]
    tried += [_normalised(furthest, a) / _normalised(largest, 1 - a) for a in _EXPONENTS]
    errors = [_output_error(seen, weight.detach().float(), factors, bits, groups) for factors in tried]
    return tried[int(torch.stack(errors).argmin())]


def by_input_channel(weight: Tensor, groups: int) -> Tensor:
    """All weights that read an input channel: (O, C / groups, kH, kW) -> (C, O / groups * kH * kW)."""
    grouped = weight.unflatten(0, (groups, -1))
    return grouped.transpose(1, 2).reshape(groups * weight.shape[1], -1)


def scaled_weight(weight: Tensor, factors: Tensor, groups: int) -> Tensor:
    """``weight * r``: (O, C / groups, kH, kW) and (C,) -> (O, C / groups, kH, kW)."""
    return (weight.unflatten(0, (groups, -1)) * factors.view(groups, 1, -1, 1, 1)).flatten(0, 1)


def _normalised(sizes: Tensor, exponent: float) -> Tensor:
    """``sizes ** exponent`` with geometric mean 1."""
    tiny = torch.finfo(sizes.dtype).tiny
    logs = sizes.clamp_min(tiny).log()
    seen = logs[sizes > tiny]
    middle = seen.mean() if len(seen) else logs.mean()
    reach = torch.tensor(_FURTHEST).log().item()
    return ((logs - middle).clamp(-reach, reach) * exponent).exp()


def _output_error(seen: RangeObserver, weight: Tensor, factors: Tensor, bits: int, groups: int) -> Tensor:
    """Mean squared error of an output pixel, summed over channels, from rounding inputs and from rounding weights."""
    step, zero_point = seen.least_error_range(bits, factors)
    of_inputs = seen.errors(bits, step, zero_point, factors) * by_input_channel(weight, groups).square().sum(dim=1)
    scaled = scaled_weight(weight, factors, groups)
    low, high = lsq_range(bits)
    steps = least_error_steps(scaled, low, high)
    rounded = (scaled / steps).round().clamp(low, high) * steps
    lost = by_input_channel(scaled_weight(rounded - scaled, 1 / factors, groups), groups).square().sum(dim=1)
    return (of_inputs + seen.mean_squares() * lost).sum()
