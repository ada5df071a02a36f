"""The report of a sweep: one HTML page that holds all its pictures, and the same pictures as files beside it."""

from pathlib import Path
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from quantnas_sr.report.alphas import draw_alphas, read_alphas
from quantnas_sr.report.drawing.draw import draw_genotype
from quantnas_sr.report.drawing.pen import require_matplotlib
from quantnas_sr.report.front import NAMES, by_setting, draw_front, mean_and_spread, pareto_front
from quantnas_sr.report.page import Figure, PictureFolder, Table, require_jinja2, write_page
from quantnas_sr.report.paper import SOURCE, TABLE_1
from quantnas_sr.report.pictures import TestSet, bicubic_scores
from quantnas_sr.search_space import Genotype
from quantnas_sr.sweep import LeftOut, Record, collect
from quantnas_sr.sweep.job import SweepJob
from quantnas_sr.sweep.records import options_of

Column = Tuple[str, str]  # of a test set and a metric
_MEANINGS = {
    "GMACs": "billions of multiply-adds for a 32×32 input; the paper calls them FLOPs",
    "GBitOps": "billions of multiply-adds times bits², for a 32×32 input",
    "PSNR, SSIM": "as the options of the test say; PSNR in dB",
    "packed": "weights at their bit widths, everything else as 32-bit floats",
    "search, training": "hours:minutes:seconds on the clock, interrupted attempts included",
    "penalty": "η, the weight of the hardware cost in the loss of the search",
}
#: The parts of the page that only a sweep with a result has.
_NO_RESULT: Dict[str, Any] = dict.fromkeys(("fronts", "means", "networks", "crops", "genotypes", "paper", "words"))


def require_report() -> None:
    """Raise a MissingExtraError unless all that a report needs is installed."""
    require_matplotlib("the report of a sweep")
    require_jinja2()


def write_report(folder: Path) -> Path:
    """Write ``report.html`` and its pictures into the folder of a sweep; returns the page.

    Call it where the sweep ran: runs are looked up in ``experiments/``, ``results/`` and ``tb_logger/``.

    Raises:
        OptionError: it is not the folder of a sweep.
        MissingExtraError: matplotlib or Jinja2 is not installed.
    """
    require_report()
    folder = Path(folder)
    records, left_out = collect(folder)
    content = _Results(folder, records).content() if records else _NO_RESULT
    path = folder / "report.html"
    write_page(
        path,
        title=f"Pareto front: {folder.resolve().name}",
        summary=_summary(records, left_out),
        warning=_warning(left_out),
        source=SOURCE,
        left_out=_table_of(left_out) if left_out else None,
        **content,
    )
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
    widths, depths = (_several(getattr(record, key) for record in records) for key in ("num_feat", "num_block"))
    settings, seeds = len(by_setting(records)), len({record.seed for record in records})
    return (
        f"{counted(len(records), 'network')} from {counted(settings, 'setting')} and {counted(seeds, 'seed')}, "
        f"each searched, trained quantization-aware, and tested on {' and '.join(records[0].metrics)}. "
        f"Search space {g.search_space}, ×{g.scale}, {widths} channels, num_block {depths}."
    )


def _several(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(set(numbers))))


def _warning(left_out: Sequence[LeftOut]) -> str:
    names = ", ".join(job.name for job in left_out)
    return f"{counted(len(left_out), 'job')} without a result: {names}. The reasons stand at the end."


def _table_of(left_out: Sequence[LeftOut]) -> Table:
    return Table(("job", "stage", "reason"), [(job.name, job.stage, job.reason) for job in left_out], text=(1, 2))


class _Entry(NamedTuple):
    """A network of the part about genotypes."""

    name: str
    cost: str
    open: bool
    drawing: Figure
    alphas: Optional[Figure]


