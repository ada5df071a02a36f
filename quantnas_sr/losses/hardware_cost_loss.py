"""The hardware constraint of the search, eq. 8."""

from typing import Any, Mapping, Sequence, Union

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from quantnas_sr.cost import build_cost, edge_costs, expected_cost
from quantnas_sr.errors import OptionError
from quantnas_sr.search_space import SearchNetwork
from quantnas_sr.search_space.space import check_positive


@LOSS_REGISTRY.register()
class HardwareCostLoss(nn.Module):
    """eta * cost(alphas) / cost(uniform alphas).

    Args:
        loss_weight: eta, the paper's "hardware penalty".
        cost: ``bitops``, ``macs``, ``params``, ``{type: latency, table: FILE}``, or one that you registered.
        size: height and width of the network's input that the cost is for.

    Raises:
        OptionError: a value that is not allowed; one line that names the key.
    """

    def __init__(
        self,
        loss_weight: float = 1e-4,
        cost: Union[str, Mapping[str, Any]] = "bitops",
        size: Sequence[int] = (32, 32),
    ) -> None:
        super().__init__()
        if not isinstance(size, (list, tuple)) or len(size) != 2:
            raise OptionError(f"size: {size!r} is not a height and a width, such as [32, 32]")
        for side in size:
            check_positive("size", side)
        self.loss_weight = float(loss_weight)
        self.cost = build_cost(cost)
        self.size = tuple(size)

    def attach(self, net: SearchNetwork) -> None:
        """Count the edges of the network whose alphas will be given.

        Raises:
            OptionError: no edge costs anything, or the cost knows nothing of a layer that is needed.
        """
        self.costs = edge_costs(net, self.cost, self.size)
        uniform = {name: torch.full_like(cost, 1 / cost.numel()) for name, cost in self.costs.items()}
        self.reference = float(expected_cost(uniform, self.costs))
        if self.reference <= 0:
            raise OptionError(f"cost: by {self.cost.name} no operation of this search costs anything")

    def expected(self, probabilities: Mapping[str, Tensor]) -> Tensor:
        """Eq. 8 as it is, in the unit of the cost; a scalar."""
        return expected_cost(probabilities, self.costs)

    def forward(self, probabilities: Mapping[str, Tensor]) -> Tensor:
        """The normalised loss, a scalar; ``loss_weight`` at uniform alphas.

        Args:
            probabilities: by slot, (operations, bits), sum 1.
        """
        return self.loss_weight * self.expected(probabilities) / self.reference
