"""`quantnas export`: what it writes computes what PyTorch computes, in every runtime, and bad input gets one line."""

import functools
import itertools
import json
import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

import onnx  # noqa: E402
import onnx_ir  # noqa: E402
from basicsr.utils.registry import ARCH_REGISTRY  # noqa: E402
from export_equality import Summary, cases, exported, settled  # noqa: E402
from networks import saved  # noqa: E402

from quantnas_sr import cli  # noqa: E402
from quantnas_sr.archs.quantized_arch import QuantizedArch  # noqa: E402
from quantnas_sr.deploy.opening import exact_runtimes  # noqa: E402
from quantnas_sr.deploy.packages import installed_runtimes  # noqa: E402
from quantnas_sr.deploy.runtimes import open_network  # noqa: E402
from quantnas_sr.errors import DataError  # noqa: E402
from quantnas_sr.export.check import agreement, check  # noqa: E402
from quantnas_sr.export.exporting import export  # noqa: E402
from quantnas_sr.export.layer_check import rounded_values  # noqa: E402
from quantnas_sr.export.modules import _node  # noqa: E402
from quantnas_sr.export.onnx_graph import onnx_file  # noqa: E402
from quantnas_sr.export.onnx_graph.graph import trace  # noqa: E402
from quantnas_sr.export.onnx_graph.lowering import Lowering  # noqa: E402
from quantnas_sr.export.onnx_graph.onnx_file import build_model  # noqa: E402
from quantnas_sr.export.onnx_graph.space_to_depth import fold_both, fold_kernel  # noqa: E402
from quantnas_sr.export.preparation import SYNTHETIC  # noqa: E402
from quantnas_sr.export.rounded_outputs import RoundedOutput, real_outputs, round_outputs  # noqa: E402
from quantnas_sr.export.sample_images import tensors  # noqa: E402
from quantnas_sr.export.static_adq import StaticADQ, calibrated, make_static, statistics  # noqa: E402
from quantnas_sr.quantization import QuantConv2d, calibrate_inputs, observe_inputs  # noqa: E402
from quantnas_sr.search_space import Choice, DerivedNetwork, Genotype, get_search_space  # noqa: E402
from quantnas_sr.upscaling import upscale  # noqa: E402

RUNTIMES = installed_runtimes()
#: What exports say that they were made with.
COMMAND = "quantnas export a b"
#: `python benchmarks/export_equality.py --count 200` tries more of them.
SMALL = [case for case in itertools.islice(cases(), 20) if case.genotype.num_feat == 12][:1]


@pytest.fixture(scope="module")
def basic(tmp_path_factory):
    """A checkpoint of the basic space with ADQ, in which convolutions of 8, 4 and 2 bits meet."""
    slots = get_search_space("basic").slots(4, 12, 1)
    widths = dict(zip(slots, (8, 8, 4, 8, 8, 2, 8, 4)))
    genotype = Genotype("basic", 4, 12, 1, "adq", {name: Choice("simple_3x3", widths.get(name, 8)) for name in slots})
    return saved(settled(DerivedNetwork(genotype)), tmp_path_factory.mktemp("basic") / "net.pth")


@pytest.fixture(scope="module")
def file_of_basic(basic, tmp_path_factory):
    """Exports `basic` with given options, once for all tests; returns the path of the file."""

    @functools.cache
    def path(**options):
        output = tmp_path_factory.mktemp("exported") / "net.onnx"
        export(basic, str(output), command=COMMAND, **options)
        return output

    return path


def image(height, width, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (1, 3, height, width))
    return pixels.astype(np.float32) / np.float32(255)


def one_image(folder):
    """A folder with one small image; with the four of 96x96 that there are without it, exports are checked longer."""
    folder.mkdir(exist_ok=True)
    cv2.imwrite(str(folder / "a.png"), (255 * image(24, 24)[0]).transpose(1, 2, 0).astype(np.uint8))
    return str(folder)


# --- the same pixels


