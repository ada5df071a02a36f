"""Trained networks out of their checkpoints: what is read from a file (`pth`) becomes a network."""

from pathlib import Path
from typing import Any, Mapping, Optional, Union

from torch import nn

from quantnas_sr.archs.quantized_arch import QuantizedArch
from quantnas_sr.bounds import bounded, check_size, limits_of
from quantnas_sr.cost.dry_run import output_shape
from quantnas_sr.errors import CalibrationError, CheckpointError, OptionError, QuantNASError
from quantnas_sr.mixed_precision.base_network import as_trained, build_arch
from quantnas_sr.mixed_precision.nameable import nameable
from quantnas_sr.pth import check_state, description_in, fill, key_of, read_pth, read_state
from quantnas_sr.quantization import is_uncalibrated
from quantnas_sr.search_space.derived import derived_from, load_derived
from quantnas_sr.values.signatures import check_arguments

__all__ = ["describes_network", "load_arch", "load_as_named", "load_derived", "load_network", "network_of", "scale_of"]

_ARCH = "quantized_arch"


def load_network(path: Union[str, Path], param_key: Optional[str] = None) -> nn.Module:
    """Rebuild a trained network from its ``.pth`` alone, in evaluation mode on the CPU.

    Args:
        path: checkpoint of a derived network or of a `QuantizedArch`.
        param_key: ``params`` or ``params_ema``; by default the better, see `pth.key_of`.

    Raises:
        CheckpointError, GenotypeError: the file cannot be read, or is not the checkpoint of a network of this package.
    """
    return network_of(read_state(path, param_key), path)


def load_arch(
    arch: Mapping[str, Any], path: Union[str, Path], where: str, param_key: Optional[str] = None
) -> nn.Module:
    """A registered network with the weights of a checkpoint that does not say what it is of, in evaluation mode.

    Args:
        arch: ``type`` of a registered arch, and its own options.
        path: the checkpoint, as BasicSR or ``torch.save(network.state_dict(), path)`` writes it.
        where: what an error about ``arch`` begins with.
        param_key: as of `load_network`.

    Raises:
        OptionError: the network cannot be built.
        CheckpointError: the file cannot be read, or does not fit the network.
    """
    network = build_arch(arch, where)
    content = read_pth(path)
    key = key_of(content, param_key)
    state = content[key] if isinstance(content, dict) and isinstance(content.get(key), dict) else content
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: not a checkpoint of weights")
    check_state(state, path)
    state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    fill(network, state, f"{path}: does not fit {arch['type']}", first=True)
    return network.eval()


def load_as_named(options: Mapping[str, Any], where: str) -> nn.Module:
    """A trained network as options name it, in evaluation mode on the CPU.

    Args:
        options: ``path`` of a checkpoint; ``network``, the ``type`` and the options of its arch, where the checkpoint
            does not say what it is of; ``param_key``.
        where: the place of the options, for errors.

    Raises:
        QuantNASError: it cannot be built or loaded; one line.
    """
    path, key = options["path"], options.get("param_key")
    if options.get("network") is None:
        return load_network(path, key)
    return load_arch(options["network"], path, f"{where}.network", key)


def check_calibrated(network: nn.Module, path: Union[str, Path]) -> None:
    """Check that a network of a checkpoint can compute quantized.

    Raises:
        CheckpointError: its training, or this part of it, was in full precision.
    """
    if is_uncalibrated(network):
        raise CheckpointError(f"{path}: {CalibrationError()}")


def describes_network(state: Mapping[str, Any]) -> bool:
    """Whether a state dict says what network of this package it is of."""
    description = description_in(state)
    return _ARCH in description or "genotype_version" in description


def network_of(state: Mapping[str, Any], path: Union[str, Path]) -> nn.Module:
    """The network of a state dict, as `load_network`; errors name ``path``."""
    check_state(state, path)
    for name, tensor in state.items():
        if not tensor.isfinite().all():
            raise CheckpointError(f"{path}: {name} is not finite: the training diverged")
    described = description_in(state)
    if not isinstance(described.get(_ARCH), dict):
        return derived_from(state, path)
    return _arch_from(described[_ARCH], described.get("arch_module"), state, path)


def _arch_from(
    described: Mapping[str, Any], module: Optional[str], state: Mapping[str, Any], path: Union[str, Path]
) -> QuantizedArch:
    try:
        widths = described.get("bits_by_layer")
        if not isinstance(widths, (dict, type(None))):  # a checkpoint names no files to read
            raise OptionError(f"bits_by_layer: {widths!r} is not a mapping from names of layers to bits")
        check_arguments(QuantizedArch, described, "what it says of its network")
        arch, most = nameable(as_trained(described["arch"], module)), limits_of(state)
        check_size(lambda: build_arch(arch), most)
        with bounded(tensors=False, most=most):
            network = QuantizedArch(**{**described, "arch": arch})
    except QuantNASError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except Exception as error:  # of a class of somebody else, or of lists where there should be words
        problem = " ".join(str(error).split()) or type(error).__name__
        raise CheckpointError(f"{path}: what it says of its network cannot be used ({problem[:200]})") from None
    fill(network, state, f"{path}: its weights do not fit the network that it describes")
    return network.eval()


def scale_of(network: nn.Module) -> int:
    """How many times as large a network makes an image."""
    given, made = output_shape(network)
    return made[-1] // given[-1]
