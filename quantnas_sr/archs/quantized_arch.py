"""Any BasicSR network with its convolutions quantized."""

import inspect
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

import torch
import yaml
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from quantnas_sr.errors import OptionError, unknown
from quantnas_sr.quantization import ACTIVATION_QUANTIZERS, FULL_PRECISION, QuantConv2d, check_bits


@ARCH_REGISTRY.register()
class QuantizedArch(nn.Module):
    """A registered network whose ``nn.Conv2d`` layers quantize their weight (LSQ) and their input.

    Nothing else of the network changes, and layers of 32 bits stay as they are. The state dict is the network's own and
    that of the quantizers beside it; a checkpoint of the network in full precision loads too, strictly, and the
    quantizers then start from its weights.

    ``hwgq`` cuts off what is negative in a layer's input, as a ReLU would, and what is far above 1: it is for inputs
    that are neither.

    Args:
        arch: ``type`` of a registered arch, and its own options. It is built on the CPU.
        bits: width of weights and activations, 2 to 16 or 32.
        bits_by_layer: widths of single layers, by name; or a YAML or JSON file of them.
        skip: patterns (`fnmatch`) of the names of layers that stay in full precision, whatever their width.
        activation_quantizer: ``lsq`` (trained step, negative inputs too) or ``hwgq`` (fixed step).

    Raises:
        OptionError: an argument cannot be used; one line that says which and what is allowed.
    """

    def __init__(
        self,
        arch: Mapping[str, Any],
        bits: int = 8,
        bits_by_layer: Union[str, Path, Mapping[str, int], None] = None,
        skip: Optional[Sequence[str]] = None,
        activation_quantizer: str = "lsq",
    ) -> None:
        super().__init__()
        check_bits(bits)
        if activation_quantizer not in ACTIVATION_QUANTIZERS:
            raise OptionError(unknown("activation_quantizer", activation_quantizer, ACTIVATION_QUANTIZERS))
        with torch.device("cpu"):  # networks may look at values while they are built, which other devices may not have
            self.network = _build(arch)
            widths = dict.fromkeys(_convolutions(self.network), bits)
            if not widths:
                raise OptionError(f"arch: {arch['type']} has no nn.Conv2d to quantize")
            widths.update(_bits_by_layer(bits_by_layer, widths))
            widths.update(dict.fromkeys(_matches(skip or (), widths), FULL_PRECISION))
            _quantize(self.network, widths, activation_quantizer)

    def forward(self, x: Tensor) -> Tensor:
        """As the network's."""
        return self.network(x)

    def quantized_layers(self) -> Iterator[Tuple[str, QuantConv2d]]:
        """Name and layer of every quantized convolution, by the names that the network has for them."""
        for name, module in self.network.named_modules():
            if isinstance(module, QuantConv2d):
                yield name, module

    def state_dict(self, *args: Any, **kwargs: Any) -> Dict[str, Any]:
        """That of the network, without a prefix of ours."""
        return self.network.state_dict(*args, **kwargs)

    def _load_from_state_dict(self, state_dict: Dict[str, Any], prefix: str, *args: Any) -> None:
        given = {key[len(prefix) :]: state_dict.pop(key) for key in list(state_dict) if key.startswith(prefix)}
        for name, layer in self.network.named_modules(remove_duplicate=False):
            weight = given.get(f"{name}.weight") if isinstance(layer, QuantConv2d) else None
            if weight is not None and weight.shape == layer.weight.shape:
                fresh = {f"{name}.{key}": value for key, value in layer.initial_quantizers(weight).items()}
                if not fresh.keys() & given.keys():
                    given.update(fresh)
        state_dict.update({f"{prefix}network.{key}": value for key, value in given.items()})
        super()._load_from_state_dict(state_dict, prefix, *args)


def _build(arch: Any) -> nn.Module:
    if not isinstance(arch, Mapping) or not isinstance(arch.get("type"), str):
        raise OptionError(f"arch: {arch!r} is not a mapping with the key 'type'")
    name, options = arch["type"], {key: value for key, value in arch.items() if key != "type"}
    if name not in ARCH_REGISTRY:
        raise OptionError(unknown("type", name, ARCH_REGISTRY.keys(), where="arch"))
    cls = ARCH_REGISTRY.get(name)
    parameters = inspect.signature(cls).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    for key in options:
        if key not in parameters and not takes_any:
            raise OptionError(unknown("key", key, parameters, where="arch"))
    try:
        return cls(**options)
    except Exception as error:
        raise OptionError(f"arch: {name} cannot be built: {' '.join(str(error).split())}") from error


def _convolutions(network: nn.Module) -> Dict[str, nn.Conv2d]:
    """By name; subclasses are left out, for they may compute something else."""
    return {name: module for name, module in network.named_modules() if type(module) is nn.Conv2d}


def _bits_by_layer(given: Union[str, Path, Mapping[str, int], None], layers: Mapping[str, int]) -> Dict[str, int]:
    where = "bits_by_layer"
    if isinstance(given, (str, Path)):
        where = f"{where}: {given}"
        given = _read(given, where)
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise OptionError(f"{where}: {given!r} is not a mapping from names of layers to bits")
    for name, bits in given.items():
        if name not in layers:
            raise OptionError(unknown("layer", name, layers, where=where))
        check_bits(bits, f"{where}: {name}")
    return dict(given)


def _read(path: Union[str, Path], where: str) -> Any:
    try:
        return yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionError(f"{where} cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, yaml.YAMLError):
        raise OptionError(f"{where} is neither YAML nor JSON of plain data") from None


def _matches(patterns: Sequence[str], layers: Mapping[str, int]) -> List[str]:
    """The layers that any of the patterns names; each pattern must name one."""
    if isinstance(patterns, str) or not all(isinstance(pattern, str) for pattern in patterns):
        raise OptionError(f"skip: {patterns!r} is not a list of patterns of names")
    matches = []
    for pattern in patterns:
        matched = [name for name in layers if fnmatchcase(name, pattern)]
        if not matched:
            raise OptionError(unknown("layer", pattern, layers, where="skip"))
        matches += matched
    return matches


def _quantize(network: nn.Module, widths: Mapping[str, int], activation_quantizer: str) -> None:
    """Replace the convolutions below 32 bits, at every place that each has in the network."""
    quantized = {
        conv: QuantConv2d.of(conv, widths[name], activation_quantizer)
        for name, conv in _convolutions(network).items()
        if widths[name] != FULL_PRECISION
    }
    for parent in list(network.modules()):
        for name, child in list(parent._modules.items()):
            if child in quantized:
                setattr(parent, name, quantized[child])
