"""A plain network as a ``.tflite``: its integers and bytes are PyTorch's, and what cannot be written is one line."""

import json
import re
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import cv2
import numpy as np
import pytest
import torch
from networks import saved
from project import write_image
from upscaling import derived

from quantnas_sr import cli
from quantnas_sr.archs.quantized_arch import QuantizedArch
from quantnas_sr.deploy.onnx.onnx_format import OUTPUT
from quantnas_sr.deploy.packages import LITERT, LITERT_RUNTIMES
from quantnas_sr.deploy.runtimes import open_network
from quantnas_sr.errors import CheckError, DataError, MissingExtraError, NetworkError, OptionError
from quantnas_sr.export.exporting import export
from quantnas_sr.quantization import QuantConv2d, calibrate_on
from quantnas_sr.search_space import DerivedNetwork

pytest.importorskip("ai_edge_litert")

from quantnas_sr.deploy.litert.tflite_format import metadata_of, schema, sealed  # noqa: E402
from quantnas_sr.export.check import check  # noqa: E402
from quantnas_sr.export.litert import graph  # noqa: E402
from quantnas_sr.export.litert.byte_network import ByteNetwork, chain, check_plain, pixel_order  # noqa: E402
from quantnas_sr.export.litert.flat_buffer import packed  # noqa: E402

RUNTIMES = LITERT_RUNTIMES
SLOTS = ("head", "body_0", "body_1", "body_2", "upsample")


def images(count: int = 1, height: int = 17, width: int = 22) -> List[np.ndarray]:
    """Smooth ones, in bytes."""
    made = []
    for seed in range(count):
        coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
        pixels = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        made.append(pixels.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255))
    return made


def plain(
    scale: int = 2,
    bits: int = 8,
    operations: Tuple[str, ...] = (),
    chosen: Optional[Dict[str, Any]] = None,
    **changed: Any,
) -> DerivedNetwork:
    """A network of three body slots as after a training: calibrated, and with biases."""
    torch.manual_seed(0)
    chosen = {**{slot: (operation, bits) for slot, operation in zip(SLOTS, operations)}, **(chosen or {})}
    sizes = {"scale": scale, "num_feat": 8, "num_block": 3, "norm": "none", "activation_quantizer": "lsq"}
    slots = {**dict.fromkeys(SLOTS, ("simple_3x3", bits)), **chosen}
    entries = {name: {"operation": operation, "bits": width} for name, (operation, width) in slots.items()}
    data = {"genotype_version": 1, "search_space": "plain", **sizes, **changed, "slots": entries}
    network = DerivedNetwork(data)
    for _, layer in chain(network):
        torch.nn.init.uniform_(layer.bias, -0.05, 0.05)
    upsample = network.skeleton.upsample[-1]
    upsample.weight.data.mul_(0.1)
    upsample.init_steps()
    network.train()
    calibrate_on(network, *(torch.from_numpy(image) for image in images(3)))
    return network.eval()


def written(network: DerivedNetwork, path: Path) -> ByteNetwork:
    """Write the file; returns the network that it computes."""
    check_plain(network)
    made = ByteNetwork(network)
    path.write_bytes(graph.build(made, made.scale, {"scale": str(made.scale), "halo": "", "multiple": "1"}))
    return made


