"""``quantnas upscale`` and the Python function: what is written, how far memory goes, how it goes on."""

import os
import re
import signal
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from basicsr.utils import tensor2img
from PIL import Image, ImageCms
from project import Started, run_python
from upscaling import ModuleNetwork, checkpoint, derived, enlarged, nearest, write_onnx

from quantnas_sr import cli
from quantnas_sr.deploy import torch_network
from quantnas_sr.deploy.memory import process_peak
from quantnas_sr.deploy.runtimes import open_network
from quantnas_sr.errors import DataError, OptionError
from quantnas_sr.images.picture import read_picture
from quantnas_sr.upscaling import upscale

RUNTIMES = ["openvino", "onnxruntime"]


def noise(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(len(shape)).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


def save(path: Path, *shape: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise(*(shape or (6, 7, 3)))).save(path)
    return path


def files_under(folder: Path) -> list:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("network") / "nearest.pth", nearest())


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    for name in ("a.png", "b.jpg", "deep/c.tif", "deep/er/d.webp"):
        save(tmp_path / "in" / name)
    (tmp_path / "in" / "notes.txt").write_text("hello")
    return tmp_path / "in"


def run(network: Path, *arguments: object) -> int:
    return cli.main(["upscale", str(network), *map(str, arguments)])


# The function