@pytest.mark.parametrize("case", SMALL, ids=lambda case: str(case.number))
def test_every_runtime_computes_what_pytorch_computes(case, tmp_path):
    assert [agreement.runtime for agreement in exported(case, tmp_path)] == RUNTIMES
    assert open_network(tmp_path / "net.onnx").scale == case.genotype.scale


def test_the_networks_that_are_tried_have_every_operation_at_every_width():
    summary = Summary()
    summary.tried = list(itertools.islice(cases(), 200))
    said = str(summary)
    assert "not among them" not in said
    assert re.findall(r"with their widths (\d+) of (\d+)", said) == [("296", "296"), ("296", "296")]


@pytest.mark.parametrize(
    "arch",
    [
        {"type": "MSRResNet", "num_feat": 8, "num_block": 1, "upscale": 3},
        {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_block": 1, "upscale": 2},
    ],
    ids=lambda arch: arch["type"],
)
def test_any_network_leaves_with_its_own_checkpoint(arch, tmp_path):
    network = QuantizedArch(arch, bits=8)
    observe_inputs(network)
    network(torch.rand(2, 3, 24, 24))
    calibrate_inputs(network)
    assert any((layer.channel_scale != 1).any() for _, layer in network.quantized_layers())
    settled(network)
    export(saved(network, tmp_path / "net.pth"), str(tmp_path / "net.onnx"))
    path, images = tmp_path / "net.onnx", [image(20, 33), image(2, 3)]
    check(network, path, exact_runtimes(path, RUNTIMES), images)
    with torch.no_grad():
        expected = [network(torch.from_numpy(x)).numpy() for x in images]
    for runtime in RUNTIMES:
        assert agreement(runtime, expected, map(open_network(path, runtime), images)).equal > 0.9, runtime


def test_batches_and_sizes_are_free(file_of_basic):
    batch = np.concatenate([image(21, 18, seed) for seed in range(3)])
    for runtime in RUNTIMES:
        run = open_network(file_of_basic(), runtime)
        together, alone = run(batch), np.concatenate([run(single[None]) for single in batch])
        assert together.shape == (3, 3, 84, 72)
        np.testing.assert_allclose(together, alone, atol=1e-4)


def test_the_float_twin_computes_the_network_without_quantizers(basic, file_of_basic):
    from quantnas_sr.checkpoints import load_network
    from quantnas_sr.quantization import set_quantize

    path = file_of_basic(quantized=False)
    network = load_network(basic)
    set_quantize(network, False)
    x = image(15, 22)
    with torch.no_grad():
        expected = network(torch.from_numpy(x)).numpy()
    for runtime in RUNTIMES:
        np.testing.assert_allclose(open_network(path, runtime)(x), expected, atol=1e-4)
    kinds = {node.op_type for node in onnx.load(str(path)).graph.node}
    assert not kinds & {"QuantizeLinear", "DequantizeLinear"}


# --- outputs of 8 bits


def rounded_export(network, tmp_path, **options):
    """The exported file, and the network that PyTorch should compute it with."""
    path = tmp_path / "net.onnx"
    export(saved(network, tmp_path / "net.pth"), str(path), outputs="int8", **options)
    return path, round_outputs(network, tensors(None, None, SYNTHETIC))


@pytest.mark.parametrize("arch", ["RFDN", "EDSR"])
def test_rounded_outputs_are_pytorchs_and_every_rounding_is_looked_at(arch, tmp_path):
    options = {"num_feat": 8, "num_block": 1, "upscale": 2}
    options.update({"num_in_ch": 3, "num_out_ch": 3} if arch == "EDSR" else {})
    torch.manual_seed(0)
    network = settled(QuantizedArch({"type": arch, **options}, bits=4 if arch == "EDSR" else 8))
    path, network = rounded_export(network, tmp_path)
    graph = onnx.load(str(path)).graph
    roundings = {name for name, module in network.named_modules() if isinstance(module, RoundedOutput)}
    assert roundings and roundings <= rounded_values(graph).keys()
    check(network, path, RUNTIMES, [image(20, 33)])


@ARCH_REGISTRY.register()
class ActivatedSum(torch.nn.Module):
    """A sum of rounded outputs that is rounded behind an activation function."""

    def __init__(self):
        super().__init__()
        self.first, self.last = torch.nn.Conv2d(3, 16, 3, padding=1), torch.nn.Conv2d(16, 12, 3, padding=1)
        self.middle = torch.nn.ModuleList([torch.nn.Conv2d(16, 16, 3, padding=1) for _ in range(3)])

    def forward(self, x):
        x = self.first(x)
        for conv in self.middle:
            x = torch.nn.functional.leaky_relu(conv(x) + x, 0.05)
        return torch.nn.functional.pixel_shuffle(self.last(x), 2)


def test_a_rounding_in_front_of_a_sum_is_not_lost(tmp_path):
    torch.manual_seed(0)
    network = settled(QuantizedArch({"type": "ActivatedSum"}, bits=8))
    path, network = rounded_export(network, tmp_path)
    x = image(48, 64)
    with torch.no_grad():
        expected = network(torch.from_numpy(x)).numpy()
    for runtime in RUNTIMES:
        found = open_network(path, runtime)(x)
        assert agreement(runtime, [expected], [found]).off <= 1e-3, runtime
        assert np.abs(found - expected).mean() < 1e-4, runtime


@pytest.mark.skipif("onnxruntime" not in RUNTIMES, reason="needs ONNX Runtime")
def test_with_rounded_outputs_onnx_runtime_has_no_float_convolution(basic, file_of_basic, tmp_path):
    import onnxruntime

    from quantnas_sr.checkpoints import load_network

    convolutions = sum(isinstance(module, QuantConv2d) for module in load_network(basic).modules())

    path = file_of_basic(outputs="int8")
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(tmp_path / "optimised.onnx"), 3
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(str(tmp_path / "optimised.onnx")).graph.node]
    assert kinds.count("QLinearConv") == convolutions > 5 and not {"Conv", "FusedConv"} & set(kinds)


