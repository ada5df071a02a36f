"""The parts that a diagram is put together from, as in a railway diagram: boxes, chains, branches, sums.

A signal enters a part at (x, y), runs along the axis y and leaves it at (x + width, y); the part reaches ``up`` above
the axis and ``down`` below it. All lengths are inches.
"""

import textwrap
from itertools import accumulate
from typing import List, Optional

from quantnas_sr.report.drawing.pen import SOFT_INK, Line, Pen, width_of

BOX_WIDTH, BOX_HEIGHT = 0.94, 0.64
#: Where the text of a box is broken into lines, in characters.
LINE_LENGTH = 14
#: Between two parts in a row; from a branching point to what follows it; between a part and the wire around it.
GAP, LEAD, CLEARANCE = 0.22, 0.2, 0.13
PLUS_RADIUS = 0.08
#: Inside the border of a group or of a repeated part.
PADDING = 0.14
LABEL_HEIGHT = 0.16


def label(words: str) -> Line:
    """A remark next to a wire."""
    return Line(words, 7, soft=True)


class Part:
    """A piece of the diagram.

    ``pointed``: the signal meets a box or a plus at once, so that the wire to it ends in an arrow head. ``wired``: the
    way of the signal through the part is drawn.
    """

    width = 0.0
    up = 0.0
    down = 0.0
    pointed = False
    wired = True

    def draw(self, pen: Pen, x: float, y: float) -> None:
        """Draw the part and the wires inside it."""
        raise NotImplementedError


class Box(Part):
    """A box for one operation or module.

    Args:
        words: its name; at most two lines of it are shown.
        bits: the bit width of its convolutions, None when it has none.
        slot: the name of its slot; empty for what is not searched.
    """

    pointed = True

    def __init__(self, words: str, bits: Optional[int] = None, slot: str = "") -> None:
        self.bits, self.searched = bits, bool(slot)
        first, *rest = textwrap.wrap(words, LINE_LENGTH)
        self.lines = [Line(slot, 6, soft=True)] if slot else []
        self.lines += [Line(line, 8) for line in (first, " ".join(rest)) if line]
        self.lines += [Line(f"{bits} bit", 7)] if bits else []
        self.width, self.up, self.down = BOX_WIDTH, BOX_HEIGHT / 2, BOX_HEIGHT / 2

    def draw(self, pen: Pen, x: float, y: float) -> None:
        pen.block(x, y - self.down, self.width, BOX_HEIGHT, self.bits, dashed=bool(self.bits) and not self.searched)
        pen.lines(x + self.width / 2, y, self.lines, self.width - 0.06, self.bits)


class Row(Part):
    """Parts one after the other."""

    def __init__(self, *parts: Part) -> None:
        self.parts = parts
        *self.starts, end = accumulate((part.width + GAP for part in parts), initial=0.0)
        self.width = end - GAP
        self.up, self.down = max(part.up for part in parts), max(part.down for part in parts)
        self.pointed = parts[0].pointed

    def draw(self, pen: Pen, x: float, y: float) -> None:
        for start, part in zip(self.starts, self.parts):
            if start:
                pen.wire((x + start - GAP, y), (x + start, y), arrow=part.pointed)
            part.draw(pen, x + start, y)


class Sum(Part):
    """A part between the point where the signal branches and the plus that adds the branch to it.

    ``width`` is that of the branch, where it may be wider than the part.
    """

    def __init__(self, main: Part, width: float = 0.0) -> None:
        self.main, self.inside = main, max(main.width, width)
        self.width = LEAD + self.inside + GAP + 2 * PLUS_RADIUS
        self.up, self.down = main.up, main.down

    def draw(self, pen: Pen, x: float, y: float) -> None:
        end = x + self.width - PLUS_RADIUS
        pen.wire((x, y), (x + LEAD, y), arrow=self.main.pointed)
        pen.wire((x + LEAD + self.main.width, y), (end - PLUS_RADIUS, y), arrow=True)
        self.draw_branch(pen, x, y, end)
        self.main.draw(pen, x + LEAD, y)
        pen.dot(x, y)
        pen.plus(end, y, PLUS_RADIUS)

    def draw_branch(self, pen: Pen, x: float, y: float, end: float) -> None:
        """Draw the way from the branching point (x, y) to the plus around (end, y)."""
        raise NotImplementedError


