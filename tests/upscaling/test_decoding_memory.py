"""``--memory`` counts what decoding an image takes, beside what the network holds at that moment."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from upscaling import ModuleNetwork, nearest, write_onnx

from quantnas_sr.deploy.memory import MemoryUse
from quantnas_sr.deploy.packages import installed_runtimes
from quantnas_sr.deploy.runtimes import open_network
from quantnas_sr.upscaling.batch import Upscaler
from quantnas_sr.upscaling.tasks import UpscaleTask

HELD = 1 << 30


class Holding(ModuleNetwork):
    """A network that holds a gigabyte, a part of which it can give back."""

    def __init__(self, kept: int = 0) -> None:
        super().__init__(nearest(), 2, 1)
        self.held, self.kept = HELD, kept

    def held_memory(self) -> int:
        return self.held

    def free_memory(self) -> None:
        self.held -= self.kept


def lines(folder: Path, network: Holding, memory: int) -> list:
    Image.new("RGB", (200, 150)).save(folder / "x.png")
    upscaler = Upscaler(network, memory=memory)
    upscaler.__dict__["_use"] = MemoryUse(0, 1000.0)  # as if measured
    return upscaler.files([UpscaleTask(folder / "x.png", folder / "out.png")])


def test_an_image_that_cannot_be_decoded_within_the_limit_is_one_line(tmp_path):
    (line,) = lines(tmp_path, Holding(), HELD + 1000)
    said = "x.png: 200x150 pixels take about 0M to decode, beside 1G of the program; a larger --memory allows that"
    assert line == f"{tmp_path}/{said}" and not (tmp_path / "out.png").exists()


def test_what_the_network_keeps_of_earlier_images_is_given_back_first(tmp_path):
    network = Holding(kept=HELD // 2)
    assert lines(tmp_path, network, HELD + 1000) == [] and (tmp_path / "out.png").exists()
    assert network.held == HELD // 2


def test_nothing_is_given_back_without_need(tmp_path):
    network = Holding(kept=HELD // 2)
    assert lines(tmp_path, network, 2 * HELD) == [] and network.held == HELD


@pytest.mark.parametrize("runtime", installed_runtimes())
def test_a_network_that_gave_back_its_memory_runs_on(tmp_path, runtime):
    pytest.importorskip("onnx")
    network = open_network(write_onnx(tmp_path / "net.onnx"), runtime)
    image = np.random.default_rng(0).random((1, 3, 9, 7), dtype=np.float32)
    before = network(image)
    network.free_memory()
    assert np.array_equal(network(image), before)
