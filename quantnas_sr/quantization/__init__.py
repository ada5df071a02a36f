"""Quantizers of weights and activations, and the convolution that uses them. Nothing here knows what a search is.

- `LSQWeight`: of weights, a trained step for each output channel
- `HWGQ`: of activations, a fixed step, includes a ReLU
- `LSQActivation`: of activations, a trained step and a zero point
- `QuantConv2d`: the convolution that quantizes its weight and its input
- `calibration`, `channel_scale`: steps of least error for given weights and inputs
- `compensate`: weights, biases and weight steps of a calibrated network that make up for what rounding does
- `Rounding`: what a quantizer of activations does, as plain numbers
- `QNoise`: noise as strong as rounding errors, for the search
"""

from quantnas_sr.quantization.compensation import compensate
from quantnas_sr.quantization.conv import (
    ACTIVATION_QUANTIZERS,
    FULL_PRECISION,
    INPUT_QUANTIZERS,
    QuantConv2d,
    arguments_of,
    calibrate_inputs,
    calibrate_on,
    check_bits,
    full_precision_activation,
    full_precision_input,
    integer_bias,
    is_calibrated,
    is_uncalibrated,
    naming_layer,
    observe_inputs,
    same_padding,
    set_quantize,
)
from quantnas_sr.quantization.hwgq import HWGQ, ImageQuantizer, hwgq_step, optimal_step
from quantnas_sr.quantization.lsq import LSQWeight, lsq_range
from quantnas_sr.quantization.lsq_activation import LSQActivation, RectifiedLSQActivation
from quantnas_sr.quantization.noise import FreshNoise, NoisePool, QNoise, draw, unit_noise_std, value_range
from quantnas_sr.quantization.noise_size import NOISE_SIZES
from quantnas_sr.quantization.rounding import Rounding

__all__ = [
    "ACTIVATION_QUANTIZERS",
    "FULL_PRECISION",
    "FreshNoise",
    "HWGQ",
    "INPUT_QUANTIZERS",
    "ImageQuantizer",
    "LSQActivation",
    "LSQWeight",
    "NOISE_SIZES",
    "NoisePool",
    "QNoise",
    "QuantConv2d",
    "RectifiedLSQActivation",
    "Rounding",
    "arguments_of",
    "calibrate_inputs",
    "calibrate_on",
    "check_bits",
    "compensate",
    "draw",
    "full_precision_activation",
    "full_precision_input",
    "integer_bias",
    "hwgq_step",
    "is_calibrated",
    "is_uncalibrated",
    "lsq_range",
    "naming_layer",
    "observe_inputs",
    "optimal_step",
    "same_padding",
    "set_quantize",
    "unit_noise_std",
    "value_range",
]
