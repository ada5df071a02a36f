"""The plot of a benchmark: milliseconds of the float baseline and of the integer networks side by side."""

from pathlib import Path
from typing import Any, List, Sequence

from quantnas_sr.benchmark.table import Row
from quantnas_sr.report.drawing.pen import INK, NEUTRAL, SOFT_INK, fill_of
from quantnas_sr.system.files import written_aside

#: Width of a bar, as a share of the distance between two groups.
_WIDTH = 0.27


def draw_benchmark(rows: Sequence[Row], title: str, output: Path) -> None:
    """Draw a panel for each runtime and size of image, with a group of bars for each form of ADQ.

    Args:
        rows: the results.
        title: the machine and the versions.
        output: a ``.png``, or another format that matplotlib writes.
    """
    from matplotlib.figure import Figure

    runtimes = list(dict.fromkeys(row.measurement.runtime for row in rows))
    sizes = list(dict.fromkeys(row.size for row in rows))
    figure = Figure(figsize=(1.2 + 2.6 * len(sizes), 1.2 + 2.3 * len(runtimes)), layout="constrained")
    panels = figure.subplots(len(runtimes), len(sizes), sharey="col", squeeze=False)
    for line, runtime in zip(panels, runtimes):
        for axes, size in zip(line, sizes):
            shown = [row for row in rows if (row.measurement.runtime, row.size) == (runtime, size)]
            _draw_panel(axes, shown)
            axes.set_title(f"{runtime}, {shown[0].input}", fontsize=9, loc="left", color=INK)
        line[0].set_ylabel("ms for one image", fontsize=8)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    figure.suptitle(title, fontsize=7, color=SOFT_INK, wrap=True)
    with written_aside(output) as aside:
        figure.savefig(aside, dpi=200, metadata={"Software": None})


def _draw_panel(axes: Any, rows: List[Row]) -> None:
    forms = list(dict.fromkeys(row.adq for row in rows))
    kinds = (
        (("", "float"), "float baseline", NEUTRAL),
        (("float", "float"), "integer, times faster", fill_of(8)),
        (("float", "uint8"), "integer, uint8 images", fill_of(6)),
        (("int8", "float"), "integer, int8 outputs", fill_of(4)),
        (("int8", "uint8"), "integer, int8 outputs, uint8 images", fill_of(2)),
    )
    kinds = tuple(kind for kind in kinds if any((row.outputs, row.io) == kind[0] for row in rows))
    for number, (form, label, fill) in enumerate(kinds):
        shown = [row for row in rows if (row.outputs, row.io) == form]
        places = [forms.index(row.adq) + (number - (len(kinds) - 1) / 2) * _WIDTH for row in shown]
        heights = [1e3 * row.measurement.median for row in shown]
        bars = axes.bar(places, heights, _WIDTH, label=label, facecolor=fill, edgecolor=INK, linewidth=0.7)
        ratios = [row.measurement.times_faster for row in shown]
        axes.bar_label(bars, ["" if ratio is None else f"{ratio:.2f}×" for ratio in ratios], fontsize=8, padding=2)
    axes.set_xticks(range(len(forms)), [f"{form} ADQ" if form else "" for form in forms])
    axes.tick_params(labelsize=8)
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.margins(x=0.25, y=0.15)
    axes.spines[["top", "right"]].set_visible(False)
