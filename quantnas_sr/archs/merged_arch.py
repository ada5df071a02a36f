"""Any registered network without its re-parameterisation."""

from typing import Any, Mapping

from torch import Tensor, nn

from quantnas_sr.mixed_precision.base_network import build_arch
from quantnas_sr.mixed_precision.merging import merge
from quantnas_sr.registration import ARCH_REGISTRY


@ARCH_REGISTRY.register()
class MergedArch(nn.Module):
    """A registered network whose re-parameterised blocks (ECBSR, SPAN) are the convolutions that they are merged into.

    The keys of its state dict are those of the network, where nothing is merged, behind ``network.``. A merged block
    has the keys ``conv`` and ``act``.

    Args:
        arch: ``type`` of a registered arch, and its own options.

    Raises:
        OptionError: the network cannot be built.
    """

    def __init__(self, arch: Mapping[str, Any]) -> None:
        super().__init__()
        self.network = build_arch(arch)
        merge(self.network)

    def forward(self, x: Tensor) -> Tensor:
        """As of the network."""
        return self.network(x)