def test_only_outputs_that_something_else_reads_are_rounded(basic):
    from quantnas_sr.checkpoints import load_network

    names = {name.removeprefix("skeleton.") for name in real_outputs(load_network(basic))}
    cells = {f"body.block.{i}.block.{branch}.0" for i in (0,) for branch in ("body.1", "skip")}
    assert names == cells | {"head.1.0", "upsample.0.0", "tail.block.1.0"}


# --- what is in the file


def test_weights_are_integers_and_the_file_says_where_it_comes_from(file_of_basic):
    model = onnx.load(str(file_of_basic()))
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    weights = {i.name: i for i in model.graph.initializer}
    source = {output: node for node in model.graph.node for output in node.output}
    for node in convolutions:
        dequantize = source[node.input[1]]
        assert dequantize.op_type == "DequantizeLinear"
        assert weights[dequantize.input[0]].data_type == onnx.TensorProto.INT8
    assert not {node.op_type for node in model.graph.node} & {"BatchNormalization"}
    assert {node.domain for node in model.graph.node} == {""}
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert (said["quantnas_sr.scale"], said["quantnas_sr.adq"], said["quantnas_sr.halo"]) == ("4", "dynamic", "")
    assert json.loads(said["quantnas_sr.bits"]) == [2, 4, 8]
    assert said["quantnas_sr.command"] == COMMAND
    assert (
        Genotype.from_dict(json.loads(said["quantnas_sr.genotype"]))
        == DerivedNetwork(json.loads(said["quantnas_sr.genotype"])).genotype
    )


@pytest.mark.parametrize(
    "options", [{}, {"outputs": "int8"}, {"weights_format": "int4"}, {"quantized": False}], ids=str
)
def test_a_file_holds_its_constants_once_and_little_else(options, file_of_basic):
    """No shapes of intermediate values, notes of the exporter or copies, and at most 100 bytes for each node.

    Only zero points of weights are copies, see `graph.write`.
    """
    path = file_of_basic(**options)
    model = onnx.load(str(path))
    assert not model.graph.value_info
    assert not any(node.doc_string or node.metadata_props for node in model.graph.node)
    constants = [constant for constant in model.graph.initializer if not constant.name.endswith("_zero_points")]
    contents = [(constant.data_type, *constant.dims, constant.raw_data) for constant in constants]
    assert len(contents) == len(set(contents))
    needed = sum(len(constant.raw_data) for constant in model.graph.initializer) + sum(
        entry.ByteSize() for entry in model.metadata_props
    )
    assert path.stat().st_size - needed <= 100 * len(model.graph.node)


