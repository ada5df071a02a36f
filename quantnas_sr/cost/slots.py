"""The cost of every edge of a supernet, and the differentiable cost of its alphas (eq. 8)."""

from collections import defaultdict
from functools import lru_cache, singledispatch
from typing import Any, Dict, List, Mapping, Sequence, Tuple, Union

import torch
from torch import Tensor, nn

from quantnas_sr.cost.costs import Cost, build_cost
from quantnas_sr.cost.count import LayerCost, count
from quantnas_sr.quantization import FULL_PRECISION
from quantnas_sr.search_space import SearchNetwork, Slot, Supernet, get_search_space
from quantnas_sr.search_space.mixing.bit_mixer import quantized_operation

#: By slot, for each of its operations: the layers that it computes for one image, at all places of the slot.
EdgeLayers = Dict[str, List[List[LayerCost]]]


class _Probe(nn.Module):
    """Stands in a slot, notes the size of its input, and returns an output of the right shape."""

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
def _operation_layers(name: str, channels: Tuple[int, int, int], size: Tuple[int, int]) -> Tuple[LayerCost, ...]:
    with torch.random.fork_rng(devices=[]):
        operation = quantized_operation(name, *channels, FULL_PRECISION)
    return tuple(count(operation, size, channels[0]).layers)


@singledispatch
def edge_layers(net: nn.Module, size: Tuple[int, int]) -> EdgeLayers:
    """The layers that each edge of a searched network computes, in the order of its slots.

    The ``bits`` of these layers are placeholders: costs are computed for each bit width of the search. Another kind of
    searched network registers a function of its own with ``@edge_layers.register``.

    Args:
        net: the searched network.
        size: height and width of its input.
    """
    raise TypeError(f"{type(net).__name__} is not searched")


@edge_layers.register
def _edge_layers_by_name(net: SearchNetwork, size: Tuple[int, int]) -> EdgeLayers:
    """For networks whose slots are single convolutions, so that every slot has one operation."""
    layers: EdgeLayers = {name: [[]] for name in net.edge_names()}
    network, slots = _example(net)
    for layer in count(network, size).layers:
        if layer.name in slots:
            layers[slots[layer.name]][0].append(layer)
    return layers


def _example(net: SearchNetwork) -> Tuple[nn.Module, Dict[str, str]]:
    """As `SearchNetwork.example`, without changing the state of the random generator."""
    with torch.random.fork_rng(devices=[]):
        return net.example()


@edge_layers.register
def _edge_layers_of_supernet(net: Supernet, size: Tuple[int, int]) -> EdgeLayers:
    places = slot_sizes(net, size)
    layers = {}
    for name, slot in net.slots.items():
        channels = slot.in_channels, slot.out_channels, net.num_feat
        layers[name] = [
            [layer for place in places[name] for layer in _operation_layers(operation, channels, place)]
            for operation in net.candidates[name]
        ]
    return layers


def edge_costs(
    net: SearchNetwork, cost: Union[str, Mapping[str, Any], Cost] = "bitops", size: Tuple[int, int] = (32, 32)
) -> Dict[str, Tensor]:
    """The cost of every edge, by slot: (operations, bits), in float64, summed over all places of the slot.

    Args:
        net: the searched network; its order of slots is kept.
        cost: as in the options, see `build_cost`.
        size: height and width of the network's input.

    Raises:
        OptionError: there is no such cost, or it has no value for one of the layers.
    """
    cost = build_cost(cost)
    tables = {}
    for name, operations in edge_layers(net, tuple(size)).items():
        rows = [[_cost_at(cost, layers, bits) for bits in net.bits] for layers in operations]
        tables[name] = torch.tensor(rows, dtype=torch.float64)
    return tables


def _cost_at(cost: Cost, layers: Sequence[LayerCost], bits: int) -> float:
    return sum(cost.of(layer._replace(bits=bits)) for layer in layers)


def fixed_cost(
    net: SearchNetwork, cost: Union[str, Mapping[str, Any], Cost] = "bitops", size: Tuple[int, int] = (32, 32)
) -> float:
    """The cost of every derived network outside its slots; arguments as for `edge_costs`."""
    cost = build_cost(cost)
    network, slots = _example(net)
    inside = tuple(f"{path}." for path in slots)
    return sum(cost.of(layer) for layer in count(network, size).layers if not f"{layer.name}.".startswith(inside))


def expected_cost(probabilities: Mapping[str, Tensor], costs: Mapping[str, Tensor]) -> Tensor:
    """Eq. 8: ``sum_l sum_i sum_b alpha_ib^l cost_ib^l``, a scalar that is differentiable in the probabilities."""
    return torch.stack([(costs[name].to(p) * p).sum() for name, p in probabilities.items()]).sum()
