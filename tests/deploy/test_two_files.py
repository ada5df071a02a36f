"""Networks in two files: bytes run the one, floats the other, and both give the same picture."""

from contextlib import contextmanager

import cv2
import numpy as np
import pytest
from films import Read, write_film

from quantnas_sr import cli, networks, upscale
from quantnas_sr.deploy.network import Network
from quantnas_sr.deploy.two_files import TwoFiles
from quantnas_sr.images.units import BYTES, FLOATS, from_unit, to_unit
from quantnas_sr.upscaling.batch import Upscaler
from quantnas_sr.upscaling.tasks import UpscaleTask
from quantnas_sr.upscaling.video.encoders import Encoding


class File(Network):
    """Repeats every pixel of its kind; keeps the kinds that it has seen, and how often it gave back memory."""

    scale, halo = 2, 3

    def __init__(self, pixels):
        self.pixels, self.seen, self.freed, self.ready = pixels, [], 0, 1

    def __call__(self, x):
        self.seen.append(x.dtype)
        return x.repeat(2, 2).repeat(2, 3)

    def free_memory(self):
        self.freed += 1

    @contextmanager
    def at_once(self, calls):
        self.ready = calls
        yield calls
        self.ready = 1


@pytest.fixture
def files():
    return File(BYTES), File(FLOATS)


@pytest.fixture
def both(files):
    return TwoFiles(files[0], lambda: files[1])


@pytest.mark.parametrize("kind, seen", [("u1", BYTES), ("u2", FLOATS), ("f4", FLOATS)])
@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 3), (5, 6, 4)], ids=["gray", "colour", "alpha"])
def test_pixels_go_through_the_file_of_their_kind(kind, seen, shape, files, both):
    image = np.random.default_rng(0).integers(0, 256, shape).astype(kind)
    large = upscale(image / np.float32(255) if kind == "f4" else image, both)
    assert large.dtype == kind and large.shape == (10, 12, *shape[2:])
    used, other = files if seen == BYTES else reversed(files)
    assert used.seen == [seen] and not other.seen


def test_the_file_of_floats_is_opened_once_and_only_when_it_is_needed(files):
    opened = []
    both = TwoFiles(files[0], lambda: opened.append(files[1]) or files[1])
    assert (both.scale, both.halo, both.size) == (2, 3, None)
    both(np.zeros((1, 3, 4, 4), np.uint8))
    assert not opened
    for _ in range(2):
        both(np.zeros((1, 3, 4, 4), np.float32))
    assert len(opened) == 1


def test_what_one_file_keeps_is_given_back_before_the_other_runs(files, both):
    of_bytes, of_floats = np.zeros((1, 3, 4, 4), np.uint8), np.zeros((1, 3, 4, 4), np.float32)
    both(of_bytes)
    both(of_bytes)
    assert [file.freed for file in files] == [0, 0]
    both(of_floats)
    assert [file.freed for file in files] == [1, 0]
    both.free_memory()
    assert [file.freed for file in files] == [1, 1]
    both(of_bytes)
    assert [file.freed for file in files] == [1, 2]


@pytest.mark.parametrize("pixels, seen", [("yuv420p", BYTES), ("gray", BYTES), ("yuv420p10le", FLOATS)])
def test_a_video_of_8_bits_goes_through_in_bytes(pixels, seen, files, both, tmp_path):
    pytest.importorskip("av")
    dtype, middle = (np.uint16, 512) if "10" in pixels else (np.uint8, 128)
    luma = np.random.default_rng(0).integers(middle // 2, middle, (16, 16)).astype(dtype)
    planes = [luma, *[np.full((8, 8), middle, dtype)] * 2][: 1 if pixels == "gray" else 3]
    source, target = write_film(tmp_path / "a.mkv", [planes], "ffv1", pixels), tmp_path / "b.mkv"
    assert not Upscaler(both, encoding=Encoding("ffv1")).files([UpscaleTask(source, target)])
    used, other = files if seen == BYTES else reversed(files)
    assert used.seen == [seen] and not other.seen
    if pixels != "gray":
        large = Read(target).frames[0][0]
        assert np.abs(large.astype(int) - luma.repeat(2, 0).repeat(2, 1)).max() <= 1


def test_both_files_are_ready_for_several_calls_also_one_that_is_opened_meanwhile(files, both):
    with both.at_once(3) as count:
        assert count == 3 and [file.ready for file in files] == [3, 1]
        both(np.zeros((1, 3, 4, 4), np.float32))
        assert [file.ready for file in files] == [3, 3]
    assert [file.ready for file in files] == [1, 1]
    with both.at_once(2):
        assert [file.ready for file in files] == [2, 2]
    assert [file.ready for file in files] == [1, 1]


#: Networks of finer steps, some of which the file of bytes moves by up to a thousandth (docs/export.md).
STEPS_OF_BYTES_MOVED = {"plain_x2_1.0", "plain_x2_2.6", "plain_x4_2.6"}


@pytest.mark.parametrize("name", networks.names())
def test_both_files_of_a_network_of_the_package_make_the_same_picture(name):
    pytest.importorskip("onnxruntime")
    image = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (40, 44, 3), dtype=np.uint8), (5, 5), 0)
    of_bytes = upscale(image, networks.opened(name, runtime="onnxruntime"))
    of_floats = from_unit(upscale(to_unit(image), networks.opened(name, runtime="onnxruntime")), BYTES)
    difference = np.abs(of_bytes.astype(int) - of_floats)
    if name in STEPS_OF_BYTES_MOVED:
        assert difference.max() <= 4 and np.square(difference).mean() < 0.5
    else:
        assert difference.max() <= 2 and (difference > 0).mean() < 1e-3


def test_a_command_opens_the_file_of_bytes_alone(monkeypatch, tmp_path):
    from quantnas_sr.deploy import runtimes

    opened, original = [], runtimes.open_network
    monkeypatch.setattr(runtimes, "open_network", lambda path, *rest: opened.append(path.name) or original(path, *rest))
    assert cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 9, 3), np.uint8))
    assert cli.main(["upscale", str(tmp_path / "a.png"), str(tmp_path / "b.png")]) == 0
    assert opened == ["network_uint8.onnx"]
