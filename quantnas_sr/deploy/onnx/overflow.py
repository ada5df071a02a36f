"""Processors whose products of 8-bit integers overflow, and what the runtimes do about it.

Without VNNI (AVX2 and the first AVX-512 processors) one instruction adds two products of an unsigned and a signed
8-bit integer in 16 bits, where 255 * 127 * 2 does not fit: sums are cut off and pixels are wrong. Weights of 7 bits or
fewer are safe, for 255 * 64 * 2 fits. ONNX Runtime has an exact mode; on processors with VNNI, which do not need it, a
network of 8 bits takes twice as long in it. OpenVINO has none: networks that may overflow are computed in float there,
where some roundings differ.
"""

import re
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from quantnas_sr.deploy.packages import import_runtime

#: Two products of 255 and this fit 16 bits; the weight may have either sign.
SAFE_WEIGHT = 64
#: The option of ONNX Runtime that makes products exact.
ONNX_RUNTIME_EXACT = ("session.x64quantprecision", "1")
#: That which makes it compute in float, where it cannot make all products exact.
ONNX_RUNTIME_IN_FLOAT = ("session.disable_quant_qdq", "1")
#: The option of OpenVINO that makes it compute in float.
OPENVINO_IN_FLOAT = {"LP_TRANSFORMS_MODE": False}
#: What users are told.
IN_FLOAT = "sums of 8-bit products overflow in it on this processor (no VNNI), so it computes this network in float"


@cache
def has_vnni() -> bool:
    """Whether the processor is known to have VNNI, with which sums of 8-bit products are exact; Linux alone tells."""
    with suppress(OSError):
        return bool(re.search(r"\bavx(?:512)?_vnni\b", Path("/proc/cpuinfo").read_text(encoding="utf-8")))
    return False


def may_overflow(model: Any) -> bool:
    """Whether an `openvino.Model` has 8-bit weights that are too large for a processor without VNNI."""
    constants = (op for op in model.get_ops() if op.get_type_name() == "Constant")
    weights = (op.data for op in constants if op.get_element_type().get_type_name() == "i8")
    return any(data.size and np.abs(data.astype(np.int16)).max() > SAFE_WEIGHT for data in weights)


@cache
def openvino_overflows() -> bool:
    """Whether OpenVINO computes a convolution of the largest 8-bit integers wrong on this processor."""
    openvino = import_runtime("openvino", "the test of the processor")
    op = openvino.opset13
    channels, largest = 16, 127
    image = op.parameter([1, channels, 8, 8], np.float32)
    bounds = [op.constant(np.float32(value)) for value in (0, 255, 0, 255)]
    integers = op.fake_quantize(image, *bounds, 256)
    weight = op.constant(np.full((channels, channels, 3, 3), largest, np.int8))
    step = op.constant(np.full((channels, 1, 1, 1), 2.0**-14, np.float32))
    kernel = op.multiply(op.convert(weight, "f32"), step)
    sums = op.convolution(integers, kernel, [1, 1], [0, 0], [0, 0], [1, 1])
    model = openvino.Model([sums], [image])
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled([np.full((1, channels, 8, 8), 255, np.float32)])[0]
    return not np.allclose(found, 255 * largest * 9 * channels * 2.0**-14, rtol=1e-3)
