"""8-bit products that overflow on processors without VNNI do not reach the pixels."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from quantnas_sr.cli import main
from quantnas_sr.deploy.onnx import overflow, sessions
from quantnas_sr.deploy.onnx.onnx_format import INPUT, METADATA_PREFIX, OUTPUT
from quantnas_sr.deploy.opening import open_session
from quantnas_sr.deploy.packages import installed_runtimes
from quantnas_sr.deploy.runtimes import open_network
from quantnas_sr.search_space import DerivedNetwork

onnx = pytest.importorskip("onnx")
CHANNELS = 16
STEPS = {"x": np.float32(1 / 255), "w": np.full(CHANNELS, 0.001, np.float32), "y": np.float32(0.02)}


def of_weights(weight):
    """A file with one convolution of integers, as an export writes it, and what it computes of an image."""
    make = onnx.helper
    zeros = {"x": np.uint8(0), "w": np.zeros(CHANNELS, np.int8), "y": np.uint8(0)}
    constants = {"weight": weight, **{f"s{k}": v for k, v in STEPS.items()}, **{f"z{k}": v for k, v in zeros.items()}}
    nodes = [
        make.make_node("QuantizeLinear", [INPUT, "sx", "zx"], ["q"]),
        make.make_node("DequantizeLinear", ["q", "sx", "zx"], ["d"]),
        make.make_node("DequantizeLinear", ["weight", "sw", "zw"], ["dw"], axis=0),
        make.make_node("Conv", ["d", "dw"], ["c"], pads=[1, 1, 1, 1]),
        make.make_node("QuantizeLinear", ["c", "sy", "zy"], ["r"]),
        make.make_node("DequantizeLinear", ["r", "sy", "zy"], [OUTPUT]),
    ]
    values = [make.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1, CHANNELS, 8, 8]) for n in (INPUT, OUTPUT)]
    initializers = [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = make.make_graph(nodes, "g", values[:1], values[1:], initializers)
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 19)], ir_version=9).SerializeToString()

    def computed(image):
        integers = torch.from_numpy((image * 255).round())
        sums = F.conv2d(integers, torch.from_numpy(weight).float(), padding=1).numpy()
        return np.clip(np.round(sums / 255 * 0.001 / 0.02), 0, 255) * 0.02

    return model, computed


def largest():
    return np.full((CHANNELS, CHANNELS, 3, 3), 127, np.int8)


def random():
    return np.random.default_rng(0).integers(-128, 128, (CHANNELS, CHANNELS, 3, 3)).astype(np.int8)


@pytest.mark.parametrize("runtime", installed_runtimes())
@pytest.mark.parametrize("weight", [largest(), random()], ids=["largest", "random"])
def test_runtimes_compute_the_largest_integers_right_on_every_processor(runtime, weight, tmp_path):
    model, computed = of_weights(weight)
    session = open_session(runtime, tmp_path / "net.onnx", model=model)
    image = np.ones((1, CHANNELS, 8, 8), np.float32)
    steps = np.abs(session(image)[OUTPUT] - computed(image)) / 0.02
    assert steps.max() < 1.01, "in float a sum may round to a neighbour"
    assert (steps > 0.5).mean() < 0.02


def openvino_model(weight):
    pytest.importorskip("openvino")
    return open_session("openvino", "net.onnx", model=of_weights(weight)[0])._model


@pytest.mark.parametrize("value, overflows", [(127, True), (-128, True), (65, True), (64, False), (-64, False)])
def test_weights_of_seven_bits_are_safe(value, overflows):
    """255 * 64 * 2 fits 16 bits."""
    weight = np.zeros((CHANNELS, CHANNELS, 3, 3), np.int8)
    weight[3, 2, 1, 0] = value
    assert overflow.may_overflow(openvino_model(weight)) is overflows


def file_of(weight, tmp_path):
    """A file that `open_network` takes."""
    model = onnx.load_from_string(of_weights(weight)[0])
    onnx.helper.set_model_props(model, {f"{METADATA_PREFIX}scale": "1", f"{METADATA_PREFIX}halo": "1"})
    onnx.save(model, tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


@pytest.mark.parametrize("no_vnni", [False, True])
def test_openvino_leaves_integers_only_where_they_overflow(no_vnni, tmp_path, monkeypatch):
    pytest.importorskip("openvino")
    monkeypatch.setattr(sessions, "openvino_overflows", lambda: no_vnni)
    large, small = (open_network(file_of(weight, tmp_path), "openvino") for weight in (largest(), largest() // 4))
    assert (large._session.in_float, small._session.in_float) == (no_vnni, False)


@pytest.mark.parametrize("vnni, setting", [(True, None), (False, "1")])
def test_onnx_runtime_has_its_exact_mode_only_where_products_overflow(vnni, setting, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(sessions, "has_vnni", lambda: vnni)
    session = open_network(file_of(largest(), tmp_path), "onnxruntime")._session
    if setting is None:
        with pytest.raises(RuntimeError):
            session._settings.get_session_config_entry(overflow.ONNX_RUNTIME_EXACT[0])
    else:
        assert session._settings.get_session_config_entry(overflow.ONNX_RUNTIME_EXACT[0]) == setting


@pytest.mark.parametrize(
    "flags, known", [("fma avx512_vnni avx", True), ("avx_vnni", True), ("avx2 avx512f", False), (None, False)]
)
def test_vnni_is_what_linux_says(flags, known, tmp_path, monkeypatch):
    file = tmp_path / "cpuinfo"
    if flags is not None:
        file.write_text(f"processor : 0\nflags : fpu {flags}\n", encoding="utf-8")
    monkeypatch.setattr(overflow, "Path", lambda path: file)
    assert overflow.has_vnni.__wrapped__() is known


def test_onnx_runtime_computes_in_float_what_it_cannot_make_exact(tmp_path, monkeypatch):
    """Two convolutions that share their weights, on a processor without VNNI."""
    onnxruntime = pytest.importorskip("onnxruntime")
    real, given = onnxruntime.InferenceSession, []

    def fails_at_first(source, options, **others):
        given.append(options)
        if len(given) == 1:
            raise onnxruntime.capi.onnxruntime_pybind11_state.Fail("Attempt to replace the existing tensor")
        return real(source, options, **others)

    monkeypatch.setattr(onnxruntime, "InferenceSession", fails_at_first)
    model, computed = of_weights(random())
    session = open_session("onnxruntime", tmp_path / "net.onnx", model=model)
    image = np.ones((1, CHANNELS, 8, 8), np.float32)
    assert session.in_float and len(given) == 2
    assert np.abs(session(image)[OUTPUT] - computed(image)).max() < 0.0201


@pytest.mark.skipif(len(installed_runtimes()) < 2, reason="there is no other runtime")
def test_a_runtime_that_would_compute_in_float_does_not_check_an_export(tmp_path, monkeypatch, genotype, capsys):
    weights = tmp_path / "net.pth"
    network = DerivedNetwork(genotype()).train()
    network(torch.rand(2, 3, 8, 8))
    torch.save({"params": network.state_dict()}, weights)
    monkeypatch.setattr(sessions, "openvino_overflows", lambda: True)
    monkeypatch.setattr(sessions, "may_overflow", lambda model: True)
    assert main(["export", str(weights), str(tmp_path / "net.onnx")]) == 0
    printed = capsys.readouterr().out
    assert f"not checked: openvino: {overflow.IN_FLOAT}" in printed
    assert "onnxruntime: " in printed and "openvino: 1" not in printed