class Residual(Sum):
    """``main(x) + x``, the wire of x above or below; ``words`` name the normalisation of the branch."""

    def __init__(self, main: Part, words: str = "", below: bool = False) -> None:
        super().__init__(main)
        self.words, self.side = words, -1 if below else 1
        self.reach = (main.down if below else main.up) + CLEARANCE
        extent = self.reach + (LABEL_HEIGHT if words else 0)
        self.up, self.down = (self.up, extent) if below else (extent, self.down)

    def draw_branch(self, pen: Pen, x: float, y: float, end: float) -> None:
        height = y + self.side * self.reach
        pen.wire((x, y), (x, height), (end, height), (end, y + self.side * PLUS_RADIUS), arrow=True)
        if self.words:
            pen.text((x + end) / 2, height + self.side * LABEL_HEIGHT / 2, label(self.words))


class Beside(Sum):
    """``main(x) + side(x)``, the side branch under the middle of the main one."""

    def __init__(self, main: Part, side: Part) -> None:
        super().__init__(main, side.width)
        self.side = side
        self.drop = main.down + CLEARANCE + side.up
        self.down = self.drop + side.down

    def draw_branch(self, pen: Pen, x: float, y: float, end: float) -> None:
        low, left = y - self.drop, x + LEAD + (self.inside - self.side.width) / 2
        pen.wire((x, y), (x, low), (left, low), arrow=self.side.pointed)
        pen.wire((left + self.side.width, low), (end, low), (end, y - PLUS_RADIUS), arrow=True)
        self.side.draw(pen, left, low)


class Repeat(Part):
    """A part that stands ``times`` times in a row and is drawn once."""

    def __init__(self, inner: Part, times: int) -> None:
        self.inner, self.times = inner, times
        self.width = inner.width + 2 * PADDING
        self.up, self.down = inner.up + PADDING, inner.down + PADDING

    def draw(self, pen: Pen, x: float, y: float) -> None:
        right, bottom = x + self.width, y - self.down
        style = {"facecolor": "none", "linestyle": (0, (1.5, 1.5)), "edgecolor": SOFT_INK, "zorder": 1}
        pen.panel(x, bottom, self.width, self.up + self.down, **style)
        pen.wire((x, y), (x + PADDING, y), arrow=self.inner.pointed)
        pen.wire((right - PADDING, y), (right, y))
        self.inner.draw(pen, x + PADDING, y)
        pen.text(right - 0.1, bottom + 0.14, Line(f"× {self.times}", 9), ha="right")


class Addend(Part):
    """The sum of the signal and a result from another part of the network, which is named."""

    pointed = True

    def __init__(self, name: str) -> None:
        self.name = label(name)
        self.width = PLUS_RADIUS + max(PLUS_RADIUS + GAP, width_of(self.name) / 2)
        self.up, self.down = BOX_HEIGHT / 2 + LABEL_HEIGHT, PLUS_RADIUS

    def draw(self, pen: Pen, x: float, y: float) -> None:
        plus, top = x + PLUS_RADIUS, y + BOX_HEIGHT / 2
        pen.wire((plus, top), (plus, y + PLUS_RADIUS), arrow=True)
        pen.wire((plus, y), (x + self.width, y))
        pen.plus(plus, y, PLUS_RADIUS)
        pen.text(plus, top + LABEL_HEIGHT / 2, self.name)


class Tracks(Part):
    """Boxes in columns, a row for each kind, without wires, for a network whose wiring is not drawn."""

    pointed = True
    wired = False

    def __init__(self, tracks: List[List[Box]], columns: int = 8) -> None:
        starts = range(0, max(map(len, tracks)), columns)
        self.rows = [track[start : start + columns] for start in starts for track in tracks if track[start:]]
        self.width = max(map(len, self.rows)) * (BOX_WIDTH + PADDING) + PADDING
        self.up = self.down = (len(self.rows) * (BOX_HEIGHT + PADDING) - PADDING) / 2

    def draw(self, pen: Pen, x: float, y: float) -> None:
        for i, row in enumerate(self.rows):
            middle = y + self.up - BOX_HEIGHT / 2 - i * (BOX_HEIGHT + PADDING)
            for j, box in enumerate(row):
                box.draw(pen, x + PADDING + j * (BOX_WIDTH + PADDING), middle)
