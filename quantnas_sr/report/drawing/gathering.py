"""The picture of results that are gathered along a chain, as the distillation steps of an RFDN cell are."""

from itertools import accumulate
from typing import Dict, List, Sequence

from quantnas_sr.report.drawing.parts import CLEARANCE, GAP, LEAD, Box, Part, Row, Sum
from quantnas_sr.report.drawing.pen import Line, Pen

BAR_HEIGHT = 0.24


class Gathering(Part):
    """A chain, branches that leave it at its stages, and a bar that gathers what all of them end with.

    Args:
        chain: the stages on the axis.
        branches: by the index of the stage before which they leave the chain; one without parts is a wire.
        words: what the bar does.
    """

    def __init__(self, chain: Sequence[Part], branches: Dict[int, List[List[Part]]], words: str) -> None:
        self.chain, self.words = chain, words
        self.rows = {
            stage: [Row(*parts) for parts in sorted(of, key=_width) if parts] for stage, of in branches.items()
        }
        self.wires = {stage for stage, of in branches.items() if not all(of)}
        # the next stage begins to the right of what leaves before this one
        widths = [max(self._lead(i) + part.width + GAP, self._room(i)) for i, part in enumerate(chain)]
        first = LEAD if 0 in self.wires else 0.0
        *self.starts, end = accumulate(widths, initial=first)
        self.end = self.starts[-1] + self._lead(len(chain) - 1) + chain[-1].width
        self.levels = self._levels()
        tops = [height + row.up for level in self.levels.values() for row, height in level]
        self.bar = max([part.up for part in chain] + tops) + CLEARANCE
        self.turn = self._turn()
        self.right = max(end - GAP, self.turn or self.end)
        self.width = self.right + GAP
        self.up, self.down = self.bar + BAR_HEIGHT, max(part.down for part in chain)
        self.pointed = not first and not self._leaves(0) and chain[0].pointed

    def _leaves(self, stage: int) -> bool:
        return bool(self.rows.get(stage)) or stage in self.wires

    def _lead(self, stage: int) -> float:
        """Between the point where branches leave and the stage; a sum has room for that point itself."""
        return LEAD if self._leaves(stage) and not isinstance(self.chain[stage], Sum) else 0.0

    def _room(self, stage: int) -> float:
        """The width of the branches that leave before a stage, the wires to the right of them and a gap included."""
        rows = self.rows.get(stage, [])
        return LEAD + max(row.width for row in rows) + GAP * (self._wires_beside(stage) + 1) if rows else 0.0

    def _wires_beside(self, stage: int) -> int:
        """How many branches rise to the bar on their right, because there are others above them."""
        rows = self.rows.get(stage, [])
        return 0 if len(rows) == 1 and isinstance(rows[0].parts[-1], Box) else len(rows)

    def _turn(self) -> float:
        """Where the end of the chain rises to the bar on the right of all else; 0 where it rises from its last box."""
        last = len(self.chain) - 1
        if isinstance(self.chain[-1], Box) and not self.rows.get(last):
            return 0.0
        return max(self.end + GAP, self.starts[-1] + self._room(last))

    def _levels(self) -> Dict[int, list]:
        """The rows of each stage with their heights above the axis, the widest one lowest."""
        levels: Dict[int, list] = {}
        for stage, rows in self.rows.items():
            height, levels[stage] = max(part.up for part in self.chain), []
            for row in reversed(rows):
                height += CLEARANCE + row.down
                levels[stage].append((row, height))
                height += row.up
        return levels

    def draw(self, pen: Pen, x: float, y: float) -> None:
        if self.starts[0]:
            pen.wire((x, y), (x + self.starts[0], y))
        for i, part in enumerate(self.chain):
            start = x + self.starts[i]
            lead = self._lead(i)
            if lead:
                pen.dot(start, y)
                pen.wire((start, y), (start + lead, y), arrow=part.pointed)
            part.draw(pen, start + lead, y)
            if i + 1 < len(self.chain):
                arrow = self.chain[i + 1].pointed and not self._lead(i + 1)
                pen.wire((start + lead + part.width, y), (x + self.starts[i + 1], y), arrow=arrow)
            if i in self.wires:
                pen.wire((start, y), (start, y + self.bar), arrow=True)
            self._draw_branches(pen, start, y, i)
        self._draw_end(pen, x, y)

    def _draw_branches(self, pen: Pen, x: float, y: float, stage: int) -> None:
        levels = self.levels.get(stage, [])
        widest = max((row.width for row, _ in levels), default=0.0)
        for i, (row, height) in enumerate(levels):
            pen.wire((x, y), (x, y + height), (x + LEAD, y + height), arrow=row.pointed)
            row.draw(pen, x + LEAD, y + height)
            end = x + LEAD + row.width
            if not self._wires_beside(stage):
                middle = end - row.parts[-1].width / 2
                pen.wire((middle, y + height + row.parts[-1].up), (middle, y + self.bar), arrow=True)
            else:
                turn = x + LEAD + widest + GAP * (len(levels) - i)
                pen.wire((end, y + height), (turn, y + height), (turn, y + self.bar), arrow=True)

    def _draw_end(self, pen: Pen, x: float, y: float) -> None:
        """From the last stage to the bar, the bar, and the way back to the axis."""
        end, last = x + self.end, self.chain[-1]
        if self.turn:
            pen.wire((end, y), (x + self.turn, y), (x + self.turn, y + self.bar), arrow=True)
        else:
            middle = end - last.width / 2
            pen.wire((middle, y + last.up), (middle, y + self.bar), arrow=True)
        left, right = x + (0.0 if 0 in self.wires else LEAD), x + self.right
        middle = y + self.bar + BAR_HEIGHT / 2
        pen.block(left, middle - BAR_HEIGHT / 2, right - left, BAR_HEIGHT, bits=None)
        pen.text((left + right) / 2, middle, Line(self.words, 8))
        pen.wire((right, middle), (x + self.width, middle), (x + self.width, y))


def _width(parts: List[Part]) -> float:
    return Row(*parts).width if parts else 0.0
