"""The most probable genotype under a limit of cost: a multiple-choice knapsack, solved exactly.

Slot by slot, the partial genotypes are merged that could still become the best: those that no other one beats in cost
and in log-probability at once (Nemhauser and Ullmann, 1969), and whose Lagrangian upper bound reaches a genotype that
is known to fit. Costs are any numbers, whole or not.
"""

from typing import Dict, List, Mapping, NamedTuple, Optional, Tuple

import numpy as np
from torch import Tensor

from quantnas_sr.errors import OptionError

#: Rounding of sums, as a share.
_ROUNDING = 1e-9
#: Costs that are closer to each other than this share of a range are one cost to `best_between`.
_GRAIN = 2.0**-12


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


def best_between(
    costs: Mapping[str, Tensor], values: Mapping[str, Tensor], lowest: float, highest: float
) -> Optional[Dict[str, int]]:
    """As `best_under`, among those whose sum of costs is at least ``lowest`` too; None where none is found.

    Of two partial genotypes the cheaper and better one may end below the lowest cost, so only those of the same cost
    are compared. Two costs are the same if they lie within 2^-12 of the range, so whole costs larger than that are
    solved exactly. How far below the upper bound is looked grows until something is found.

    >>> import torch
    >>> costs, values = {"a": torch.tensor([[1.0, 5.0, 9.0]])}, {"a": torch.tensor([[3.0, 1.0, 2.0]])}
    >>> best_between(costs, values, 4, 8), best_between(costs, values, 6, 8)
    ({'a': 1}, None)
    """
    cost, value = _table(costs, costs), _table(values, costs)
    if _total(_at(cost, value.argmax(axis=1))) < lowest:  # the values have to be drawn up to the lowest cost
        cost, lowest, highest = -cost, -highest, -lowest
    multiplier, _ = _lagrangian(cost, value, highest)
    bound = (value - multiplier * cost).max(axis=1).sum() + multiplier * highest
    spread = np.ptp(value, axis=1).sum() + multiplier * np.ptp(cost, axis=1).sum()
    for depth in spread * 2.0 ** np.arange(-20, 2):
        edges = _merge(cost, value, highest, multiplier, bound - depth, lowest)
        if edges is not None:
            return dict(zip(costs, edges))
    return None


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
        left = budget - _ROUNDING * abs(budget) - _total(chosen_cost)
        gain = np.where(cost - chosen_cost[:, None] <= left, value - chosen_value[:, None], 0.0)
        slot, edge = np.unravel_index(gain.argmax(), gain.shape)
        if gain[slot, edge] <= 0:
            return chosen_cost, chosen_value
        choice[slot] = edge


def _merge(
    cost: np.ndarray, value: np.ndarray, budget: float, multiplier: float, known: float, lowest: Optional[float] = None
) -> Optional[List[int]]:
    """The edges of the best genotype whose value is at least ``known``, given the multiplier of a bound.

    With a lowest cost there may be none.
    """
    gains = (value - multiplier * cost).max(axis=1)
    front = _Front(np.zeros(1), np.zeros(1), np.zeros(1, int), np.zeros(1, int))
    fronts = []
    for slot in range(len(cost)):
        rest_cost, rest_gain = cost[slot + 1 :].min(axis=1).sum(), gains[slot + 1 :].sum()
        costs = (front.costs[:, None] + cost[slot]).reshape(-1)
        values = (front.values[:, None] + value[slot]).reshape(-1)
        slack = _ROUNDING * abs(budget) if slot + 1 < len(cost) else 0.0
        bound = values + rest_gain + multiplier * (budget - costs) if slot + 1 < len(cost) else values
        hopeful = (costs + rest_cost <= budget + slack) & (bound >= known)
        if lowest is None:
            order = _nondominated(costs, values, np.flatnonzero(hopeful))
        else:
            hopeful &= costs + cost[slot + 1 :].max(axis=1).sum() >= lowest - slack
            order = _best_by_cost(costs, values, np.flatnonzero(hopeful), _GRAIN * (budget - lowest))
        if not len(order):
            return None
        front = _Front(costs[order], values[order], *np.divmod(order, cost.shape[1]))
        fronts.append(front)
    index, edges = -1, []
    for front in reversed(fronts):
        edges.append(int(front.edges[index]))
        index = front.parents[index]
    return edges[::-1]


def _nondominated(costs: np.ndarray, values: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The indices in ``kept`` that no other one beats, by rising cost and rising value."""
    order = kept[np.lexsort((-values[kept], costs[kept]))]
    highest = np.maximum.accumulate(values[order])
    return order[np.append(True, highest[1:] > highest[:-1])[: len(order)]]


def _best_by_cost(costs: np.ndarray, values: np.ndarray, kept: np.ndarray, grain: float) -> np.ndarray:
    """The indices in ``kept`` of the highest value of each cost, by rising value."""
    same = np.floor(costs[kept] / grain)
    by_cost = np.lexsort((-values[kept], same))
    first = np.append(True, np.diff(same[by_cost]) > 0)[: len(kept)]
    order = kept[by_cost[first]]
    return order[np.lexsort((-costs[order], values[order]))]
