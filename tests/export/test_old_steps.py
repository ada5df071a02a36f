"""Checkpoints of older versions, whose trained steps may be negative, and what is packed in 4 bits."""

import numpy as np
import pytest
import torch

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

import onnx  # noqa: E402
import onnx_ir  # noqa: E402
from export_equality import settled  # noqa: E402
from networks import SHARED, saved  # noqa: E402
from onnx import TensorProto, numpy_helper  # noqa: E402

from quantnas_sr import cli  # noqa: E402
from quantnas_sr.archs.quantized_arch import QuantizedArch  # noqa: E402
from quantnas_sr.checkpoints import load_network  # noqa: E402
from quantnas_sr.deploy.opening import exact_runtimes  # noqa: E402
from quantnas_sr.deploy.packages import installed_runtimes  # noqa: E402
from quantnas_sr.export.exporting import export  # noqa: E402
from quantnas_sr.export.onnx_graph.onnx_file import build_model  # noqa: E402
from quantnas_sr.quantization import calibrate_inputs, observe_inputs  # noqa: E402

INTEGERS = {"int8": {TensorProto.INT8}, "int4": {TensorProto.INT8, TensorProto.INT4}}


def weights_of(graph):
    """By convolution, the type and the integers of its weight, and the scales of its output channels."""
    constants = {constant.name: constant for constant in graph.initializer}
    source = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        if node.op_type == "Conv":
            image, weight = (source[name] for name in node.input[:2])
            assert image.op_type == weight.op_type == "DequantizeLinear", f"{node.name} does not compute in integers"
            integers, scales = (constants[name] for name in weight.input[:2])
            yield integers.data_type, numpy_helper.to_array(integers).astype(int), numpy_helper.to_array(scales)


def old_checkpoint(path, bits=8):
    """A network as older versions wrote it: every other weight step below zero, and weights at both ends."""
    network = QuantizedArch({"type": "ESPCN", "upscale": 2}, bits=bits, bits_by_layer={"conv2": 4})
    observe_inputs(network)
    network(torch.rand(2, 3, 24, 24))
    calibrate_inputs(network)
    state = settled(network).state_dict()
    for key in [key for key in state if key.endswith("weight_quantizer.step_exponent")]:
        step = 2 ** state.pop(key) / 2
        step[::2] *= -1
        state[key.replace("step_exponent", "step")] = step
    for key in [key for key in state if key.endswith("input_quantizer.step_exponent")]:
        state[key.replace("step_exponent", "step")] = -(2 ** state.pop(key))
    for key in [key for key in state if key.endswith("calibrated_share")]:
        state[key.replace("calibrated_share", "calibration")] = state.pop(key)
    torch.save({"params": state}, path)
    return str(path)


@pytest.mark.parametrize("weights_format", INTEGERS)
def test_a_network_with_negative_steps_computes_all_of_its_convolutions_in_integers(weights_format, tmp_path):
    checkpoint = old_checkpoint(tmp_path / "net.pth")
    written = export(checkpoint, str(tmp_path / "net.onnx"), weights_format=weights_format)
    exact = exact_runtimes(tmp_path / "net.onnx", installed_runtimes())
    assert [agreement.runtime for agreement in written.agreements] == exact
    assert all(agreement.equal > 0.99 for agreement in written.agreements)
    weights = list(weights_of(onnx.load(str(tmp_path / "net.onnx")).graph))
    assert len(weights) == written.convolutions == 3
    for kind, integers, _ in weights:
        assert kind in INTEGERS[weights_format]
        assert integers.min() >= -128 and integers.max() <= 127
    assert any((scales < 0).any() and (scales > 0).any() for _, _, scales in weights)
    assert written.packed == sum(kind == TensorProto.INT4 for kind, _, _ in weights)
    assert written.packed == (1 if weights_format == "int4" else 0)
    (narrow,) = [integers for kind, integers, _ in weights if np.abs(integers).max() <= 8]
    assert (narrow.min(), narrow.max()) == (-8, 7)


def test_the_old_checkpoint_of_the_demo_is_exported_in_integers():
    path = SHARED / "cases" / "files" / "demo_negative_steps.pth"
    if not path.is_file():
        pytest.skip("the demo's old checkpoint is not here")
    weights = list(weights_of(onnx_ir.to_proto(build_model(load_network(path), weights_format="int4")).graph))
    kinds = [kind for kind, _, _ in weights]
    assert kinds.count(TensorProto.INT4) == 4 and kinds.count(TensorProto.INT8) == 7
    assert any((scales < 0).any() for _, _, scales in weights)


def test_int4_that_packs_nothing_says_why(tmp_path, capsys):
    network = QuantizedArch({"type": "ESPCN", "upscale": 2}, bits=8)
    network(torch.rand(2, 3, 24, 24))
    command = ["export", saved(network, tmp_path / "net.pth"), str(tmp_path / "net.onnx"), "--weights-format", "int4"]
    assert cli.main(command) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("int4: ")]
    assert "nothing is packed" in line and "4 bits or fewer" in line
    assert cli.main([*command, "--float"]) == 1
    assert "float baseline" in capsys.readouterr().err
