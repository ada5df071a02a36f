"""The cost of a network in words and numbers."""

import json
from pathlib import Path
from typing import Tuple

from torch import nn

from quantnas_sr.cost.count import LayerCost, NetworkCost, count
from quantnas_sr.cost.quantized import check_quantized
from quantnas_sr.errors import NetworkError
from quantnas_sr.search_space import DerivedNetwork, Genotype, load_derived


def derived_network(path: str) -> DerivedNetwork:
    """The network of a genotype file, or of the checkpoint of a derived network."""
    return load_derived(path) if Path(path).suffix == ".pth" else DerivedNetwork(Genotype.load(path))


def as_dict(cost: NetworkCost) -> dict:
    """The totals and the cost of each layer as plain data."""
    return {
        "size": list(cost.size),
        "params": cost.params,
        "macs": cost.macs,
        "quantized_share": cost.quantized_share,
        "bitops": cost.bitops,
        "packed_bytes": cost.packed_bytes,
        "layers": [_layer_as_dict(layer) for layer in cost.layers],
    }


def _layer_as_dict(layer: LayerCost) -> dict:
    conv = None if layer.conv is None else layer.conv._asdict()
    return {**layer._asdict(), "conv": conv, "bitops": layer.bitops}


def print_cost(path: str, network: nn.Module, size: Tuple[int, int], as_json: bool) -> None:
    """Print what a network from the file ``path`` costs for an image of ``size``, which is height and width.

    Raises:
        NetworkError: it does not run for this size, or none of its multiply-adds is quantized although layers are.
    """
    try:
        cost = count(network, size)
        check_quantized(network, cost)
    except NetworkError as error:
        raise NetworkError(f"{path}: {error}") from None
    if as_json:
        print(json.dumps(as_dict(cost), indent=1))
        return
    print(f"{path}, input {size[1]}x{size[0]}")
    print(f"  parameters  {cost.params:>12,d}")
    print(f"  GMACs       {cost.macs / 1e9:>12.3f}   multiply-adds; the paper calls them FLOPs")
    print(f"  quantized   {100 * cost.quantized_share:>10.1f} %   of the multiply-adds, the rest runs at 32 bits")
    print(f"  GBitOps     {cost.bitops / 1e9:>12.3f}   MACs * bits^2")
    print(f"  packed size {cost.packed_bytes / 1e3:>9.1f} kB   weights at their bit widths, the rest as 32-bit floats")
