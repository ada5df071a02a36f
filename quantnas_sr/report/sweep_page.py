"""The report of a sweep: one HTML page that holds all its pictures, and the same pictures as files beside it."""

from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

from quantnas_sr.files import written_aside
from quantnas_sr.report import html
from quantnas_sr.report.alphas import draw_alphas, read_alphas
from quantnas_sr.report.drawing.draw import draw_genotype
from quantnas_sr.report.drawing.pen import require_matplotlib
from quantnas_sr.report.front import NAMES, by_setting, draw_front, mean_and_spread, pareto_front
from quantnas_sr.report.paper import SOURCE, TABLE_1
from quantnas_sr.report.pictures import TestSet, bicubic_scores
from quantnas_sr.search_space import Genotype
from quantnas_sr.sweep import LeftOut, Record, collect
from quantnas_sr.sweep.job import SweepJob

Column = Tuple[str, str]  # of a test set and a metric


def write_report(folder: Path) -> Path:
    """Write ``report.html`` and its pictures into the folder of a sweep; returns the page.

    Call it where the sweep ran: runs are looked up in ``experiments/``, ``results/`` and ``tb_logger/``.

    Raises:
        OptionError: it is not the folder of a sweep.
        MissingExtraError: matplotlib is not installed.
    """
    require_matplotlib()
    folder = Path(folder)
    records, left_out = collect(folder)
    page = html.document(
        f"Pareto front: {folder.resolve().name}",
        html.paragraph(_summary(records, left_out), "lede"),
        _warning(left_out),
        *(_Sections(folder, records).all() if records else ()),
        _left_out(left_out),
    )
    path = folder / "report.html"
    with written_aside(path) as aside:
        aside.write_text(page, encoding="utf-8")
    return path


def counted(number: int, word: str) -> str:
    """
    >>> counted(1, "network"), counted(2, "network")
    ('1 network', '2 networks')
    """
    return f"{number} {word}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """
    >>> duration(75), duration(200000)
    ('0:01:15', '55:33:20')
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _value(metric: str, value: float) -> str:
    return f"{value:.2f}" if metric == "psnr" else f"{value:.4f}"


def _summary(records: Sequence[Record], left_out: Sequence[LeftOut]) -> str:
    if not records:
        return f"No network is finished yet; {counted(len(left_out), 'job')} without a result."
    g = Genotype.load(records[0].genotype)
    settings, seeds = len(by_setting(records)), len({record.seed for record in records})
    return (
        f"{counted(len(records), 'network')} from {counted(settings, 'setting')} and {counted(seeds, 'seed')}, "
        f"each searched, trained quantization-aware, and tested on {' and '.join(records[0].metrics)}. "
        f"Search space {g.search_space}, ×{g.scale}, {g.num_feat} channels, {counted(g.num_block, 'block')}."
    )


def _warning(left_out: Sequence[LeftOut]) -> str:
    if not left_out:
        return ""
    names = ", ".join(job.name for job in left_out)
    words = f"{counted(len(left_out), 'job')} without a result: {names}. The reasons stand at the end."
    return f'<div class="warning">{html.paragraph(words)}</div>'


def _left_out(left_out: Sequence[LeftOut]) -> str:
    if not left_out:
        return ""
    rows = [(job.name, job.stage, job.reason) for job in left_out]
    again = "The same command again tries them once more, from where they stopped."
    return html.section(
        "Jobs without a result", html.table(("job", "stage", "reason"), rows, text=(1, 2)), html.paragraph(again)
    )


