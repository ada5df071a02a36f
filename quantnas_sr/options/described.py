"""The network that an options file describes, without a run."""

from pathlib import Path
from typing import Any, Optional, Union

import yaml
from torch import nn

from quantnas_sr.errors import OptionError
from quantnas_sr.mixed_precision.base_network import build_arch
from quantnas_sr.options.base import load_options
from quantnas_sr.options.numbers import to_numbers
from quantnas_sr.search_space import SearchNetwork


def described_network(path: Union[str, Path]) -> Optional[nn.Module]:
    """The untrained network of an options file of training or testing; None if the file is no options file.

    Raises:
        OptionError: its network cannot be built, or is still to be searched; one line that names the file.
    """
    options = _network_options(path)
    if options is None:
        return None
    where = f"{path}: network_g"
    network = build_arch(options, where)
    if isinstance(network, SearchNetwork):
        raise OptionError(f"{where}: type {options['type']} is of a search; its genotype.yml has a cost")
    return network


def _network_options(path: Union[str, Path]) -> Any:
    try:
        opt = load_options(path)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None
    if not isinstance(opt, dict):
        return None
    to_numbers(opt)
    return opt.get("network_g")
