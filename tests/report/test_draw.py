"""The picture of a genotype says all that the genotype says, legibly, and the same every time."""

import functools
import itertools
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List

import cv2
import pytest
import torch
from reference import golden_genotype, golden_json
from skeletons import SKELETONS, register

from quantnas_sr.errors import GenotypeError, MissingExtraError, OptionError
from quantnas_sr.report import draw_genotype
from quantnas_sr.report.drawing import draw
from quantnas_sr.report.drawing.pen import fill_of
from quantnas_sr.search_space import DerivedNetwork, Genotype, get_search_space
from quantnas_sr.search_space import space as space_module

pytest.importorskip("matplotlib")

OPERATIONS = {
    "basic": ("simple_5x5_grouped_3", "conv_5x1_1x5", "growth2_3x3", "simple_1x1", "decenc_3x3_3_g3"),
    "rfdn": ("simple_3x3", "growth1_5x5", "conv_3x1_1x3", "simple_11x11"),
    **dict.fromkeys(SKELETONS, ("simple_3x3", "DWS_5x5", "growth2_3x3", "simple_11x11_grouped_full_d10")),
    "two_arms": ("simple_15x15_grouped_full_d100", "DWS_5x5", "3x3_increase_2", "skip_connect", "decenc_3x3_2_g2"),
}
EVERY_SPACE = pytest.mark.parametrize("name", OPERATIONS)


@pytest.fixture(autouse=True)
def users_spaces() -> Iterator[None]:
    for name in SKELETONS:
        register(name, OPERATIONS[name])
    yield
    for name in SKELETONS:
        del space_module._SPACES[name]


def a_genotype(name: str, **changes: Any) -> Genotype:
    """A genotype of many operations and widths, each where it fits."""
    space = get_search_space(name)
    data: Dict[str, Any] = {"genotype_version": 1, "search_space": name, "scale": 2, "norm": "adq", "slots": {}}
    data.update({"num_feat": space.num_feat, "num_block": 2, **changes})
    sizes = data["scale"], data["num_feat"], data["num_block"]
    choices = zip(itertools.cycle(OPERATIONS[name]), itertools.cycle((4, 8, 32, 16, 5, 2)))
    for slot, (operation, bits) in zip(space.slots(*sizes), choices):
        data["slots"][slot] = {"operation": operation, "bits": bits}
    return Genotype.from_dict(data)


def words_of(svg: Path) -> List[str]:
    """The lines of text in the order in which they were drawn."""
    return [node.text for node in ElementTree.parse(svg).iter("{http://www.w3.org/2000/svg}text")]


def words_in_box(words: List[str], slot: str) -> List[str]:
    """The lines that follow a slot's name, up to its bit width."""
    start = next(i for i, line in enumerate(words) if line.split(" ×")[0] == slot)
    end = next(i for i in range(start, len(words)) if words[i].endswith(" bit"))
    return words[start + 1 : end + 1]


def assert_says_all(words: List[str], genotype: Genotype) -> None:
    for slot, (operation, bits) in genotype.slots.items():
        *operation_lines, bit_line = words_in_box(words, slot)
        assert " ".join(operation_lines) == operation.replace("_", " "), slot
        assert bit_line == f"{bits} bit", slot


@functools.cache
def layout_of(name: str) -> Dict[str, Any]:
    """A picture of a genotype with a long origin: its texts, panels, wires and marks with their places, in pixels."""
    found: Dict[str, Any] = {}
    real_page = draw.page

    @contextmanager
    def page(*args: Any) -> Iterator[Any]:
        with real_page(*args) as pen:
            yield pen
            axes = pen._axes
            found["texts"] = [(text.get_text(), text.get_window_extent()) for text in axes.texts]
            panels = [patch for patch in axes.patches if "FancyBbox" in type(patch).__name__]
            found["panels"] = [panel.get_window_extent() for panel in panels]
            found["blocks"] = [panel.get_window_extent() for panel in panels if panel.zorder == 2]
            found["wires"] = [line.get_transform().transform(line.get_xydata()) for line in axes.lines]
            circles = [patch for patch in axes.patches if type(patch).__name__ == "Circle"]
            found["pluses"] = {circle.center for circle in circles if circle.radius > 0.05}
            found["dots"] = {circle.center for circle in circles if circle.radius < 0.05}
            found["page"] = axes.get_window_extent()

    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(draw, "page", page)
        draw_genotype(a_genotype(name, origin={"command": "quantnas " * 200}), Path(folder) / "net.svg")
        found["words"] = words_of(Path(folder) / "net.svg")
    return found


@EVERY_SPACE
def test_every_slot_shows_its_operation_and_bits(name):
    assert_says_all(layout_of(name)["words"], a_genotype(name))


