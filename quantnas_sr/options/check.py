"""Checks an options file at the door, before BasicSR makes or moves any folder.

`check` is wrapped around BasicSR's ``parse_options``, so that every way to start a run goes through it: our commands,
and a project's own train.py that imports this package.
"""

import functools
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, Mapping, Optional, Tuple, Union

import torch
import yaml
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, MODEL_REGISTRY
from torch import nn

from quantnas_sr.archs.quantized_arch import QuantizedArch
from quantnas_sr.compat.models import torch_optimizers
from quantnas_sr.compat.replacing import rebind
from quantnas_sr.cost.quantized import check_runs_quantized
from quantnas_sr.data.check import check_paired_dataset
from quantnas_sr.errors import GenotypeError, OptionError, QuantNASError, check_arguments, unknown
from quantnas_sr.losses.hardware_cost_loss import HardwareCostLoss
from quantnas_sr.options import base as base_options
from quantnas_sr.options.base import load_options
from quantnas_sr.search_space import DerivedNetwork, SearchNetwork, Supernet
from quantnas_sr.search_space.derived import read_state

Options = Dict[str, Any]

#: Keys of ``train:`` that BasicSR's SRModel reads.
SR_MODEL_KEYS = ("ema_decay", "optim_g", "scheduler", "total_iter", "warmup_iter", "pixel_opt", "perceptual_opt")
#: Keys of ``train:`` that our models add.
SEARCH_KEYS = ("optim_alpha", "alpha_warmup", "hardware_opt", "entropy_opt", "grad_clip", "amp")
TRAINING_KEYS = ("fp_warmup", "calibration_iter", "step_lr", "grad_clip", "amp")
#: Values of ``train: amp``.
AMP_TYPES = ("none", "bfloat16", "float16")
_TRAIN_KEYS = {"QuantNASSearchModel": SEARCH_KEYS, "QuantNASModel": TRAINING_KEYS}
_SCHEDULERS = ("MultiStepLR", "MultiStepRestartLR", "CosineAnnealingRestartLR")
#: Keys below ``train:`` whose values are words; everything else there is a number, a switch or a list of numbers.
_WORDS = ("type", "reduction", "cost", "criterion", "layer_weights", "vgg_type", "amp")


def check(opt: Options) -> None:
    """Check parsed options, and turn numbers that YAML 1.1 reads as text (``1e-4``) into numbers, in place.

    Raises:
        QuantNASError: one line that says which key has which value, and what is allowed.
    """
    _require(opt, ("name", "model_type", "num_gpu", "datasets", "network_g", "path"), "the options")
    _registered("model_type", opt["model_type"], MODEL_REGISTRY)
    if opt["num_gpu"] not in (0, "auto") and not torch.cuda.is_available():
        raise OptionError(f"num_gpu: {opt['num_gpu']}, but torch finds no GPU here. Allowed: 0 or auto")
    if opt["model_type"] == "QuantNASSearchModel" and opt["is_train"]:
        _require(opt, ("scale", "train"), "the options")
    net = _check_network(opt)
    if opt["is_train"]:
        _check_train(opt, net)
    for phase, dataset in opt["datasets"].items():
        _check_dataset(dataset, f"datasets.{phase}")
    _check_checkpoint(opt)


def _require(mapping: Any, keys: Iterable[str], where: str) -> None:
    if not isinstance(mapping, Mapping):
        raise OptionError(f"{where}: {mapping!r} is not a mapping of keys to values")
    for key in keys:
        if mapping.get(key) is None:
            raise OptionError(f"{where}: the key {key!r} is missing")


def _registered(key: str, name: Any, registry: Any) -> Any:
    if name not in registry:
        raise OptionError(unknown(key.rpartition(".")[2], name, registry.keys(), where=key.rpartition(".")[0]))
    return registry.get(name)


def _ours(cls: type) -> bool:
    return any(base.__module__.startswith("quantnas_sr.") for base in cls.__mro__)


def _check_keys(given: Iterable[str], allowed: Iterable[str], where: str) -> None:
    allowed = tuple(allowed)
    for key in given:
        if key not in allowed:
            raise OptionError(unknown("key", key, allowed, where=where))


def _check_built(cls: type, options: Mapping[str, Any], where: str) -> Any:
    """Check the keys against the arguments of a class of ours, and the values by building it without memory."""
    arguments = {key: value for key, value in options.items() if key != "type"}
    check_arguments(cls, arguments, where)
    with _errors_at(where), torch.device("meta"):
        return cls(**arguments)


