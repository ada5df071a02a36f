"""The Pareto front of a sweep (the networks that no other network beats at its cost or below), and its plot."""

import math
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Dict, List, Optional, Sequence, Tuple

from quantnas_sr.report.drawing.pen import INK, SOFT_INK
from quantnas_sr.report.paper import TABLE_1, PaperPoint
from quantnas_sr.sweep import Record
from quantnas_sr.system.files import written_aside

FRONT = "#4a5560"
MODEL_COLOURS = {"ESPCN": "#b8860b", "SRResNet": "#7b5ea7", "RFDN": "#c0504d", "Basic": "#3a8f6a"}
METHOD_MARKERS = {"LSQ": "s", "HWGQ": "v", "EdMIPS": "^", "QuantNAS": "D"}
NAMES = {"psnr": "PSNR, dB", "ssim": "SSIM"}
#: Above this ratio of the largest cost to the smallest the axis is logarithmic.
WIDE_RANGE = 5


def pareto_front(points: Sequence[Tuple[float, float]], lower_is_better: bool = False) -> List[int]:
    """Indices of the points (cost, quality) that no other point beats, by rising cost.

    A point is beaten by another one that costs no more and is at least as good, and differs from it.

    >>> pareto_front([(2, 28.0), (1, 27.0), (3, 27.5), (4, 28.5)])
    [1, 0, 3]
    """
    sign = -1 if lower_is_better else 1
    front: List[int] = []
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -sign * points[i][1])):
        best = front and points[front[-1]]
        if not front or sign * points[i][1] > sign * best[1] or points[i] == best:
            front.append(i)
    return front


def by_setting(records: Sequence[Record]) -> Dict[str, List[Record]]:
    """The records of each setting, one for each seed."""
    groups: Dict[str, List[Record]] = {}
    for record in records:
        groups.setdefault(record.setting, []).append(record)
    return groups


def mean_and_spread(values: Sequence[float]) -> Tuple[float, float]:
    """Mean and sample standard deviation, which is 0 for a single value."""
    if not all(map(math.isfinite, values)):  # the PSNR of equal images
        return sum(values) / len(values), math.nan
    return mean(values), stdev(values) if len(values) > 1 else 0.0


def draw_front(
    records: Sequence[Record],
    test_set: str,
    metric: str,
    output: Path,
    bicubic: Optional[float] = None,
    lower_is_better: bool = False,
) -> None:
    """Draw a metric against GBitOps: every network, mean and spread of each setting, and the front of the networks.

    On Set14 the paper's points stand beside them.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.4, 4.4), layout="constrained")
    axes = figure.subplots()
    points = [(r.gbitops, r.metrics[test_set][metric]) for r in records]
    paper = TABLE_1 if test_set.lower() == "set14" and metric == "psnr" else ()
    _draw_paper(axes, paper)
    if bicubic is not None:
        axes.axhline(bicubic, color=SOFT_INK, linewidth=0.9, linestyle=(0, (1, 2)), label="bicubic")
    _draw_settings(axes, records, test_set, metric)
    front = [points[i] for i in pareto_front(points, lower_is_better)]
    axes.plot(*zip(*front), color=FRONT, linewidth=1.4, zorder=2, label="front")
    _draw_axes(axes, [x for x, _ in points] + [p.gbitops for p in paper], test_set, metric)
    figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False, columnspacing=1, handletextpad=0.4)
    with written_aside(output) as aside:
        figure.savefig(aside, dpi=200, metadata={"Software": None})


def _draw_settings(axes: Any, records: Sequence[Record], test_set: str, metric: str) -> None:
    """A colour for each setting: its networks, and where there are several, their mean and spread as a cross."""
    from matplotlib import colormaps

    groups = by_setting(records)
    for i, (setting, group) in enumerate(groups.items()):
        colour = colormaps["viridis"](0.9 * i / max(1, len(groups) - 1))
        costs, values = [r.gbitops for r in group], [r.metrics[test_set][metric] for r in group]
        axes.scatter(costs, values, s=24, color=colour, zorder=3, label=setting)
        if len(group) > 1:
            (x, dx), (y, dy) = mean_and_spread(costs), mean_and_spread(values)
            axes.errorbar(x, y, dy, dx, color=colour, alpha=0.5, linewidth=1, capsize=2, zorder=1)


def _draw_paper(axes: Any, paper: Sequence[PaperPoint]) -> None:
    seen = set()
    for point in paper:
        method, model = point.method.split()[0], point.model.split()[0]
        label = f"paper: {method} {model}"
        whole = "w/o" not in point.model
        colour = MODEL_COLOURS[model]
        axes.scatter(
            *(point.gbitops, point.psnr),
            s=26,
            marker=METHOD_MARKERS[method],
            facecolor=colour if whole else "none",
            edgecolor=colour,
            linewidth=0.9,
            label=None if label in seen else label,
        )
        seen.add(label)


def _draw_axes(axes: Any, costs: Sequence[float], test_set: str, metric: str) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if max(costs) > WIDE_RANGE * min(costs):
        axes.set_xscale("log")
        dense = math.log10(max(costs) / min(costs)) < 2
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if dense else (1,)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, position: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_title(test_set, fontsize=11, loc="left", color=INK)
    axes.set_xlabel("GBitOps for a 32×32 input", fontsize=9)
    axes.set_ylabel(NAMES.get(metric, metric), fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.margins(x=0.1, y=0.1)
    axes.spines[["top", "right"]].set_visible(False)
