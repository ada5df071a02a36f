"""Checks that the quantized layers of a network are the layers that run in evaluation mode."""

from torch import nn

from quantnas_sr.cost.count import NetworkCost, count
from quantnas_sr.cost.dry_run import name_of, place_of
from quantnas_sr.errors import NetworkError
from quantnas_sr.quantization import FULL_PRECISION, QuantConv2d


def check_quantized(network: nn.Module, cost: NetworkCost) -> None:
    """Check that the quantized layers of a network run in evaluation mode.

    A network of re-parameterised blocks (ECBSR, DBB, RepVGG) trains several convolutions and in evaluation merges them
    into another one, which is not quantized.

    Args:
        network: the network.
        cost: its cost by `count`, for any size.

    Raises:
        NetworkError: the network has quantized layers, but none of them runs; the line names the layer with the most
            multiply-adds.
    """
    layers = [m for m in network.modules() if isinstance(m, QuantConv2d) and m.bits < FULL_PRECISION]
    if not layers or cost.quantized_share > 0:
        return
    most = max(cost.layers, key=lambda layer: layer.macs, default=None)
    what = "it runs no convolution"
    if most is not None:
        what = f"most of them in {place_of(network, most.name)}"
    raise NetworkError(
        f"{name_of(network)}: 0 % of the multiply-adds are quantized: {len(layers)} convolutions are, but in "
        f"evaluation others run, {what}. Merge re-parameterised blocks into nn.Conv2d before it is quantized"
    )


def check_runs_quantized(network: nn.Module) -> None:
    """As `check_quantized`, with the cost at 32x32. A network that does not run at this size is not checked."""
    try:
        cost = count(network)
    except NetworkError:
        return
    check_quantized(network, cost)