class _Sections:
    """The parts of a page about records, of which there is at least one."""

    def __init__(self, folder: Path, records: Sequence[Record]) -> None:
        self.folder, self.records = folder, records
        options = SweepJob(folder / "jobs" / records[0].name).options("test")
        self.sets = TestSet.all_of(options)
        self.bicubic = bicubic_scores(self.sets)
        self.lower = [key for key, value in options["val"]["metrics"].items() if value.get("better") == "lower"]
        first = records[0].metrics
        self.columns: List[Column] = [(name, metric) for name in first for metric in first[name]]
        self.front = {column: self._front_of(column) for column in self.columns}
        self.main = next((column for column in self.columns if column[0].lower() == "set14"), self.columns[0])

    def _front_of(self, column: Column) -> List[int]:
        points = [(record.gbitops, record.metrics[column[0]][column[1]]) for record in self.records]
        return pareto_front(points, column[1] in self.lower)

    def all(self) -> Tuple[str, ...]:
        """In the order of the page."""
        parts = (self.fronts, self.means, self.networks, self.crops, self.genotypes, self.paper, self.words)
        return tuple(part() for part in parts)

    def fronts(self) -> str:
        """A plot for each test set and metric, the main test set first."""
        figures = []
        for name, metric in sorted(self.columns, key=lambda column: column[0] != self.main[0]):
            path = self.folder / f"front_{name}_{metric}.png"
            reference = self.bicubic.get((name, metric))
            draw_front(self.records, name, metric, path, reference, metric in self.lower)
            figures.append(html.figure(path, f"{NAMES.get(metric, metric)} on {name} against GBitOps"))
        source = f"Paper: {SOURCE}; hollow: without one of its parts. Its SSIM is not tabulated."
        shown = any(name.lower() == "set14" for name, _ in self.columns)
        return html.section(
            "Quality against bit operations",
            f'<div class="pair">{"".join(figures)}</div>',
            html.paragraph(source, "note") if shown else "",
        )

    def means(self) -> str:
        """Mean and spread over the seeds of each setting."""
        groups = by_setting(self.records)
        if all(len(group) == 1 for group in groups.values()):
            return ""
        rows = []
        for setting, group in groups.items():
            cells = [setting, str(len(group)), "{:.3f} ± {:.3f}".format(*mean_and_spread([r.gbitops for r in group]))]
            for name, metric in self.columns:
                pair = mean_and_spread([r.metrics[name][metric] for r in group])
                cells.append(" ± ".join(_value(metric, value) for value in pair))
            rows.append(cells)
        head = ("setting", "seeds", "GBitOps", *self._heads())
        note = "Mean ± sample standard deviation over the seeds."
        return html.section("By setting", html.table(head, rows), html.paragraph(note, "note"))

    def _heads(self) -> List[str]:
        return [f"{name} {metric.upper()}" for name, metric in self.columns]

    def networks(self) -> str:
        """A row for each network."""
        head = ("network", "parameters", "GMACs", "GBitOps", "packed, kB", *self._heads(), "search", "training")
        rows = [
            (
                *(r.name, f"{r.params:,d}", f"{r.gmacs:.3f}", f"{r.gbitops:.3f}", f"{r.packed_bytes / 1e3:.1f}"),
                *(_value(metric, r.metrics[name][metric]) for name, metric in self.columns),
                *(duration(r.seconds[stage]) for stage in ("search", "train")),
            )
            for r in self.records
        ]
        if self.bicubic:
            scores = [_value(c[1], self.bicubic[c]) if c in self.bicubic else "" for c in self.columns]
            rows.append(("bicubic", *[""] * 4, *scores, "", ""))
        note = f"Shaded: on the front of {self.main[0]} ({NAMES.get(self.main[1], self.main[1])})."
        table = html.table(head, rows, marked=self.front[self.main])
        return html.section("Networks", table, html.paragraph(note, "note"))

    def crops(self) -> str:
        """What the networks made of a few images."""
        test_set = next((s for s in self.sets if s.name == self.main[0]), None) or next(iter(self.sets), None)
        path = self.folder / "crops.png"
        if test_set is None or not test_set.draw(self.records, path):
            return ""
        caption = f"Images of {test_set.name}, the same crop of each; the network of the first seed of each setting."
        return html.section("Pictures", html.figure(path, "crops side by side", caption, wide=True))

    def genotypes(self) -> str:
        """Each network's drawing and the way its alphas went; those on the front stand open."""
        entries = []
        for i, record in enumerate(self.records):
            drawing = self.folder / f"genotype_{record.name}.svg"
            draw_genotype(record.genotype, drawing)
            parts = [html.figure(drawing, f"genotype of {record.name}", record.genotype, wide=True)]
            parts.append(self._alphas(record))
            is_open = " open" if i in self.front[self.main] else ""
            title = f"{record.name} <span>{record.gbitops:.3f} GBitOps</span>"
            entries.append(f"<details{is_open}><summary>{title}</summary>{''.join(parts)}</details>")
        return html.section("Genotypes and their search", *entries)

    def _alphas(self, record: Record) -> str:
        dynamics = read_alphas(Path("tb_logger") / record.runs["search"])
        if not dynamics:
            return html.paragraph("Its alphas were not logged (logger.use_tb_logger).", "note")
        path = self.folder / f"alphas_{record.name}.png"
        draw_alphas(dynamics, path)
        caption = "Probability of every operation and bit width, slot by slot (the paper's figure 9)"
        return html.figure(path, f"alphas of {record.name}", caption, wide=True)

    def paper(self) -> str:
        """The paper's figures, where they can be compared."""
        if not any(name.lower() == "set14" for name, _ in self.columns):
            return ""
        rows = [(p.method, p.model, f"{p.gbitops:.1f}", f"{p.psnr:.2f}") for p in TABLE_1]
        table = html.table(("method", "model", "GBitOps", "PSNR"), rows, narrow=True)
        return html.section("The paper's results on Set14", table, html.paragraph(SOURCE, "note"))

    def words(self) -> str:
        """What the columns mean."""
        meanings: Dict[str, Optional[str]] = {
            "GMACs": "billions of multiply-adds for a 32×32 input; the paper calls them FLOPs",
            "GBitOps": "billions of multiply-adds times bits², for a 32×32 input",
            "PSNR, SSIM": "as the options of the test say; PSNR in dB",
            "packed": "weights at their bit widths, everything else as 32-bit floats",
            "search, training": "hours:minutes:seconds on the clock, interrupted attempts included",
            "penalty": "η, the weight of the hardware cost in the loss of the search",
        }
        entries = "".join(f"<dt>{word}</dt><dd>{meaning}</dd>" for word, meaning in meanings.items())
        return html.section("Words", f"<dl>{entries}</dl>")
