"""``report.md`` and ``report.png``: the results of a study for people."""

import json
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence

from quantnas_sr.report.drawing.pen import INK
from quantnas_sr.report.front import FRONT
from quantnas_sr.system.files import written_aside

Data = Dict[str, Any]


def write_report(results: Data, output: Path) -> str:
    """Write ``results.json``, ``report.md`` and ``report.png``; returns the text."""
    text = "\n".join(_lines(results))
    for name, content in (("results.json", json.dumps(results, indent=1)), ("report.md", text + "\n")):
        with written_aside(output / name) as aside:
            aside.write_text(content, encoding="utf-8")
    if results["rows"]:
        draw(results, output / "report.png")
    return text


def _lines(results: Data) -> Iterator[str]:
    trainings, hours = results["trainings"], results["hours"]
    yield f"# {results['plan']}"
    yield ""
    yield f"{trainings['done']} of {trainings['planned']} trainings; {hours['search']:.2f} h of searches,"
    yield f"{hours['train']:.2f} h of trainings, one after another. PSNR-Y of the exported integers on"
    yield f"{results['validation']['dataroot_gt']}:"
    yield "mean, standard deviation, and 95 % interval of the mean (Student's t)."
    yield ""
    tests = list(dict.fromkeys(test for row in results["rows"].values() for test in row["test"]))
    yield "| row | networks | trainings | GBitOps (2^30) | PSNR-Y, dB |" + "".join(f" {test} |" for test in tests)
    yield "|---|--:|--:|--:|--:|" + "--:|" * len(tests)
    for name, row in results["rows"].items():
        yield _row(name, row, tests)
    yield from _searches(results["rows"])
    yield from _differences(results["differences"])
    yield from _rank(results["rank"])
    for name, reason in results["left_out"].items():
        yield f"\nLeft out: {name}: {reason}"


def _row(name: str, row: Data, tests: Sequence[str]) -> str:
    costs = [network["gbitops"] * 1e9 / 2**30 for network in row["networks"]]
    cost = f"{min(costs):.3f}" if len(costs) == 1 else f"{min(costs):.3f} to {max(costs):.3f}"
    trainings = sum(len(network["psnr"]) for network in row["networks"])
    measured = "".join(f" {_estimate(row['test'][test]) if test in row['test'] else ''} |" for test in tests)
    return f"| {name} | {len(costs)} | {trainings} | {cost} | {_estimate(row['psnr'])} |{measured}"


def _estimate(value: Data) -> str:
    if value["sd"] is None:
        return f"{value['mean']:.3f}"
    return f"{value['mean']:.3f} +- {value['sd']:.3f} {_interval(value['low'], value['high'])}"


def _interval(low: Optional[float], high: Optional[float]) -> str:
    return "" if low is None or high is None else f"[{low:.3f}, {high:.3f}]"


def _searches(rows: Dict[str, Data]) -> Iterator[str]:
    searched = {name: [n["search"] for n in row["networks"] if "search" in n] for name, row in rows.items()}
    searched = {name: searches for name, searches in searched.items() if searches}
    if not searched:
        return
    yield ""
    yield "| searches | minutes | probability of the choices | choices of the largest alpha | different genotypes |"
    yield "|---|--:|--:|--:|--:|"
    for name, searches in searched.items():
        minutes = ", ".join("?" if s["seconds"] is None else f"{s['seconds'] / 60:.1f}" for s in searches)
        probability, agreement = (sum(s[key] for s in searches) / len(searches) for key in ("probability", "agreement"))
        kinds = {json.dumps(network["slots"]) for network in rows[name]["networks"]}
        yield f"| {name} | {minutes} | {probability:.2f} | {100 * agreement:.0f} % | {len(kinds)} of {len(searches)} |"


def _differences(differences: List[Data]) -> Iterator[str]:
    if not differences:
        return
    yield ""
    yield "| difference | dB (Welch; samples: networks) | in percent | by training seed (paired) | networks beaten |"
    yield "|---|--:|--:|--:|--:|"
    for difference in differences:
        gain, by_seed = difference["improvement"], difference["by_seed"]
        total = f"{gain['decibel']:+.3f} {_interval(gain['low'], gain['high'])}".rstrip()
        paired = "" if by_seed is None else _estimate(by_seed)
        names, beaten = " - ".join(difference["rows"]), f"{gain['beaten']} of {gain['others']}"
        yield f"| {names} | {total} | {gain['percent']:+.3f} | {paired} | {beaten} |"


def _rank(rank: Optional[Data]) -> Iterator[str]:
    if rank is not None:
        yield ""
        yield f"Kendall's tau of {len(rank['trained'])} networks ({rank['networks']}), PSNR in the supernet and after"
        yield f"training: {rank['tau']:.3f} (p = {rank['p']:.4f})."


def draw(results: Data, path: Path) -> None:
    """A line for every row: each training as a dot, above the mean and its interval."""
    from matplotlib.figure import Figure

    rows = results["rows"]
    figure = Figure(figsize=(6.4, 1.1 + 0.45 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(rows.values()):
        values = [value for network in row["networks"] for value in network["psnr"].values()]
        axes.scatter(values, [place - 0.15] * len(values), s=14, color=FRONT, alpha=0.6, linewidth=0)
        mean = row["psnr"]
        if mean["low"] is not None:
            axes.plot([mean["low"], mean["high"]], [place + 0.15] * 2, color=INK, linewidth=1.2)
        axes.scatter([mean["mean"]], [place + 0.15], s=26, color=INK, zorder=3)
        axes.text(mean["mean"], place + 0.3, f"{mean['mean']:.3f}", fontsize=7, ha="center", va="top", color=INK)
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.set_ylim(len(rows) - 0.3, -0.6)
    axes.set_xlabel("PSNR-Y of the exported integers, dB", fontsize=8, color=INK)
    axes.tick_params(labelsize=8)
    axes.grid(axis="x", color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    with written_aside(path) as aside:
        figure.savefig(aside, dpi=200, metadata={"Software": None})
