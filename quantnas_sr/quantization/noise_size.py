"""How large the noise in place of quantization is: as in eq. 6, or as the rounding error of a step of least error.

Eq. 6 takes the step from the range of a tensor, and half a step for the noise. The range grows with the number of
values, and a trained step clips the largest of them: for 20,000 normal numbers at 4 bits half of range / 15 is 2.5
times the error of the best step; of activations after a ReLU it is more than 4 times the error. A search against noise
of that size avoids 4 bits.
"""

import math
from functools import cache
from typing import Callable, Mapping, NamedTuple

import torch
from torch import Tensor

from quantnas_sr.quantization.calibration import least_error_steps
from quantnas_sr.quantization.lsq import lsq_range, to_int
from quantnas_sr.quantization.noise import unit_noise_std, value_range

_SAMPLE = 4096
#: The error of a number that is rounded to multiples of a step is uniform; its standard deviation in steps.
_UNIFORM = 1 / math.sqrt(12)


class NoiseSize(NamedTuple):
    """Noise has the standard deviation ``extent(tensor) * unit(bits)``.

    Attributes:
        extent: a scalar without gradient that grows with the values of a tensor.
        weight, activation, image: the unit for a weight; for an input after a ReLU; and for an image in 0..1.
    """

    extent: Callable[[Tensor], Tensor]
    weight: Callable[[int], float]
    activation: Callable[[int], float]
    image: Callable[[int], float]


def root_mean_square(x: Tensor) -> Tensor:
    """Of all values, a scalar without gradient."""
    x = x.detach()
    return torch.linalg.vector_norm(x, dtype=torch.float32).to(x.dtype) / math.sqrt(x.numel())


@cache
def _error(low: int, high: int, rectified: bool) -> float:
    """Of standard normal numbers, or their absolute values, rounded with the step of least error to low .. high."""
    share = (torch.arange(_SAMPLE, dtype=torch.float64, device="cpu") + 0.5) / _SAMPLE
    values = math.sqrt(2) * torch.erfinv(share if rectified else 2 * share - 1)
    step = least_error_steps(values.float().view(1, -1, 1, 1), low, high).double().flatten()
    return float((to_int(values, step, low, high) * step - values).square().mean().sqrt())


def weight_error(bits: int) -> float:
    """Root mean squared error of the best quantizer of normal weights, as a share of their root mean square.

    >>> round(weight_error(4), 3), round(weight_error(8), 4)
    (0.109, 0.0083)
    """
    return _error(*lsq_range(bits), rectified=False)


def activation_error(bits: int) -> float:
    """As `weight_error`, of a normal input after its ReLU, with unsigned integers.

    >>> round(activation_error(4), 2)
    0.06
    """
    return _error(0, 2**bits - 1, rectified=True)


def image_error(bits: int) -> float:
    """As `activation_error`, of an image whose root mean square is 1/2, and whose step is 1 / (2^b - 1)."""
    return 2 * _UNIFORM / (2**bits - 1)


#: ``noise_size:`` of the options.
NOISE_SIZES: Mapping[str, NoiseSize] = {
    "range": NoiseSize(value_range, unit_noise_std, unit_noise_std, unit_noise_std),
    "error": NoiseSize(root_mean_square, weight_error, activation_error, image_error),
}
