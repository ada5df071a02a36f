"""Lets spandrel, and so chaiNNer and other programs that load models with it, load trained networks without options."""

from typing import Any, Mapping, Optional

from torch import nn

from quantnas_sr.checkpoints import describes_network, network_of
from quantnas_sr.cost.dry_run import output_shape
from quantnas_sr.errors import MissingExtraError
from quantnas_sr.search_space.skeletons.adq import is_dynamic
from quantnas_sr.search_space.skeletons.esa import ESA


def add_to_spandrel(registry: Optional[Any] = None) -> None:
    """Let spandrel's ``ModelLoader`` load the ``.pth`` of derived networks and of `QuantizedArch`.

    They are detected before every architecture that the registry has so far: the state dict of a quantized SwinIR has
    all the names of a SwinIR. State dicts that do not describe a network of this package are left to the others. A
    second call adds nothing.

    Args:
        registry: a ``spandrel.ArchRegistry``; by default spandrel's main one.

    Raises:
        MissingExtraError: spandrel is not installed.
    """
    try:
        import spandrel
    except ImportError:
        raise MissingExtraError("spandrel support", "spandrel", "spandrel") from None

    class QuantNAS(spandrel.Architecture[nn.Module]):
        def __init__(self) -> None:
            super().__init__(id="QuantNAS", detect=describes_network)

        def load(self, state_dict: Mapping[str, Any]) -> "spandrel.ImageModelDescriptor[nn.Module]":
            network = network_of(state_dict, "the checkpoint")
            whole = is_dynamic(network) or any(isinstance(module, ESA) for module in network.modules())
            given, made = output_shape(network)
            return spandrel.ImageModelDescriptor(
                network,
                state_dict,
                architecture=self,
                purpose="SR",
                tags=[],
                supports_half=False,
                supports_bfloat16=False,
                scale=made[-1] // given[-1],
                input_channels=given[1],
                output_channels=made[1],
                tiling=spandrel.ModelTiling.DISCOURAGED if whole else spandrel.ModelTiling.SUPPORTED,
            )

    registry = spandrel.MAIN_REGISTRY if registry is None else registry
    others = tuple(support.architecture.id for support in registry if support.architecture.id != "QuantNAS")
    registry.add(spandrel.ArchSupport.from_architecture(QuantNAS(), before=others), ignore_duplicates=True)