class _Results:
    """The parts of a page about records, of which there is at least one."""

    def __init__(self, folder: Path, records: Sequence[Record]) -> None:
        self.pictures, self.records = PictureFolder(folder), records
        options = options_of(SweepJob(folder / "jobs" / records[0].name), "test")
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

    def content(self) -> Dict[str, Any]:
        """The variables of the template; pictures are drawn."""
        return {
            "fronts": self.fronts(),
            "means": self.means(),
            "networks": self.networks(),
            "main": f"{self.main[0]} ({NAMES.get(self.main[1], self.main[1])})",
            "crops": self.crops(),
            "genotypes": self.genotypes(),
            "paper": self.paper(),
            "words": _MEANINGS,
        }

    def fronts(self) -> List[Figure]:
        """A plot for each test set and metric, the main test set first."""
        figures = []
        for name, metric in sorted(self.columns, key=lambda column: column[0] != self.main[0]):
            path = self.pictures.path("front", name, metric)
            reference = self.bicubic.get((name, metric))
            draw_front(self.records, name, metric, path, reference, metric in self.lower)
            figures.append(Figure(path, f"{NAMES.get(metric, metric)} on {name} against GBitOps"))
        return figures

    def means(self) -> Optional[Table]:
        """Mean and spread over the seeds of each setting; None where there is one seed."""
        groups = by_setting(self.records)
        if all(len(group) == 1 for group in groups.values()):
            return None
        rows = []
        for setting, group in groups.items():
            cells = [setting, str(len(group)), "{:.3f} ± {:.3f}".format(*mean_and_spread([r.gbitops for r in group]))]
            for name, metric in self.columns:
                pair = mean_and_spread([r.metrics[name][metric] for r in group])
                cells.append(" ± ".join(_value(metric, value) for value in pair))
            rows.append(cells)
        return Table(("setting", "seeds", "GBitOps", *self._heads()), rows)

    def _heads(self) -> List[str]:
        return [f"{name} {metric.upper()}" for name, metric in self.columns]

    def networks(self) -> Table:
        """A row for each network; those on the front of the main test set are marked."""
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
        return Table(head, rows, marked=self.front[self.main])

    def crops(self) -> Optional[Figure]:
        """What the networks made of a few images; None where the tests saved no images."""
        test_set = next((s for s in self.sets if s.name == self.main[0]), None) or next(iter(self.sets), None)
        path = self.pictures.path("crops")
        if test_set is None or not test_set.draw(self.records, path):
            return None
        caption = f"Images of {test_set.name}, the same crop of each; the network of the first seed of each setting."
        return Figure(path, "crops side by side", caption, wide=True)

    def genotypes(self) -> List[_Entry]:
        """Each network's drawing and its alphas over the search; those on the front are unfolded."""
        entries = []
        for i, record in enumerate(self.records):
            path = self.pictures.path("genotype", record.name, suffix=".svg")
            draw_genotype(record.genotype, path)
            drawing = Figure(path, f"genotype of {record.name}", record.genotype, wide=True)
            on_front = i in self.front[self.main]
            entries.append(
                _Entry(record.name, f"{record.gbitops:.3f} GBitOps", on_front, drawing, self._alphas(record))
            )
        return entries

    def _alphas(self, record: Record) -> Optional[Figure]:
        dynamics = read_alphas(Path("tb_logger") / record.runs["search"])
        if not dynamics:
            return None
        path = self.pictures.path("alphas", record.name)
        draw_alphas(dynamics, path)
        caption = "Probability of every operation and bit width, slot by slot (the paper's figure 9)"
        return Figure(path, f"alphas of {record.name}", caption, wide=True)

    def paper(self) -> Optional[Table]:
        """The paper's figures; None where the sweep has no test on Set14 to compare them with."""
        if not any(name.lower() == "set14" for name, _ in self.columns):
            return None
        rows = [(p.method, p.model, f"{p.gbitops:.1f}", f"{p.psnr:.2f}") for p in TABLE_1]
        return Table(("method", "model", "GBitOps", "PSNR"), rows, narrow=True)
