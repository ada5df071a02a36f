"""A pen for diagrams, which measures in inches. No other file of this folder uses matplotlib."""

import math
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, NamedTuple, Optional, Sequence, Tuple

from quantnas_sr.errors import MissingExtraError
from quantnas_sr.system.files import written_aside

PIXELS_PER_INCH = 200
#: Average width of a character, in parts of the size of its font.
CHARACTER_WIDTH = 0.61

INK, SOFT_INK, PAPER = "#222222", "#444444", "#ffffff"
#: Fill of what computes no convolution, and of a group's background.
NEUTRAL, BACKGROUND = "#ececec", "#f6f6f6"
#: Fill by bit width, darker with every doubling, which a grey printer keeps; 32 bits stay white.
_RAMP = {2: (240, 246, 252), 4: (207, 225, 242), 8: (121, 176, 216), 16: (33, 102, 172)}

Point = Tuple[float, float]


class Line(NamedTuple):
    """One line of text; ``size`` in points."""

    words: str
    size: float
    soft: bool = False


def fill_of(bits: Optional[int]) -> str:
    """The colour of a bit width, 2 to 16 or 32; between the powers of two it is interpolated. None: no convolution.

    >>> fill_of(4), fill_of(6), fill_of(8), fill_of(32)
    ('#cfe1f2', '#9dc4e3', '#79b0d8', '#ffffff')
    """
    if bits is None:
        return NEUTRAL
    if bits > max(_RAMP):
        return PAPER
    low = min(2 ** int(math.log2(bits)), 8)
    share = math.log2(bits / low)
    channels = (round(a + share * (b - a)) for a, b in zip(_RAMP[low], _RAMP[2 * low]))
    return "#" + "".join(f"{channel:02x}" for channel in channels)


def width_of(line: Line) -> float:
    """About how wide a line of text is, in inches; seldom less than it really is."""
    return len(line.words) * line.size * CHARACTER_WIDTH / 72


def fitted(line: Line, width: float) -> Line:
    """The line, smaller if it is wider than ``width``."""
    return line._replace(size=line.size * min(1.0, width / width_of(line)))


class Pen:
    """Draws on a page; y grows upwards, (0, 0) is the lower left corner."""

    def __init__(self, axes: Any) -> None:
        self._axes = axes

    def wire(self, *points: Point, arrow: bool = False) -> None:
        """A line through the points, with an arrow head at the last one."""
        if arrow:
            points = (*points[:-1], self._arrow_head(*points[-2:]))
        self._axes.plot(*zip(*points), color=INK, linewidth=0.9, solid_joinstyle="round", zorder=1)

    def _arrow_head(self, start: Point, tip: Point, length: float = 0.09) -> Point:
        """Draw it; returns where the line may end, inside the head."""
        from matplotlib.patches import Polygon

        (x0, y0), (x, y) = start, tip
        distance = math.hypot(x - x0, y - y0)
        dx, dy = length * (x - x0) / distance, length * (y - y0) / distance
        wings = [(x - dx + side * dy * 0.38, y - dy - side * dx * 0.38) for side in (-1, 1)]
        self._axes.add_patch(Polygon([tip, *wings], facecolor=INK, edgecolor="none", zorder=2))
        return x - dx / 2, y - dy / 2

    def dot(self, x: float, y: float) -> None:
        """Where a wire branches."""
        self._circle(x, y, 0.028, INK)

    def plus(self, x: float, y: float, radius: float) -> None:
        """Where branches are added."""
        self._circle(x, y, radius, PAPER)
        for dx, dy in ((0.55 * radius, 0), (0, 0.55 * radius)):
            self._axes.plot((x - dx, x + dx), (y - dy, y + dy), color=INK, linewidth=0.9, zorder=3)

    def _circle(self, x: float, y: float, radius: float, fill: str) -> None:
        from matplotlib.patches import Circle

        self._axes.add_patch(Circle((x, y), radius, facecolor=fill, edgecolor=INK, linewidth=0.8, zorder=2))

    def panel(self, x: float, y: float, width: float, height: float, **style: Any) -> None:
        """A rectangle with soft corners; (x, y) is its lower left corner, ``style`` is matplotlib's."""
        from matplotlib.patches import FancyBboxPatch

        style = {"facecolor": BACKGROUND, "edgecolor": "#9a9a9a", "linewidth": 0.7, "zorder": 0, **style}
        shape = f"round,pad=0,rounding_size={style.pop('radius', 0.06)}"
        self._axes.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=shape, **style))

    def block(self, x: float, y: float, width: float, height: float, bits: Optional[int], dashed: bool = False) -> None:
        """A panel in the colour of its bit width, rounder without one; (x, y) is its lower left corner."""
        style = {"facecolor": fill_of(bits), "edgecolor": INK, "linewidth": 0.8, "zorder": 2}
        radius = min(0.04 if bits else 0.14, height / 4)
        self.panel(x, y, width, height, radius=radius, linestyle=(0, (3, 1.6)) if dashed else "solid", **style)

    def text(self, x: float, y: float, line: Line, colour: str = "", **style: Any) -> None:
        """One line of text, its middle at (x, y) unless ``style`` (matplotlib's) says otherwise."""
        style = {"ha": "center", "va": "center_baseline", **style}
        colour = colour or (SOFT_INK if line.soft else INK)
        self._axes.text(x, y, line.words, fontsize=line.size, color=colour, parse_math=False, zorder=4, **style)

    def lines(
        self, x: float, y: float, lines: Sequence[Line], width: float, bits: Optional[int] = None, upwards: bool = False
    ) -> None:
        """Lines in the middle of a block of ``bits``; one that is wider than ``width`` is made smaller."""
        colour = PAPER if bits and 10 < bits <= max(_RAMP) else ""
        turned = {"rotation": 90, "va": "center"} if upwards else {}
        heights = [line.size * 1.3 / 72 for line in lines]
        offset = sum(heights) / 2
        for line, height in zip(lines, heights):
            place = (x - offset + height / 2, y) if upwards else (x, y + offset - height / 2)
            self.text(*place, fitted(line, width), colour, **turned)
            offset -= height


def require_matplotlib(feature: str = "drawing a genotype") -> None:
    """Raise a MissingExtraError, which names the ``feature``, unless matplotlib can be imported."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MissingExtraError(feature, "matplotlib", "report") from None


@contextmanager
def page(output: Path, width: float, height: float, title: str) -> Iterator[Pen]:
    """A pen on an empty page, which is saved when the block ends: SVG or PNG by suffix, the same bytes every time."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "quantnas_sr"})
        figure = Figure(figsize=(width, height), dpi=PIXELS_PER_INCH, facecolor=PAPER)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, width), ylim=(0, height))
        axes.set_axis_off()
        yield Pen(axes)
        form = output.suffix[1:].lower()
        with written_aside(output) as aside:
            figure.savefig(aside, format=form, metadata={"Title": title, **({"Date": None} if form == "svg" else {})})
