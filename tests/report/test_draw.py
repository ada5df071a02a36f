"""The picture of a genotype says all that the genotype says, legibly, and the same every time."""

import itertools
import sys
import xml.etree.ElementTree as ElementTree
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import cv2
import pytest
import torch
from reference import golden_genotype, golden_json
from torch import Tensor, nn

from quantnas_sr.errors import GenotypeError, MissingExtraError, OptionError
from quantnas_sr.report import draw_genotype
from quantnas_sr.report.drawing import draw
from quantnas_sr.report.drawing.pen import fill_of
from quantnas_sr.search_space import DerivedNetwork, Genotype, SearchSpace, get_search_space, register_search_space
from quantnas_sr.search_space import space as space_module

pytest.importorskip("matplotlib")

OPERATIONS = {
    "basic": ("simple_5x5_grouped_3", "conv_5x1_1x5", "growth2_3x3", "simple_1x1", "decenc_3x3_3_g3"),
    "rfdn": ("simple_3x3", "growth1_5x5", "conv_3x1_1x3", "simple_11x11"),
    "two_arms": ("simple_15x15_grouped_full_d100", "DWS_5x5", "3x3_increase_2", "skip_connect", "decenc_3x3_2_g2"),
}
EVERY_SPACE = pytest.mark.parametrize("name", OPERATIONS)


class TwoArms(nn.Module):
    """A user's skeleton: slots with no, one and two numbers, and one that stands in two places."""

    def __init__(self, fill, scale: int, num_feat: int, num_block: int, norm: str) -> None:
        super().__init__()
        width = 3 * scale**2
        self.stem = nn.Sequential(nn.Conv2d(3, width, 1), fill("featureextraction", width, width))
        arms = [[fill(f"{arm}_{i}_0", width, width) for arm in ("left", "right")] for i in range(num_block)]
        self.cells = nn.ModuleList(map(nn.ModuleList, arms))
        self.neck = nn.Sequential(
            fill("neck_0", width, width), fill("neck_1", width, width), fill("neck_1", width, width)
        )
        self.shuffle = nn.PixelShuffle(scale)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for left, right in self.cells:
            x = left(x) + right(x)
        return self.shuffle(self.neck(x))


@pytest.fixture(autouse=True)
def two_arms() -> Iterator[None]:
    candidates = dict.fromkeys(("featureextraction", "left", "right", "neck"), OPERATIONS["two_arms"])
    register_search_space(SearchSpace("two_arms", TwoArms, {"default": candidates}, num_feat=12, num_block=2))
    yield
    del space_module._SPACES["two_arms"]


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


@EVERY_SPACE
def test_every_slot_shows_its_operation_and_bits(name, tmp_path):
    genotype = a_genotype(name)
    draw_genotype(genotype, tmp_path / "net.svg")
    assert_says_all(words_of(tmp_path / "net.svg"), genotype)


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


def test_a_users_space_is_drawn_by_the_names_of_its_slots(tmp_path):
    draw_genotype(a_genotype("two_arms"), tmp_path / "net.svg")
    words = words_of(tmp_path / "net.svg")
    titles = [line for line in words if line.isupper() and line != "LR image"]
    assert titles == ["FEATUREEXTRACTION", "CELL 0", "CELL 1", "NECK"]
    assert "neck_1 × 2" in words and "neck_0" in words
    assert "not searched" not in words


@pytest.fixture
def drawn(monkeypatch) -> Dict[str, List[Tuple[str, Any]]]:
    """After a picture was drawn: its texts and its panels with the places on the page that they take, in pixels."""
    found: Dict[str, List[Tuple[str, Any]]] = {}
    real_page = draw.page

    @contextmanager
    def page(*args: Any) -> Iterator[Any]:
        with real_page(*args) as pen:
            yield pen
            axes = pen._axes
            found["texts"] = [(text.get_text(), text.get_window_extent()) for text in axes.texts]
            panels = [patch for patch in axes.patches if "FancyBbox" in type(patch).__name__]
            found["panels"] = [("panel", panel.get_window_extent()) for panel in panels]
            found["page"] = [("page", axes.get_window_extent())]

    monkeypatch.setattr(draw, "page", page)
    return found


@EVERY_SPACE
def test_words_do_not_meet(name, tmp_path, drawn):
    draw_genotype(a_genotype(name), tmp_path / "net.svg")
    for (words, box), (others, other) in itertools.combinations(drawn["texts"], 2):
        overlap = min(box.x1, other.x1) - max(box.x0, other.x0), min(box.y1, other.y1) - max(box.y0, other.y0)
        assert min(overlap) < 2, (words, others)


@EVERY_SPACE
def test_words_stay_in_their_box_and_on_the_page(name, tmp_path, drawn):
    draw_genotype(a_genotype(name, origin={"command": "quantnas " * 200}), tmp_path / "net.svg")
    ((_, page),) = drawn["page"]
    for words, text in drawn["texts"]:
        x, y = (text.x0 + text.x1) / 2, (text.y0 + text.y1) / 2
        around = [page, *(panel for _, panel in drawn["panels"] if panel.contains(x, y))]
        assert all(box.contains(text.x0, text.y0) and box.contains(text.x1, text.y1) for box in around), words


def test_long_origin_is_cut(tmp_path):
    draw_genotype(a_genotype("basic", origin={"command": "quantnas " * 200}), tmp_path / "net.svg")
    assert len([line for line in words_of(tmp_path / "net.svg") if "quantnas" in line]) == 3


def test_origin_is_told_as_it_is(tmp_path):
    draw_genotype(a_genotype("basic", origin={"run": "x4 $a$ <b>", "seeds": [1, 2]}), tmp_path / "net.svg")
    assert "Origin: run x4 $a$ <b>, seeds 1, 2" in words_of(tmp_path / "net.svg")


@EVERY_SPACE
def test_png_can_be_opened_and_is_large_enough_to_print(name, tmp_path):
    draw_genotype(a_genotype(name), str(tmp_path / "net.png"))
    image = cv2.imread(str(tmp_path / "net.png"))
    assert image.shape[1] >= 1300 and image.shape[0] >= 600
    assert (image < 128).mean() > 0.01


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_same_genotype_gives_the_same_bytes(suffix, tmp_path):
    for name in ("one", "two"):
        draw_genotype(a_genotype("rfdn"), tmp_path / f"{name}.{suffix}")
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