@pytest.mark.parametrize(("name", "num_feat", "num_block"), [("basic", 36, 3), ("rfdn", 48, 4)])
def test_reference_genotype_is_drawn_with_its_cost(name, num_feat, num_block, tmp_path):
    case = golden_json(f"arch_{name}.json")["derived_mixed"]
    genotype = golden_genotype(name, case, num_feat, num_block)
    draw_genotype(genotype, tmp_path / "net.svg")
    words = words_of(tmp_path / "net.svg")
    assert_says_all(words, genotype)
    assert f"Search space {name}, scale 4, C = {num_feat}, {num_block} blocks, ADQ" in words
    assert any(f"{case['params']:,d} parameters" in line for line in words)
    assert any(f"{case['bitops_32x32'] / 1e9:.3f} GBitOps" in line for line in words)


def test_cells_that_share_alphas_are_drawn_once_with_their_number(tmp_path):
    draw_genotype(a_genotype("basic", norm="adadm"), tmp_path / "net.svg")
    words = words_of(tmp_path / "net.svg")
    assert words.count("body_0") == 1 and "× 2" in words
    assert words.count("AdaDM") == 3
    assert {"HEAD", "BODY", "UPSAMPLE", "TAIL", "PixelShuffle"} <= set(words)


def test_without_normalisation_none_is_noted(tmp_path):
    draw_genotype(a_genotype("basic", norm="none"), tmp_path / "net.svg")
    assert not [line for line in words_of(tmp_path / "net.svg") if "ADQ" in line]


def test_rfdn_shows_what_is_not_searched(tmp_path):
    draw_genotype(a_genotype("rfdn"), tmp_path / "net.svg")
    words = words_of(tmp_path / "net.svg")
    assert words.count("ESA") == 2
    assert words.count("fuse 1x1") == 3
    assert "not searched" in words


def titles_in(words: List[str]) -> List[str]:
    return [line for line in words if line.isupper() and line.replace(" × ", "X").replace(" ", "").isalnum()]


@pytest.mark.parametrize(
    "name, titles",
    [
        ("two_arms", ["STEM", "CELL 0", "CELL 1", "NECK", "SHUFFLE"]),
        ("dense", ["HEAD", "BLOCK 0", "BLOCK 1", "HEAD", "UP"]),
        ("unet", ["HEAD", "DOWN", "EXPAND", "FUSE", "UP"]),
    ],
)
def test_a_users_space_is_drawn_in_the_groups_of_its_modules(name, titles):
    assert titles_in(layout_of(name)["words"]) == titles


def test_a_users_space_shows_what_is_not_searched_and_what_stands_twice():
    words = layout_of("two_arms")["words"]
    assert "neck_1 × 2" in words and "neck_0" in words
    assert words_in_box(words, "stem 1x1") == ["32 bit"] and "not searched" in words


def test_results_that_are_gathered_and_cells_that_look_alike_are_drawn_as_such():
    words = layout_of("branching")["words"]
    assert words.count("sum") == words.count("product") == words.count("concatenation") == 1
    assert words.count("c_2") == words.count("ADQ") == 1 and "× 2" in words and "CELL 0 TO 1" in words
    assert "LEFT · RIGHT · THIRD" in words


def test_what_comes_from_elsewhere_is_named():
    words = layout_of("unet")["words"]
    assert words[words.index("concatenation") + 1] == "of EXPAND, HEAD"
    assert "resized image" in words
    assert layout_of("dense")["words"].count("concatenation") == 2


def test_wires_that_cannot_be_drawn_are_left_out_and_the_picture_says_so():
    words = layout_of("crossed")["words"]
    assert "Slots in the order of the skeleton; how they are wired is not drawn" in words
    for name in set(OPERATIONS) - {"crossed"}:
        assert not [line for line in layout_of(name)["words"] if "wired" in line], name


@pytest.mark.parametrize(
    "name, pluses, dots",
    [("basic", 4, 4), ("rfdn", 2 * 4 + 2, 2 * 4 + 1), ("two_arms", 2, 2), ("dense", 3, 2 * 3), ("branching", 1, 4)],
)
def test_every_branch_and_every_sum_has_its_mark(name, pluses, dots):
    """A plus where results are added, a dot where a result is used twice; a cell that stands twice is drawn once."""
    assert (len(layout_of(name)["pluses"]), len(layout_of(name)["dots"])) == (pluses, dots)


@EVERY_SPACE
def test_words_do_not_meet(name):
    for (words, box), (others, other) in itertools.combinations(layout_of(name)["texts"], 2):
        overlap = min(box.x1, other.x1) - max(box.x0, other.x0), min(box.y1, other.y1) - max(box.y0, other.y0)
        assert min(overlap) < 2, (words, others)


