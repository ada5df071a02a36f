"""The picture of a genotype, as figures 17 and 18 of the paper."""

import textwrap
from pathlib import Path
from typing import Any, List, Mapping, Sequence, Union

from quantnas_sr.cost import NetworkCost, count
from quantnas_sr.cost.report import derived_network
from quantnas_sr.errors import OptionError, unknown
from quantnas_sr.report.drawing.page import Page
from quantnas_sr.report.drawing.pen import CHARACTER_WIDTH, Line, Pen, page, require_matplotlib, width_of
from quantnas_sr.report.drawing.wiring import NORM_LABELS, diagram_of
from quantnas_sr.search_space import DerivedNetwork, Genotype

FORMATS = (".png", ".svg")
MARGIN = 0.2
#: Of a page, so that the caption has room.
MIN_WIDTH = 6.5
#: The caption: size of the font in points, height of a line and of the legend above it in inches.
FONT_SIZE, LINE_HEIGHT, LEGEND_HEIGHT = 8, 0.17, 0.4
#: Of a paragraph of the caption: ``origin`` may say anything.
MAX_LINES = 3


def draw_genotype(source: Union[str, Path, Genotype], output: Union[str, Path]) -> None:
    """Draw the network of a genotype: what stands in every slot, how many bits wide, and what it all costs.

    The same genotype gives the same bytes. The words in an SVG are text, to be searched and edited.

    Args:
        source: a genotype file, the ``.pth`` of a trained network, or a genotype.
        output: the picture, ``.svg`` or ``.png``.

    Raises:
        OptionError: another suffix.
        MissingExtraError: matplotlib is not installed.
        GenotypeError: ``source`` cannot be read.
    """
    output = Path(output)
    if output.suffix.lower() not in FORMATS:
        raise OptionError(unknown("kind of picture", output.suffix, FORMATS, where=str(output)))
    require_matplotlib()
    network = DerivedNetwork(source) if isinstance(source, Genotype) else derived_network(str(source))
    _draw(network.genotype, count(network), output)


def _draw(genotype: Genotype, cost: NetworkCost, output: Path) -> None:
    diagram = diagram_of(genotype)
    rows = Page(diagram)
    width = max(rows.width, MIN_WIDTH) + 2 * MARGIN
    caption = caption_of(genotype, cost, diagram.note, width - 2 * MARGIN)
    footer = MARGIN + LINE_HEIGHT * len(caption)
    height = footer + LEGEND_HEIGHT + rows.height + MARGIN
    bits = sorted({choice.bits for choice in genotype.slots.values()}.union(diagram.fixed_bits))
    with page(output, width, height, f"Genotype of the search space {genotype.search_space}") as pen:
        rows.draw(pen, (width - rows.width) / 2, height - MARGIN)
        draw_legend(pen, MARGIN, footer + LEGEND_HEIGHT / 2, bits, diagram.fixed_bits)
        for i, words in enumerate(caption):
            pen.text(MARGIN, footer - (i + 0.5) * LINE_HEIGHT, Line(words, FONT_SIZE), ha="left")


def draw_legend(pen: Pen, x: float, y: float, bits: Sequence[int], fixed_bits: Sequence[int]) -> None:
    """What the colours, and dashed borders if there are any, mean."""
    entries = [(f"{b} bit", b, False) for b in bits]
    entries += [("not searched", fixed_bits[0], True)] if fixed_bits else []
    for words, b, dashed in entries:
        pen.block(x, y - 0.07, 0.24, 0.14, b, dashed)
        line = Line(words, FONT_SIZE)
        pen.text(x + 0.3, y, line, ha="left")
        x += 0.3 + width_of(line) + 0.12


def caption_of(genotype: Genotype, cost: NetworkCost, note: str, width: float) -> List[str]:
    """The lines below the picture: what the network is, what it costs, where it came from."""
    g, size = genotype, "×".join(map(str, cost.size))
    blocks = "1 block" if g.num_block == 1 else f"{g.num_block} blocks"
    norm = NORM_LABELS[g.norm] or "no normalisation"
    figures = f"{cost.bitops / 1e9:.3f} GBitOps and {cost.macs / 1e9:.3f} GMACs for a {size} input"
    paragraphs = [
        f"Search space {g.search_space}, scale {g.scale}, C = {g.num_feat}, {blocks}, {norm}",
        f"{figures}, {cost.params:,d} parameters",
        note,
        f"Origin: {in_words(g.origin)}" if g.origin else "",
    ]
    length = int(width * 72 / FONT_SIZE / CHARACTER_WIDTH)
    limits = {"max_lines": MAX_LINES, "placeholder": " ..."}
    return [line for words in paragraphs for line in textwrap.wrap(words, length, **limits)]


def in_words(data: Any) -> str:
    """Plain data in one line.

    >>> in_words({"run": "search_x4", "iter": 5, "bits": [4, 8]})
    'run search_x4, iter 5, bits 4, 8'
    """
    if isinstance(data, Mapping):
        return ", ".join(f"{key} {in_words(value)}" for key, value in data.items())
    return ", ".join(map(in_words, data)) if isinstance(data, (list, tuple)) else str(data)
