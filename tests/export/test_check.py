"""The check of an exported file: every image, every layer, every call of a layer; and its words are true."""

from pathlib import Path
from typing import Callable, List, Tuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

import onnx  # noqa: E402
from basicsr.utils.registry import ARCH_REGISTRY  # noqa: E402
from export_equality import settled  # noqa: E402
from networks import saved  # noqa: E402

from quantnas_sr.archs.quantized_arch import QuantizedArch  # noqa: E402
from quantnas_sr.deploy import runtimes as running  # noqa: E402
from quantnas_sr.deploy.packages import installed_runtimes  # noqa: E402
from quantnas_sr.errors import DataError  # noqa: E402
from quantnas_sr.export import layer_check  # noqa: E402
from quantnas_sr.export.check import TOLERANCE, Agreement, check  # noqa: E402
from quantnas_sr.export.exporting import export  # noqa: E402
from quantnas_sr.export.layer_check import _off, rounded_values  # noqa: E402
from quantnas_sr.export.onnx_graph.onnx_file import build_model  # noqa: E402
from quantnas_sr.export.preparation import SYNTHETIC  # noqa: E402
from quantnas_sr.export.rounded_outputs import round_outputs  # noqa: E402
from quantnas_sr.export.sample_images import tensors  # noqa: E402

RUNTIMES = installed_runtimes()
Image = np.ndarray


@ARCH_REGISTRY.register()
class Recurrent(nn.Module):
    """Calls one convolution several times, at several places of the network, or with equal inputs."""

    def __init__(
        self, calls: int = 2, padding_mode: str = "zeros", places: int = 0, twins: bool = False, after: int = 0
    ) -> None:
        super().__init__()
        self.calls, self.twins, self.after = calls, twins, after
        if after:
            self.large = nn.Conv2d(3, 3, 3, padding=1)
        self.head, self.tail = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 12, 3, padding=1)
        self.body = nn.Conv2d(6, 6, 3, padding=1, padding_mode=padding_mode)
        self.places = nn.ModuleList([nn.Sequential(self.body, nn.LeakyReLU(0.1)) for _ in range(places)])

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 3, 2 * H, 2 * W)."""
        x = self.head(x)
        if self.twins:
            _ = self.body(x - 1)  # which nothing reads
            x = self.body(x) * self.body(x).sigmoid() + x
        for _ in range(self.calls):
            x = nn.functional.leaky_relu(self.body(x), 0.1) + x
        for place in self.places:
            x = place(x) + x
        x = nn.functional.pixel_shuffle(self.tail(x), 2)
        for _ in range(self.after):  # which space-to-depth computes before the shuffle
            x = self.large(x) + x
        return x


def recurrent(**options: object) -> QuantizedArch:
    torch.manual_seed(0)
    return settled(QuantizedArch({"type": "Recurrent", **options}, bits=8))


def images(count: int = 3, height: int = 17, width: int = 22) -> List[Image]:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 1, 3, height, width))
    return list(pixels.astype(np.float32) / np.float32(255))


@pytest.fixture(scope="module")
def network() -> QuantizedArch:
    return recurrent(calls=2)


@pytest.fixture(scope="module")
def path(network: QuantizedArch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported file of `network`."""
    folder = tmp_path_factory.mktemp("recurrent")
    export(saved(network, folder / "net.pth"), folder / "net.onnx")
    return folder / "net.onnx"


# --- every image


def spoiled(change: Callable[[int, Image], Image]) -> Callable[..., Callable[[Image], Image]]:
    """A runtime whose images are changed: a function of the number of the image and the image."""

    def open_network(path: Path, runtime: str) -> Callable[[Image], Image]:
        run, seen = ORIGINAL(path, runtime), []

        def upscale(image: Image) -> Image:
            seen.append(image)
            return change(len(seen) - 1, run(image))

        return upscale

    return open_network


ORIGINAL = running.open_network


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    "change",
    [
        lambda number, made: 1 - made if number else made,
        lambda number, made: 1 - made if number == 2 else made,
        lambda number, made: made[..., ::-1] if number == 1 else made,
        lambda number, made: made + np.float32(2 / 255) if number else made,
        lambda number, made: made * np.float32("nan") if number == 2 else made,
        lambda number, made: made[..., 1:] if number == 1 else made,
    ],
    ids=["inverted later", "the last inverted", "the second mirrored", "brighter later", "NaN", "of another size"],
)
def test_a_runtime_that_spoils_a_later_image_is_refused(change, runtime, network, path, monkeypatch):
    monkeypatch.setattr(running, "open_network", spoiled(change))
    with pytest.raises(DataError, match=rf"net.onnx: {runtime} computes something else of image [23]: its "):
        check(network, path, [runtime], images())


def test_a_runtime_that_returns_the_image_before_is_refused(network, path, monkeypatch):
    kept = []

    def late(number: int, made: Image) -> Image:
        kept.append(made)
        return kept[max(0, number - 1)]

    monkeypatch.setattr(running, "open_network", spoiled(late))
    with pytest.raises(DataError, match="of image 2: its output changes when intermediate tensors are requested"):
        check(network, path, RUNTIMES[:1], images())


