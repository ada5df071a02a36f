"""Alpha dynamics by layer (the paper's figure 9), from the TensorBoard events of a search."""

from pathlib import Path
from typing import Any, Dict, List, Tuple

from quantnas_sr.report.drawing.pen import INK
from quantnas_sr.system.files import written_aside

#: {slot: {(operation, bits): {iteration: probability}}}
Dynamics = Dict[str, Dict[Tuple[str, int], Dict[int, float]]]

COLUMNS = 4
#: Line styles, from the widest bit width to the narrowest.
STYLES = ("-", "--", "-.", ":")


def read_alphas(folder: Path) -> Dynamics:
    """The probabilities that a search logged, slots in the order of their names; empty when it logged none.

    Where a resumed run logged an iteration again, the later value counts.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    if not Path(folder).is_dir():
        return {}
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}, purge_orphaned_data=False)
    events.Reload()
    found: Dynamics = {}
    for tag in events.Tags()["scalars"]:
        if tag.startswith("alphas/"):
            slot, operation, bits = tag[len("alphas/") :].rsplit("/", 2)
            series = sorted(events.Scalars(tag), key=lambda event: event.wall_time)
            values = {event.step: event.value for event in series}
            found.setdefault(slot, {})[operation, int(bits[: -len("bit")])] = dict(sorted(values.items()))
    return found


def draw_alphas(dynamics: Dynamics, output: Path) -> None:
    """Draw a panel for each slot. Operations differ in colour, bit widths in line style; the widest is solid."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    edges = [edge for slot in dynamics.values() for edge in slot]
    operations = list(dict.fromkeys(operation for operation, _ in edges))
    widths = sorted({bits for _, bits in edges}, reverse=True)
    colours = {operation: f"C{i}" for i, operation in enumerate(operations)}
    styles = {bits: STYLES[min(i, len(STYLES) - 1)] for i, bits in enumerate(widths)}
    rows = -(-len(dynamics) // COLUMNS)
    figure = Figure(figsize=(10, 1.8 * rows + 0.9), layout="constrained")
    panels: List[Any] = list(figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False).flat)
    for (slot, series), axes in zip(dynamics.items(), panels):
        for (operation, bits), values in series.items():
            axes.plot(values.keys(), values.values(), styles[bits], color=colours[operation], linewidth=1.1)
        axes.set_title(slot, fontsize=9, loc="left", color=INK)
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels[len(dynamics) :]:
        axes.set_visible(False)
    for axes in panels[max(0, len(dynamics) - COLUMNS) : len(dynamics)]:
        axes.set_xlabel("iteration", fontsize=8)
    for axes in panels[::COLUMNS]:
        axes.set_ylabel("probability", fontsize=8)
    lines = [Line2D([], [], color=colours[name], label=name) for name in operations]
    lines += [Line2D([], [], color=INK, linestyle=styles[bits], label=f"{bits} bit") for bits in widths]
    figure.legend(handles=lines, loc="outside lower center", ncols=6, fontsize=8, frameon=False)
    with written_aside(output) as aside:
        figure.savefig(aside, dpi=150, metadata={"Software": None})
