"""Trained networks out of their checkpoints: what is read from a file (`pth`) becomes a network."""

from pathlib import Path
from typing import Any, Mapping, Optional, Union

from torch import Tensor, nn

from quantnas_sr.archs.quantized_arch import QuantizedArch
from quantnas_sr.cost.dry_run import output_shape
from quantnas_sr.errors import CheckpointError, OptionError
from quantnas_sr.mixed_precision.base_network import as_trained
from quantnas_sr.pth import description_in, read_state
from quantnas_sr.search_space.derived import derived_from, load_derived
from quantnas_sr.values.signatures import check_arguments

__all__ = ["describes_network", "load_derived", "load_network", "network_of", "scale_of"]

_ARCH = "quantized_arch"


def load_network(path: Union[str, Path], param_key: Optional[str] = None) -> nn.Module:
    """Rebuild a trained network from its ``.pth`` alone, in evaluation mode on the CPU.

    Args:
        path: checkpoint of a derived network or of a `QuantizedArch`.
        param_key: ``params`` or ``params_ema``; by default the moving average where there is one.

    Raises:
        CheckpointError, GenotypeError: the file cannot be read, or is not the checkpoint of a network of this package.
    """
    return network_of(read_state(path, param_key), path)


def describes_network(state: Mapping[str, Any]) -> bool:
    """Whether a state dict says what network of this package it is of."""
    description = description_in(state)
    return _ARCH in description or "genotype_version" in description


def network_of(state: Mapping[str, Any], path: Union[str, Path]) -> nn.Module:
    """The network of a state dict, as `load_network`; errors name ``path``."""
    for name, tensor in state.items():
        if isinstance(tensor, Tensor) and not tensor.isfinite().all():
            raise CheckpointError(f"{path}: {name} is not finite: the training diverged")
    description = description_in(state)
    if not isinstance(description.get(_ARCH), dict):
        return derived_from(state, path)
    return _arch_from(description[_ARCH], description.get("arch_module"), state, path)


def _arch_from(
    described: Mapping[str, Any], module: Optional[str], state: Mapping[str, Any], path: Union[str, Path]
) -> QuantizedArch:
    try:
        widths = described.get("bits_by_layer")
        if not isinstance(widths, (dict, type(None))):  # a checkpoint names no files to read
            raise OptionError(f"bits_by_layer: {widths!r} is not a mapping from names of layers to bits")
        check_arguments(QuantizedArch, described, "what it says of its network")
        network = QuantizedArch(**{**described, "arch": as_trained(described["arch"], module)})
        network.load_state_dict(dict(state))
    except OptionError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except TypeError as error:
        raise CheckpointError(f"{path}: what it says of its network cannot be used ({error})") from None
    except (RuntimeError, AttributeError) as error:
        problem = str(error).splitlines()[-1].strip()
        raise CheckpointError(f"{path}: its weights do not fit the network that it describes: {problem}") from None
    return network.eval()


def scale_of(network: nn.Module) -> int:
    """How many times as large a network makes an image."""
    given, made = output_shape(network)
    return made[-1] // given[-1]
