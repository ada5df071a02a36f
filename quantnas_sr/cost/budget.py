"""A limit for the cost of the derived network, and the best genotype under it."""

from typing import Any, Dict, Mapping, Tuple, Union

from torch import Tensor

from quantnas_sr.cost.costs import Cost, build_cost
from quantnas_sr.cost.knapsack import best_between, best_under
from quantnas_sr.cost.slots import edge_costs, fixed_cost
from quantnas_sr.errors import OptionError
from quantnas_sr.search_space import SearchNetwork

#: How far below the limit the derived network may cost, as a share of it.
TOLERANCE = 0.05
#: Of a limit that was written in decimals, as a share.
_ROUNDING = 1e-12


class Budget:
    """The most that the networks of a supernet may cost, what stands outside the slots included.

    Args:
        net: the searched network.
        limit: in the unit that the cost is shown in.
        cost: what is limited, see `build_cost`.
        size: height and width of the network's input.

    Raises:
        OptionError: no network is so cheap, or none so dear.
    """

    def __init__(
        self,
        net: SearchNetwork,
        limit: float,
        cost: Union[str, Mapping[str, Any], Cost] = "bitops",
        size: Tuple[int, int] = (32, 32),
    ) -> None:
        cost = build_cost(cost)
        self.limit, self.size = limit, size
        self.unit, self.scale = cost.shown or (cost.unit, 1.0)
        self.costs = edge_costs(net, cost, size)
        self.fixed = fixed_cost(net, cost, size)
        cheapest = self.of({name: int(table.argmin()) for name, table in self.costs.items()})
        dearest = self.of({name: int(table.argmax()) for name, table in self.costs.items()})
        if not cheapest * (1 - _ROUNDING) <= limit <= dearest * (1 + _ROUNDING):
            raise OptionError(
                f"budget: {limit:g} {self.unit} is not possible. "
                f"The networks of this space cost {cheapest:.6g} to {dearest:.6g}"
            )

    def of(self, choice: Mapping[str, int]) -> float:
        """The cost of the network with the edge ``choice[slot]`` in each slot, in the unit of the budget."""
        return (self.fixed + sum(float(t.reshape(-1)[choice[name]]) for name, t in self.costs.items())) / self.scale

    def choice(self, alphas: Mapping[str, Tensor]) -> Dict[str, int]:
        """Of all genotypes that fit, the one with the largest product of alphas, as edges by slot.

        Where this one leaves more than `TOLERANCE` of the budget unused, it is the one with the largest product of
        those that do not.

        Args:
            alphas: by slot, (operations, bits), before the softmax: their sum is the logarithm of the product, but for
                a constant.
        """
        highest = self.limit * self.scale * (1 + _ROUNDING) - self.fixed
        lowest = self.limit * self.scale * (1 - TOLERANCE) - self.fixed
        choice = best_under(self.costs, alphas, highest)
        if self.of(choice) >= self.limit * (1 - TOLERANCE):
            return choice
        return best_between(self.costs, alphas, lowest, highest) or choice

    def describe(self, choice: Mapping[str, int]) -> str:
        """The cost of a choice beside the budget, in words."""
        return f"{self.of(choice):.3f} {self.unit} for {self.size[0]}x{self.size[1]} (budget {self.limit:g})"
