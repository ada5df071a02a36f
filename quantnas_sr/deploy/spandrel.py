"""Trained networks in spandrel, and so in chaiNNer and whatever else loads models through it, with no options file."""

from typing import Any, Mapping, Optional

from torch import nn

from quantnas_sr.checkpoints import network_of, scale_of
from quantnas_sr.errors import MissingExtraError
from quantnas_sr.search_space.derived import EXTRA_STATE
from quantnas_sr.search_space.skeletons.adq import is_dynamic
from quantnas_sr.search_space.skeletons.esa import ESA


def add_to_spandrel(registry: Optional[Any] = None) -> None:
    """Let spandrel's ``ModelLoader`` know the ``.pth`` of derived networks and of `QuantizedArch`.

    Args:
        registry: a ``spandrel.ArchRegistry``; by default spandrel's main one, to which a second call adds nothing.

    Raises:
        MissingExtraError: spandrel is not installed.
    """
    try:
        import spandrel
    except ImportError:
        raise MissingExtraError("spandrel support", "spandrel", "spandrel") from None

    class QuantNAS(spandrel.Architecture[nn.Module]):
        def __init__(self) -> None:
            super().__init__(id="QuantNAS", detect=lambda state: EXTRA_STATE in state)

        def load(self, state_dict: Mapping[str, Any]) -> "spandrel.ImageModelDescriptor[nn.Module]":
            network = network_of(dict(state_dict), "the checkpoint")
            whole = is_dynamic(network) or any(isinstance(module, ESA) for module in network.modules())
            return spandrel.ImageModelDescriptor(
                network,
                state_dict,
                architecture=self,
                purpose="SR",
                tags=[],
                supports_half=False,
                supports_bfloat16=False,
                scale=scale_of(network),
                input_channels=3,
                output_channels=3,
                tiling=spandrel.ModelTiling.DISCOURAGED if whole else spandrel.ModelTiling.SUPPORTED,
            )

    registry = spandrel.MAIN_REGISTRY if registry is None else registry
    registry.add(spandrel.ArchSupport.from_architecture(QuantNAS()), ignore_duplicates=True)
