"""What every edge of a supernet costs, and the differentiable cost of its alphas (eq. 8)."""

from collections import defaultdict
from functools import lru_cache
from typing import Callable, Dict, List, Mapping, Tuple

import torch
from torch import Tensor, nn

from quantnas_sr.cost.count import NetworkCost, count
from quantnas_sr.search_space import Slot, Supernet, get_search_space
from quantnas_sr.search_space.bit_mixer import quantized_operation

#: ``cost:`` of the options: what is to be kept small.
COSTS: Dict[str, Callable[[NetworkCost], int]] = {
    "bitops": lambda cost: cost.bitops,
    "macs": lambda cost: cost.macs,
    "params": lambda cost: cost.params,
}


class _Probe(nn.Module):
    """Stands in a slot, notes the size of the image that arrives there, and passes on an empty one."""

    def __init__(self, slot: Slot, sizes: Dict[str, List[Tuple[int, int]]]) -> None:
        super().__init__()
        self.slot, self.sizes = slot, sizes

    def forward(self, x: Tensor) -> Tensor:
        self.sizes[self.slot.name].append(tuple(x.shape[-2:]))
        return x.new_empty(x.shape[0], self.slot.out_channels, *x.shape[-2:])


def slot_sizes(net: Supernet, size: Tuple[int, int]) -> Dict[str, List[Tuple[int, int]]]:
    """Height and width at each place of each slot, for an input of ``size``."""
    sizes: Dict[str, List[Tuple[int, int]]] = defaultdict(list)

    def fill(name: str, in_channels: int, out_channels: int) -> nn.Module:
        return _Probe(Slot(name, in_channels, out_channels), sizes)

    with torch.device("meta"), torch.no_grad():
        skeleton = get_search_space(net.search_space).build(fill, net.scale, net.num_feat, net.num_block, net.norm)
        skeleton.eval()(torch.empty(1, 3, *size))
    return sizes


@lru_cache(maxsize=4096)
def _operation_cost(name: str, channels: Tuple[int, int, int], bits: int, size: Tuple[int, int]) -> NetworkCost:
    in_channels, out_channels, num_feat = channels
    with torch.random.fork_rng(devices=[]):
        operation = quantized_operation(name, in_channels, out_channels, num_feat, bits)
    return count(operation, size, in_channels)


def edge_costs(net: Supernet, cost: str = "bitops", size: Tuple[int, int] = (32, 32)) -> Dict[str, Tensor]:
    """The cost of every edge, by slot: (operations, bits), in float64, summed over the places that share a slot.

    Args:
        net: the supernet.
        cost: a key of `COSTS`.
        size: height and width of the network's input.
    """
    measure = COSTS[cost]
    tables = {}
    for name, places in slot_sizes(net, size).items():
        slot = net.slots[name]
        channels = slot.in_channels, slot.out_channels, net.num_feat
        rows = [
            [sum(measure(_operation_cost(op, channels, bits, place)) for place in places) for bits in net.bits]
            for op in net.candidates[name]
        ]
        tables[name] = torch.tensor(rows, dtype=torch.float64)
    return tables


def expected_cost(probabilities: Mapping[str, Tensor], costs: Mapping[str, Tensor]) -> Tensor:
    """Eq. 8: ``sum_l sum_i sum_b alpha_ib^l cost_ib^l``, a scalar that is differentiable in the probabilities."""
    return torch.stack([(costs[name].to(p) * p).sum() for name, p in probabilities.items()]).sum()
