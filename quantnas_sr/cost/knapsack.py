"""The most probable genotype under a limit of cost: a multiple-choice knapsack, solved exactly.

Slot by slot, the partial genotypes are merged that could still become the best: those that no other one beats in cost
and in log-probability at once (Nemhauser and Ullmann, 1969), and whose Lagrangian upper bound reaches a genotype that
is known to fit. Costs are any numbers, whole or not.
"""

from typing import Dict, List, Mapping, NamedTuple, Tuple

import numpy as np
from torch import Tensor

from quantnas_sr.errors import OptionError

#: Rounding of sums, as a share.
_ROUNDING = 1e-9


class _Front(NamedTuple):
    """Partial genotypes, by rising cost and rising value; each knows its last edge and what it grew from."""

    costs: np.ndarray
    values: np.ndarray
    parents: np.ndarray
    edges: np.ndarray


def best_under(costs: Mapping[str, Tensor], values: Mapping[str, Tensor], budget: float) -> Dict[str, int]:
    """Choose one edge per slot: the largest sum of values among those whose sum of costs is at most ``budget``.

    With log-probabilities as values that is the genotype with the largest product of alphas. Of equals the cheaper one
    is taken, and the first in order where the costs are equal too.

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
    cost, value = _table(costs, costs), _table(values, costs)
    cheapest = _total(cost.min(axis=1))
    if cheapest > budget:
        raise OptionError(f"budget: {budget:g} is below {cheapest:g}, the lowest possible cost")
    multiplier, choice = _lagrangian(cost, value, budget)
    known = _total(_improved(choice, cost, value, budget)[1])
    edges = _merge(cost, value, budget, multiplier, known - _ROUNDING * (1 + abs(known)))
    return dict(zip(costs, edges))


def _table(tables: Mapping[str, Tensor], order: Mapping[str, Tensor]) -> np.ndarray:
    """(slots, edges) in float64; the shorter ones are filled up with their first edge, which is found first."""
    rows = [tables[name].detach().cpu().double().numpy().reshape(-1) for name in order]
    width = max(map(len, rows))
    return np.stack([np.append(row, np.repeat(row[0], width - len(row))) for row in rows])


def _total(addends: np.ndarray) -> float:
    """The sum from left to right, rounded as `_merge` rounds it."""
    return float(np.cumsum(addends)[-1])


def _at(table: np.ndarray, choice: np.ndarray) -> np.ndarray:
    return np.take_along_axis(table, choice[:, None], axis=1)[:, 0]


def _lagrangian(cost: np.ndarray, value: np.ndarray, budget: float) -> Tuple[float, np.ndarray]:
    """The smallest multiplier whose relaxed problem, the largest value - multiplier * cost per slot, fits; its choice.

    Between two neighbouring slopes of the edges' values over their costs nothing changes, so only these are tried.
    """
    rise = value[:, :, None] - value[:, None, :]
    run = cost[:, :, None] - cost[:, None, :]
    slopes = np.unique(rise[(rise > 0) & (run > 0)] / run[(rise > 0) & (run > 0)])
    multipliers = np.concatenate([[0.0], slopes, 2 * slopes[-1:] + 1])

    def relaxed(multiplier: float) -> np.ndarray:
        gain = value - multiplier * cost
        best = gain >= gain.max(axis=1, keepdims=True)
        return np.where(best, cost, np.inf).argmin(axis=1)

    low, high = 0, len(multipliers) - 1
    while low < high:
        middle = (low + high) // 2
        if _total(_at(cost, relaxed(multipliers[middle]))) <= budget:
            high = middle
        else:
            low = middle + 1
    choice = relaxed(multipliers[low])
    return float(multipliers[low]), choice if _total(_at(cost, choice)) <= budget else cost.argmin(axis=1)


def _improved(choice: np.ndarray, cost: np.ndarray, value: np.ndarray, budget: float) -> Tuple[np.ndarray, np.ndarray]:
    """Costs and values of a choice that fits, after every exchange of one edge that gains most and still fits."""
    choice = choice.copy()
    while True:
        chosen_cost, chosen_value = _at(cost, choice), _at(value, choice)
        left = budget * (1 - _ROUNDING) - _total(chosen_cost)
        gain = np.where(cost - chosen_cost[:, None] <= left, value - chosen_value[:, None], 0.0)
        slot, edge = np.unravel_index(gain.argmax(), gain.shape)
        if gain[slot, edge] <= 0:
            return chosen_cost, chosen_value
        choice[slot] = edge


def _merge(cost: np.ndarray, value: np.ndarray, budget: float, multiplier: float, known: float) -> List[int]:
    """The edges of the best genotype, given the multiplier of a bound and a value that can be reached."""
    gains = (value - multiplier * cost).max(axis=1)
    front = _Front(np.zeros(1), np.zeros(1), np.zeros(1, int), np.zeros(1, int))
    fronts = []
    for slot in range(len(cost)):
        rest_cost, rest_gain = cost[slot + 1 :].min(axis=1).sum(), gains[slot + 1 :].sum()
        costs = (front.costs[:, None] + cost[slot]).reshape(-1)
        values = (front.values[:, None] + value[slot]).reshape(-1)
        limit = budget * (1 + _ROUNDING) - rest_cost if slot + 1 < len(cost) else budget
        bound = values + rest_gain + multiplier * (budget - costs)
        front = _nondominated(costs, values, np.flatnonzero((costs <= limit) & (bound >= known)), cost.shape[1])
        fronts.append(front)
    index, edges = -1, []
    for front in reversed(fronts):
        edges.append(int(front.edges[index]))
        index = front.parents[index]
    return edges[::-1]


def _nondominated(costs: np.ndarray, values: np.ndarray, kept: np.ndarray, width: int) -> _Front:
    order = kept[np.lexsort((-values[kept], costs[kept]))]
    highest = np.maximum.accumulate(values[order])
    order = order[np.append(True, highest[1:] > highest[:-1])]
    return _Front(costs[order], values[order], *np.divmod(order, width))
