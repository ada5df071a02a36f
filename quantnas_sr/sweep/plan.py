"""From a search file, a training file and a test file to the options files of every job."""

import copy
import re
from itertools import product
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

import yaml
from basicsr.utils.registry import MODEL_REGISTRY

from quantnas_sr.errors import OptionError, QuantNASError, unknown
from quantnas_sr.models.experiment import ExperimentModel
from quantnas_sr.options.base import lineage
from quantnas_sr.options.check import check
from quantnas_sr.options.read import read_options, supernet_of
from quantnas_sr.sweep.job import SweepJob
from quantnas_sr.sweep.state import STAGES
from quantnas_sr.system.files import written_aside
from quantnas_sr.values.plain_yaml import PlainYamlError, parse_yaml

Options = Dict[str, Any]

#: Mappings that a job's options are written into.
_NEEDED = {
    "search": ("datasets", "network_g", "path", "train"),
    "train": ("datasets", "network_g", "train"),
    "test": ("datasets", "network_g", "path", "val"),
}


class Sources(NamedTuple):
    """The three options files of a chain."""

    search: Path
    train: Path
    test: Path

    @classmethod
    def beside(cls, search: Path, train: Optional[Path], test: Optional[Path]) -> "Sources":
        """Files that are not given are those beside the search: search_X.yml -> train_X.yml, test_X.yml.

        Where there are none, those beside the file that the search is based on.

        Raises:
            OptionError: there is no such file.
        """
        return cls(search, train or _sibling(search, "train"), test or _sibling(search, "test"))


def _sibling(search: Path, stage: str) -> Path:
    read_options(search)  # a file that cannot be read is named before its siblings are
    for path in lineage(search):
        sibling = path.with_name(path.name.replace("search", stage))
        if sibling != path and sibling.is_file():
            return sibling
    raise OptionError(
        f"--{stage}: which options file? There is no {search.name.replace('search', stage)} beside {search}"
    )


def load_sources(sources: Sources, changes: Mapping[str, Sequence[str]]) -> Dict[str, Options]:
    """Read the files, with ``changes`` (``key:sub=value``) by stage applied.

    Raises:
        OptionError: a file or a change cannot be used.
    """
    loaded = {stage: read_options(path) for stage, path in zip(STAGES, sources)}
    for stage, path in zip(STAGES, sources):
        for change in changes.get(stage, ()):
            change_option(loaded[stage], change, f"--force_{stage}")
        for key in _NEEDED[stage]:
            if not isinstance(loaded[stage].get(key), dict):
                raise OptionError(f"{path}: {key} must be a mapping of keys to values")
    if loaded["search"].get("model_type") != "QuantNASSearchModel":
        raise OptionError(f"{sources.search}: not a search. Allowed: model_type: QuantNASSearchModel")
    if not loaded["test"]["val"].get("metrics"):
        raise OptionError(f"{sources.test}: val: the key 'metrics' is missing: nothing would be measured")
    model = loaded["test"].get("model_type")
    if model in MODEL_REGISTRY and not issubclass(MODEL_REGISTRY.get(model), ExperimentModel):
        raise OptionError(f"{sources.test}: model_type: a {model} writes no metrics.json. Allowed: QuantNASModel")
    return loaded


def change_option(options: Options, change: str, where: str) -> None:
    """Set ``key:sub=value`` in place, as BasicSR's --force_yml does; the value is YAML. Only the last key may be new.

    Raises:
        OptionError: the change has another form, or one of its keys but the last is not there.
    """
    keys, equals, value = change.partition("=")
    *parents, last = keys.strip().split(":")
    if not equals or not last:
        raise OptionError(f"{where}: {change!r} must look like train:total_iter=1000")
    for key in parents:
        if not isinstance(options.get(key), dict):
            raise OptionError(f"{where}: {change}: {unknown('key', key, map(str, options))}")
        options = options[key]
    try:
        options[last] = parse_yaml(value)
    except PlainYamlError:
        raise OptionError(f"{where}: {change!r}: the value is not YAML") from None


class Point(NamedTuple):
    """What one network of a sweep is asked for.

    Attributes:
        key: what ``value`` is, below ``train.hardware_opt``: ``loss_weight`` or ``budget``.
        num_feat, num_block: channels and blocks of the search space; None for those of the search file.
    """

    key: str
    value: float
    seed: int
    num_feat: Optional[int] = None
    num_block: Optional[int] = None

    @property
    def name(self) -> str:
        """Of the job.

        >>> Point("loss_weight", 1e-4, 0).name, Point("budget", 2.6, 1, 44).name, Point("budget", 2.6, 1, 44, 7).name
        ('p0.0001_s0', 'b2.6_c44_s1', 'b2.6_c44_n7_s1')
        """
        sizes = "".join(f"_{'c' if key == 'num_feat' else 'n'}{size}" for key, size in self.sizes.items())
        return f"{'p' if self.key == 'loss_weight' else 'b'}{self.value:g}{sizes}_s{self.seed}"

    @property
    def sizes(self) -> Dict[str, int]:
        """What it sets of ``num_feat`` and ``num_block``."""
        both = {"num_feat": self.num_feat, "num_block": self.num_block}
        return {key: size for key, size in both.items() if size is not None}