@pytest.mark.parametrize("channels", [(), (1,), (2,), (3,), (4,)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_an_array_becomes_the_same_kind_of_array(network, channels, dtype):
    image = noise(9, 11, *channels, dtype=np.uint16)
    image = (image / 65535).astype(dtype) if dtype == np.float32 else image.astype(dtype)
    result = upscale(image, network)
    assert result.dtype == dtype and result.shape == (18, 22, *channels)
    expected = enlarged(image)
    colours = slice(None) if channels not in ((2,), (4,)) else (..., slice(None, -1))
    assert np.allclose(result[colours], expected[colours], rtol=0, atol=1e-6 if dtype == np.float32 else 0)


def test_alpha_is_bicubic(network):
    alpha = noise(20, 30)
    result = upscale(np.dstack([noise(20, 30, 3), alpha]), network)[..., 3]
    assert np.abs(result.astype(int) - cv2.resize(alpha, (60, 40), interpolation=cv2.INTER_CUBIC)).max() <= 1


def test_pixels_are_rounded_as_basicsr_rounds_them():
    module = derived()
    image = noise(30, 20, 3)
    planes = torch.from_numpy(image.astype(np.float32) / 255).permute(2, 0, 1)[None]
    with torch.inference_mode():
        expected = tensor2img(module(planes), rgb2bgr=False)
    assert np.array_equal(upscale(image, ModuleNetwork(module, 2, 6)), expected)


def test_a_network_is_opened_once_for_many_images(network, monkeypatch):
    opened = open_network(network)
    monkeypatch.setattr(torch_network, "load_network", None)
    for side in (5, 6):
        assert upscale(noise(side, side, 3), opened).shape == (2 * side, 2 * side, 3)


@pytest.mark.parametrize(
    "image, line",
    [
        (np.zeros((4, 4, 5), np.uint8), r"shape \(4, 4, 5\) is no image"),
        (np.zeros((1, 3, 4, 4), np.float32), "is no image"),
        (np.zeros((0, 4, 3), np.uint8), "is no image"),
        (np.zeros((4, 4, 3), np.float64), "float64 cannot be upscaled. Allowed: uint8, uint16, float32"),
        (np.zeros((4, 4, 3), np.int16), "int16 cannot be upscaled"),
    ],
)
def test_an_array_that_is_no_image_is_one_line(network, image, line):
    with pytest.raises(DataError, match=line):
        upscale(image, network)


def test_a_network_that_fails_is_one_line():
    class Failing(ModuleNetwork):
        def __call__(self, x):
            raise RuntimeError("first\nDefaultCPUAllocator: can't allocate memory\n")

    with pytest.raises(DataError, match=r"fails on a tile of 5x4 pixels \(DefaultCPUAllocator: can't allocate memory"):
        upscale(noise(4, 5, 3), Failing(None, 2, 0))
    with pytest.raises(DataError, match=r"makes \(1, 3, 4, 5\) of a tile of 5x4 pixels, not \(1, 3, 8, 10\)"):
        upscale(noise(4, 5, 3), ModuleNetwork(torch.nn.Identity(), 2, 0))


def test_memory_too_small_for_any_tile_is_one_line(network):
    with pytest.raises(OptionError, match="more is needed for even the smallest tiles"):
        upscale(noise(300, 300, 3), network, memory=1)


# Runtimes


@pytest.mark.parametrize("runtime", ["auto", *RUNTIMES])
@pytest.mark.parametrize("tile", [None, 13])
def test_an_exported_network_runs_everywhere_alike(tmp_path, runtime, tile):
    pytest.importorskip("onnx")
    for needed in RUNTIMES:
        pytest.importorskip(needed)
    path = write_onnx(tmp_path / "net.onnx", scale=3)
    image = noise(40, 31, 3)
    opened = open_network(path, runtime, threads=1)
    assert (opened.scale, opened.halo) == (3, 1)
    result = upscale(image, opened, tile)
    reference = upscale(image, open_network(path, "onnxruntime"))
    assert np.abs(result.astype(int) - reference).max() <= 1
    assert (result != reference).mean() < 1e-3


def test_an_exported_network_whose_result_depends_on_the_whole(tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("openvino")
    assert open_network(write_onnx(tmp_path / "net.onnx", halo="")).halo is None


def test_scale_and_halo_of_a_checkpoint(tmp_path):
    path = checkpoint(tmp_path / "net.pth", derived(scale=3, norm="batch"))
    opened = open_network(path)
    assert (opened.scale, opened.halo) == (3, 6)
    assert open_network(checkpoint(tmp_path / "adq.pth", derived(norm="adq"))).halo is None


# The command


def test_an_image_to_a_file_or_into_a_folder(tmp_path, network, capsys):
    image = save(tmp_path / "x.jpg")
    (tmp_path / "out").mkdir()
    assert run(network, image, tmp_path / "new" / "y.tif") == run(network, image, tmp_path / "out") == 0
    assert files_under(tmp_path) == ["new/y.tif", "out/x.png", "x.jpg"]
    assert capsys.readouterr().out.startswith(f"wrote {tmp_path / 'new' / 'y.tif'}\n")
    expected = enlarged(np.asarray(Image.open(image)))
    assert np.array_equal(read_picture(tmp_path / "new" / "y.tif").pixels, expected)


def test_an_image_is_written_over_what_was_there(tmp_path, network):
    image, out = save(tmp_path / "x.png"), save(tmp_path / "out.png", 1, 1, 3)
    assert run(network, image, out) == 0
    assert read_picture(out).pixels.shape == (12, 14, 3)


def test_a_folder_keeps_names_and_sub_folders_and_lossless_formats(tmp_path, network, photographs, capsys):
    assert run(network, photographs, tmp_path / "out") == 0
    assert files_under(tmp_path / "out") == ["a.png", "b.png", "deep/c.tif", "deep/er/d.png"]
    assert capsys.readouterr().out == f"wrote {tmp_path / 'out'}: 4 images\n"
    assert np.array_equal(read_picture(tmp_path / "out" / "deep" / "c.tif").pixels, enlarged(noise(6, 7, 3)))


@pytest.mark.parametrize("given", ["jpg", ".JPG"])
def test_a_folder_in_one_format(tmp_path, network, photographs, given):
    assert run(network, photographs, tmp_path / "out", "--format", given) == 0
    assert files_under(tmp_path / "out") == ["a.jpg", "b.jpg", "deep/c.jpg", "deep/er/d.jpg"]


def test_a_folder_goes_on_where_it_stopped(tmp_path, network, photographs, capsys):
    save(tmp_path / "out" / "deep" / "c.tif", 1, 1, 3)
    assert run(network, photographs, tmp_path / "out") == 0
    assert "4 images, 1 of them were there already (--overwrite" in capsys.readouterr().out
    assert read_picture(tmp_path / "out" / "deep" / "c.tif").pixels.shape == (1, 1, 3)
    assert run(network, photographs, tmp_path / "out", "--overwrite") == 0
    assert read_picture(tmp_path / "out" / "deep" / "c.tif").pixels.shape == (12, 14, 3)
    assert run(tmp_path / "absent.pth", photographs, tmp_path / "out") == 0, "nothing is left that needs the network"


def test_an_output_folder_inside_the_input_is_not_upscaled_again(network, photographs):
    for _ in range(2):
        assert run(network, photographs, photographs / "out", "--overwrite") == 0
    assert len(files_under(photographs / "out")) == 4


def test_a_folder_goes_on_after_broken_files_and_names_them_at_the_end(tmp_path, network, photographs, capsys):
    (photographs / "b.jpg").write_bytes(b"")
    (photographs / "deep" / "broken.png").write_text("hello")
    assert run(network, photographs, tmp_path / "out") == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("left out: 1 file ") and lines[0].endswith(str(photographs / "notes.txt"))
    assert lines[1] == f"{photographs / 'b.jpg'}: the file is empty"
    assert lines[2].startswith(f"{photographs / 'deep' / 'broken.png'}: not an image")
    assert lines[3:] == ["quantnas: 2 of 5 images were not upscaled"]
    assert files_under(tmp_path / "out") == ["a.png", "deep/c.tif", "deep/er/d.png"]


def test_a_disk_that_takes_no_more_ends_the_run_at_once(tmp_path, network, capsys):
    resource = pytest.importorskip("resource")
    for name in "ab":
        save(tmp_path / "in" / f"{name}.png", 90, 90, 3)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        assert run(network, tmp_path / "in", tmp_path / "out") == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert re.fullmatch(r"quantnas: .*a\.png: cannot be written \(File too large\)\n", capsys.readouterr().err)
    assert files_under(tmp_path / "out") == []


@pytest.mark.parametrize(
    "prepare, output, line",
    [
        (lambda folder: save(folder / "a.jpg"), "out", "a.jpg and .*a.png would both become .*out/a.png"),
        (lambda folder: None, "in", "is the folder of the input"),
        (lambda folder: save(folder / "out.png"), "in/out.png", "out.png: is a file; a folder is upscaled to a folder"),
    ],
)
def test_a_folder_that_cannot_be(tmp_path, network, photographs, prepare, output, line, capsys):
    prepare(photographs)
    before = files_under(tmp_path)
    assert run(network, photographs, tmp_path / output) == 1
    assert re.fullmatch(f"quantnas: .*{line}.*\n", capsys.readouterr().err)
    assert files_under(tmp_path) == before


def test_profile_and_exif_arrive(tmp_path, network):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112], exif[0x8298] = 8, "somebody"
    Image.fromarray(noise(6, 9, 3)).save(tmp_path / "x.jpg", icc_profile=profile, exif=exif)
    assert run(network, tmp_path / "x.jpg", tmp_path / "out.png") == 0
    with Image.open(tmp_path / "out.png") as image:
        assert image.size == (12, 18) and image.info["icc_profile"] == profile
        assert dict(image.getexif()) == {0x8298: "somebody"}


def test_16_bits_become_8_where_the_format_has_no_more(tmp_path, network):
    deep = noise(6, 7, 3, dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "x.png"), deep[..., ::-1])
    assert run(network, tmp_path / "x.png", tmp_path / "out.bmp") == 0
    assert np.array_equal(read_picture(tmp_path / "out.bmp").pixels, enlarged((deep / 257).round().astype(np.uint8)))


def test_tiles_that_change_the_result_are_said_once(tmp_path, capsys):
    network = checkpoint(tmp_path / "adq.pth", derived(norm="adq"))
    for name in "ab":
        save(tmp_path / "in" / f"{name}.png", 50, 40, 3)
    assert run(network, tmp_path / "in", tmp_path / "out", "--tile", 100) == 0
    assert capsys.readouterr().err == "", "one tile is the whole"
    assert run(network, tmp_path / "in", tmp_path / "out", "--tile", 35, "--overwrite") == 0
    said = capsys.readouterr().err
    assert said.count("tiles change the result a little") == 1 and "--adq static" in said


def test_a_tile_too_small_is_one_line(tmp_path, capsys):
    network = checkpoint(tmp_path / "net.pth", derived())
    assert run(network, save(tmp_path / "x.png", 50, 40, 3), tmp_path / "out.png", "--tile", 12) == 1
    assert re.search(r"tile 12 is too small: .* 6 pixels.* 13 or more\n$", capsys.readouterr().err)


#: Upscales, but says when a part of the image is in the file, and then waits.
WAITING = """
import signal, sys, time
from quantnas_sr import cli
from quantnas_sr.upscaling.png import PngWriter

# A shell starts what runs in its background with this signal ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)

def write_and_wait(self, band, write=PngWriter.write):
    write(self, band)
    self._file.flush()
    print("half", flush=True)
    time.sleep(30)

PngWriter.write = write_and_wait
sys.exit(cli.main(["upscale", "net.pth", "x.png", "out/y.png", "--tile", "30"]))
"""


@pytest.mark.parametrize(
    "number, code, said", [(signal.SIGINT, 130, "quantnas: interrupted\n"), (signal.SIGTERM, 143, "")]
)
def test_an_interrupted_run_leaves_no_half_file(tmp_path, number, code, said):
    checkpoint(tmp_path / "net.pth", nearest())
    save(tmp_path / "x.png", 50, 50, 3)
    (tmp_path / "waiting.py").write_text(WAITING)
    with Started(str(tmp_path / "waiting.py"), folder=tmp_path) as started:
        while started.output.read_text() != "half\n":
            assert started.process.is_alive(), started.output.read_text()
            time.sleep(0.02)
        assert any(path.is_file() for path in (tmp_path / "out").rglob("*"))
        os.kill(started.process.pid, number)
        assert started.finished(code) == f"half\n{said}"
    assert list((tmp_path / "out").iterdir()) == []


PEAKS = """
import sys
import time
from quantnas_sr import cli
from quantnas_sr.deploy.memory import process_peak

def peak(source, target, memory):
    assert cli.main(["upscale", sys.argv[1], source, target, "--memory", str(memory)]) == 0
    return process_peak()

before = peak("small.png", "small_out.png", 9 << 30)
limit = before + (100 << 20)
print(limit, peak("x.png", "tiled.png", limit), peak("x.png", "whole.png", 9 << 30))
"""


@pytest.mark.skipif(process_peak() is None, reason="the system does not say")
def test_memory_stays_within_its_limit(tmp_path):
    checkpoint(tmp_path / "net.pth", derived(operation="simple_1x1", num_feat=12))
    save(tmp_path / "small.png")
    save(tmp_path / "x.png", 500, 700, 3)
    printed = run_python("-c", PEAKS, "net.pth", folder=tmp_path)
    limit, tiled, whole = map(int, printed.split("\n")[-2].split())
    assert tiled <= limit < whole
    difference = read_picture(tmp_path / "tiled.png").pixels.astype(int) - read_picture(tmp_path / "whole.png").pixels
    assert np.abs(difference).max() <= 1
