"""The picture of an RFDN cell."""

from typing import Sequence

from quantnas_sr.report.drawing.parts import BOX_HEIGHT, BOX_WIDTH, CLEARANCE, GAP, LEAD, Box, Part, Residual, Row
from quantnas_sr.report.drawing.pen import Line, Pen

BAR_HEIGHT = 0.24


class Distillation(Part):
    """``distilled_i = skip_i(x); x = body_i(x) + x`` step by step, the last body, and the concatenation of it all.

    Args:
        skips: one box for each step.
        bodies: one box for each step, and the last.
        after: what takes the concatenation.
    """

    def __init__(self, skips: Sequence[Box], bodies: Sequence[Box], after: Part) -> None:
        self.skips, self.after = skips, after
        self.chain = Row(*(Residual(body, below=True) for body in bodies[:-1]), bodies[-1])
        self.track = BOX_HEIGHT + CLEARANCE
        self.bar = self.track + BOX_HEIGHT / 2 + CLEARANCE
        self.width = self.chain.width + 2 * GAP + after.width
        self.up, self.down = self.bar + BAR_HEIGHT, self.chain.down

    def draw(self, pen: Pen, x: float, y: float) -> None:
        self.chain.draw(pen, x, y)
        for start, skip in zip(self.chain.starts, self.skips):
            self._draw_skip(pen, x + start, y, skip)
        self._draw_kept(pen, x + self.chain.width - BOX_WIDTH / 2, y + BOX_HEIGHT / 2, y)
        self._draw_concatenation(pen, x + LEAD, x + self.chain.width, y)

    def _draw_skip(self, pen: Pen, x: float, y: float, skip: Box) -> None:
        height = y + self.track
        pen.wire((x, y), (x, height), (x + LEAD, height), arrow=True)
        skip.draw(pen, x + LEAD, height)
        self._draw_kept(pen, x + LEAD + BOX_WIDTH / 2, height + BOX_HEIGHT / 2, y)

    def _draw_kept(self, pen: Pen, x: float, start: float, y: float) -> None:
        pen.wire((x, start), (x, y + self.bar), arrow=True)

    def _draw_concatenation(self, pen: Pen, left: float, right: float, y: float) -> None:
        middle, turn, end = y + self.bar + BAR_HEIGHT / 2, right + GAP, right + 2 * GAP
        pen.block(left, middle - BAR_HEIGHT / 2, right - left, BAR_HEIGHT, bits=None)
        pen.text((left + right) / 2, middle, Line("concatenation", 8))
        pen.wire((right, middle), (turn, middle), (turn, y), (end, y), arrow=self.after.pointed)
        self.after.draw(pen, end, y)
