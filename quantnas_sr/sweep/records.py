"""The results of the jobs of a sweep, read from their folders."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Set, Tuple

from quantnas_sr.cost import count
from quantnas_sr.errors import OptionError, QuantNASError
from quantnas_sr.options.numbers import to_numbers
from quantnas_sr.search_space import DerivedNetwork, Genotype
from quantnas_sr.sweep.job import SweepJob
from quantnas_sr.sweep.state import STAGES, Metrics
from quantnas_sr.system.files import written_aside
from quantnas_sr.values.kinds import FILE_NAME, MAPPING, TEXT, Kind, number, optional, whole

_WHOLE = whole(at_least=0)


@dataclass(frozen=True)
class Record:
    """A network that was searched, trained and tested.

    ``gmacs`` and ``gbitops`` are for a 32x32 input. ``runs``: the names of its runs by stage.
    """

    name: str
    penalty: float
    budget: Optional[float]
    seed: int
    num_feat: int
    num_block: int
    params: int
    gmacs: float
    gbitops: float
    packed_bytes: int
    metrics: Metrics
    seconds: Dict[str, float]
    genotype: str
    runs: Dict[str, str]

    @property
    def setting(self) -> str:
        """The penalty or budget and the sizes, which records of several seeds have in common.

        >>> from types import SimpleNamespace
        >>> Record.setting.fget(SimpleNamespace(budget=None, penalty=1e-4, num_feat=36, num_block=3))
        'penalty 0.0001, 36 channels, num_block 3'
        """
        limit = f"penalty {self.penalty:g}" if self.budget is None else f"budget {self.budget:g}"
        return f"{limit}, {self.num_feat} channels, num_block {self.num_block}"


@dataclass(frozen=True)
class LeftOut:
    """A job without a result, and why."""

    name: str
    stage: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.stage}: {self.reason}"


def jobs_of(folder: Path) -> List[SweepJob]:
    """All jobs of a sweep's folder.

    Raises:
        OptionError: it is not one.
    """
    jobs = [SweepJob(path.parent) for path in Path(folder).resolve().glob("jobs/*/search.yml")]
    if not jobs:
        raise OptionError(f"{folder}: not the folder of a sweep: `quantnas pareto` has written no jobs there")
    return sorted(jobs, key=_order)


def _order(job: SweepJob) -> Tuple[Any, ...]:
    options = options_of(job, "search")
    hardware = options["train"]["hardware_opt"]
    budget = hardware.get("budget")
    sizes = tuple(options["network_g"].get(key) or 0 for key in ("num_feat", "num_block"))
    return budget is not None, budget or 0, hardware["loss_weight"], sizes, options["manual_seed"]


def options_of(job: SweepJob, stage: str) -> Dict[str, Any]:
    """The options of a stage, checked as far as a report reads them.

    Raises:
        OptionError: they are not those of a job; one line that names the file.
    """
    options = job.options(stage)
    try:
        _check(options, "name", FILE_NAME)
        _check(options, "manual_seed", _WHOLE)
        {"search": _check_search, "train": lambda options: None, "test": _check_test}[stage](options)
    except OptionError as error:
        raise OptionError(f"{job.options_file(stage)}: {error}") from None
    return options


def _check(options: Dict[str, Any], key: str, kind: Kind, where: str = "") -> Any:
    """The value of a key in its own type, which it has in the options from here on."""
    options[key] = kind.checked(options.get(key), f"{where}.{key}" if where else key)
    return options[key]


def _check_search(options: Dict[str, Any]) -> None:
    to_numbers(options)
    hardware = _check(_check(options, "train", MAPPING), "hardware_opt", MAPPING, "train")
    _check(hardware, "loss_weight", number(), "train.hardware_opt")
    _check(hardware, "budget", optional(number()), "train.hardware_opt")
    options.setdefault("network_g", {})
    network = _check(options, "network_g", MAPPING)
    for key in ("num_feat", "num_block"):
        _check(network, key, optional(_WHOLE), "network_g")


def _check_test(options: Dict[str, Any]) -> None:
    to_numbers(options)
    _check(options, "scale", _WHOLE)
    _check(_check(options, "network_g", MAPPING), "genotype", TEXT, "network_g")
    metrics = _check(_check(options, "val", MAPPING), "metrics", MAPPING, "val")
    for name in metrics:
        _check(metrics, name, MAPPING, "val.metrics")
    for phase, dataset in _check(options, "datasets", MAPPING).items():
        _check(MAPPING.checked(dataset, f"datasets.{phase}"), "name", FILE_NAME, f"datasets.{phase}")
        for key in ("dataroot_gt", "dataroot_lq", "filename_tmpl"):
            if key in dataset:
                _check(dataset, key, TEXT, f"datasets.{phase}")
        if dataset.get("io_backend") is not None:
            _check(dataset, "io_backend", MAPPING, f"datasets.{phase}")


def record_of(job: SweepJob) -> Record:
    """The record of a job that is done.

    Raises:
        QuantNASError: its genotype or its options cannot be read, or the test has measured nothing.
    """
    state = job.load()
    if not any(state.metrics.values()):
        raise OptionError("the test has measured nothing")
    options = {stage: options_of(job, stage) for stage in STAGES}
    hardware = options["search"]["train"]["hardware_opt"]
    genotype = options["test"]["network_g"]["genotype"]
    network = DerivedNetwork(Genotype.load(genotype))
    cost = count(network)
    return Record(
        name=job.name,
        penalty=hardware["loss_weight"],
        budget=hardware.get("budget"),
        seed=options["search"]["manual_seed"],
        num_feat=network.genotype.num_feat,
        num_block=network.genotype.num_block,
        params=cost.params,
        gmacs=cost.macs / 1e9,
        gbitops=cost.bitops / 1e9,
        packed_bytes=cost.packed_bytes,
        metrics=state.metrics,
        seconds={stage: round(state.stages[stage].seconds, 1) for stage in STAGES},
        genotype=genotype,
        runs={stage: options[stage]["name"] for stage in STAGES},
    )


def _alike(record: Record, others: List[Record]) -> Record:
    """A record; raises an OptionError unless it has the metrics of the others."""
    if others and _named(record.metrics) != _named(others[0].metrics):
        raise OptionError(f"its metrics are not those of {others[0].name}")
    return record


def _named(metrics: Metrics) -> Dict[str, Set[str]]:
    return {name: set(values) for name, values in metrics.items()}


def collect(folder: Path) -> Tuple[List[Record], List[LeftOut]]:
    """The records of a sweep's folder and the jobs that have none; both are written to ``results.json`` too.

    Raises:
        OptionError: it is not the folder of a sweep.
    """
    records, left_out = [], []
    for job in jobs_of(folder):
        state = job.load()
        pending = [stage for stage in STAGES if not state.stages[stage].done]
        if state.failed:
            left_out.append(LeftOut(job.name, *state.failed))
        elif pending:
            left_out.append(LeftOut(job.name, pending[0], "not done yet"))
        else:
            try:
                records.append(_alike(record_of(job), records))
            except QuantNASError as error:
                left_out.append(LeftOut(job.name, "search", str(error)))
    data = {"records": list(map(asdict, records)), "left_out": list(map(asdict, left_out))}
    with written_aside(Path(folder) / "results.json") as aside:
        aside.write_text(json.dumps(data, indent=1), encoding="utf-8")
    return records, left_out