def test_packed_weights_take_half_the_room(tmp_path):
    slots = get_search_space("plain").slots(4, 48, 1)
    genotype = Genotype("plain", 4, 48, 1, "none", dict.fromkeys(slots, Choice("simple_3x3", 4)))
    weights = saved(settled(DerivedNetwork(genotype)), tmp_path / "net.pth")
    sizes = {}
    for kind in ("int8", "int4"):
        output = str(tmp_path / f"{kind}.onnx")
        sizes[kind] = export(weights, output, weights_format=kind, images=one_image(tmp_path / "images")).bytes
    assert sizes["int4"] <= 0.6 * sizes["int8"]
    x = image(16, 16)
    for runtime in RUNTIMES:
        whole, packed = (open_network(tmp_path / f"{kind}.onnx", runtime)(x) for kind in ("int8", "int4"))
        assert agreement(runtime, [whole], [packed]).off <= 1e-3


@pytest.mark.parametrize("adq, outputs", [("dynamic", "float"), ("static", "int8")])
def test_images_of_test_sets_are_compared_in_every_runtime(adq, outputs, basic, tmp_path, monkeypatch, capsys):
    import export_images

    for name, side in (("LRbicx4", 24), ("GTmod4", 96)):
        (tmp_path / "Set" / name).mkdir(parents=True)
        pixels = (255 * image(side, side)[0].transpose(1, 2, 0)).astype(np.uint8)
        cv2.imwrite(str(tmp_path / "Set" / name / "a.png"), pixels)
    command = ["export_images.py", basic, str(tmp_path / "Set"), "--adq", adq, "--outputs", outputs]
    monkeypatch.setattr(sys, "argv", command)
    export_images.main()
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| Set")]
    assert [row[1] for row in rows] == ["PyTorch", "PyTorch, float64", *RUNTIMES]
    assert rows[0][3:] == ["100.000", "0.0000", "0"]
    for row in rows:
        assert float(row[2]) == pytest.approx(float(rows[0][2]), abs=0.01)
        assert float(row[4]) <= 0.1


class Spread(torch.nn.Module):
    """The image times the standard deviation of 36 channels that are made of it."""

    def __init__(self, mean):
        super().__init__()
        self.register_buffer("weight", torch.randn(36, 3, 1, 1))
        self.mean = mean

    def channels(self, x):
        return torch.nn.functional.conv2d(x, self.weight) + self.mean

    def forward(self, x):
        return x * _node("Std", (self.channels(x),), (x.shape[0], 1, 1, 1))


@pytest.mark.parametrize("mean", [0.0, 5.0])
def test_the_deviation_of_a_large_image_is_exact_in_every_runtime(mean, tmp_path):
    network, x = Spread(mean), image(180, 320)
    model = trace(network)
    Lowering(model).run()
    model.metadata_props.update({"quantnas_sr.scale": "1", "quantnas_sr.halo": ""})
    onnx_ir.save(model, tmp_path / "std.onnx")
    expected = float(network.channels(torch.from_numpy(x)).double().std())
    for runtime in RUNTIMES:
        found = open_network(tmp_path / "std.onnx", runtime)(x).sum(dtype=float) / x.sum(dtype=float)
        assert found == pytest.approx(expected, rel=1e-6), runtime


# --- static ADQ and tiles


