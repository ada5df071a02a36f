"""Options files as data for commands: the file itself, and the parts of a search that commands work with."""

import copy
from pathlib import Path
from typing import Any, Dict, Optional, Tuple, Union

import torch

from quantnas_sr.errors import OptionError
from quantnas_sr.losses.hardware_cost_loss import HardwareCostLoss
from quantnas_sr.options.base import load_options
from quantnas_sr.options.checks.building import built, errors_at
from quantnas_sr.options.checks.network import network_class
from quantnas_sr.options.numbers import to_numbers
from quantnas_sr.options.registered import is_a
from quantnas_sr.search_space import Supernet
from quantnas_sr.values.kinds import MAPPING
from quantnas_sr.values.plain_yaml import PlainYamlError

Options = Dict[str, Any]


def read_options(path: Union[str, Path], loader: Optional[type] = None) -> Options:
    """The plain data of an options file, merged into the file that it is based on.

    Args:
        path: the file.
        loader: of YAML; one that follows ``base:``, as by default.

    Raises:
        OptionError: it cannot be read, or is not a mapping in plain YAML.
    """
    try:
        opt = load_options(path, loader)
    except OSError as error:
        raise OptionError(f"{path}: the options file cannot be read ({error.strerror or error})") from None
    except PlainYamlError as error:
        raise OptionError(f"{path}: {error}: not plain YAML") from None
    return MAPPING.checked(opt, str(path))


def supernet_of(source: Union[str, Path, Options], where: str = "the options") -> Supernet:
    """The supernet that the options of a search describe: those of a file, or plain data that came from ``where``.

    Raises:
        OptionError: the file cannot be read, or has no `QuantNASSupernet`, or one that cannot be built.
    """
    if not isinstance(source, dict):
        source, where = read_options(source), str(source)
    source = copy.deepcopy(source)
    to_numbers(source)
    if source.get("network_g") is None:
        raise OptionError(f"{where}: the key 'network_g' is missing")
    network = source["network_g"]
    cls = network_class(network, f"{where}: network_g")
    if not is_a(cls, Supernet):
        raise OptionError(f"{where}: network_g: type {network['type']} is not a supernet. Allowed: QuantNASSupernet")
    arguments = {"scale": source.get("scale", 4), **network}
    built(cls, arguments, f"{where}: network_g", separator=": ")
    with torch.device("cpu"):
        return cls(**{key: value for key, value in arguments.items() if key != "type"})


def cost_size(path: Union[str, Path]) -> Tuple[int, int]:
    """Height and width of the input that an options file's hardware cost is for.

    Raises:
        OptionError: the file cannot be read, or this is no size.
    """
    options = read_options(path)
    to_numbers(options)
    for key in ("train", "hardware_opt"):
        options = MAPPING.checked(options.get(key) or {}, f"{path}: {key}")
    with errors_at(f"{path}: hardware_opt"):
        return HardwareCostLoss(**{key: value for key, value in options.items() if key == "size"}).size