def test_wrong_integers_of_a_later_image_are_refused_and_named(network, path, monkeypatch):
    opened = layer_check.open_session

    def open_session(*args: object, **options: object) -> Callable[[Image], object]:
        session, seen = opened(*args, **options), []

        def run(image: Image) -> object:
            seen.append(image)
            found = session(image)
            if len(seen) == 3:
                value = rounded_values(onnx.load(str(path)).graph)["network.tail"][0]
                found[value] = found[value].astype(np.int16) + 2
            return found

        run.pixels = session.pixels
        return run

    monkeypatch.setattr(layer_check, "open_session", open_session)
    said = r"of image 3: \d+\.\d+ % of the integers that network\.tail reads are wrong, by up to 2\.\d steps"
    with pytest.raises(DataError, match=said):
        check(network, path, RUNTIMES[:1], images())


def test_words_about_the_cause_are_said_of_checked_images_alone(network, path):
    for found in check(network, path, RUNTIMES, images()):
        assert found.checked == 3
    off = Agreement("openvino", 0.5, 2 * TOLERANCE, 9)
    assert "every layer" not in str(off)
    assert "every layer rounds correctly in all 4 images" in str(off._replace(checked=4))
    assert "every layer" not in str(off._replace(checked=4, off=0.0))


# --- every call


@pytest.mark.parametrize(
    "outputs, options",
    [
        ("float", {"calls": 3, "twins": True, "after": 2}),
        ("int8", {"calls": 3, "twins": True, "places": 2, "padding_mode": "reflect"}),
    ],
    ids=str,
)
def test_a_layer_that_is_called_several_times_is_exported_and_checked(options, outputs, tmp_path):
    network = recurrent(**options)
    written = export(saved(network, tmp_path / "net.pth"), tmp_path / "net.onnx", outputs=outputs)
    assert [found.runtime for found in written.agreements] == RUNTIMES
    assert all(found.equal > 0.99 for found in written.agreements)
    values = rounded_values(onnx.load(str(tmp_path / "net.onnx")).graph)
    names = [name for name in values if "body" in name or "places" in name]
    rounded = outputs == "int8"
    assert len(names) == 1 + rounded, "one layer, whatever its places"
    made = options["calls"] + options.get("places", 0)
    assert all(len(values[name]) >= made for name in names)
    assert len(values.get("network.large" + ".conv" * rounded, ())) == options.get("after", 0)
    if rounded:
        round_outputs(network, tensors(None, None, SYNTHETIC))
    check(network, tmp_path / "net.onnx", RUNTIMES, images(2, 9, 13))


def test_the_weight_of_a_layer_is_in_the_file_once(network):
    weights = [value for value in build_model(network).graph.initializers.values() if value.shape == [6, 6, 3, 3]]
    assert len(weights) == 1


@pytest.fixture(scope="module")
def of_three_calls(tmp_path_factory: pytest.TempPathFactory) -> Tuple[QuantizedArch, Path]:
    """A network that calls a layer three times, and its exported file."""
    folder, network = tmp_path_factory.mktemp("three_calls"), recurrent(calls=3)
    export(saved(network, folder / "net.pth"), folder / "net.onnx")
    return network, folder / "net.onnx"


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_wrong_integer_of_one_call_is_found_and_the_call_is_named(number, runtime, of_three_calls, tmp_path):
    network, exported = of_three_calls
    path = tmp_path / "net.onnx"
    model = onnx.load(str(exported))
    source = {output: node for node in model.graph.node for output in node.output}
    quantize = source[rounded_values(model.graph)["network.body"][number]]
    step = next(value for value in model.graph.initializer if value.name == quantize.input[1])
    wrong = onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(step) * np.float32(0.98), "wrong_step")
    model.graph.initializer.append(wrong)
    quantize.input[1] = "wrong_step"
    onnx.save(model, str(path))
    with pytest.raises(DataError, match=rf"integers that network\.body reads in call {number + 1} of 3 are wrong"):
        check(network, path, [runtime], images(1))


def test_a_wrong_integer_of_a_weight_is_found_where_no_image_shows_it(of_three_calls, tmp_path):
    network, exported = of_three_calls
    model = onnx.load(str(exported))
    (weight,) = {
        source.input[0]
        for node in model.graph.node
        for source in model.graph.node
        if node.op_type == "Conv" and node.name.startswith("network.body#") and node.input[1] in source.output
    }
    (stored,) = (constant for constant in model.graph.initializer if constant.name == weight)
    integers = onnx.numpy_helper.to_array(stored).copy()
    integers[0, 0, 0, 0] += 1 if integers[0, 0, 0, 0] < 0 else -1
    stored.CopyFrom(onnx.numpy_helper.from_array(integers, weight))
    onnx.save(model, str(tmp_path / "net.onnx"))
    black = np.zeros((1, 3, 9, 9), np.float32)
    with pytest.raises(DataError, match=rf"1 of {integers.size} weights of network\.body are other integers"):
        check(network, tmp_path / "net.onnx", RUNTIMES[:1], [black])


def test_a_file_that_calls_a_layer_less_often_says_so(network, path):
    """As of a network that decides by the size of the image how often it does something."""
    more = recurrent(calls=3)
    more.load_state_dict({key: value for key, value in network.state_dict().items() if key != "_extra_state"})
    with pytest.raises(DataError, match=r"network\.body is called 3 times by PyTorch, and in the file 2 times"):
        check(more.eval(), path, RUNTIMES[:1], images(1))


def test_a_rounding_may_miss_by_a_share_of_the_number_itself_which_may_be_a_product():
    real = torch.zeros(10_000)
    real[0], theirs = 100.503, real.round()
    theirs[0] = 100
    assert not _off(theirs, real).any()
    real[1] = 0.503
    theirs[1] = 0
    assert _off(theirs, real).nonzero().tolist() == [[1]]