def run(network: torch.nn.Module, image: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return network(torch.from_numpy(image)).numpy()


def to_bytes(image: np.ndarray) -> np.ndarray:
    return (image.clip(0, 1) * 255).round().astype(int)


# --- what is computed


@pytest.mark.parametrize(
    "scale, bits, operations",
    [
        (2, 8, ()),
        (2, 4, ("simple_5x5", "simple_1x1", "skip_connect", "simple_3x3", "simple_1x1")),
        (3, 5, ("simple_3x3", "conv_3x1_1x3", "simple_5x5", "skip_connect", "simple_3x3")),
        (4, 6, ("conv_3x1_1x3", "skip_connect", "skip_connect", "skip_connect", "simple_3x3")),
        (4, 7, ("simple_1x1", "simple_3x3_d2", "DWS_3x3", "simple_3x3_grouped_2", "DWS_5x5")),
        (3, 8, ("simple_3x3", "growth2_3x3", "3x3_increase_2", "decenc_3x3_2_g2", "conv_5x1_1x5")),
        (2, 2, ("simple_3x3", "simple_3x3_grouped_full", "simple_3x3", "simple_3x3", "simple_3x3")),
    ],
    ids=str,
)
def test_every_layer_and_every_byte_are_pytorchs(scale, bits, operations, tmp_path):
    path = tmp_path / "net.tflite"
    network = written(plain(scale, bits, operations), path)
    given = images(2) + images(1, 5, 31) + images(1, 1, 1)
    found = check(network, path, RUNTIMES, given)
    assert [agreement.runtime for agreement in found] == list(RUNTIMES)
    assert found[0].equal > 0.999 and found[0].largest <= 1, "XNNPACK rounds correctly"
    assert found[1].largest <= 16, "LiteRT's own kernels round twice"
    assert run(network, given[0]).shape == (1, 3, scale * 17, scale * 22)


def test_different_bits_in_every_slot(tmp_path):
    bits = zip(SLOTS, (5, 8, 3, 6, 4))
    network = plain(2, 8, chosen={slot: ("simple_3x3", width) for slot, width in bits})
    made = written(network, tmp_path / "net.tflite")
    assert check(made, tmp_path / "net.tflite", RUNTIMES, images(2))[0].equal > 0.999


def test_nothing_is_lost_where_the_residual_fits_a_byte(tmp_path):
    network, (image,) = plain(3), images()
    made = written(network, tmp_path / "net.tflite")
    np.testing.assert_array_equal(to_bytes(run(made, image)), to_bytes(run(network, image)))


def test_what_does_not_fit_a_byte_is_cut_off_in_pytorch_too(tmp_path):
    network = plain(2)
    network.skeleton.upsample[-1].bias.data.uniform_(-1.5, 1.5)
    made, (image,) = written(network, tmp_path / "net.tflite"), images()
    check(made, tmp_path / "net.tflite", RUNTIMES, [image])
    assert (to_bytes(run(made, image)) != to_bytes(run(network, image))).any()


def test_the_lowest_weight_is_that_of_tflite(tmp_path):
    network = plain(2)
    layer = network.skeleton.body[1][0]
    layer.weight.data[0, 1] = -9
    made = written(network, tmp_path / "net.tflite")
    assert made.limited == 9
    before, after = (n.skeleton.body[1][0] for n in (network, made))
    before, after = (layer.weight_quantizer.to_int(layer.scaled_weight()) for layer in (before, after))
    assert before.min() == -128 and after.min() == -127 and (before != after).sum() == 9
    check(made, tmp_path / "net.tflite", RUNTIMES, images())


def test_channels_with_scales_and_mirrored_steps_of_old_checkpoints(tmp_path):
    network = plain(2, 8)
    layer = network.skeleton.body[2][0]
    layer.channel_scale.uniform_(0.5, 2)
    signs = torch.ones_like(layer.weight_quantizer.step_exponent, dtype=torch.int8)
    signs[::2] = -1
    layer.weight_quantizer.sign = signs
    made = written(network, tmp_path / "net.tflite")
    assert check(made, tmp_path / "net.tflite", RUNTIMES, images(2))[0].equal > 0.999


@pytest.mark.parametrize("bits", [4, 8])
def test_a_first_layer_that_does_not_read_the_bytes_of_the_image(bits, tmp_path):
    """With 3 channels the head may be left out."""
    operations = ("skip_connect", "simple_3x3", "skip_connect", "skip_connect", "simple_3x3")
    made = written(plain(2, bits, operations, num_feat=3), tmp_path / "net.tflite")
    assert check(made, tmp_path / "net.tflite", RUNTIMES, images(2))[0].equal > 0.999


def test_a_single_convolution(tmp_path):
    operations = (*4 * ("skip_connect",), "simple_3x3")
    made = written(plain(2, 8, operations, num_feat=3), tmp_path / "net.tflite")
    assert check(made, tmp_path / "net.tflite", RUNTIMES, images(2))[0].equal > 0.999


def test_hwgq(tmp_path):
    made = written(plain(2, 4, activation_quantizer="hwgq"), tmp_path / "net.tflite")
    assert check(made, tmp_path / "net.tflite", RUNTIMES, images(2))[0].equal > 0.999


def test_pixels_are_in_tflites_order():
    x = torch.arange(27.0).view(1, 27, 1, 1)
    expected = torch.nn.functional.pixel_shuffle(x, 3)[0].permute(1, 2, 0).flatten()
    assert x.flatten()[pixel_order(3)].tolist() == expected.tolist()


# --- the command


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Tuple[Path, DerivedNetwork]:
    """Folder of ``net.pth`` and ``net.tflite``, which the command wrote, and the network."""
    folder, network = tmp_path_factory.mktemp("exported"), plain(2, 4, chosen={"head": ("simple_3x3", 8)})
    saved(network, folder / "net.pth")
    assert cli.main(["export", str(folder / "net.pth"), str(folder / "net.tflite")]) == 0
    return folder, network


def test_the_command_upscales_to_pytorchs_bytes(exported, tmp_path, capsys):
    folder, network = exported
    write_image(tmp_path / "x.png", 19, 26)
    for name in ("net.pth", "net.tflite"):
        assert cli.main(["upscale", str(folder / name), str(tmp_path / "x.png"), str(tmp_path / f"{name}.png")]) == 0
    expected, found = (cv2.imread(str(tmp_path / f"{name}.png")).astype(int) for name in ("net.pth", "net.tflite"))
    assert found.shape == (38, 52, 3) and np.abs(found - expected).max() <= 1 and (found != expected).mean() < 0.002
    assert "wrote" in capsys.readouterr().out


def test_several_images_at_once_and_other_sizes_afterwards(exported):
    folder, _ = exported
    network, pair = open_network(folder / "net.tflite"), np.concatenate(images(2))
    both = network(pair)
    np.testing.assert_array_equal(network(pair[1:]), both[1:])
    assert network(images(1, 3, 50)[0]).shape == (1, 3, 6, 100)
    network.free_memory()
    np.testing.assert_array_equal(network(pair), both)


def test_tiles_are_the_whole_image(exported):
    from quantnas_sr.upscaling import upscale

    network = open_network(exported[0] / "net.tflite")
    image = (images(1, 40, 33)[0][0].transpose(1, 2, 0) * 255).round().astype(np.uint8)
    assert network.halo == 5
    np.testing.assert_array_equal(upscale(image, network, tile=20), upscale(image, network))


def test_metadata_are_those_of_an_onnx_file(exported):
    folder, network = exported
    said = {key.partition(".")[2]: text for key, text in metadata_of((folder / "net.tflite").read_bytes()).items()}
    assert said["scale"] == "2" and said["halo"] == "5" and json.loads(said["bits"]) == [4, 8]
    assert json.loads(said["genotype"]) == network.genotype.to_dict()
    assert {"version", "command", "multiple", "digest"} <= set(said) and said["outputs"] == "int8"


def test_the_file_is_bytes_throughout(exported):
    model = schema().ModelT.InitFromPackedBuf((exported[0] / "net.tflite").read_bytes())
    (inside,) = model.subgraphs
    names = {value: name for name, value in vars(schema().TensorType).items()}
    kinds = {tensor.name.decode(): names[tensor.type] for tensor in inside.tensors}
    assert kinds.pop("lq") == kinds.pop(OUTPUT) == "UINT8"
    assert {kind for name, kind in kinds.items() if not name.endswith(".bias")} == {"INT8"}
    assert {kind for name, kind in kinds.items() if name.endswith(".bias")} == {"INT32"}
    (given,) = [tensor for tensor in inside.tensors if tensor.name == b"lq"]
    assert list(given.shapeSignature) == [-1, -1, -1, 3]


def test_the_float_baseline(exported, tmp_path):
    folder, network = exported
    made = export(folder / "net.pth", tmp_path / "float.tflite", quantized=False)
    assert made.quantized_share == 0 and made.convolutions == 5
    from quantnas_sr.quantization import set_quantize

    (image,) = images()
    set_quantize(network, False)
    try:
        expected = run(network, image)
    finally:
        for _, layer in chain(network):
            layer.quantize = True
    for runtime in RUNTIMES:
        found = open_network(tmp_path / "float.tflite", runtime)(image)
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_an_expanded_training_gives_the_same_file(tmp_path):
    network = plain(2, 4)
    grown = DerivedNetwork(network.genotype, expansion=4)
    grown.load_state_dict(network.state_dict())
    for path, module in (("a", network), ("b", grown)):
        export(saved(module, tmp_path / f"{path}.pth"), tmp_path / f"{path}.tflite")
    first, second = ((tmp_path / name).read_bytes() for name in ("a.tflite", "b.tflite"))
    assert first == second


# --- what the check finds


def doctored(path: Path, name: str, change: Any) -> None:
    """Change a constant of a file."""
    model = schema().ModelT.InitFromPackedBuf(path.read_bytes())
    (constant,) = [tensor for tensor in model.subgraphs[0].tensors if tensor.name.decode() == name]
    buffer = model.buffers[constant.buffer]
    kind = np.int32 if name.endswith("bias") else np.int8
    buffer.data = np.frombuffer(change(np.frombuffer(bytes(buffer.data), kind).copy()).tobytes(), np.uint8)
    path.write_bytes(sealed(re.sub(rb"(?<=sha256=)[0-9a-f]{64}", b"0" * 64, packed(model))))


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    "name, change, said",
    [
        ("skeleton.body.1.0.weight", lambda weight: -weight, r"skeleton\.body\.2\.0 reads are wrong"),
        ("skeleton.body.0.0.bias", lambda bias: bias + 2000, r"skeleton\.body\.1\.0 reads are wrong"),
        ("skeleton.upsample.0.bias", lambda bias: bias[::-1], r"skeleton\.upsample\.1 writes are wrong"),
        ("anchor.weight", lambda weight: np.roll(weight, 3), "the output differs"),
    ],
    ids=["weight", "bias", "last", "anchor"],
)
def test_a_wrong_file_is_refused_and_the_layer_named(runtime, name, change, said, tmp_path):
    path = tmp_path / "net.tflite"
    network = written(plain(), path)
    doctored(path, name, change)
    with pytest.raises(DataError, match=rf"net.tflite: {runtime} computes something else: .*{said}"):
        check(network, path, [runtime], images())