@pytest.mark.parametrize("norm", ["adq", "adadm"])
def test_static_adq_is_adq_where_the_deviation_is_the_constant(norm):
    slots = get_search_space("basic").slots(2, 12, 1)
    genotype = Genotype("basic", 2, 12, 1, norm, {name: Choice("simple_3x3", 8) for name in slots})
    network, x = settled(DerivedNetwork(genotype)), torch.from_numpy(image(20, 20))
    with torch.no_grad():
        expected = network(x)
        stds = calibrated(network, [x])
        assert stds.keys() == statistics(network).keys() and len(stds) == 3
        static = make_static(network, stds)
        torch.testing.assert_close(static(x), expected, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(static(x / 4), network.skeleton.head(x / 4).mean())
    assert sum(isinstance(module, StaticADQ) for module in static.modules()) == 3


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_with_static_adq_tiles_are_the_whole(file_of_basic, runtime):
    run, rng = open_network(file_of_basic(adq="static"), runtime), np.random.default_rng(0)
    assert run.halo is not None
    for _ in range(10):
        height, width, tile = rng.integers(40, 90, 3)
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        whole, tiled = upscale(pixels, run, tile=200), upscale(pixels, run, tile=int(tile) + 2 * run.halo)
        assert np.array_equal(whole, tiled)


def test_calibration_images_set_the_constants(basic, tmp_path):
    import cv2

    outputs = []
    for name, strength in (("dark", 20), ("bright", 255)):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "a.png"), np.random.default_rng(0).integers(0, strength, (30, 30, 3)))
        export(basic, str(tmp_path / f"{name}.onnx"), adq="static", calibration=str(tmp_path / name))
        outputs.append(open_network(tmp_path / f"{name}.onnx")(image(16, 16)))
    assert np.abs(outputs[0] - outputs[1]).max() > 1e-3


# --- folding


