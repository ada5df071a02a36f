"""Tiles: they cover an image, they have one shape, and their results put together are the result of the whole."""

import random

import numpy as np
import pytest
import torch
from torch import nn
from upscaling import ModuleNetwork, derived

from quantnas_sr.deploy.memory import ASSUMED_BYTES_PER_PIXEL, MemoryUse
from quantnas_sr.deploy.receptive_field import halo
from quantnas_sr.errors import OptionError
from quantnas_sr.images.tiles import largest_tile, windows
from quantnas_sr.upscaling import upscale
from quantnas_sr.values.arguments import parse_memory

# Cutting


@pytest.mark.parametrize("seed", range(200))
def test_windows_keep_every_pixel_once_with_its_halo_around_it(seed):
    choice = random.Random(seed)
    margin = choice.randint(0, 12)
    length, tile = choice.randint(1, 300), choice.randint(2 * margin + 1, 320)
    found = windows(length, tile, margin)
    assert [i for w in found for i in range(w.keep_start, w.keep_stop)] == list(range(length))
    assert len({w.stop - w.start for w in found}) == 1, "a runtime prepares for each shape anew"
    for w in found:
        assert 0 <= w.start <= w.keep_start < w.keep_stop <= w.stop <= length
        assert w.stop - w.start <= tile
        assert w.start == 0 or w.keep_start - w.start >= margin
        assert w.stop == length or w.stop - w.keep_stop >= margin


def test_an_image_that_fits_is_one_window():
    assert windows(50, 50, 20) == [(0, 50, 0, 50)]


@pytest.mark.parametrize("tile, margin", [(16, 8), (1, 1), (5, 20)])
def test_a_tile_that_is_all_halo_is_one_line(tile, margin):
    with pytest.raises(OptionError, match=rf"tile {tile} is too small.* {margin} pixels.* {2 * margin + 1} or more$"):
        windows(100, tile, margin)


@pytest.mark.parametrize("size", [(4000, 6000), (10, 5000), (300, 300), (5000, 10)])
@pytest.mark.parametrize("pixels", [1000, 90000, 10**6])
def test_the_largest_tile_is_within_its_pixels_and_no_larger_one_is(size, pixels):
    height, width = largest_tile(size, 3, pixels)
    assert height * width <= pixels and height <= size[0] and width <= size[1]
    larger = min(max(height, width) + 1, size[0]) * min(max(height, width) + 1, size[1])
    assert (height, width) == size or larger > pixels


def test_no_tile_when_not_even_the_smallest_fits():
    assert largest_tile((100, 100), 10, 21 * 21) == (21, 21)
    assert largest_tile((100, 100), 10, 21 * 21 - 1) is None


# What a pixel depends on


NETWORKS = [
    {},
    {"norm": "none", "scale": 3, "tail_0": ("simple_5x5", 32), "tail_1": ("simple_5x5", 32)},
    {"scale": 4, "operation": "simple_5x5"},
    {"operation": "conv_5x1_1x5", "tail_0": ("simple_1x1", 32)},
    {"operation": "simple_1x1"},
    {"num_block": 2, "body_0": ("conv_3x1_1x3", 8), "body_1": ("simple_3x3_d2", 8), "skip": ("DWS_5x5", 4)},
    {"bits": 4, "scale": 3},
]


