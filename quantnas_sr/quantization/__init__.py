"""One number -> fewer bits. Nothing in this folder knows what a search is.

- `LSQWeight`: weights, trained step per output channel
- `HWGQ`: activations, fixed step
- `LSQActivation`: activations, trained step
- `QuantConv2d`: the convolution made of these; `smoothing`: range that moves from its input to its weight
- `QNoise`: noise of the same strength, for the search
"""

from quantnas_sr.quantization.conv import (
    ACTIVATION_QUANTIZERS,
    FULL_PRECISION,
    QuantConv2d,
    arguments_of,
    calibrate_inputs,
    check_bits,
    full_precision_activation,
    integer_bias,
    is_calibrated,
    naming_layer,
    observe_inputs,
    same_padding,
    set_quantize,
)
from quantnas_sr.quantization.hwgq import HWGQ, hwgq_step, optimal_step
from quantnas_sr.quantization.lsq import LSQActivation, LSQWeight, lsq_range
from quantnas_sr.quantization.noise import FreshNoise, NoisePool, QNoise, draw, unit_noise_std, value_range

__all__ = [
    "ACTIVATION_QUANTIZERS",
    "FULL_PRECISION",
    "FreshNoise",
    "HWGQ",
    "LSQActivation",
    "LSQWeight",
    "NoisePool",
    "QNoise",
    "QuantConv2d",
    "arguments_of",
    "calibrate_inputs",
    "check_bits",
    "draw",
    "full_precision_activation",
    "integer_bias",
    "hwgq_step",
    "is_calibrated",
    "lsq_range",
    "naming_layer",
    "observe_inputs",
    "optimal_step",
    "same_padding",
    "set_quantize",
    "unit_noise_std",
    "value_range",
]
