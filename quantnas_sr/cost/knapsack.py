"""The most probable genotype within a range of cost: a multiple-choice knapsack, solved exactly as an integer program.

The solver is HiGHS, through `scipy.optimize.milp`. Its tolerances let a sum of costs exceed its limit by a millionth.
So every answer is checked without tolerance, and one that exceeds a limit is excluded and the problem solved again.
"""

from typing import Dict, List, Mapping, NamedTuple, Optional

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from torch import Tensor

from quantnas_sr.errors import OptionError

#: Relative difference below which two sums of values count as equal.
_ROUNDING = 1e-9
#: The largest coefficient of the objective. HiGHS stops within 1e-6 of the optimum, whatever the size of the objective.
_OBJECTIVE = 1e4
#: `milp`'s status of a problem without a solution.
_INFEASIBLE = 2


def best_under(costs: Mapping[str, Tensor], values: Mapping[str, Tensor], budget: float) -> Dict[str, int]:
    """Choose one edge per slot: the largest sum of values among those whose sum of costs is at most ``budget``.

    With log-probabilities as values, that is the most probable genotype. Of genotypes with the same sum of values the
    cheapest is taken, and of edges that are equal in value and cost the first.

    Args:
        costs: by slot, (operations, bits), at least 0.
        values: by slot, (operations, bits), finite.
        budget: in the unit of the costs.

    Returns:
        By slot, the index into the flattened table.

    Raises:
        OptionError: nothing fits; says the lowest possible cost.

    >>> import torch
    >>> costs = {"a": torch.tensor([[1.0, 4.0]]), "b": torch.tensor([[2.0, 3.0]])}
    >>> values = {"a": torch.tensor([[0.0, 1.0]]), "b": torch.tensor([[0.0, 0.5]])}
    >>> best_under(costs, values, 7), best_under(costs, values, 6.5), best_under(costs, values, 5)
    ({'a': 1, 'b': 1}, {'a': 1, 'b': 0}, {'a': 0, 'b': 1})
    """
    cheapest = _total(np.array([float(table.min()) for table in costs.values()]))
    if cheapest > budget:
        raise OptionError(f"budget: {budget:g} is below {cheapest:g}, the lowest possible cost")
    return _best(costs, values, -np.inf, budget)


def best_between(
    costs: Mapping[str, Tensor], values: Mapping[str, Tensor], lowest: float, highest: float
) -> Optional[Dict[str, int]]:
    """As `best_under`, among those whose sum of costs is at least ``lowest`` too; None where there is none.

    >>> import torch
    >>> costs, values = {"a": torch.tensor([[1.0, 5.0, 9.0]])}, {"a": torch.tensor([[3.0, 1.0, 2.0]])}
    >>> best_between(costs, values, 4, 8), best_between(costs, values, 6, 8)
    ({'a': 1}, None)
    """
    return _best(costs, values, lowest, highest)


class _Limit(NamedTuple):
    """``low <= sum of the row over the chosen edges <= high``."""

    row: np.ndarray
    low: float
    high: float

    def holds(self, chosen: np.ndarray) -> bool:
        return self.low <= _total(self.row[chosen]) <= self.high

    def constraint(self) -> LinearConstraint:
        """The limit for the solver, scaled to coefficients of at most 1: the solver's tolerances are absolute."""
        scale = np.abs(self.row).max() or 1.0
        return LinearConstraint(self.row / scale, self.low / scale, self.high / scale)


def _best(
    costs: Mapping[str, Tensor], values: Mapping[str, Tensor], lowest: float, highest: float
) -> Optional[Dict[str, int]]:
    """The edge of each slot: the largest sum of values within the limits of cost, then the lowest cost at this sum."""
    cost, value = _flat(costs, costs), _flat(values, costs)
    starts = np.cumsum([0, *(table.numel() for table in costs.values())])
    slots = np.repeat(np.arange(len(costs)), np.diff(starts))
    limit = _Limit(cost, lowest, highest)
    chosen = _solve(slots, value, [limit])
    if chosen is None:
        return None
    reached = _total(value[chosen])
    as_good = _Limit(value, reached - _ROUNDING * (1 + abs(reached)), np.inf)
    chosen = _solve(slots, -cost, [limit, as_good])
    return {name: _first_equal(cost, value, start, edge) for name, start, edge in zip(costs, starts, chosen)}


def _solve(slots: np.ndarray, gain: np.ndarray, limits: List[_Limit]) -> Optional[np.ndarray]:
    """The indices of one edge for each slot with the largest sum of gains, or None where the limits allow none."""
    one_each = (slots == np.arange(slots[-1] + 1)[:, None]).astype(float)
    constraints = [LinearConstraint(one_each, 1, 1), *(limit.constraint() for limit in limits)]
    objective = -gain * (_OBJECTIVE / (np.abs(gain).max() or 1.0))
    while True:
        found = milp(objective, integrality=1, bounds=Bounds(0, 1), constraints=constraints, options={"mip_rel_gap": 0})
        if found.status == _INFEASIBLE:
            return None
        if found.x is None:
            raise RuntimeError(f"HiGHS found no genotype: {found.message}")
        chosen = np.flatnonzero(found.x > 0.5)
        if all(limit.holds(chosen) for limit in limits):
            return chosen
        excluded = np.zeros(len(slots))
        excluded[chosen] = 1
        constraints.append(LinearConstraint(excluded, -np.inf, len(chosen) - 1))


def _first_equal(cost: np.ndarray, value: np.ndarray, start: int, edge: int) -> int:
    """The index, within its slot, of the first edge that is equal to ``edge`` in both."""
    same = (cost[start : edge + 1] == cost[edge]) & (value[start : edge + 1] == value[edge])
    return int(same.argmax())


def _flat(tables: Mapping[str, Tensor], order: Mapping[str, Tensor]) -> np.ndarray:
    """All edges of all slots one after the other, in float64."""
    return np.concatenate([tables[name].detach().cpu().double().numpy().reshape(-1) for name in order])


def _total(addends: np.ndarray) -> float:
    """The sum from left to right, as `sum` of Python rounds it."""
    return float(np.cumsum(addends)[-1])
