"""The most probable genotype under a budget: exact, whatever the costs are."""

import itertools

import pytest
import torch

from quantnas_sr.cost import edge_costs
from quantnas_sr.cost.knapsack import best_between, best_under
from quantnas_sr.errors import QuantNASError


def instance(slots, edges, seed, whole):
    """Costs and log-probabilities of slots with up to ``edges`` edges."""
    random = torch.Generator().manual_seed(seed)
    costs, values = {}, {}
    for i in range(slots):
        shape = (int(torch.randint(1, edges + 1, (1,), generator=random)), 2)
        cost = 50 * torch.rand(shape, generator=random, dtype=torch.float64)
        costs[f"slot_{i}"] = cost.round() if whole else cost
        normal = torch.randn(shape, generator=random, dtype=torch.float64)
        values[f"slot_{i}"] = normal.flatten().log_softmax(0).view(shape)
    return costs, values


def total(tables, choice):
    assert list(choice) == list(tables)
    return sum(float(tables[name].flatten()[edge]) for name, edge in choice.items())


def budgets(costs, count):
    low, high = (sum(float(f(table)) for table in costs.values()) for f in (torch.min, torch.max))
    return [low + (high - low) * i / count for i in range(count + 1)]


@pytest.mark.parametrize("whole", [True, False], ids=["whole costs", "real costs"])
@pytest.mark.parametrize("seed", range(10))
def test_it_is_what_brute_force_finds(seed, whole):
    costs, values = instance(4, 3, seed, whole)
    tables = [range(table.numel()) for table in costs.values()]
    every = [dict(zip(costs, edges)) for edges in itertools.product(*tables)]
    for budget in budgets(costs, 7):
        found = best_under(costs, values, budget + 1e-9)
        fits = [choice for choice in every if total(costs, choice) <= budget + 1e-9]
        assert total(costs, found) <= budget + 1e-9
        assert total(values, found) == pytest.approx(max(total(values, choice) for choice in fits), abs=1e-12)


@pytest.mark.parametrize("whole", [True, False], ids=["whole costs", "real costs"])
@pytest.mark.parametrize("seed", range(10))
def test_with_a_lowest_cost_it_is_what_brute_force_finds(seed, whole):
    costs, values = instance(4, 3, seed, whole)
    every = [
        dict(zip(costs, edges)) for edges in itertools.product(*(range(table.numel()) for table in costs.values()))
    ]
    for budget in budgets(costs, 7):
        lowest = 0.95 * budget
        fits = [choice for choice in every if lowest <= total(costs, choice) <= budget]
        found = best_between(costs, values, lowest, budget)
        if not fits:
            assert found is None
            continue
        assert lowest <= total(costs, found) <= budget
        assert total(values, found) == pytest.approx(max(total(values, choice) for choice in fits), abs=1e-12)


def by_whole_costs(costs, values, budget, lowest=0):
    """The best value by dynamic programming over every whole cost up to the budget."""
    best = torch.full((budget + 1,), -torch.inf, dtype=torch.float64)
    best[0] = 0
    for name, table in costs.items():
        grown = torch.full_like(best, -torch.inf)
        for cost, value in zip(table.flatten().int().tolist(), values[name].flatten().tolist()):
            grown[cost:] = torch.maximum(grown[cost:], best[: budget + 1 - cost] + value)
        best = grown
    return float(best[lowest:].max())


@pytest.mark.parametrize("seed", range(5))
def test_large_ones_agree_with_dynamic_programming(seed):
    costs, values = instance(37, 9, seed, whole=True)
    for budget in budgets(costs, 12):
        budget = int(budget) + 1
        found = best_under(costs, values, budget)
        assert total(costs, found) <= budget
        assert total(values, found) == pytest.approx(by_whole_costs(costs, values, budget), abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_large_ones_with_a_lowest_cost_agree_with_dynamic_programming(seed):
    """One slot has a dear edge that is worth much: without it the budget is not used up, with it there is no room."""
    costs, values = instance(29, 9, seed, whole=True)
    costs["dear"], values["dear"] = torch.tensor([[0.0, 300.0]]), torch.tensor([[-5.0, 0.0]])
    probable = sum(float(table.flatten()[values[name].argmax()]) for name, table in costs.items())
    for budget in (int(probable) - 50, int(probable) - 150, int(probable) + 100):
        lowest = int(0.95 * budget)
        found = best_between(costs, values, lowest, budget)
        assert lowest <= total(costs, found) <= budget
        assert total(values, found) == pytest.approx(by_whole_costs(costs, values, budget, lowest), abs=1e-9)


@pytest.mark.parametrize("space", ["basic", "rfdn"])
def test_a_budget_that_does_not_bind_gives_the_largest_alphas(space, supernet):
    net = supernet(space)
    for alphas in net.alphas.values():
        alphas.data.normal_()
    choice = best_under(edge_costs(net), net.alphas, 1e15)
    assert choice == {name: int(alphas.argmax()) for name, alphas in net.alphas.items()}


def test_of_equals_the_cheaper_one_is_taken_and_then_the_first():
    costs = {"a": torch.tensor([[3.0, 1.0, 1.0]]), "b": torch.tensor([[2.0, 2.0]])}
    equal = {name: torch.zeros_like(table) for name, table in costs.items()}
    assert best_under(costs, equal, 9) == {"a": 1, "b": 0}


def test_the_lowest_possible_cost_fits_and_less_does_not():
    costs, values = instance(5, 4, 0, whole=False)
    lowest = budgets(costs, 1)[0]
    assert total(costs, best_under(costs, values, lowest)) == lowest
    with pytest.raises(QuantNASError, match=f"budget: .* is below {lowest:g}, the lowest possible cost"):
        best_under(costs, values, 0.99 * lowest)


def test_of_equal_products_over_all_slots_the_cheapest_is_taken():
    """One of two slots may have its better edge, which is worth the same in both and dearer in the first."""
    costs = {"a": torch.tensor([[1.0, 7.0]]), "b": torch.tensor([[1.0, 5.0]])}
    values = dict.fromkeys(costs, torch.tensor([[0.0, 1.0]]))
    assert best_under(costs, values, 9) == best_between(costs, values, 3, 9) == {"a": 0, "b": 1}


@pytest.mark.parametrize("share", [1e-6, 1e-9, 1e-12])
def test_a_limit_that_is_missed_by_less_than_the_solver_sees_is_not_met(share):
    costs = dict.fromkeys("abc", torch.tensor([[1e9, 3e9]], dtype=torch.float64))
    values = dict.fromkeys(costs, torch.tensor([[0.0, 1.0]]))
    assert sum(best_under(costs, values, 9e9).values()) == 3
    assert sum(best_under(costs, values, 9e9 * (1 - share)).values()) == 2
    assert best_between(costs, values, 9e9 * (1 + share), 1e10) is None


def test_values_that_differ_by_little_are_told_apart():
    costs = {"a": torch.tensor([[1.0, 2.0, 3.0]])}
    values = {"a": torch.tensor([[500.0, 500.0 + 1e-5, 500.0]], dtype=torch.float64)}
    assert best_under(costs, values, 9) == {"a": 1}
