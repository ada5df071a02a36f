"""The layout of a diagram: groups from left to right, continued in the next row where they do not fit."""

from typing import List, NamedTuple, Sequence, Tuple

from quantnas_sr.report.drawing.parts import PADDING, Part
from quantnas_sr.report.drawing.pen import Line, Pen, Point, fitted, width_of

MAX_WIDTH = 10.0
TITLE_HEIGHT = 0.22
GROUP_GAP, ROW_GAP = 0.28, 0.3
#: Distance of the groups from the wire that runs beside them to the next row.
CHANNEL = 0.14
END_WIDTH = 0.36
#: How much wider bold capitals are than other words.
BOLD_CAPITALS = 1.45


class Group(NamedTuple):
    """Parts that belong together, with a frame around them."""

    title: str
    part: Part

    @property
    def inset(self) -> float:
        """Between the frame and the part; without wires inside, the wire to the group ends at the frame."""
        return PADDING if self.part.wired else 0.0

    @property
    def width(self) -> float:
        """Of the frame."""
        return self.part.width + 2 * self.inset


class Diagram(NamedTuple):
    """Groups in the order of the signal.

    ``entry`` and ``exit``: lines that name the input and the output. ``fixed_bits``: bit widths that were not searched.
    ``note``: a remark for the caption.
    """

    groups: Sequence[Group]
    entry: Tuple[str, ...] = ("LR image",)
    exit: Tuple[str, ...] = ("SR image",)
    fixed_bits: Tuple[int, ...] = ()
    note: str = ""


def row_width(row: Sequence[Group]) -> float:
    """Of the groups and the gaps between them."""
    return sum(group.width for group in row) + GROUP_GAP * (len(row) - 1)


def in_rows(groups: Sequence[Group], limit: float) -> List[List[Group]]:
    """The groups in order, as many in a row as fit into ``limit``, at least one."""
    rows: List[List[Group]] = [[]]
    for group in groups:
        if rows[-1] and row_width([*rows[-1], group]) > limit:
            rows.append([])
        rows[-1].append(group)
    return rows


def balanced_rows(groups: Sequence[Group]) -> List[List[Group]]:
    """As few rows as `MAX_WIDTH` allows, and among those the rows that make the narrowest page."""
    wrapped = [in_rows(groups, MAX_WIDTH * share / 40) for share in range(40, 0, -1)]
    return min(wrapped, key=lambda rows: (len(rows), max(map(row_width, rows))))


class Page:
    """A diagram in rows. ``width`` and ``height`` are those of all that `draw` draws."""

    def __init__(self, diagram: Diagram) -> None:
        self.diagram = diagram
        self.rows = balanced_rows(diagram.groups)
        self.left = END_WIDTH + GROUP_GAP
        self.right = self.left + max(map(row_width, self.rows))
        last = self.left + row_width(self.rows[-1]) + GROUP_GAP + END_WIDTH
        self.width = max(self.right + (CHANNEL if len(self.rows) > 1 else 0), last)
        self.ups = [max(group.part.up for group in row) + TITLE_HEIGHT + PADDING / 2 for row in self.rows]
        self.downs = [max(group.part.down for group in row) + PADDING for row in self.rows]
        self.height = sum(self.ups) + sum(self.downs) + ROW_GAP * (len(self.rows) - 1)

    def draw(self, pen: Pen, x: float, y: float) -> None:
        """Draw it with its upper left corner at (x, y)."""
        axis = y - self.ups[0]
        draw_end(pen, x, axis, self.diagram.entry)
        wire = [(x + END_WIDTH, axis)]
        for i in range(len(self.rows)):
            if i:
                turn = axis - self.downs[i - 1] - ROW_GAP / 2
                right, left = x + self.right + CHANNEL, x + self.left - CHANNEL
                wire += [(right, axis), (right, turn), (left, turn)]
                axis = turn - ROW_GAP / 2 - self.ups[i]
                wire.append((left, axis))
            wire = self._draw_row(pen, x + self.left, axis, i, wire)
        end = wire[0][0] + self.rows[-1][-1].inset + GROUP_GAP
        pen.wire(*wire, (end, axis), arrow=True)
        draw_end(pen, end, axis, self.diagram.exit)

    def _draw_row(self, pen: Pen, x: float, axis: float, index: int, wire: List[Point]) -> List[Point]:
        """Draw the groups of a row, the first one at x, and the wires to them; returns where the next wire starts."""
        up, down = self.ups[index], self.downs[index]
        for group in self.rows[index]:
            pen.panel(x, axis - down, group.width, up + down)
            title = fitted(Line(group.title, 8), (group.width - 0.2) / BOLD_CAPITALS)
            pen.text(x + 0.1, axis + up - TITLE_HEIGHT / 2 - 0.03, title, ha="left", weight="bold")
            pen.wire(*wire, (x + group.inset, axis), arrow=group.part.pointed)
            group.part.draw(pen, x + group.inset, axis)
            wire = [(x + group.inset + group.part.width, axis)]
            x += group.width + GROUP_GAP
        return wire


def draw_end(pen: Pen, x: float, axis: float, lines: Sequence[str]) -> None:
    """The input or the output, with its text turned upwards."""
    words = [Line(line, 8) for line in lines]
    height = max(map(width_of, words)) + 0.16
    pen.block(x, axis - height / 2, END_WIDTH, height, bits=None)
    pen.lines(x + END_WIDTH / 2, axis, words, height, upwards=True)
