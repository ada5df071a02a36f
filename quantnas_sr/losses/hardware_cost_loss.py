"""The hardware constraint of the search, eq. 8."""

import math
from typing import Any, Dict, Mapping, Optional, Sequence, Union

import torch
from torch import Tensor, nn

from quantnas_sr.cost import Budget, build_cost, edge_costs, expected_cost
from quantnas_sr.errors import OptionError
from quantnas_sr.losses.penalty import AdaptivePenalty
from quantnas_sr.registration import LOSS_REGISTRY
from quantnas_sr.search_space import SearchNetwork
from quantnas_sr.search_space.space import check_positive


@LOSS_REGISTRY.register()
class HardwareCostLoss(nn.Module):
    """eta * cost(alphas) / cost(uniform alphas).

    With a budget, the genotype is the most probable one that costs no more, and `adapt` changes eta during the search.

    Args:
        loss_weight: eta, the paper's "hardware penalty"; with a budget, its starting value.
        cost: ``bitops``, ``macs``, ``params``, ``{type: latency, table: FILE}``, or the name of a registered cost.
        size: height and width of the input for which the cost is counted.
        budget: upper limit of the cost of the whole derived network, in GBitOps, GMACs, weights or ms.

    Raises:
        OptionError: a value that is not allowed; one line that names the key.
    """

    def __init__(
        self,
        loss_weight: float = 1e-4,
        cost: Union[str, Mapping[str, Any]] = "bitops",
        size: Sequence[int] = (32, 32),
        budget: Optional[float] = None,
    ) -> None:
        super().__init__()
        if not isinstance(size, (list, tuple)) or len(size) != 2:
            raise OptionError(f"size: {size!r} is not a height and a width, such as [32, 32]")
        for side in size:
            check_positive("size", side)
        if budget is not None:
            check_budget(budget, loss_weight)
        self.loss_weight = float(loss_weight)
        self.limit = budget
        self.cost = build_cost(cost)
        self.size = tuple(size)

    def attach(self, net: SearchNetwork) -> None:
        """Compute the cost of every edge of the network whose alphas the loss will be given.

        Raises:
            OptionError: no edge costs anything, the cost has no entry for a layer that is needed, or no network fits
                the budget.
        """
        self.costs = edge_costs(net, self.cost, self.size)
        uniform = {name: torch.full_like(cost, 1 / cost.numel()) for name, cost in self.costs.items()}
        self.reference = float(expected_cost(uniform, self.costs))
        if self.reference <= 0:
            raise OptionError(f"cost: by {self.cost.name} no operation of this search costs anything")
        self.budget = None if self.limit is None else Budget(net, self.limit, self.cost, self.size)
        self.penalty = AdaptivePenalty(self.loss_weight)

    def choice(self, alphas: Mapping[str, Tensor]) -> Optional[Dict[str, int]]:
        """The most probable genotype within the budget, see `Budget.choice`; None without a budget."""
        return None if self.budget is None else self.budget.choice(alphas)

    def adapt(self, alphas: Mapping[str, Tensor]) -> None:
        """Double, halve or keep the penalty, by the cost of the largest alphas; does nothing without a budget."""
        if self.budget is None:
            return
        unlimited = {name: int(table.argmax()) for name, table in alphas.items()}
        self.loss_weight = self.penalty.update(self.budget.of(unlimited) / self.limit)

    def expected(self, probabilities: Mapping[str, Tensor]) -> Tensor:
        """Eq. 8 without normalisation, in the unit of the cost; a scalar."""
        return expected_cost(probabilities, self.costs)

    def forward(self, probabilities: Mapping[str, Tensor]) -> Tensor:
        """The normalised loss, a scalar; ``loss_weight`` at uniform alphas.

        Args:
            probabilities: by slot, (operations, bits), sum 1.
        """
        return self.loss_weight * self.expected(probabilities) / self.reference


def check_budget(budget: Any, loss_weight: float) -> None:
    """Raise OptionError if the budget is not a number above 0, or the penalty is not one that can be doubled."""
    if isinstance(budget, bool) or not isinstance(budget, (int, float)) or not 0 < budget < math.inf:
        raise OptionError(f"budget: {budget!r} is not a number above 0")
    if not 0 < loss_weight < math.inf:
        raise OptionError(f"loss_weight: {loss_weight!r} cannot be doubled and halved: a budget needs one above 0")
