"""One iteration of the search: the paper-literal formulation, ours in both modes, and what it grows with.

    python benchmarks/search_step.py [--rounds 7] [--output benchmarks/results]

Writes ``search_step.md`` and ``search_step.png`` (the time over the number of bit widths, as the paper's figure 8).
Leave the machine alone while it runs.
"""

import argparse
from pathlib import Path
from typing import Any, Dict, List

from side_by_side import Case, Result, measure, table

from quantnas_sr.system.files import written_aside

#: Candidates of the authors' program for the basic space.
BASIC = {
    "head": ["simple_3x3", "simple_5x5", "simple_3x3_grouped_3", "simple_5x5_grouped_3"],
    "body": ["conv_5x1_1x5", "conv_3x1_1x3", "simple_3x3", "simple_5x5"],
    "skip": ["simple_1x1", "simple_3x3", "simple_5x5"],
    "tail": ["simple_1x1", "simple_3x3", "simple_5x5", "simple_5x5_grouped_3", "simple_3x3_grouped_3"],
    "upsample": ["simple_5x5_grouped_3", "simple_3x3_grouped_3", "simple_3x3", "simple_5x5"],
}
SPACES: Dict[str, Dict[str, Any]] = {
    "basic": {"space": "basic", "candidates": BASIC, "bits": [4, 8]},
    "rfdn": {"space": "rfdn", "candidates": "large", "bits": [4, 8]},
}
WIDTHS = [[8], [4, 8], [2, 4, 8], [2, 4, 6, 8]]
#: One operation under several names, so that only the number of operations grows: single convolutions, and chains.
SINGLE = ["simple_3x3", "simple_3x3_d1", "simple_3x3_grouped_1", "simple_3x3_grouped_1_d1"]
CHAINS = ["decenc_3x3_1", "decenc_3x3_1_g1"]


def search(name: str, **options: Any) -> Case:
    """A case of `steps.search`."""
    return Case(name, ("steps", "search"), options)


def modes(space: str) -> List[Case]:
    """The formulations side by side."""
    base = SPACES[space]
    system = {**base, "keep_memory": False}
    cases = [search("literal (equation 5 as it is written)", **system, literal=True)]
    for amp in ("none", "bfloat16"):
        words = "float32" if amp == "none" else amp
        cases += [
            search(f"exact, {words}", **base, noise_mode="exact", amp=amp),
            search(f"fast, {words}", **base, noise_mode="fast", amp=amp),
            search(f"shared, {words}", **base, bit_mixer="shared", amp=amp),
        ]
    cases.insert(1, search("literal, bfloat16", **system, literal=True, amp="bfloat16"))
    cases.append(search("fast, float32, freed memory given back", **system, noise_mode="fast"))
    return cases


def growth() -> Dict[str, List[Case]]:
    """What the time grows with; the numbers are the names."""
    base = SPACES["basic"]
    bits = {"noise": [], "shared": []}
    for mixer, cases in bits.items():
        cases += [search(str(len(w)), **{**base, "bits": w}, bit_mixer=mixer) for w in WIDTHS]

    def operations(names: List[str]) -> List[Case]:
        counts = range(1, len(names) + 1)
        return [search(str(n), **{**base, "candidates": dict.fromkeys(BASIC, names[:n])}) for n in counts]

    return {
        "bit widths, noise": bits["noise"],
        "bit widths, shared": bits["shared"],
        "operations, single": operations(SINGLE),
        "operations, chains": operations(CHAINS),
        "blocks": [search(str(n), **base, num_block=n) for n in (1, 2, 4, 8)],
        "pixels of a patch": [search(str(side**2), **base, patch=side) for side in (16, 24, 32, 48)],
        "batch": [search(str(n), **base, batch=n) for n in (4, 8, 16, 32)],
    }


def plot(series: Dict[str, List[Result]], path: Path) -> None:
    """A panel for each thing that the time grows with; what stands behind a comma is a line of its own."""
    from matplotlib.figure import Figure

    panels: Dict[str, List[str]] = {}
    for key in series:
        panels.setdefault(key.partition(", ")[0], []).append(key)
    figure = Figure(figsize=(3 * len(panels), 3), layout="constrained")
    for axes, (title, keys) in zip(figure.subplots(1, len(panels)), panels.items()):
        for key in keys:
            x = [int(r.case.name) for r in series[key]]
            axes.plot(x, [1e3 * r.median for r in series[key]], "o-", label=key.rpartition(", ")[2])
        axes.set(xlabel=title, ylim=(0, None), xlim=(0, None))
        if len(keys) > 1:
            axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("one iteration, ms")
    with written_aside(path) as aside:
        figure.savefig(aside, format=path.suffix[1:], dpi=120)


def growth_table(series: Dict[str, List[Result]]) -> str:
    """In Markdown, with the growth of the time over that of what it grows with."""
    lines = ["| grows with | | | | | last / first | time, last / first |", "|---|---|---|---|---|---|---|"]
    for key, results in series.items():
        cells = [f"{r.case.name}: {1e3 * r.median:.0f} ms" for r in results] + [""] * (4 - len(results))
        first, last = results[0], results[-1]
        factor = int(last.case.name) / int(first.case.name)
        lines.append(f"| {key} | {' | '.join(cells)} | {factor:.1f} | {last.median / first.median:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--only", choices=("modes", "growth"), help="measure only this half")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    text = [
        "# One iteration of the search",
        "An alpha step and a step of the weights, batch 8, LR 24x24, 4 and 8 bits.",
    ]
    for space in SPACES if args.only != "growth" else ():
        results, c = measure(modes(space), args.rounds)
        text += [f"## {space}", table(results, c)]
        print(text[-1])
    if args.only != "modes":
        series = {key: measure(cases, args.rounds)[0] for key, cases in growth().items()}
        text += ["## Growth, basic, fast, float32", growth_table(series)]
        print(text[-1])
        plot(series, args.output / "search_step.png")
    with written_aside(args.output / "search_step.md") as aside:
        aside.write_text("\n\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
