"""`--io uint8`: bytes in, bytes out, one chain of integers between them, and the same bytes whoever computes it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from networks import saved
from plain_networks import layers, plain

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

import onnx  # noqa: E402
from export_equality import settled  # noqa: E402

from quantnas_sr.archs.quantized_arch import QuantizedArch  # noqa: E402
from quantnas_sr.deploy.packages import installed_runtimes  # noqa: E402
from quantnas_sr.deploy.runtimes import open_network  # noqa: E402
from quantnas_sr.export.exporting import export  # noqa: E402
from quantnas_sr.export.options import ExportOptions  # noqa: E402
from quantnas_sr.export.preparation import load_for_export  # noqa: E402
from quantnas_sr.export.rewrites.byte_images import BYTES, ByteImages  # noqa: E402
from quantnas_sr.export.rewrites.channel_scales import fold_channel_scales  # noqa: E402
from quantnas_sr.export.rewrites.clear_sums import clear_sums, clearance  # noqa: E402
from quantnas_sr.images.units import converted, from_unit, to_unit  # noqa: E402
from quantnas_sr.quantization import QuantConv2d, Rounding  # noqa: E402
from quantnas_sr.upscaling import upscale  # noqa: E402

RUNTIMES = installed_runtimes()
every_runtime = pytest.mark.parametrize("runtime", RUNTIMES)
#: A convolution that reads integers, and one that writes integers of fewer than 8 bits.
READS = ["DequantizeLinear", "DequantizeLinear", "DequantizeLinear", "Conv"]
WRITES = [*READS, "QuantizeLinear", "Clip"]


def pixels(height: int, width: int, seed: int = 0) -> np.ndarray:
    """(1, 3, height, width) bytes: blocks with noise."""
    generator = np.random.default_rng(seed)
    blocks = generator.integers(0, 256, (1, 3, height // 6 + 1, width // 6 + 1)).repeat(6, 2).repeat(6, 3)
    noisy = blocks[..., :height, :width] + generator.normal(0, 8, (1, 3, height, width))
    return noisy.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> str:
    return saved(plain(), tmp_path_factory.mktemp("plain") / "net.pth")


@pytest.fixture(scope="module")
def path(weights, tmp_path_factory) -> Path:
    """The file of bytes of a plain network."""
    output = tmp_path_factory.mktemp("bytes") / "net.onnx"
    export(weights, output, io="uint8")
    return output


@pytest.fixture(scope="module")
def network(weights) -> ByteImages:
    """What is in the file, in PyTorch."""
    return load_for_export(weights, ExportOptions(io="uint8"))


def test_the_file_is_one_chain_of_integers_and_one_sum(path):
    model = onnx.load(str(path))
    kinds = [node.op_type for node in model.graph.node]
    tail = ["Gather", "DequantizeLinear", "Add", "QuantizeLinear", "DepthToSpace"]
    assert kinds == [*WRITES * 3, *READS, *tail]
    (image,), (result,) = model.graph.input, model.graph.output
    assert [value.type.tensor_type.elem_type for value in (image, result)] == [onnx.TensorProto.UINT8] * 2
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert said["quantnas_sr.io"] == "uint8"
    first = next(node for node in model.graph.node if node.op_type == "Conv")
    source = {output: node for node in model.graph.node for output in node.output}
    assert source[first.input[0]].input[0] == "lq", "the bytes are the first layer's integers"


@pytest.mark.parametrize("size", [(1, 1), (3, 7), (17, 33), (41, 50)], ids=str)
def test_pytorch_and_the_runtimes_make_the_same_bytes(size, path, network):
    given = pixels(*size)
    with torch.inference_mode():
        expected = from_unit(network(torch.from_numpy(to_unit(given))).numpy(), np.uint8)
        assert np.array_equal(expected, from_unit(network.double()(torch.from_numpy(given / 255)).numpy(), np.uint8))
        network.float()
    for runtime in RUNTIMES:
        assert np.array_equal(open_network(path, runtime)(given), expected), runtime


def test_they_are_those_of_the_checkpoint_but_for_sums_on_a_border(path, weights):
    given = pixels(40, 31)
    as_trained = from_unit(open_network(weights)(to_unit(given)), np.uint8)
    assert (open_network(path)(given) != as_trained).mean() < 1e-2


@every_runtime
def test_tiles_are_the_whole(path, runtime):
    run = open_network(path, runtime)
    image = pixels(45, 52)[0].transpose(1, 2, 0)
    whole = upscale(image, run, tile=64)
    assert whole.dtype == np.uint8 and np.array_equal(whole, run(image.transpose(2, 0, 1)[None])[0].transpose(1, 2, 0))
    assert np.array_equal(upscale(image, run, tile=2 * run.halo + 13), whole)


def test_images_of_any_kind_become_bytes_first(path):
    run, image = open_network(path), pixels(12, 9)[0].transpose(1, 2, 0)
    whole = upscale(image, run)
    assert run.pixels == np.uint8
    floats = upscale(to_unit(image), run)
    assert floats.dtype == np.float32 and np.array_equal(from_unit(floats, np.uint8), whole)
    assert np.array_equal(upscale(converted(image, np.dtype(np.uint16)), run), whole.astype(np.uint16) * 257)
    assert upscale(image[..., 0], run).shape == (24, 18)
    alpha = np.dstack([image, np.full((12, 9), 255, np.uint8)])
    assert np.array_equal(upscale(alpha, run)[..., :3], whole)


def test_a_network_that_does_not_read_bytes_rounds_them_as_pytorch_does(tmp_path):
    torch.manual_seed(0)
    espcn = settled(QuantizedArch({"type": "ESPCN", "upscale": 2}, bits=4))
    written = export(saved(espcn, tmp_path / "net.pth"), tmp_path / "net.onnx", io="uint8")
    assert [found.runtime for found in written.agreements] == RUNTIMES
    assert all(found.off <= 1e-3 for found in written.agreements)
    kinds = [node.op_type for node in onnx.load(str(tmp_path / "net.onnx")).graph.node]
    first = kinds.index("Conv")
    assert kinds[0] == "DequantizeLinear" and kinds[:first].count("QuantizeLinear") == 1


# --- what is changed in a network


def test_channel_scales_move_into_the_layer_before_and_nothing_else_changes():
    network, x = plain(), torch.from_numpy(to_unit(pixels(14, 11)))
    read = [layer for layer in layers(network) if layer.scales_channels]
    integers = [layer.weight_quantizer.to_int(layer.scaled_weight()) for layer in layers(network)]
    assert len(read) == 3
    with torch.no_grad():
        expected = network(x)
        folded = fold_channel_scales(network)(x)
    assert not any(layer.scales_channels for layer in layers(network))
    for before, layer in zip(integers, layers(network)):
        assert torch.equal(layer.weight_quantizer.to_int(layer.scaled_weight()), before)
    torch.testing.assert_close(folded, expected, atol=1e-5, rtol=1e-5)


def test_weights_between_two_integers_stay_what_they_were_rounded_to():
    """Trained weights gather there; the last bit of a division by a channel scale must not decide anew."""
    network = plain()
    with torch.no_grad():
        for layer in layers(network):
            halves = (layer.weight / layer.weight_quantizer.step).round() + 0.5
            between = halves * layer.weight_quantizer.step * (1 + 6e-8 * torch.randint(-2, 3, halves.shape))
            layer.weight.copy_(between if layer.channel_scale is None else between / layer.channel_scale.view(-1, 1, 1))
            unit = layer.weight_quantizer.step.flatten() * layer.input_quantizer.step
            layer.bias.copy_(layer.bias.sign() * unit * 2.5)
    integers = [layer.weight_quantizer.to_int(layer.scaled_weight()) for layer in layers(network)]
    biases = [bias_of(layer) for layer in layers(network)]
    for before, bias, layer in zip(integers, biases, layers(fold_channel_scales(network))):
        assert torch.equal(layer.weight_quantizer.to_int(layer.scaled_weight()), before)
        assert torch.equal(bias_of(layer), bias)


def bias_of(layer: QuantConv2d) -> torch.Tensor:
    unit = layer.weight_quantizer.step.flatten() * layer.input_quantizer.step
    return (layer.quantized_bias() / unit).detach().round()


def test_channel_scales_stay_where_something_else_reads_the_layer_before():
    torch.manual_seed(0)
    arch = {"type": "MSRResNet", "num_feat": 8, "num_block": 1, "upscale": 2}
    network = settled(QuantizedArch(arch, bits=8))
    for layer in layers(network):
        layer.channel_scale.uniform_(0.5, 2.0)
    x = torch.rand(1, 3, 12, 9)
    with torch.no_grad():
        expected = network(x)
        found = fold_channel_scales(network)(x)
    kept = {name for name, module in network.named_modules() if module in layers(network) and module.scales_channels}
    assert "network.body.0.conv1" in kept and "network.body.0.conv2" not in kept
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_a_sum_on_a_border_is_seen():
    rounding = Rounding(1.0, 0, 2)
    on_border, clear = 0.5, 0.4  # 0.5 * 1 is between 0 and 1; 0.4 * a never is
    found = clearance(np.array([on_border, clear]), 10.0, rounding, with_image=False)
    assert found[0] == 0 and found[1] > 1
    assert clearance(np.array([0.5]), 0.2, Rounding(1.0, 0, 1), with_image=False)[0] == 0
    assert np.isinf(clearance(np.array([1e-3]), 10.0, rounding, with_image=False)[0]), "no sum is so large"


def test_no_sum_of_a_plain_network_is_on_a_border_and_the_integers_stay():
    network = fold_channel_scales(plain())
    integers = [layer.weight_quantizer.to_int(layer.scaled_weight()) for layer in layers(network)]
    steps = [layer.weight_quantizer.step.clone() for layer in layers(network)]
    clear_sums(ByteImages(network).eval())
    for before, weight, layer, reader in zip(steps, integers, layers(network), [*layers(network)[1:], None]):
        assert torch.equal(layer.weight_quantizer.to_int(layer.scaled_weight()), weight)
        step = layer.weight_quantizer.step
        torch.testing.assert_close(step, before, rtol=2e-3, atol=0)
        rounding = reader.input_quantizer.rounding() if reader else BYTES
        given = layer.input_quantizer.rounding()
        terms = weight.detach().abs().flatten(1).sum(1).numpy() * given.highest
        for factor, most in zip(step.flatten().double().detach().numpy() * given.step / rounding.step, terms):
            assert clearance(np.array([factor]), most, rounding, with_image=reader is None)[0] > 0.5
