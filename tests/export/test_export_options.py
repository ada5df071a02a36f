"""The options of an export: every word and every combination is checked, and what is written says what it is."""

from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import saved

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

import onnx  # noqa: E402
from export_equality import settled  # noqa: E402

from quantnas_sr.archs.quantized_arch import QuantizedArch  # noqa: E402
from quantnas_sr.benchmark.timing import timed_process  # noqa: E402
from quantnas_sr.deploy.runtimes import open_network  # noqa: E402
from quantnas_sr.errors import OptionError, QuantNASError  # noqa: E402
from quantnas_sr.export.exporting import export  # noqa: E402
from quantnas_sr.export.onnx_graph.onnx_file import build_model  # noqa: E402
from quantnas_sr.export.options import ExportOptions  # noqa: E402
from quantnas_sr.upscaling import upscale  # noqa: E402
from quantnas_sr.values.arguments import parse_memory, parse_positive, parse_size  # noqa: E402


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    network = settled(QuantizedArch({"type": "ESPCN", "upscale": 2}, bits=4))
    return saved(network, tmp_path_factory.mktemp("espcn") / "net.pth")


@pytest.mark.parametrize(
    "options, said",
    [
        ({"adq": "Static"}, "adq: unknown form 'Static', did you mean 'static'? Allowed: dynamic, static"),
        ({"adq": None}, "adq: unknown form 'None'"),
        ({"adq": ["static"]}, "adq: unknown form"),
        ({"outputs": "uint8"}, "outputs: unknown form 'uint8', did you mean 'int8'? Allowed: float, int8"),
        ({"outputs": 8}, "outputs: unknown form '8'"),
        ({"weights_format": "int-4"}, "weights_format: unknown format 'int-4', did you mean 'int4'?"),
        ({"weights_format": 4}, "weights_format: unknown format '4'"),
        ({"param_key": "params-ema"}, "param_key: unknown key 'params-ema', did you mean 'params_ema'?"),
        ({"quantized": "no"}, "quantized: 'no' is neither True nor False"),
        ({"quantized": 1}, "quantized: 1 is neither True nor False"),
        ({"images": 3}, "images: 3 is not the path of a folder"),
        ({"images": ""}, "images: '' is not the path of a folder"),
        ({"calibration": True, "adq": "static"}, "calibration: True is not the path of a folder"),
        ({"command": ["quantnas"]}, "command: ['quantnas'] is not text"),
        ({"output": "int8"}, "export: unknown option 'output', did you mean 'outputs'?"),
        ({"weight_format": "int4"}, "did you mean 'weights_format'?"),
        ({"quantized": False, "outputs": "int8"}, "outputs: int8 is not for the float baseline"),
        ({"quantized": False, "weights_format": "int4"}, "weights_format: int4 is not for the float baseline"),
        ({"io": "unit8"}, "io: unknown kind 'unit8', did you mean 'uint8'? Allowed: float, uint8"),
        ({"io": None}, "io: unknown kind 'None'"),
        ({"static": "180"}, "static 180: not a size. Allowed: WIDTHxHEIGHT in pixels, such as 320x180"),
        ({"static": (320, 180)}, "static (320, 180): not a size"),
        ({"static": "4097x8"}, "static: 4097x8 is too large. Allowed: sides of at most 4096"),
        ({"symmetric": 1}, "symmetric: 1 is neither True nor False"),
        ({"opset": 12}, "opset: 12 is not a version. Allowed: 13 to 21"),
        ({"opset": True}, "opset: True is not a version"),
        ({"opset": "17"}, "opset: '17' is not a version"),
        ({"opset": 17.0}, "opset: 17.0 is not a version"),
        ({"opset": 20, "weights_format": "int4"}, "opset: 20 has no 4-bit integers. Allowed with int4: 21"),
        ({"symmetric": True, "io": "uint8"}, "io: uint8 is not for symmetric files"),
        ({"symmetric": True, "quantized": False}, "symmetric: True is not for the float baseline"),
        ({"calibration": "."}, "calibration: is for `--adq static` and `--outputs int8` only"),
    ],
    ids=str,
)
def test_an_option_that_cannot_be_is_one_line_and_nothing_is_written(options, said, weights, tmp_path):
    given = dict(options)
    output = given.pop("output", None)
    with pytest.raises(OptionError) as error:
        if output is None:
            export(weights, tmp_path / "net.onnx", **given)
        else:
            ExportOptions.of(options)
    assert said in str(error.value) and "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("weights, output", [(None, "net.onnx"), ("", "net.onnx"), (3, "net.onnx"), ("net.pth", None)])
