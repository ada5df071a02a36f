"""Builds a registered network from its options; finds, selects and replaces its convolutions."""

from fnmatch import fnmatchcase
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence

import torch
from torch import nn

from quantnas_sr.bounds import bounded
from quantnas_sr.errors import OptionError, printable, unknown
from quantnas_sr.registration import ARCH_REGISTRY, SUFFIX, is_ours
from quantnas_sr.values.kinds import shown
from quantnas_sr.values.signatures import check_arguments


def build(arch: Any) -> nn.Module:
    """The network of ``arch``: ``type`` of a registered arch, and its own options. It is built on the CPU.

    Raises:
        OptionError: it cannot be built, or has no convolution; one line that says why.
    """
    with torch.device("cpu"):  # some constructors read tensor values, which the meta device does not have
        network = build_arch(arch)
    if not convolutions(network):
        raise OptionError(f"arch: {arch['type']} has no nn.Conv2d to quantize")
    return network


def build_arch(arch: Any, where: str = "arch") -> nn.Module:
    """The network of ``arch``: ``type`` of a registered arch, and its own options.

    Raises:
        OptionError: it cannot be built; one line that begins with ``where``.
    """
    if not isinstance(arch, Mapping) or not isinstance(arch.get("type"), str):
        raise OptionError(f"{where}: {shown(arch)} is not a mapping with the key 'type'")
    name, options = arch["type"], {key: value for key, value in arch.items() if key != "type"}
    cls = ARCH_REGISTRY.find(name)
    if cls is None:
        raise OptionError(unknown("type", name, ARCH_REGISTRY.names(), where=where))
    try:
        check_arguments(cls, options, where, strict=False, complete=False, separator=": ")
    except OptionError as error:
        raise OptionError(f"{error}{_whose(name, cls)}") from None
    try:
        with bounded():
            return cls(**options)
    except Exception as error:
        problem = " ".join(str(error).split()) or type(error).__name__
        raise OptionError(f"{where}: {name} cannot be built: {problem[:300]}") from error


def _whose(name: str, cls: Any) -> str:
    """A hint for the error message, if another project registered a network under the name of one of this package."""
    ours = name + SUFFIX
    return "" if is_ours(cls) or ours not in ARCH_REGISTRY else f" ({name} is {cls.__module__}'s here, ours is {ours})"


def as_trained(arch: Any, module: Optional[str]) -> Any:
    """The options of the network in a checkpoint, with a ``type`` that names the class that was trained.

    Args:
        arch: as the checkpoint has them.
        module: the module that defines the class; None in older checkpoints, in which ``type`` was never ambiguous.

    Raises:
        OptionError: the class belongs to another project, which is not imported.
    """
    name = arch.get("type") if isinstance(arch, Mapping) else None
    if not isinstance(name, str):
        return arch
    if not isinstance(module, str) or module.startswith("quantnas_sr."):
        ours = name.removesuffix(SUFFIX) + SUFFIX
        return {**arch, "type": ours} if ours in ARCH_REGISTRY else arch
    if is_ours(ARCH_REGISTRY.find(name)):
        raise OptionError(
            f"arch: {printable(name)} of {printable(module)} was trained, and that is not imported here, only ours"
        )
    return arch


def convolutions(network: nn.Module) -> Dict[str, nn.Conv2d]:
    """All ``nn.Conv2d`` layers by name. Subclasses are left out, because they may compute something else."""
    return {name: module for name, module in network.named_modules() if type(module) is nn.Conv2d}


def matching(patterns: Sequence[str], layers: Iterable[str]) -> List[str]:
    """The layers whose names match at least one of the patterns (`fnmatch`).

    Raises:
        OptionError: a pattern matches no layer, or ``patterns`` is not a list of strings.
    """
    layers = list(layers)
    if isinstance(patterns, str) or not all(isinstance(pattern, str) for pattern in patterns):
        raise OptionError(f"skip: {shown(patterns)} is not a list of patterns of names")
    matches = []
    for pattern in patterns:
        matched = [name for name in layers if fnmatchcase(name, pattern)]
        if not matched:
            raise OptionError(unknown("layer", pattern, layers, where="skip"))
        matches += matched
    return matches


def replace(network: nn.Module, replacements: Mapping[nn.Module, nn.Module]) -> None:
    """Replace layers of a network, wherever they occur in it. ``replacements`` maps old layers to new ones."""
    for parent in list(network.modules()):
        for name, child in list(parent._modules.items()):
            if child in replacements:
                setattr(parent, name, replacements[child])
