"""The network that a file describes, of whatever kind the file is."""

from pathlib import Path
from typing import Any, Mapping, Union

from torch import nn

from quantnas_sr.archs.quantized_arch import QuantizedArch
from quantnas_sr.bounds import check_size
from quantnas_sr.checkpoints import load_network
from quantnas_sr.errors import OptionError, QuantNASError
from quantnas_sr.mixed_precision.base_network import build_arch
from quantnas_sr.mixed_precision.nameable import nameable
from quantnas_sr.options.base import load_options
from quantnas_sr.options.numbers import to_numbers
from quantnas_sr.search_space import DerivedNetwork, Genotype, SearchNetwork, Supernet
from quantnas_sr.values.plain_yaml import PlainYamlError

_CHECKPOINTS, _TEXTS = (".pth", ".pt"), (".yml", ".yaml", ".json")
_ALLOWED = "the .pth of a trained network, a genotype.yml or bits_by_layer.yml of a search, or an options file (.yml)"
#: Keys that options files have, and no other file.
_OF_OPTIONS = {"model_type", "datasets", "train"}


def network_of_file(path: Union[str, Path]) -> nn.Module:
    """The network of a checkpoint, an options file, a genotype, or a file of bit widths by layer that a search wrote.

    Raises:
        QuantNASError: the file cannot be read, or describes no network; one line that names the file.
    """
    if Path(path).suffix.lower() in _CHECKPOINTS:
        return load_network(path)
    if Path(path).suffix.lower() not in _TEXTS:
        raise OptionError(f"{path}: does not describe a network. Allowed: {_ALLOWED}")
    data = _plain_data(path)
    if "network_g" in data or _OF_OPTIONS & data.keys():
        to_numbers(data)
        return _of_options(data.get("network_g"), f"{path}: network_g")
    if _is_bits_by_layer(data):
        return _of_bits_by_layer(data, path)
    return DerivedNetwork(Genotype.load(path))


def _of_options(options: Any, where: str) -> nn.Module:
    network = build_arch(options, where)
    if isinstance(network, SearchNetwork):
        file = "genotype.yml" if isinstance(network, Supernet) else "bits_by_layer.yml"
        raise OptionError(f"{where}: type {options['type']} is of a search; its {file} has a cost")
    return network


def _is_bits_by_layer(data: Mapping[str, Any]) -> bool:
    widths = [value for key, value in data.items() if key != "origin"]
    return bool(widths) and all(isinstance(value, int) for value in widths)


def _of_bits_by_layer(data: Mapping[str, Any], path: Union[str, Path]) -> QuantizedArch:
    origin = data.get("origin")
    origin = origin if isinstance(origin, Mapping) else {}
    if not isinstance(origin.get("arch"), Mapping):
        raise OptionError(
            f"{path}: has the bit widths of layers, but not the options of their network. Allowed instead: the options "
            "file whose network_g is a QuantizedArch with this file as bits_by_layer"
        )
    quantizer = {key: origin[key] for key in ("activation_quantizer",) if key in origin}
    try:
        arch = nameable(origin["arch"])
        check_size(lambda: build_arch(arch))
        return QuantizedArch(arch, bits_by_layer=data, **quantizer)
    except QuantNASError as error:
        raise OptionError(f"{path}: {error}") from None
    except Exception as error:  # of lists where there should be words
        raise OptionError(f"{path}: origin cannot be used ({' '.join(str(error).split())[:200]})") from None


def _plain_data(path: Union[str, Path]) -> Mapping[str, Any]:
    """What a YAML file says; empty where it is none, or not a mapping."""
    try:
        data = load_options(path)
    except (OSError, PlainYamlError):  # said by the reader of genotypes
        return {}
    return data if isinstance(data, dict) else {}