def test_a_file_that_fails_is_not_written(exported, tmp_path, monkeypatch, capsys):
    original = graph.build

    def wrong(network: Any, scale: int, metadata: Dict[str, str]) -> bytes:
        path = tmp_path / "wrong"
        path.write_bytes(original(network, scale, metadata))
        doctored(path, "skeleton.body.1.0.weight", lambda weight: -weight)
        return path.read_bytes()

    monkeypatch.setattr(graph, "build", wrong)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/net.tflite").write_text("old")
    with pytest.raises(CheckError, match="^net.tflite: litert computes something else"):
        export(exported[0] / "net.pth", tmp_path / "out/net.tflite")
    assert cli.main(["export", str(exported[0] / "net.pth"), str(tmp_path / "out/net.tflite")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert (tmp_path / "out/net.tflite").read_text() == "old" and len(list((tmp_path / "out").iterdir())) == 1


# --- what cannot be written


@pytest.mark.parametrize(
    "network, said",
    [
        (lambda: derived(bits=8), "of the basic space; a .tflite is written for the plain space only"),
        (lambda: QuantizedArch({"type": "ESPCN", "upscale": 2}, bits=8), "of no space"),
        (lambda: plain(chosen={"body_1": ("simple_3x3", 32)}), "the slot body_1 has 32 bits"),
        (lambda: plain(chosen={"body_1": ("simple_3x3", 9)}), "the slot body_1 has 9 bits"),
        (lambda: plain(chosen={"body_2": ("zero", 8)}), "the slot body_2 is zero"),
        (lambda: plain(chosen={"upsample": ("simple_3x3_grouped_2", 8)}), "upsample ends in a convolution with groups"),
    ],
    ids=range(6),
)
def test_other_networks_are_one_line(network, said):
    with pytest.raises(NetworkError, match=said) as error:
        check_plain(network())
    assert "\n" not in str(error.value)


def test_a_bias_that_does_not_fit_is_one_line():
    network = plain()
    layer = network.skeleton.body[0][0]
    assert isinstance(layer, QuantConv2d)
    layer.bias.data[0] = 1e9
    with pytest.raises(NetworkError, match=r"skeleton\.body\.0\.0: a bias does not fit 32 bits"):
        graph.build(ByteNetwork(network), 2, {})


def test_a_float_baseline_has_no_bytes(exported, tmp_path):
    with pytest.raises(OptionError, match="is for .onnx files"):
        export(exported[0] / "net.pth", tmp_path / "net.tflite", io="uint8", quantized=False)


def test_images_are_bytes_also_when_that_is_asked_for(exported, tmp_path):
    export(exported[0] / "net.pth", tmp_path / "net.tflite", io="uint8")
    made, expected = (open_network(folder / "net.tflite")(images()[0]) for folder in (tmp_path, exported[0]))
    assert np.array_equal(made, expected)


@pytest.mark.parametrize(
    "option, value", [("adq", "static"), ("outputs", "int8"), ("weights_format", "int4"), ("calibration", "x")]
)
def test_options_of_onnx_files_are_refused(option, value, exported, tmp_path):
    options = {option: value, **({"outputs": "int8"} if option == "calibration" else {})}
    with pytest.raises(OptionError, match="is for .onnx files. Allowed for a .tflite: quantized, param_key, images"):
        export(exported[0] / "net.pth", tmp_path / "net.tflite", **options)


def test_without_litert_the_extra_is_named(exported, tmp_path, monkeypatch):
    folder, _ = exported
    monkeypatch.setitem(__import__("sys").modules, "ai_edge_litert", None)
    with pytest.raises(MissingExtraError, match=r"needs ai-edge-litert: pip install 'quantnas_sr\[litert\]'"):
        export(folder / "net.pth", tmp_path / "net.tflite")
    with pytest.raises(MissingExtraError, match=r"net.tflite: a .tflite needs ai-edge-litert: pip install"):
        open_network(folder / "net.tflite")


def test_a_calibration_that_was_never_done_is_one_line(tmp_path, capsys):
    fresh = DerivedNetwork(plain().genotype)
    assert cli.main(["export", saved(fresh, tmp_path / "net.pth"), str(tmp_path / "net.tflite")]) == 1
    assert "have no quantization steps yet" in capsys.readouterr().err and not (tmp_path / "net.tflite").exists()


def test_sealing_needs_no_more_than_the_bytes():
    assert sealed(b"nothing to replace") == b"nothing to replace" and LITERT in RUNTIMES
