"""A trained network out of its checkpoint."""

import json
from pathlib import Path
from typing import Any, Dict, Optional, Union

import torch
from torch import Tensor, nn

from quantnas_sr.archs.quantized_arch import QuantizedArch
from quantnas_sr.errors import DataError, OptionError
from quantnas_sr.mixed_precision.base_network import as_trained
from quantnas_sr.search_space.derived import EXTRA_STATE, derived_from, read_state
from quantnas_sr.signatures import check_arguments


def load_network(path: Union[str, Path], param_key: Optional[str] = None) -> nn.Module:
    """Rebuild a trained network from its ``.pth`` alone, in evaluation mode on the CPU.

    Args:
        path: checkpoint of a derived network or of a `QuantizedArch`.
        param_key: ``params`` or ``params_ema``; by default the moving average where there is one.

    Raises:
        GenotypeError, DataError: the file cannot be read, or is not the checkpoint of a network of this package.
    """
    return network_of(read_state(path, param_key), path)


def network_of(state: Dict[str, Tensor], path: Union[str, Path]) -> nn.Module:
    """The network of a state dict, as `load_network`; errors name ``path``."""
    _check_finite(state, path)
    described = _description(state)
    if described is None:
        return derived_from(state, path)
    try:
        module = described.pop("arch_module")
        check_arguments(QuantizedArch, described, "what it says of its network")
        network = QuantizedArch(**{**described, "arch": as_trained(described["arch"], module)})
        network.load_state_dict(state)
    except OptionError as error:
        raise DataError(f"{path}: {error}") from None
    except RuntimeError as error:
        problem = str(error).splitlines()[-1].strip()
        raise DataError(f"{path}: its weights do not fit the network that it describes: {problem}") from None
    return network.eval()


def scale_of(network: nn.Module) -> int:
    """How many times as large a network makes an image; it is on the CPU."""
    side = 16
    with torch.inference_mode():
        return network(torch.zeros(1, 3, side, side)).shape[-1] // side


def _description(state: Dict[str, Tensor]) -> Optional[Dict[str, Any]]:
    """The arguments of a `QuantizedArch` and its ``arch_module``; None where the checkpoint is of something else."""
    try:
        data = json.loads(bytes(state[EXTRA_STATE].tolist()))
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    described = data.get("quantized_arch") if isinstance(data, dict) else None
    return {**described, "arch_module": data.get("arch_module")} if isinstance(described, dict) else None


def _check_finite(state: Dict[str, Tensor], path: Union[str, Path]) -> None:
    for name, tensor in state.items():
        if isinstance(tensor, Tensor) and not tensor.isfinite().all():
            raise DataError(f"{path}: {name} is not finite: the training diverged")
