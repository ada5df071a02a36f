"""A plan of an experiment: the networks that are compared, and how they are searched, trained and measured.

A plan is a YAML file, ``options/evidence/*.yml``; `PLAN_KEYS` are its keys. As options files, it may name a ``base:``.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Sequence

from study.rows import KINDS, Row

from quantnas_sr.errors import OptionError
from quantnas_sr.options.base import merged
from quantnas_sr.options.numbers import to_numbers
from quantnas_sr.options.read import read_options
from quantnas_sr.values.kinds import FILE_NAME, MAPPING, TEXT, many, number, optional, whole, words
from quantnas_sr.values.signatures import check_arguments, check_keys

Options = Dict[str, Any]

#: Folders of large and small images with equal names.
_IMAGES = {"dataroot_gt": TEXT, "dataroot_lq": TEXT}
_SEEDS = many(whole(at_least=0))
PLAN_KEYS = {
    "name": FILE_NAME,
    "search": TEXT,
    "train": TEXT,
    "search_options": optional(MAPPING),
    "train_options": optional(MAPPING),
    "validation": MAPPING,
    "test": optional(MAPPING),
    "budget": optional(number(above=0)),
    "training_seeds": _SEEDS,
    "rows": MAPPING,
    "rank": optional(MAPPING),
}
_NEEDED = ("name", "search", "train", "validation", "training_seeds", "rows")


@dataclass(frozen=True)
class Images:
    """Folders of large and small images with equal names."""

    dataroot_gt: str
    dataroot_lq: str

    def as_dataset(self, name: str) -> Options:
        """The dataset of an options file."""
        how = {"name": name, "type": "PairedImageDataset", "filename_tmpl": "{}", "io_backend": {"type": "disk"}}
        return {**how, "dataroot_gt": self.dataroot_gt, "dataroot_lq": self.dataroot_lq}


@dataclass(frozen=True)
class Rank:
    """Whether a supernet ranks: its own PSNR of the networks of a row, beside what they have after a training.

    Args:
        supernet: the row of searches; that of its first seed is asked.
        networks: the row of the networks.
    """

    supernet: str
    networks: str


@dataclass(frozen=True)
class Plan:
    """A plan that can be carried out.

    Attributes:
        name: what the runs' names begin with.
        search, train: the options of every search and training, on which rows and seeds build.
        validation: what all networks are measured on; ``test``: by name, what they are measured on once, at the end.
        budget: of every search, GBitOps (10^9) for an input of 32x32.
        training_seeds: every network is trained with each of them.
        rows: by name, kinds of networks.
    """

    name: str
    search: Options
    train: Options
    validation: Images
    test: Mapping[str, Images]
    budget: Optional[float]
    training_seeds: Sequence[int]
    rows: Mapping[str, Row]
    rank: Optional[Rank]

    def seeds_of(self, row: str) -> Sequence[int]:
        """The seeds that the networks of a row are trained with."""
        return self.rows[row].training_seeds or self.training_seeds

    def search_options(self, changes: Mapping[str, Any], seed: int = 0, limited: bool = True) -> Options:
        """The options of a search, but for its name; ``limited``: within the budget of all searches."""
        options = merged(merged(self.search, changes), {"manual_seed": seed})
        if self.budget is None or not limited:
            return options
        return merged(options, {"train": {"hardware_opt": {"budget": self.budget}}})

    def train_options(self, genotype: Any, seed: int, changes: Mapping[str, Any]) -> Options:
        """The options of a training of a genotype, given as its file or as plain data; but for the name."""
        return merged(merged(self.train, changes), {"manual_seed": seed, "network_g": {"genotype": genotype}})


def read_plan(path: Path) -> Plan:
    """Read a plan, and check it and all options that it leads to.

    Raises:
        QuantNASError: one line that names the file and the key.
    """
    given = read_options(path)
    to_numbers(given)
    try:
        return _plan_of(given, path.parent)
    except OptionError as error:
        raise OptionError(f"{path}: {error}") from None


def _plan_of(given: Options, folder: Path) -> Plan:
    check_keys(given, PLAN_KEYS, "the plan")
    for key in _NEEDED:
        if key not in given:
            raise OptionError(f"the key {key!r} is missing")
    given = {key: kind.checked(given.get(key), key) for key, kind in PLAN_KEYS.items()}
    if not given["training_seeds"]:
        raise OptionError("training_seeds: there is none")
    validation = _images(given["validation"], "validation")
    options = {}
    for stage in ("search", "train"):
        changes = merged({"datasets": {"val": validation.as_dataset("validation")}}, given[f"{stage}_options"] or {})
        options[stage] = merged(_without_validation(read_options(folder / given[stage])), changes)
    rows = {name: _row(content, name) for name, content in given["rows"].items()}
    if not rows:
        raise OptionError("rows: there is none")
    test = {name: _images(images, f"test.{name}") for name, images in (given["test"] or {}).items()}
    rank = None if given["rank"] is None else _rank(given["rank"], rows)
    keys = ("name", "budget", "training_seeds")
    return Plan(**options, **{key: given[key] for key in keys}, validation=validation, test=test, rows=rows, rank=rank)


def _without_validation(options: Options) -> Options:
    """Options without the sets that the file validates on, which are not those of the plan."""
    datasets = {phase: dataset for phase, dataset in options.get("datasets", {}).items() if not phase.startswith("val")}
    return {**options, "datasets": datasets}


def _images(given: Any, where: str) -> Images:
    given = MAPPING.checked(given, where)
    check_arguments(Images, given, where, _IMAGES)
    for key, folder in given.items():
        if not Path(folder).is_dir():
            raise OptionError(f"{where}.{key}: there is no folder {folder}")
    return Images(**given)


def _row(given: Any, name: str) -> Row:
    where = f"rows.{name}"
    if not re.fullmatch(r"[\w.+-]+", name):
        raise OptionError(f"rows: {name!r} is the name of a row, and of files: letters, digits and _.+- only")
    given = dict(MAPPING.checked(given, where))
    kind = words(*KINDS).checked(given.pop("kind", None), f"{where}.kind")
    check_arguments(KINDS[kind], given, where, {"training_seeds": _SEEDS, "seeds": _SEEDS})
    return KINDS[kind](**given)


def _rank(given: Options, rows: Mapping[str, Row]) -> Rank:
    check_arguments(Rank, given, "rank")
    for key, kind in (("supernet", "search"), ("networks", None)):
        allowed = [name for name, row in rows.items() if kind is None or isinstance(row, KINDS[kind])]
        words(*allowed).checked(given[key], f"rank.{key}")
    return Rank(**given)