def points_of(
    penalties: Sequence[float],
    budgets: Sequence[float],
    seeds: Sequence[int],
    widths: Sequence[int] = (),
    depths: Sequence[int] = (),
) -> List[Point]:
    """Every combination once, seed by seed; without widths (``num_feat``) or depths, those of the search file."""
    wanted = [("loss_weight", value) for value in penalties] + [("budget", value) for value in budgets]
    every = product(seeds, wanted, widths or [None], depths or [None])
    return list(dict.fromkeys(Point(*limit, seed, width, depth) for seed, limit, width, depth in every))


def job_options(loaded: Mapping[str, Options], run: str, point: Point) -> Dict[str, Options]:
    """The options of the three stages of one job.

    Args:
        loaded: of each stage, as in the sources.
        run: the first part of the names of its runs; they are in ``experiments/<run>_search`` and so on.
        point: what the job is for.
    """
    search, train, test = (copy.deepcopy(dict(loaded[stage])) for stage in STAGES)
    for stage, options in zip(STAGES, (search, train, test)):
        options.update(name=f"{run}_{stage}", manual_seed=point.seed)
    search["train"].setdefault("hardware_opt", {})[point.key] = point.value
    search["network_g"].update(point.sizes)
    train["network_g"]["genotype"] = test["network_g"]["genotype"] = f"experiments/{search['name']}/genotype.yml"
    test["path"]["pretrain_network_g"] = f"experiments/{train['name']}/models/net_g_latest.pth"
    test["val"].update(save_img=True, suffix=None)
    return {"search": search, "train": train, "test": test}


def plan_jobs(
    sources: Sources,
    changes: Mapping[str, Sequence[str]],
    output: Path,
    points: Sequence[Point],
) -> List[SweepJob]:
    """Write the options files of every job below ``output/jobs``, in the order of the points.

    A stage that has begun keeps its file.

    Raises:
        QuantNASError: the options cannot be used, or are not those that a stage has begun with.
    """
    if not re.fullmatch(r"[\w.+-]+", output.name):
        raise OptionError(f"--output: {output.name!r} is the start of run names: letters, digits and _.+- only")
    loaded = load_sources(sources, changes)
    planned = {}
    for point in points:
        job = SweepJob(output.resolve() / "jobs" / point.name)
        planned[job] = job_options(loaded, f"{output.name}_{point.name}", point)
    kinds = {(point.key, point.num_feat, point.num_block): point for point in reversed(points)}
    for point in kinds.values():
        check_chain(job_options(loaded, output.name, point), sources)
    for job, options in planned.items():
        _check_unchanged(job, options)
    for job, options in planned.items():
        for stage, source in zip(STAGES, sources):
            _write(job.options_file(stage), options[stage], source)
    return list(planned)


def check_chain(options: Mapping[str, Options], sources: Sources) -> None:
    """Check the options of all stages, with some genotype of the space in place of the one that will be found.

    Raises:
        QuantNASError: one line that names the file.
    """
    stand_in = supernet_of(options["search"], str(sources.search)).genotype().to_dict()
    for stage, path in zip(STAGES, sources):
        check_stage(options[stage], stage, str(path), None if stage == "search" else stand_in)


def check_stage(options: Options, stage: str, where: str, stand_in: Optional[Mapping[str, Any]]) -> None:
    """Check the options of a stage whose checkpoints need not be there yet.

    Args:
        options: they stay as they are.
        stage: one of `STAGES`.
        where: what an error begins with.
        stand_in: a genotype, as plain data, in place of one that will be found; None for a stage that reads none.

    Raises:
        QuantNASError: one line.
    """
    tried = copy.deepcopy(options)
    tried["is_train"] = stage != "test"
    tried["path"] = {}
    for phase, dataset in tried["datasets"].items():
        dataset.update(phase=phase.split("_")[0], scale=tried.get("scale"))
    if stand_in is not None:
        tried["network_g"]["genotype"] = stand_in
    try:
        check(tried)
    except QuantNASError as error:
        raise OptionError(f"{where}: {error}") from None


def _check_unchanged(job: SweepJob, options: Mapping[str, Options]) -> None:
    state = job.load()
    for stage in STAGES:
        if state.stages[stage].started:
            difference = first_changed_option(job.options(stage), options[stage])
            if difference:
                raise OptionError(
                    f"{job.options_file(stage)}: this stage has begun with other options: {difference}. "
                    "Change them back, give another --output, or remove the folder of the job to start it anew"
                )


def first_changed_option(before: Any, after: Any, key: str = "") -> str:
    """The first option that differs, in words; empty when there is none.

    >>> first_changed_option({"train": {"total_iter": 100}}, {"train": {"total_iter": 200}})
    'train.total_iter was 100 and is 200'
    """
    if not (isinstance(before, dict) and isinstance(after, dict)):
        return "" if before == after else f"{key} was {before!r} and is {after!r}"
    for name in {**before, **after}:
        where = f"{key}.{name}" if key else str(name)
        if name not in before or name not in after:
            return f"{where} is new" if name in after else f"{where} is gone"
        difference = first_changed_option(before[name], after[name], where)
        if difference:
            return difference
    return ""


def _write(path: Path, options: Options, source: Path) -> None:
    header = f"# Written by `quantnas pareto` from {source}.\n"
    with written_aside(path) as aside:
        aside.write_text(header + yaml.safe_dump(options, sort_keys=False), encoding="utf-8")