@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (5, 5), (7, 3), (1, 9)])
@pytest.mark.parametrize("block", [2, 3, 4])
def test_folded_kernels_compute_blocks(kernel, block):
    torch.manual_seed(0)
    weight = torch.randn(3, 5, *kernel, dtype=torch.float64)
    x = torch.randn(2, 5, 6 * block, 4 * block, dtype=torch.float64)
    padding = [side // 2 for side in kernel]
    expected = torch.nn.functional.conv2d(x, weight, padding=padding)
    folded = torch.from_numpy(fold_kernel(weight.numpy(), (block, block)))
    blocks = torch.nn.functional.conv2d(x, folded, stride=block, padding=padding)
    torch.testing.assert_close(torch.nn.functional.pixel_shuffle(blocks, block), expected)
    both = torch.from_numpy(fold_both(weight.numpy(), block))
    unshuffled = torch.nn.functional.pixel_unshuffle(x, block)
    blocks = torch.nn.functional.conv2d(unshuffled, both, padding=[side // 2 for side in both.shape[2:]])
    torch.testing.assert_close(torch.nn.functional.pixel_shuffle(blocks, block), expected)


def test_folding_leaves_one_float_shuffle_and_changes_no_number(basic):
    import onnx_ir as ir
    import onnxruntime

    from quantnas_sr.checkpoints import load_network

    outputs = []
    for folds in (True, False):
        model = build_model(load_network(basic), folds=folds)
        proto = ir.to_proto(model)
        shuffles = [node for node in proto.graph.node if node.op_type == "DepthToSpace"]
        assert len(shuffles) == (2 if folds else 1)
        session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
        outputs.append(session.run(None, {"lq": image(19, 23)})[0])
    assert agreement("onnxruntime", [outputs[0]], [outputs[1]]).off <= 1e-3


def test_a_1x1_convolution_is_not_folded_which_would_multiply_its_work():
    slots = get_search_space("basic").slots(4, 12, 1)
    choices = {name: Choice("simple_1x1" if name == "tail_1" else "simple_3x3", 8) for name in slots}
    network = settled(DerivedNetwork(Genotype("basic", 4, 12, 1, "adq", choices)))
    convolutions = [node for node in build_model(network).graph if node.op_type == "Conv"]
    assert all(list(node.attributes["strides"].as_ints()) == [1, 1] for node in convolutions)


# --- what is refused


def complaint(capsys, *arguments):
    assert cli.main(["export", *map(str, arguments)]) == 1
    said = capsys.readouterr().err.strip()
    assert "\n" not in said and said.startswith("quantnas: ")
    return said


def refused(name):
    return {
        "missing": ("nowhere.pth", "net.onnx", "nowhere.pth"),
        "no_checkpoint": (__file__, "net.onnx", "not a checkpoint"),
        "suffix": (None, "net.pb", "does not end in .onnx or .tflite"),
        "folder": (None, "folder.onnx", "is a folder"),
    }[name]


@pytest.mark.parametrize("name", ["missing", "no_checkpoint", "suffix", "folder"])
def test_bad_input_gets_one_line_and_leaves_nothing(name, basic, tmp_path, capsys):
    weights, output, said = refused(name)
    (tmp_path / "folder.onnx").mkdir()
    before = sorted(tmp_path.iterdir())
    assert said in complaint(capsys, weights or basic, tmp_path / output)
    assert sorted(tmp_path.iterdir()) == before


def test_a_float_checkpoint_is_refused(tmp_path, capsys):
    torch.save({"params": {"weight": torch.zeros(3)}}, tmp_path / "float.pth")
    assert "carries no genotype" in complaint(capsys, tmp_path / "float.pth", tmp_path / "net.onnx")


def test_static_adq_needs_adq_and_calibration_needs_static(basic, tmp_path, capsys):
    slots = get_search_space("basic").slots(2, 12, 1)
    genotype = Genotype("basic", 2, 12, 1, "batch", {name: Choice("simple_1x1", 8) for name in slots})
    plain = saved(settled(DerivedNetwork(genotype)), tmp_path / "net.pth")
    assert "has no ADQ" in complaint(capsys, plain, tmp_path / "net.onnx", "--adq", "static")
    assert "for `--adq static` and `--outputs int8` only" in complaint(
        capsys, basic, tmp_path / "net.onnx", "--calibration", tmp_path
    )
    said = complaint(capsys, basic, tmp_path / "net.onnx", "--adq", "static", "--calibration", tmp_path)
    assert "no image there" in said
    (tmp_path / "broken.png").write_bytes(b"no")
    said = complaint(capsys, basic, tmp_path / "net.onnx", "--adq", "static", "--calibration", tmp_path)
    assert "broken.png: not an image" in said


def test_activations_that_were_never_calibrated_are_refused(tmp_path, capsys):
    torch.save({"params": QuantizedArch({"type": "ESPCN"}).state_dict()}, tmp_path / "net.pth")
    assert "net.pth: the activations have no quantization steps yet" in complaint(
        capsys, tmp_path / "net.pth", tmp_path / "net.onnx"
    )


def test_a_file_that_differs_is_not_left_and_the_layer_is_named(basic, tmp_path, capsys, monkeypatch):
    def spoiled(network, *args, **kwargs):
        model = build_model(network, *args, **kwargs)
        import onnx_ir as ir

        name = next(name for name in model.graph.initializers if "body.1.0.weight" in name)
        value = model.graph.initializers[name]
        value.const_value = ir.tensor(np.flip(value.const_value.numpy(), 0).copy(), name=name)
        return model

    monkeypatch.setattr(onnx_file, "build_model", spoiled)
    (tmp_path / "net.onnx").write_text("the old file")
    said = complaint(capsys, basic, tmp_path / "net.onnx")
    assert "computes something else" in said and "weights of skeleton.body.block.0.block.body.1.0 are other" in said
    assert (tmp_path / "net.onnx").read_text() == "the old file"
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]


def test_what_is_missing_is_named_with_its_extra(basic, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(onnx_file.importlib.util, "find_spec", lambda name: None)
    assert "pip install 'quantnas_sr[export]'" in complaint(capsys, basic, tmp_path / "net.onnx")


def test_the_command_says_how_it_agrees(basic, tmp_path, capsys):
    assert cli.main(["export", basic, str(tmp_path / "net.onnx")]) == 0
    printed = capsys.readouterr().out
    assert all(f"{runtime}: " in printed for runtime in RUNTIMES)
    assert f"wrote {Path(tmp_path / 'net.onnx')}" in printed
    with pytest.raises(DataError, match="was not written by quantnas export"):
        open_network(_foreign(tmp_path))


def _foreign(folder):
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    other = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "g", [value], [other])), folder / "foreign.onnx")
    return folder / "foreign.onnx"