def test_paths_that_cannot_be_are_one_line(weights, output):
    with pytest.raises(
        OptionError, match="^weights: .* is not the path of a .pth|^output: 'None' does not end in .onnx"
    ):
        export(weights, output)


def test_options_do_not_change_and_keywords_go_over_them():
    options = ExportOptions(adq="static")
    with pytest.raises(FrozenInstanceError):
        options.adq = "dynamic"
    with pytest.raises(OptionError, match="adq: unknown form"):
        export("net.pth", "net.onnx", options, adq="statik")


def test_the_metadata_say_what_was_asked_for_and_what_is_packed_is_counted(weights, tmp_path):
    options = ExportOptions(outputs="int8", weights_format="int4", command="quantnas export")
    written = export(weights, tmp_path / "net.onnx", options)
    model = onnx.load(str(tmp_path / "net.onnx"))
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert (said["quantnas_sr.outputs"], said["quantnas_sr.command"]) == ("int8", "quantnas export")
    packed = [value for value in model.graph.initializer if value.data_type == onnx.TensorProto.INT4]
    assert written.packed == len(packed) == written.convolutions == 3


def test_a_format_of_weights_that_does_not_exist_is_refused_by_the_graph_too(weights):
    with pytest.raises(OptionError, match="did you mean 'int4'"):
        build_model(torch.nn.Identity(), weights_format="int_4")


# --- numbers and words of the other entries


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, "two"])
def test_threads_are_a_positive_number(threads, weights):
    with pytest.raises(OptionError, match=rf"threads {threads}: not a positive number"):
        open_network(weights, threads=threads)
    with (
        pytest.raises(OptionError, match="not a positive number"),
        timed_process(Path(weights), "openvino", threads, (8, 8)),
    ):
        pass


@pytest.mark.parametrize("runtime", ["openvinno", "", None, 3])
def test_a_runtime_that_does_not_exist_is_one_line(runtime, weights):
    with pytest.raises(OptionError, match="unknown runtime"):
        open_network(weights, runtime)
    with pytest.raises(OptionError, match="unknown runtime"), timed_process(Path(weights), runtime, 1, (8, 8)):
        pass


@pytest.mark.parametrize("size", [(0, 8), (8, -1), (8, 1.5)])
def test_sides_of_a_timed_image_are_positive(size, weights):
    with pytest.raises(OptionError, match="not a positive number"), timed_process(Path(weights), "openvino", 1, size):
        pass


@pytest.mark.parametrize(
    "option",
    [{"tile": 0}, {"tile": -3}, {"tile": 2.5}, {"tile": "all"}, {"memory": 0}, {"memory": -1}, {"memory": "x"}],
)
def test_tile_and_memory_are_positive(option, weights):
    ((name, value),) = option.items()
    with pytest.raises(QuantNASError, match=rf"^{name} {value}: not a"):
        upscale(np.zeros((4, 4, 3), np.uint8), weights, **option)


def test_memory_may_be_words_and_a_tile_any_integer(weights):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    whole = upscale(pixels, weights, memory="1.5G")
    assert np.array_equal(upscale(pixels, weights, tile=np.int64(18)), whole)


@pytest.mark.parametrize(
    "text", ["320", "0x5", "5x0", "4x-5", "x", "3x4x5", "３x４", "1.5x2", " 3x4", "", None, "1x" + "9" * 40]
)
def test_what_is_no_size_is_one_line(text):
    with pytest.raises(OptionError, match="not a size. Allowed: WIDTHxHEIGHT in pixels, such as 320x180"):
        parse_size(text, "--sizes")


def test_sizes_numbers_and_memory_are_read():
    assert parse_size("320x180") == (320, 180)
    assert [parse_positive(value) for value in (7, "7", " 7 ", np.int32(7))] == [7] * 4
    assert [parse_memory(value) for value in (1024, "1K", "1 KiB", 1024.0)] == [1024] * 4