@contextmanager
def _errors_at(where: str) -> Iterator[None]:
    """Say in front of an error which key it comes from; a genotype's error names its own file."""
    try:
        yield
    except GenotypeError:
        raise
    except QuantNASError as error:
        raise OptionError(f"{where}: {error}") from None


def read_options(path: Union[str, Path]) -> Options:
    """The plain data of an options file, and of what it is based on.

    Raises:
        OptionError: it cannot be read, or is not a mapping in plain YAML.
    """
    try:
        opt = load_options(path)
    except OSError as error:
        raise OptionError(f"{path}: the options file cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise OptionError(f"{path}: {' '.join(str(error).split())}: not plain YAML") from None
    _require(opt, (), str(path))
    return opt


def supernet_of(source: Union[str, Path, Options], where: str = "the options") -> Supernet:
    """The supernet that the options of a search describe: those of a file, or plain data that came from ``where``.

    Raises:
        OptionError: the file cannot be read, or has no `QuantNASSupernet`, or one that cannot be built.
    """
    if not isinstance(source, Mapping):
        source, where = read_options(source), str(source)
    _require(source, ("network_g",), where)
    network = source["network_g"]
    _require(network, ("type",), f"{where}: network_g")
    cls = _registered("network_g.type", network["type"], ARCH_REGISTRY)
    if not issubclass(cls, Supernet):
        raise OptionError(f"{where}: network_g: type {network['type']} is not of a search. Allowed: QuantNASSupernet")
    arguments = {"scale": source.get("scale", 4), **network}
    _check_built(cls, arguments, f"{where}: network_g")
    del arguments["type"]
    return cls(**arguments)


def cost_size(path: Union[str, Path]) -> Tuple[int, int]:
    """Height and width of the input that an options file's hardware cost is for.

    Raises:
        OptionError: the file cannot be read, or this is no size.
    """
    options = read_options(path)
    for key in ("train", "hardware_opt"):
        options = options.get(key) or {}
        _require(options, (), f"{path}: {key}")
    with _errors_at(f"{path}: hardware_opt"):
        return HardwareCostLoss(**{key: value for key, value in options.items() if key == "size"}).size


def _check_network(opt: Options) -> Optional[nn.Module]:
    """Returns the network, without memory, if it is one of ours."""
    network = opt["network_g"]
    _require(network, ("type",), "network_g")
    cls = _registered("network_g.type", network["type"], ARCH_REGISTRY)
    if opt["model_type"] == "QuantNASSearchModel" and not issubclass(cls, SearchNetwork):
        raise OptionError(
            f"network_g: type {network['type']} cannot be searched. Allowed: QuantNASSupernet, QuantizedSupernet"
        )
    if issubclass(cls, Supernet):
        network.setdefault("scale", opt.get("scale", 4))
    if not _ours(cls):
        return None
    net = _check_built(cls, network, "network_g")
    if isinstance(net, QuantizedArch):
        with _errors_at("network_g"):
            check_runs_quantized(net)
    scale = getattr(getattr(net, "genotype", None), "scale", opt.get("scale"))
    if isinstance(net, DerivedNetwork) and opt.get("scale", scale) != scale:
        raise OptionError(f"scale: {opt['scale']} here, {scale} in the genotype {network['genotype']}")
    return net


def _check_train(opt: Options, net: Optional[nn.Module]) -> None:
    train = opt.get("train")
    needed = ("total_iter", "optim_g", "scheduler")
    if opt["model_type"] == "QuantNASSearchModel":
        needed = (*needed, "optim_alpha", "pixel_opt", "hardware_opt", "entropy_opt")
    _require(train, needed, "train")
    to_numbers(train, "train")
    if opt["model_type"] in _TRAIN_KEYS:
        _check_keys(train, (*SR_MODEL_KEYS, *_TRAIN_KEYS[opt["model_type"]]), "train")
        if train.get("amp") not in (None, *AMP_TYPES):
            raise OptionError(unknown("amp", train["amp"], AMP_TYPES, where="train"))
    for key, (holds, allowed) in _RANGES.items():
        if train.get(key) is not None and not holds(train[key]):
            raise OptionError(f"train: {key}: {train[key]!r} is not allowed. Allowed: {allowed}")
    for key in ("optim_g", "optim_alpha", "scheduler"):
        if key in train:
            _require(train[key], ("type",), f"train.{key}")
    _check_scheduler(train["scheduler"], train["total_iter"])
    for key in train:
        if key.startswith("optim_") and train[key]["type"] not in torch_optimizers():
            raise OptionError(unknown("type", train[key]["type"], torch_optimizers(), where=f"train.{key}"))
        if key.endswith("_opt") and train[key]:
            _require(train[key], ("type",), f"train.{key}")
            cls = _registered(f"train.{key}.type", train[key]["type"], LOSS_REGISTRY)
            if _ours(cls):
                loss = _check_built(cls, train[key], f"train.{key}")
                if isinstance(loss, HardwareCostLoss) and isinstance(net, SearchNetwork):
                    with _errors_at(f"train.{key}"):
                        loss.attach(net)


def _check_scheduler(scheduler: Options, total_iter: float) -> None:
    if scheduler["type"] not in _SCHEDULERS:
        raise OptionError(unknown("type", scheduler["type"], _SCHEDULERS, where="train.scheduler"))
    periods = scheduler.get("periods")
    if periods is not None and sum(periods) < total_iter:
        raise OptionError(f"train.scheduler.periods: {periods} end before total_iter {total_iter}")


def _is_share(value: Any) -> bool:
    return isinstance(value, (int, float)) and 0 <= value < 1


_RANGES: Dict[str, Tuple[Callable[[Any], bool], str]] = {
    "total_iter": (lambda value: isinstance(value, (int, float)) and value >= 1, "a number of at least 1"),
    "alpha_warmup": (_is_share, "a share of total_iter, 0 <= alpha_warmup < 1"),
    "fp_warmup": (_is_share, "a share of total_iter, 0 <= fp_warmup < 1"),
    "calibration_iter": (lambda value: isinstance(value, int) and value >= 0, "a whole number, 0 for the first batch"),
    "step_lr": (lambda value: isinstance(value, (int, float)) and value > 0, "a share of each step above 0, or ~"),
    "grad_clip": (lambda value: isinstance(value, (int, float)) and value > 0, "a number above 0, or ~ for none"),
}


def to_numbers(options: Any, where: str) -> None:
    """Numbers that YAML 1.1 or --force_yml left as text become numbers, everywhere below ``options``."""
    items = options.items() if isinstance(options, dict) else enumerate(options)
    for key, value in list(items):
        place = f"{where}.{key}"
        if isinstance(value, (dict, list)) and key not in _WORDS:
            to_numbers(value, place)
        elif isinstance(value, str) and key not in _WORDS:
            options[key] = _number(value, place)


def _number(text: str, where: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise OptionError(f"{where}: {text!r} is not a number") from None
    return int(number) if number.is_integer() and "." not in text and "-" not in text[1:] else number


def _check_dataset(dataset: Options, where: str) -> None:
    _require(dataset, ("name", "type"), where)
    _registered(f"{where}.type", dataset["type"], DATASET_REGISTRY)
    if dataset["type"] == "QuantNASSearchDataset":
        wrapped = dataset.get("dataset", "PairedImageDataset")
        _registered(f"{where}.dataset", wrapped, DATASET_REGISTRY)
        if "alpha_fraction" in dataset:
            dataset["alpha_fraction"] = _share(dataset["alpha_fraction"], f"{where}.alpha_fraction")
    check_paired_dataset(dataset, where)


def _share(value: Any, where: str) -> float:
    number = _number(value, where) if isinstance(value, str) else value
    if not isinstance(number, (int, float)) or not 0 < number < 1:
        raise OptionError(f"{where}: {value!r} is not a number between 0 and 1")
    return number


def _check_checkpoint(opt: Options) -> None:
    """A checkpoint that is to be loaded must be there, and of the genotype that the options name."""
    path: Optional[str] = opt["path"].get("pretrain_network_g")
    if path is None:
        return
    if not Path(path).is_file():
        raise OptionError(f"path.pretrain_network_g: there is no file {path}")
    if issubclass(ARCH_REGISTRY.get(opt["network_g"]["type"]), DerivedNetwork):
        state = read_state(path, opt["path"].get("param_key_g", "params"))
        DerivedNetwork(opt["network_g"]["genotype"]).set_extra_state(state["_extra_state"])


def checked(parse_options: Callable[..., Any]) -> Callable[..., Any]:
    """BasicSR's ``parse_options`` with `check` after it."""

    @functools.wraps(parse_options)
    def parse(root_path: str, is_train: bool = True) -> Any:
        try:
            opt, args = parse_options(root_path, is_train)
        except KeyError as error:
            raise OptionError(f"the options: the key {error} is missing") from None
        except OSError as error:
            raise OptionError(f"{error.filename}: the options file cannot be read ({error.strerror})") from None
        except yaml.YAMLError as error:
            raise OptionError(f"{' '.join(str(error).split())}: not plain YAML") from None
        check(opt)
        return opt, args

    return parse


def install() -> None:
    """Check the options of every run that BasicSR starts in this process."""
    from basicsr.utils.options import parse_options

    base_options.install()
    rebind(parse_options, checked(parse_options))