def reach_by_brute_force(network: nn.Module, scale: int, side: int = 41) -> int:
    """Change one pixel, look how far away the outcome changes; the most of several places and changes, in pixels."""
    most = 0
    for trial in range(8):
        image = torch.rand(1, 3, side, side)
        changed = image.clone()
        row, column = side // 2 + trial % 2, side // 2 - trial % 3
        changed[..., row, column] = 1e3 * (-1) ** trial
        with torch.inference_mode():
            rows, columns = ((network(image) != network(changed)).any(dim=1)[0]).nonzero(as_tuple=True)
        for place, where in ((row, rows), (column, columns)):
            most = max(most, place - int(where.min()) // scale, int(where.max()) // scale - place)
    return most


@pytest.mark.parametrize("options", NETWORKS, ids=str)
def test_halo_is_what_brute_force_finds(options):
    network, scale = derived(**options), options.get("scale", 2)
    found, forced = halo(network, scale), reach_by_brute_force(network, scale)
    if options.get("bits", 32) == 32:
        assert found == forced
    else:
        assert found >= forced, "a quantizer may swallow a change"


def test_halo_of_a_wide_kernel_in_one_direction():
    class Bar(nn.Module):
        def __init__(self, kernel, padding):
            super().__init__()
            self.conv = nn.Conv2d(3, 12, kernel, padding=padding)

        def forward(self, x):
            return nn.functional.pixel_shuffle(self.conv(x), 2)

    assert halo(Bar((1, 31), (0, 15)), 2) == 15
    assert halo(Bar((9, 1), (4, 0)), 2) == 4
    assert halo(Bar((1, 1), 0), 2) == 0


@pytest.mark.parametrize("norm", ["adq", "adadm"])
def test_a_standard_deviation_over_the_image_leaves_no_halo(norm):
    assert halo(derived(norm=norm), 2) is None


def test_a_network_that_resamples_has_no_halo():
    assert halo(derived("rfdn", norm="none"), 2) is None, "ESA"

    class Strided(nn.Module):
        def __init__(self):
            super().__init__()
            self.down, self.conv = nn.Conv2d(3, 12, 3, stride=2, padding=1), nn.Conv2d(12, 48, 3, padding=1)

        def forward(self, x):
            return nn.functional.pixel_shuffle(self.conv(self.down(x)), 4)[..., : 2 * x.shape[2], : 2 * x.shape[3]]

    assert halo(Strided(), 2) is None


def test_halo_leaves_the_network_as_it_is():
    network = derived()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    halo(network, 2)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


# Tiles put together


@pytest.mark.parametrize("seed", range(20))
def test_tiled_equals_whole(seed):
    choice = random.Random(seed)
    options = NETWORKS[seed % len(NETWORKS)]
    network, scale = derived(**options), options.get("scale", 2)
    margin = halo(network, scale)
    size = choice.randint(1, 90), choice.randint(1, 90)
    tile = choice.randint(2 * margin + 1, 2 * margin + 40)
    image = np.random.default_rng(seed).random((*size, 3), dtype=np.float32)
    opened = ModuleNetwork(network, scale, margin)
    whole, tiled = upscale(image, opened), upscale(image, opened, tile=tile)
    assert whole.shape == (scale * size[0], scale * size[1], 3)
    if options.get("bits", 32) == 32:
        assert np.abs(tiled - whole).max() < 1e-5
    else:
        # Sums in another order may put a value on the other side of a quantizer's threshold.
        assert (np.abs(tiled - whole) > 1e-5).mean() < 1e-3


def test_a_halo_too_small_shows():
    """That `test_tiled_equals_whole` could fail."""
    network = derived()
    image = np.random.default_rng(0).random((60, 60, 3), dtype=np.float32)
    whole = upscale(image, ModuleNetwork(network, 2, 6))
    assert np.abs(upscale(image, ModuleNetwork(network, 2, 3), tile=30) - whole).max() > 1e-4


@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_in_tiles_equals_alpha_of_the_whole(channels):
    image = np.random.default_rng(0).integers(0, 65536, (70, 50, channels)).astype(np.uint16)
    opened = ModuleNetwork(derived(), 2, 6)
    assert np.array_equal(upscale(image, opened, tile=17)[..., -1], upscale(image, opened)[..., -1])


# Memory


@pytest.mark.parametrize("text, size", [("2G", 2 << 30), ("800M", 800 << 20), ("1.5g", 3 << 29), ("4096", 4096)])
def test_amounts_of_memory(text, size):
    assert parse_memory(text) == parse_memory(f" {text} ") == size


@pytest.mark.parametrize("text", ["", "much", "-1G", "0", "2 apples", "1e9"])
def test_what_is_no_amount_of_memory_is_one_line(text):
    with pytest.raises(OptionError, match="not an amount of memory. Allowed"):
        parse_memory(text)


class Measured(ModuleNetwork):
    """Takes 1000 bytes for each pixel of a tile, in a process of ``base`` bytes."""

    def __init__(self, base: int) -> None:
        super().__init__(None, 1, 0)
        self.base = self.peak = base

    def take(self, side):
        self.peak = max(self.peak, self.base + 1000 * side**2)

    def peak_memory(self):
        return self.peak

    def forget_peak_memory(self):
        self.peak = self.base


def test_memory_is_measured():
    network = Measured(50 << 20)
    use = MemoryUse.of(network, network.take)
    assert use.fixed == pytest.approx((50 + 16) << 20, rel=0.01)  # 16 MB do not show
    assert 1000 <= use.per_pixel <= 1500
    assert use.per_pixel * use.pixels(1e8) == pytest.approx(1e8, rel=0.01)


@pytest.mark.parametrize("given_back", [600 << 20, 30 << 20, 10 << 20])
@pytest.mark.parametrize("side", [64, 128, 192])
def test_memory_is_measured_in_a_process_that_gives_back_memory_meanwhile(given_back, side):
    """The difference of two peaks was negative, or too small, and every image too large for the limit."""

    class Shrinking(Measured):
        def take(self, tile):
            super().take(tile)
            if tile >= side:
                self.base = (900 << 20) - given_back

    network = Shrinking(900 << 20)
    assert 1000 <= MemoryUse.of(network, network.take).per_pixel <= 1500


def test_memory_is_measured_in_a_runtime_that_keeps_it():
    class Keeping(Measured):
        def forget_peak_memory(self):
            pass

    network = Keeping(900 << 20)
    assert 1000 <= MemoryUse.of(network, network.take).per_pixel <= 1500


def test_memory_that_cannot_be_measured_is_assumed():
    class Unknown(ModuleNetwork):
        def peak_memory(self):
            return None

    assert MemoryUse.of(Unknown(None, 1, 0), None).per_pixel == ASSUMED_BYTES_PER_PIXEL
