"""A limit for the cost of the derived network, and the most probable genotype within it."""

from typing import Any, Dict, Mapping, Tuple, Union

from torch import Tensor

from quantnas_sr.cost.costs import Cost, build_cost
from quantnas_sr.cost.knapsack import best_between, best_under
from quantnas_sr.cost.slots import edge_costs, fixed_cost
from quantnas_sr.errors import OptionError
from quantnas_sr.search_space import SearchNetwork

#: The share of the limit that the derived network may leave unused.
TOLERANCE = 0.05
#: Relative rounding error of a limit that was written in decimals.
_ROUNDING = 1e-12


class Budget:
    """A limit for the cost of a whole derived network, its layers outside the slots included.

    Args:
        net: the searched network.
        limit: in the unit that the cost is shown in, such as GBitOps.
        cost: what is limited, see `build_cost`.
        size: height and width of the network's input.

    Raises:
        OptionError: every network of the search costs more than the limit, or every network costs less.
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
        """The cost of the network that has the edge ``choice[slot]`` in each slot, in the unit of the limit."""
        return (self.fixed + sum(float(t.reshape(-1)[choice[name]]) for name, t in self.costs.items())) / self.scale

    def choice(self, alphas: Mapping[str, Tensor]) -> Dict[str, int]:
        """The most probable genotype within the budget, as edges by slot.

        That is the genotype with the largest product of probabilities whose cost is at most the limit, if it uses at
        least 95 % of the budget (`TOLERANCE`); otherwise the most probable genotype that uses at least 95 % of the
        budget, where there is one.

        Args:
            alphas: by slot, (operations, bits), before the softmax. Up to a constant, the sum of the chosen alphas is
                the logarithm of the product of their probabilities.
        """
        highest = self.limit * self.scale * (1 + _ROUNDING) - self.fixed
        lowest = self.limit * self.scale * (1 - TOLERANCE) - self.fixed
        choice = best_under(self.costs, alphas, highest)
        if self.of(choice) >= self.limit * (1 - TOLERANCE):
            return choice
        return best_between(self.costs, alphas, lowest, highest) or choice

    def describe(self, choice: Mapping[str, int]) -> str:
        """The cost of a choice and the limit, in words; the size of the input as width x height."""
        height, width = self.size
        return f"{self.of(choice):.3f} {self.unit} for {width}x{height} (budget {self.limit:g})"
