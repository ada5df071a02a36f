"""The shape of an options file: which keys there are, and of which kind their values are.

Nothing is looked up or opened here, so that options can be checked before BasicSR works with them.
"""

import math
from pathlib import Path
from typing import Any, Dict, Mapping, MutableMapping

from quantnas_sr.data.check import check_root
from quantnas_sr.data.pairs import ROOTS
from quantnas_sr.errors import OptionError, unknown
from quantnas_sr.options import tables
from quantnas_sr.options.numbers import entries, to_numbers
from quantnas_sr.registration import MODEL_REGISTRY, is_ours
from quantnas_sr.values.kinds import MAPPING, shown
from quantnas_sr.values.signatures import check_keys

Options = Dict[str, Any]

_PLAIN = (str, int, float, bool, type(None), Mapping, list, tuple, Path)
_LARGEST = 2**63 - 1


def check_shape(opt: Any, is_train: bool) -> None:
    """Check keys and kinds, and give values their own types in place: text that is a number becomes one.

    Args:
        opt: of a file, as it is read or as BasicSR has completed it.
        is_train: whether it is for a training or a search, not for a test.

    Raises:
        OptionError: one line that names the key, and says what is allowed.
    """
    MAPPING.checked(opt, "the options")
    to_numbers(opt)
    _check_plain(opt)
    check_section(opt, tables.RUN, "the options", is_train, strict=False)
    strict = opt["model_type"] in tables.TRAIN
    check_section(opt["path"], tables.PATH, "path", is_train, strict)
    if is_train:
        check_section(opt["train"], _train_table(opt["model_type"]), "train", is_train, strict)
        if strict and opt["train"].get("teacher") is not None:
            check_section(opt["train"]["teacher"], tables.TEACHER, "train.teacher", is_train)
        check_section(opt["logger"], {**tables.LOGGER, **tables.OUR_LOGGER}, "logger", is_train, strict)
        if opt["logger"].get("wandb") is not None:
            check_section(opt["logger"]["wandb"], tables.WANDB, "logger.wandb", is_train, strict)
    if opt.get("val") is not None:
        check_section(opt["val"], tables.VAL, "val", is_train, strict)
    if opt.get("dist_params") is not None:
        check_section(opt["dist_params"], tables.DIST_PARAMS, "dist_params", is_train, strict=False)
    _check_datasets(opt["datasets"], is_train)


def _train_table(model_type: Any) -> tables.Table:
    """Of a model of BasicSR or of ours; a project's own may do without optimizer and schedule."""
    known = tables.TRAIN.get(model_type, tables.SR_TRAIN)
    model = MODEL_REGISTRY.find(model_type)
    if model is None or is_ours(model) or model.__module__.startswith("basicsr."):
        return known
    return {name: key if name == "total_iter" else key._replace(required="") for name, key in known.items()}


def check_section(options: Any, table: tables.Table, where: str, is_train: bool, strict: bool = True) -> None:
    """Check a mapping by its table. Unknown keys are refused, or (not ``strict``) only those that look misspelt.

    Raises:
        OptionError: one line that names the key.
    """
    MAPPING.checked(options, where)
    check_keys(options, table, where, strict)
    for name, key in table.items():
        missing = name not in options or (options[name] is None and not key.kind.nullable)
        if missing and key.is_required(is_train):
            raise OptionError(f"{where}: the key {name!r} is missing. Allowed: {key.kind.allowed}")
    prefix = "" if table is tables.RUN else f"{where}."
    for name in options:
        if name in table and not (table is tables.RUN and options[name] is None):
            options[name] = table[name].kind.checked(options[name], f"{prefix}{name}")


def _check_plain(opt: MutableMapping[str, Any]) -> None:
    """Keys are text, and numbers are finite, everywhere."""
    for holder, key, value, place in entries(opt):
        if isinstance(holder, Mapping) and not isinstance(key, str):
            raise OptionError(f"{place}: the key {shown(key)} is not text (in quotes it would be)")
        if not isinstance(value, _PLAIN):
            raise OptionError(f"{place}: {shown(value)} is not plain data (in quotes it would be text)")
        if isinstance(value, float) and not math.isfinite(value):
            raise OptionError(f"{place}: {value} is not a finite number")
        if isinstance(value, int) and abs(value) > _LARGEST:
            raise OptionError(f"{place}: {shown(value)} is larger than any number of 64 bits")


def _check_datasets(datasets: Options, is_train: bool) -> None:
    allowed = ("train", "val") if is_train else ("test", "val")
    if not datasets:
        raise OptionError(
            f"datasets: there is none. Allowed: {' and '.join(allowed) if is_train else 'test, test_2, ...'}"
        )
    for phase, dataset in datasets.items():
        kind, _, number = phase.partition("_")
        if kind not in allowed or (kind == "train" and number):
            raise OptionError(unknown("phase", phase, [*allowed, f"{allowed[-1]}_2"], where="datasets"))
        _check_dataset(dataset, f"datasets.{phase}", is_train, kind == "train")
    if is_train and "train" not in datasets:
        raise OptionError("datasets: the key 'train' is missing")


def _check_dataset(dataset: Any, where: str, is_train: bool, is_trained_on: bool) -> None:
    MAPPING.checked(dataset, where)
    for key in ROOTS:
        if dataset.get(key) is not None:
            check_root(dataset, key, where)
    searched = dataset.get("type") == "QuantNASSearchDataset"
    table = {**tables.DATASET, **(tables.SEARCH_DATASET if searched else {})}
    check_section(dataset, table, where, is_train, strict=False)
    if dataset.get("io_backend") is not None:
        check_section(dataset["io_backend"], tables.IO_BACKEND, f"{where}.io_backend", is_train, strict=False)
    needed = tables.LOADER_KEYS if is_trained_on else ()
    for key in needed:
        if key not in dataset:
            raise OptionError(f"{where}: the key {key!r} is missing. Allowed: {table[key].kind.allowed}")
