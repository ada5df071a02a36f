"""Networks of others that are hard to trace: each is exported, or refused in one line that says where and why."""

import numpy as np
import pytest
import torch
from torch import nn

from quantnas_sr import cli
from quantnas_sr.errors import CalibrationError, CheckError, NetworkError

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

from others import save, trained  # noqa: E402

from quantnas_sr.deploy.packages import installed_runtimes  # noqa: E402
from quantnas_sr.deploy.receptive_field import halo  # noqa: E402
from quantnas_sr.deploy.runtimes import open_network  # noqa: E402
from quantnas_sr.export.exporting import export  # noqa: E402
from quantnas_sr.export.onnx_graph.adaptive_pooling import kernels_of  # noqa: E402
from quantnas_sr.export.onnx_graph.onnx_file import build_model  # noqa: E402
from quantnas_sr.export.onnx_graph.refusals import check_runs  # noqa: E402
from quantnas_sr.export.onnx_graph.traced_size import depends_on_traced_size  # noqa: E402

#: By network: where and why it cannot be traced.
REFUSED = {
    "PoolsToAFixedSize": "PoolsToAFixedSize pools to a size that ONNX cannot have for images of all sizes (adaptive",
    "DecidesByValues": "DecidesByValues decides by values of the image what it computes",
    "BranchesOnValues": "BranchesOnValues decides by values of the image what it computes",
    "DecidesDeepInside": "DecidesDeepInside: body.1 (DecidesByValues) decides by values of the image",
    "HasATableOfOneSize": "HasATableOfOneSize computes with the height or width of the image as a number that is fixed",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_traced_is_one_line_that_says_where_and_why(name, capfd):
    network = trained(name)
    with pytest.raises(NetworkError) as caught:
        build_model(network)
    message = str(caught.value)
    assert message.startswith(REFUSED[name]) and "\n" not in message and len(message) < 400
    assert capfd.readouterr() == ("", ""), "PyTorch's exporter prints graphs of hundreds of lines"


def test_the_command_prints_the_line_alone_and_leaves_no_file(tmp_path, capfd):
    weights = save(trained("BranchesOnValues"), tmp_path / "net.pth")
    capfd.readouterr()
    assert cli.main(["export", weights, str(tmp_path / "net.onnx")]) == 1
    out, err = capfd.readouterr()
    assert not out and err.startswith("quantnas: BranchesOnValues decides") and err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["net.pth"]


def test_a_network_that_takes_multiples_of_a_size_is_exported_and_its_images_are_padded(tmp_path):
    network = trained("TakesMultiplesOnly")
    export(save(network, tmp_path / "net.pth"), str(tmp_path / "net.onnx"))
    x = np.random.default_rng(0).random((1, 3, 27, 38), dtype=np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(x)).numpy()
    found = open_network(tmp_path / "net.onnx")(x)
    assert found.shape == expected.shape and np.abs(found - expected).mean() < 1 / 255


def test_pooling_to_a_share_of_the_sides_is_pooling_with_a_kernel(tmp_path):
    """Of images whose sides the kernel divides it is exactly that; others are padded."""
    network = trained("PoolsToAComputedSize")
    assert kernels_of(network) == [(4, 4)] and kernels_of(trained("PoolsToAFixedSize")) == [None, None]
    export(save(network, tmp_path / "net.pth"), str(tmp_path / "net.onnx"))
    exported = open_network(tmp_path / "net.onnx", "onnxruntime")
    assert exported.multiple == 4
    x = np.random.default_rng(0).random((1, 3, 28, 40), dtype=np.float32)
    with torch.no_grad():
        np.testing.assert_allclose(exported(x), network(torch.from_numpy(x)).numpy(), atol=1e-5)
    assert exported(x[..., :26, :37]).shape == (1, 3, 52, 74)


def test_a_file_that_a_runtime_cannot_read_is_one_line_with_the_name_of_the_output(tmp_path, monkeypatch):
    pytest.importorskip("openvino")

    def spoiled(network, *args, **kwargs):
        model = build_model(network, *args, **kwargs)
        model.graph[-1].op_type = "NoSuchOperation"
        return model

    monkeypatch.setattr("quantnas_sr.export.onnx_graph.onnx_file.build_model", spoiled)
    with pytest.raises(CheckError) as caught:
        export(save(trained({"type": "ESPCN", "num_feat": 4}), tmp_path / "net.pth"), str(tmp_path / "net.onnx"))
    message = str(caught.value)
    assert message.startswith("net.onnx: OpenVINO cannot read it") and "\n" not in message
    assert [path.name for path in tmp_path.iterdir()] == ["net.pth"]


def test_a_network_that_computes_with_the_batch_is_exported_for_one_image(tmp_path):
    network = trained("AttendsInWindows")
    written = export(save(network, tmp_path / "net.pth"), str(tmp_path / "net.onnx"))
    convolutions, attention = 9 * (3 * 8 + 8 * 8 + 8 * 12), 2 * 4 * 4 * 8
    assert written.quantized_share == pytest.approx(convolutions / (convolutions + attention))
    x = np.random.default_rng(0).random((1, 3, 27, 38), dtype=np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(x)).numpy()
    for runtime in installed_runtimes():
        found = open_network(tmp_path / "net.onnx", runtime)(x)
        assert np.abs(np.clip(found, 0, 1) - np.clip(expected, 0, 1)).mean() < 0.01


def test_a_graph_of_one_size_is_not_blamed_on_the_runtime(tmp_path):
    weights = save(trained("ForgetsTheSize"), tmp_path / "net.pth")
    with pytest.raises(NetworkError, match="ForgetsTheSize computes with the height or width of the image as a number"):
        export(weights, str(tmp_path / "net.onnx"))
    assert [path.name for path in tmp_path.iterdir()] == ["net.pth"]


@pytest.mark.parametrize("name, depends", [("ForgetsTheSize", True), ("AttendsInWindows", False)])
def test_a_graph_is_compared_with_its_network_at_other_sizes(name, depends):
    assert depends_on_traced_size(trained(name)) is depends


def test_a_runtime_that_cannot_run_a_file_is_one_line(tmp_path, monkeypatch):
    def fails(*_):
        raise RuntimeError("Exception from src/inference.cpp:116:\nCheck failed\nshapes do not match\n")

    monkeypatch.setattr("quantnas_sr.export.check.check", fails)
    weights = save(trained({"type": "ESPCN", "num_feat": 4}), tmp_path / "net.pth")
    with pytest.raises(CheckError, match=r"net\.onnx: a runtime cannot run it \(shapes do not match\)$"):
        export(weights, str(tmp_path / "net.onnx"))


def test_a_layer_that_only_evaluation_reaches_is_named():
    network = trained("MakesWeightsInForward")
    with pytest.raises(CalibrationError, match=r"the layer body\.merged is used in evaluation but was not in training"):
        check_runs(network, torch.zeros(1, 3, 16, 16))


def test_a_network_that_quantizes_nothing_in_evaluation_is_refused(tmp_path):
    weights = save(trained("HasAReparameterisedBlock"), tmp_path / "net.pth")
    with pytest.raises(NetworkError, match=r"HasAReparameterisedBlock: 0 % of the multiply-adds are quantized: 2 conv"):
        export(weights, str(tmp_path / "net.onnx"))


def test_the_share_that_is_quantized_is_printed(tmp_path, capsys):
    arch = {"type": "ESPCN", "num_feat": 4}
    network = trained(arch, bits=8)
    assert cli.main(["export", save(network, tmp_path / "net.pth"), str(tmp_path / "net.onnx")]) == 0
    assert "quantized: 100.0 % of the multiply-adds\n" in capsys.readouterr().out


def test_a_network_that_does_not_run_on_strips_has_no_halo():
    class Large(nn.Module):
        def forward(self, x):
            return nn.functional.conv2d(x, torch.ones(3, 1, 20, 20, dtype=x.dtype), groups=3)

    assert halo(Large(), 1) is None