@EVERY_SPACE
def test_wires_do_not_run_through_boxes(name):
    for wire, box in itertools.product(layout_of(name)["wires"], layout_of(name)["blocks"]):
        for (x0, y0), (x1, y1) in zip(wire, wire[1:]):
            across = min(max(x0, x1), box.x1) - max(min(x0, x1), box.x0) > 1 or (x0 == x1 and box.x0 < x0 < box.x1)
            along = min(max(y0, y1), box.y1) - max(min(y0, y1), box.y0) > 1 or (y0 == y1 and box.y0 < y0 < box.y1)
            assert not (across and along), (wire, box)


@EVERY_SPACE
def test_words_stay_in_their_box_and_on_the_page(name):
    drawn = layout_of(name)
    for words, text in drawn["texts"]:
        x, y = (text.x0 + text.x1) / 2, (text.y0 + text.y1) / 2
        around = [drawn["page"], *(panel for panel in drawn["panels"] if panel.contains(x, y))]
        assert all(box.contains(text.x0, text.y0) and box.contains(text.x1, text.y1) for box in around), words


def test_long_origin_is_cut(tmp_path):
    draw_genotype(a_genotype("basic", origin={"command": "quantnas " * 200}), tmp_path / "net.svg")
    assert len([line for line in words_of(tmp_path / "net.svg") if "quantnas" in line]) == 3


def test_origin_is_told_as_it_is(tmp_path):
    draw_genotype(a_genotype("basic", origin={"run": "x4 $a$ <b>", "seeds": [1, 2]}), tmp_path / "net.svg")
    assert "Origin: run x4 $a$ <b>, seeds 1, 2" in words_of(tmp_path / "net.svg")


@pytest.mark.parametrize("name", ["basic", "rfdn", "two_arms"])
def test_png_can_be_opened_and_is_large_enough_to_print(name, tmp_path):
    draw_genotype(a_genotype(name), str(tmp_path / "net.png"))
    image = cv2.imread(str(tmp_path / "net.png"))
    assert image.shape[1] >= 1300 and image.shape[0] >= 600
    assert (image < 128).mean() > 0.01


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_same_genotype_gives_the_same_bytes(suffix, tmp_path):
    for name in ("one", "two"):
        draw_genotype(a_genotype("basic"), tmp_path / f"{name}.{suffix}")
    assert (tmp_path / f"one.{suffix}").read_bytes() == (tmp_path / f"two.{suffix}").read_bytes()


def test_file_checkpoint_and_genotype_give_the_same_picture(tmp_path):
    genotype = a_genotype("basic")
    genotype.save(tmp_path / "genotype.yml")
    torch.save({"params": DerivedNetwork(genotype).state_dict()}, tmp_path / "net.pth")
    pictures = []
    for source in (genotype, tmp_path / "genotype.yml", str(tmp_path / "net.pth")):
        draw_genotype(source, tmp_path / "net.svg")
        pictures.append((tmp_path / "net.svg").read_bytes())
    assert pictures[0] == pictures[1] == pictures[2]


def test_the_users_matplotlib_settings_neither_matter_nor_change(tmp_path):
    import matplotlib

    draw_genotype(a_genotype("basic"), tmp_path / "plain.svg")
    with matplotlib.rc_context({"font.size": 30, "svg.fonttype": "path", "savefig.bbox": "tight"}):
        draw_genotype(a_genotype("basic"), tmp_path / "styled.svg")
        assert matplotlib.rcParams["svg.fonttype"] == "path"
    assert (tmp_path / "plain.svg").read_bytes() == (tmp_path / "styled.svg").read_bytes()


@pytest.mark.parametrize("name", ["net.pdf", "net"])
def test_another_suffix_is_refused_with_those_allowed(name, tmp_path):
    with pytest.raises(OptionError, match=r"Allowed: \.png, \.svg"):
        draw_genotype(a_genotype("basic"), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_genotype_that_cannot_be_read_leaves_no_file(tmp_path):
    with pytest.raises(GenotypeError, match="nowhere.yml"):
        draw_genotype(tmp_path / "nowhere.yml", tmp_path / "net.svg")
    assert not list(tmp_path.iterdir())


def test_missing_matplotlib_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"quantnas_sr\[report\]"):
        draw_genotype(a_genotype("basic"), tmp_path / "net.svg")
    assert not list(tmp_path.iterdir())


def test_more_bits_are_darker_and_full_precision_is_white():
    def luminance(bits: int) -> float:
        red, green, blue = (int(fill_of(bits)[i : i + 2], 16) for i in (1, 3, 5))
        return 0.299 * red + 0.587 * green + 0.114 * blue

    shades = [luminance(bits) for bits in (32, *range(2, 17))]
    assert shades[0] == 255
    assert shades == sorted(shades, reverse=True) and len(set(shades)) == len(shades)
    assert luminance(4) - luminance(8) > 40
