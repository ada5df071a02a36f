"""How much of a network is quantized when it runs, which is not always what its layers promise."""

from torch import nn

from quantnas_sr.cost.count import NetworkCost, count
from quantnas_sr.cost.dry_run import name_of, place_of
from quantnas_sr.errors import NetworkError
from quantnas_sr.quantization import FULL_PRECISION, QuantConv2d


def check_quantized(network: nn.Module, cost: NetworkCost) -> None:
    """Check that quantized layers are what runs in evaluation.

    A network of re-parameterised blocks (ECBSR, DBB, RepVGG) trains several convolutions and in evaluation merges them
    into another one, which is not quantized.

    Args:
        network: of which `count` found ``cost``.
        cost: for any size.

    Raises:
        NetworkError: it has quantized layers, and none of its multiply-adds is theirs; the line names the block of most
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
    """As `check_quantized`, before anything is known of a network. One that does not run at 32x32 is left alone."""
    try:
        cost = count(network)
    except NetworkError:
        return
    check_quantized(network, cost)
