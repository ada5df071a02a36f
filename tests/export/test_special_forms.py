"""Files for other devices: of one size, with signed activations, with older operators."""

import numpy as np
import pytest
import torch
from networks import saved
from plain_networks import layers, plain
from upscaling import write_onnx

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

import onnx  # noqa: E402
import onnx_ir  # noqa: E402
from export_equality import settled  # noqa: E402
from onnx import numpy_helper  # noqa: E402

from quantnas_sr import cli  # noqa: E402
from quantnas_sr.archs.quantized_arch import QuantizedArch  # noqa: E402
from quantnas_sr.deploy.packages import installed_runtimes  # noqa: E402
from quantnas_sr.deploy.runtimes import open_network  # noqa: E402
from quantnas_sr.errors import DataError, OptionError  # noqa: E402
from quantnas_sr.export.onnx_graph.opset import set_opset  # noqa: E402
from quantnas_sr.export.options import ExportOptions  # noqa: E402
from quantnas_sr.export.preparation import load_for_export, loss_of_symmetry  # noqa: E402
from quantnas_sr.export.rewrites.symmetric import fits, make_symmetric  # noqa: E402
from quantnas_sr.quantization import Rounding  # noqa: E402
from quantnas_sr.upscaling import upscale  # noqa: E402

RUNTIMES = installed_runtimes()
needs_onnxruntime = pytest.mark.skipif("onnxruntime" not in RUNTIMES, reason="needs ONNX Runtime")


def image(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return saved(plain(), tmp_path_factory.mktemp("plain") / "net.pth")


# --- one size, and an older version of the operators


@pytest.fixture(scope="module")
def of_one_size(weights, tmp_path_factory):
    """A file for images of 20x16 pixels, opset 13."""
    output = tmp_path_factory.mktemp("static") / "net.onnx"
    code = cli.main(["export", weights, str(output), "--static", "20x16", "--opset", "13", "--io", "uint8"])
    assert code == 0
    return output


def test_the_size_and_the_version_are_in_the_file(of_one_size):
    model = onnx.load(str(of_one_size))
    shapes = [[side.dim_value for side in value.type.tensor_type.shape.dim] for value in model.graph.input]
    assert shapes == [[1, 3, 16, 20]]
    assert [side.dim_value for side in model.graph.output[0].type.tensor_type.shape.dim] == [1, 3, 32, 40]
    assert (model.opset_import[0].version, model.ir_version) == (13, 7)
    assert {entry.key: entry.value for entry in model.metadata_props}["quantnas_sr.size"] == "20x16"
    onnx.checker.check_model(model, full_check=True)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_larger_images_are_cut_into_tiles_that_are_the_whole(of_one_size, weights, runtime):
    run = open_network(of_one_size, runtime)
    assert run.size == (16, 20) and run.halo == 4
    free = open_network(weights)
    for height, width in ((16, 20), (17, 20), (45, 33)):
        found = upscale(image(height, width), run).astype(int)
        assert (np.abs(found - upscale(image(height, width), free)) > 1).mean() < 1e-2
        assert found.shape == (2 * height, 2 * width, 3)


def sides_seen(path, monkeypatch, runtime="onnxruntime"):
    run, seen = open_network(path, runtime), []
    session = run._session

    def noted(x):
        seen.append(x.shape)
        return session(x)

    noted.free_memory = session.free_memory
    monkeypatch.setattr(run, "_session", noted)
    return run, seen


@needs_onnxruntime
def test_every_tile_has_the_size_and_smaller_images_are_padded(tmp_path, monkeypatch):
    whole = open_network(write_onnx(tmp_path / "free.onnx"), "onnxruntime")
    run, seen = sides_seen(write_onnx(tmp_path / "net.onnx", size="8x6"), monkeypatch)
    for height, width in ((6, 8), (6, 9), (25, 31), (7, 40)):
        x = np.random.default_rng(0).random((2, 3, height, width), dtype=np.float32)
        np.testing.assert_allclose(run(x), whole(x), atol=1e-6)
    small = np.random.default_rng(0).random((1, 3, 5, 3), dtype=np.float32)
    assert run(small).shape == (1, 3, 10, 6)
    np.testing.assert_allclose(run(small)[..., :8, :4], whole(small)[..., :8, :4], atol=1e-6)
    assert set(seen) == {(1, 3, 6, 8)}


@needs_onnxruntime
@pytest.mark.parametrize("halo, why", [("", "the whole image"), ("3", "3 pixels around it")])
def test_other_sizes_are_refused_where_tiles_would_not_be_the_whole(halo, why, tmp_path):
    run = open_network(write_onnx(tmp_path / "net.onnx", size="8x6", halo=halo), "onnxruntime")
    assert run(np.zeros((1, 3, 6, 8), np.float32)).shape == (1, 3, 12, 16)
    with pytest.raises(DataError, match=f"takes images of 8x6 pixels only, and this one has 9x6: .* {why}$"):
        run(np.zeros((1, 3, 6, 9), np.float32))


@needs_onnxruntime
def test_a_file_of_one_size_has_a_tile_of_its_own(tmp_path):
    run = open_network(write_onnx(tmp_path / "net.onnx", size="8x6"), "onnxruntime")
    assert upscale(image(150, 130), run).shape == (300, 260, 3)
    with pytest.raises(OptionError, match="tile 16: this network's file is for tiles of 8x6"):
        upscale(image(30, 30), run, tile=16)


@pytest.mark.parametrize("size", ["8", "0x5", "99999x8", "axb", "8x", "-8x6"])
def test_a_size_in_the_metadata_that_cannot_be_is_refused(size, tmp_path):
    with pytest.raises(DataError, match="was not written by quantnas export"):
        open_network(write_onnx(tmp_path / "net.onnx", size=size))


def test_an_operator_that_an_older_version_lacks_is_one_line():
    """The axes of a mean are an input since 18, as they are in ADQ's deviation."""
    make = onnx.helper
    axes = numpy_helper.from_array(np.array([1]), "axes")
    ends = [make.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 3, 4, 4]) for name in ("lq", "sr")]
    nodes = [make.make_node("ReduceMean", ["lq", "axes"], ["mean"]), make.make_node("Add", ["mean", "lq"], ["sr"])]
    proto = make.make_model(make.make_graph(nodes, "network", ends[:1], ends[1:], [axes]), ir_version=10)
    proto.opset_import[0].version = 21
    set_opset(onnx_ir.from_proto(proto), 18)
    with pytest.raises(OptionError, match=r"^opset: 17 does not have all that this network needs \(.+\)$") as error:
        set_opset(onnx_ir.from_proto(proto), 17)
    assert "\n" not in str(error.value)


