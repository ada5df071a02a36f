"""The results of ``quantnas benchmark`` as rows of a table, with counted and measured columns apart."""

import statistics
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Tuple

COLUMNS = (
    *("input", "network", "ADQ", "theory: GMACs", "theory: GBitOps", "theory: file, kB"),
    *("runtime", "measured: ms", "measured: frames/s", "measured: peak, MB", "measured: times faster than float"),
)
#: Columns of text, which are aligned to the left.
_WORDS = ("input", "network", "ADQ", "runtime")


@dataclass(frozen=True)
class Theory:
    """What is counted, without running a network.

    Attributes:
        bits: the bit widths of its layers in ascending order; [32] for the float baseline.
        macs: multiply-adds for an image of the size.
        bitops: sum of MACs * bits^2.
        file_bytes: of the ``.onnx``.
    """

    bits: Sequence[int]
    macs: int
    bitops: int
    file_bytes: int


@dataclass(frozen=True)
class Measurement:
    """What was measured.

    Attributes:
        runtime: its name.
        seconds: of every run.
        peak_bytes: peak memory of runtime and network; None where the system does not say.
        times_faster: than the float baseline of the same ADQ; None for the float baseline itself.
    """

    runtime: str
    seconds: Sequence[float]
    peak_bytes: Optional[int]
    times_faster: Optional[float] = None

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds)


@dataclass(frozen=True)
class Row:
    """The results of one file in one runtime at one size of image.

    Attributes:
        size: width and height of the input.
        adq: ``dynamic``, ``static``, or empty for a network without ADQ.
        outputs: of convolutions, ``float`` or ``int8``; empty for the float baseline.
        file: name of the ``.onnx``.
        io: its images, ``float`` or ``uint8``.
    """

    size: Tuple[int, int]
    adq: str
    outputs: str
    file: str
    theory: Theory
    measurement: Measurement
    io: str = "float"

    @property
    def input(self) -> str:
        """Such as 320x180."""
        return f"{self.size[0]}x{self.size[1]}"

    def cells(self) -> List[str]:
        """The text of each of `COLUMNS`."""
        theory, found = self.theory, self.measurement
        widths = "/".join(map(str, theory.bits))
        network = f"integer, {widths} bits" if self.outputs else "float baseline"
        network += ", int8 outputs" if self.outputs == "int8" else ""
        network += ", uint8 images" if self.io == "uint8" else ""
        return [
            *(self.input, network, self.adq or "none"),
            *(f"{theory.macs / 1e9:.3f}", f"{theory.bitops / 1e9:.2f}", f"{theory.file_bytes / 1e3:.1f}"),
            *(found.runtime, f"{1e3 * found.median:.2f}", f"{1 / found.median:.1f}"),
            "unknown" if found.peak_bytes is None else f"{found.peak_bytes / 1e6:.0f}",
            "" if found.times_faster is None else f"{found.times_faster:.2f}",
        ]

    def as_dict(self) -> Dict[str, Any]:
        """As plain data for JSON, with every single timing."""
        theory, found = self.theory, self.measurement
        return {
            "width": self.size[0],
            "height": self.size[1],
            "network": "integer" if self.outputs else "float",
            "outputs": self.outputs or None,
            "io": self.io,
            "adq": self.adq or None,
            "file": self.file,
            "theory": {**vars(theory), "bits": list(theory.bits)},
            "measured": {
                "runtime": found.runtime,
                "ms": 1e3 * found.median,
                "frames_per_second": 1 / found.median,
                "peak_bytes": found.peak_bytes,
                "times_faster_than_float": found.times_faster,
                "seconds": list(found.seconds),
            },
        }


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a table in Markdown, with aligned columns."""
    lines = [list(COLUMNS), *(row.cells() for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines)]
    left = [name in _WORDS for name in COLUMNS]
    rule = ["-" * width if word else "-" * (width - 1) + ":" for width, word in zip(widths, left)]
    aligned = [
        [cell.ljust(width) if word else cell.rjust(width) for cell, width, word in zip(line, widths, left)]
        for line in lines
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in [aligned[0], rule, *aligned[1:]])