# --- signed activations


@needs_onnxruntime
def test_a_symmetric_file_has_signed_integers_and_the_same_pixels(weights, tmp_path, capsys):
    path = tmp_path / "net.onnx"
    assert cli.main(["export", weights, str(path), "--symmetric"]) == 0
    said = capsys.readouterr().out
    assert "dB" not in said and ("openvino" not in RUNTIMES or "not checked: openvino" in said)
    graph = onnx.load(str(path)).graph
    constants = {constant.name: numpy_helper.to_array(constant) for constant in graph.initializer}
    kinds = [node.op_type for node in graph.node]
    chain = ["Clip", "QuantizeLinear", "DequantizeLinear", "DequantizeLinear", "Conv"]
    assert kinds == ["Conv", *chain * 3, "Gather", "Add", "DepthToSpace"]
    for node in graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero_point = constants[node.input[2]]
            assert zero_point.dtype == np.int8 and not zero_point.any()
        if node.op_type == "Conv":
            assert constants[node.input[2]].dtype == np.float32, "TensorRT has no DequantizeLinear of 32 bits"
    found = upscale(image(21, 18), open_network(path, "onnxruntime")).astype(int)
    assert (found != upscale(image(21, 18), open_network(weights))).mean() < 1e-2


def test_what_8_bits_lose_is_said(weights, tmp_path):
    options, images = ExportOptions(symmetric=True), [np.random.default_rng(0).random((1, 3, 24, 24), np.float32)]
    eight = saved(plain(body_bits=8), tmp_path / "net.pth")
    lost = loss_of_symmetry(load_for_export(eight, options), eight, options, images)
    assert lost.startswith("symmetric: 3 layers of 8 bits have larger steps; ")
    assert 20 < float(lost.split("; ")[1].split(" dB")[0]) < 80
    assert loss_of_symmetry(load_for_export(weights, options), weights, options, images) is None


def test_integers_fit_afterwards_and_more_than_8_bits_are_refused():
    network = make_symmetric(plain(body_bits=8))
    assert [layer.input_quantizer.bits for layer in layers(network)] == [7, 7, 7]
    assert all(fits(layer.input_quantizer.rounding()) for layer in layers(network))
    assert [fits(Rounding(1.0, zero, bits)) for zero, bits in ((0, 7), (0, 8), (128, 8), (127, 8), (3, 4))] == [
        *(True, False, True, False, True),
    ]
    torch.manual_seed(0)
    wide = settled(QuantizedArch({"type": "ESPCN", "upscale": 2}, bits=12))
    with pytest.raises(OptionError, match=r"symmetric: network\.\S+ has 12 bits. Allowed: at most 8"):
        make_symmetric(wide)
