"""A search with a budget: where its network lands, and the penalty that adapts on the way."""

import itertools
import re
import shutil

import pytest
import torch
import yaml
from project import Project

from quantnas_sr.cost import Budget, count, edge_costs
from quantnas_sr.cost.slots import fixed_cost
from quantnas_sr.errors import OptionError
from quantnas_sr.losses.hardware_cost_loss import HardwareCostLoss
from quantnas_sr.losses.penalty import LARGEST_FACTOR, AdaptivePenalty
from quantnas_sr.search_space import DerivedNetwork, Genotype

SPACES = ["basic", "rfdn"]


def costs_of_space(net, cost="bitops"):
    """The lowest and the highest cost, of networks that are counted whole."""
    tables = edge_costs(net, cost)
    ends = []
    for end in (torch.argmin, torch.argmax):
        genotype = net.genotype(choice={name: int(end(table)) for name, table in tables.items()})
        ends.append(getattr(count(DerivedNetwork(genotype)), cost))
    return ends


def between(net, share, cost="bitops"):
    low, high = costs_of_space(net, cost)
    return low * (high / low) ** share


def randomize_alphas(net, seed):
    random = torch.Generator().manual_seed(seed)
    for alphas in net.alphas.values():
        alphas.data.normal_(generator=random)


@pytest.mark.parametrize("cost, unit", [("bitops", 1e9), ("macs", 1e9), ("params", 1)])
@pytest.mark.parametrize("space", SPACES)
def test_the_cost_is_that_of_the_whole_derived_network(space, cost, unit, supernet):
    net = supernet(space)
    randomize_alphas(net, 0)
    budget = Budget(net, between(net, 0.6, cost) / unit, cost)
    choice = budget.choice(net.alphas)
    layers = count(DerivedNetwork(net.genotype(choice=choice))).layers
    whole = sum(getattr(layer, {"params": "weights"}.get(cost, cost)) for layer in layers)
    assert budget.of(choice) == pytest.approx(whole / unit)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_any_alphas_land_within_five_percent_below(space, share, supernet):
    net = supernet(space)
    limit = between(net, share) / 1e9
    budget = Budget(net, limit)
    for seed in range(7):
        randomize_alphas(net, seed)
        assert 0.95 * limit <= budget.of(budget.choice(net.alphas)) <= limit


def test_the_choice_has_the_largest_product_of_alphas(supernet):
    bodies = {"head": ["simple_3x3"], "tail": ["simple_1x1"], "upsample": ["simple_3x3"]}
    net = supernet(candidates={**bodies, "body": ["simple_3x3", "simple_5x5"], "skip": ["simple_1x1", "simple_3x3"]})
    edges_of_slots = [range(net.alphas[name].numel()) for name in net.slots]
    every = [dict(zip(net.slots, edges)) for edges in itertools.product(*edges_of_slots)]
    budget = Budget(net, between(net, 0.5) / 1e9)
    for seed in range(3):
        randomize_alphas(net, seed)
        flat = {name: alphas.detach().flatten().tolist() for name, alphas in net.alphas.items()}
        costs = {name: table.flatten().tolist() for name, table in budget.costs.items()}

        def product(choice, flat=flat):
            return sum(flat[name][edge] for name, edge in choice.items())

        def cost(choice, costs=costs):
            return (budget.fixed + sum(costs[name][edge] for name, edge in choice.items())) / 1e9

        fit = [choice for choice in every if cost(choice) <= budget.limit]
        best = max(fit, key=product)
        if cost(best) < 0.95 * budget.limit:
            best = max((choice for choice in fit if cost(choice) >= 0.95 * budget.limit), key=product)
        assert product(budget.choice(net.alphas)) == pytest.approx(product(best))


def test_what_stands_outside_the_slots_does_not_depend_on_the_alphas_or_touch_the_random_numbers(supernet):
    net = supernet("rfdn")
    state = torch.get_rng_state()
    before = fixed_cost(net)
    assert torch.equal(state, torch.get_rng_state())
    randomize_alphas(net, 1)
    assert before == fixed_cost(net) > 0


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_budget_that_no_network_costs_is_refused_with_what_is_possible(factor, supernet):
    net = supernet()
    ends = [cost / 1e9 for cost in costs_of_space(net)]
    limit = factor * ends[0 if factor < 1 else 1]
    with pytest.raises(OptionError, match=re.escape(f"budget: {limit:g} GBitOps is not possible")) as error:
        Budget(net, limit)
    assert f"{ends[0]:.6g} to {ends[1]:.6g}" in str(error.value)


@pytest.mark.parametrize("budget", [0, -1, "2.6x", True, float("nan"), float("inf"), [2.6]], ids=str)
def test_a_budget_that_is_no_number_above_0_is_refused(budget):
    with pytest.raises(OptionError, match="budget: .* is not a number above 0"):
        HardwareCostLoss(budget=budget)


def test_a_penalty_of_0_cannot_be_adapted():
    with pytest.raises(OptionError, match="loss_weight: 0 cannot be doubled and halved"):
        HardwareCostLoss(loss_weight=0, budget=2.6)


def test_the_penalty_stays_where_the_cost_is_a_little_above_the_budget_or_on_its_way():
    penalty = AdaptivePenalty(1.0)
    assert [penalty.update(share) for share in (1.05, 1.3, 1.2, 1.2, 0.9, 0.95, 0.95)] == [1, 2, 2, 4, 2, 2, 1]


@pytest.mark.parametrize("share, end", [(2.0, LARGEST_FACTOR), (0.5, 1 / LARGEST_FACTOR)])
def test_the_penalty_stays_within_its_bounds(share, end):
    penalty = AdaptivePenalty(1.0)
    for _ in range(100):
        penalty.update(share)
    assert penalty.value == end


def test_alphas_that_want_too_much_double_the_weight_of_the_loss(supernet):
    net = supernet()
    loss = HardwareCostLoss(loss_weight=1e-3, budget=between(net, 0.5) / 1e9)
    loss.attach(net)
    for name, table in loss.costs.items():
        net.alphas[name].data.copy_(table / table.max())
    before = loss(net.probabilities()).item()
    loss.adapt(net.alphas)
    assert loss(net.probabilities()).item() == pytest.approx(2 * before)


def test_without_a_budget_nothing_adapts(supernet):
    net = supernet()
    loss = HardwareCostLoss(loss_weight=1e-3)
    loss.attach(net)
    loss.adapt(net.alphas)
    assert loss.loss_weight == 1e-3 and loss.choice(net.alphas) is None


# --- the real pipeline


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    project = Project(tmp_path_factory.mktemp("budget"))
    project.make_data()
    return project


SMALL = {"network_g.num_feat": 12, "network_g.num_block": 1, "train.alpha_warmup": 0.2, "train.total_iter": 16}
SMALL.update({"train.scheduler.periods": [16], "logger.save_checkpoint_freq": 8, "train.optim_alpha.lr": 4e-2})


@pytest.mark.parametrize("space, limit", [("basic", 0.4)])
def test_a_search_lands_within_its_budget_and_goes_on_with_its_penalty(space, limit, project):
    changes = {**SMALL, "name": space, "train.hardware_opt.budget": limit, "val.val_freq": 8}
    options = project.write(f"{space}.yml", project.options(f"search_{space}_x4.yml", changes))
    project.train(options)
    folder = project.folder / f"experiments/{space}"
    for late in ("training_states/16.state", "models/net_g_16.pth", "models/net_g_latest.pth"):
        (folder / late).unlink()
    halfway = torch.load(folder / "training_states/8.state", weights_only=True)["hardware_penalty"]
    halfway_origin = yaml.safe_load((folder / "genotypes/8.yml").read_text())["origin"]
    assert halfway["value"] == halfway_origin["hardware_penalty"] != 1e-4
    shutil.rmtree(folder / "genotypes")
    log = project.train(options, "--auto_resume")

    found = Genotype.load(folder / "genotype.yml")
    reached = count(DerivedNetwork(found)).bitops / 1e9
    assert 0.95 * limit <= reached <= limit
    assert f"Current genotype: {reached:.3f} GBitOps for 32x32 (budget {limit}), saved to" in log
    assert found.origin["budget"] == limit and found.origin["iteration"] == 16
    penalties = [float(value) for value in re.findall(r"hardware_penalty: (\S+)", log)]
    assert len(penalties) == 8
    assert penalties[0] in [pytest.approx(f * halfway["value"], rel=1e-3) for f in (0.5, 1, 2)]
    assert found.origin["hardware_penalty"] == pytest.approx(penalties[-1], rel=1e-3)


def test_a_search_without_a_budget_says_nothing_of_it(project):
    changes = {**SMALL, "name": "none", "val": None, "train.total_iter": 2, "logger.save_checkpoint_freq": 2}
    log = project.train(project.write("none.yml", project.options("search_basic_x4.yml", changes)))
    assert "hardware_penalty: " not in log and "(budget" not in log
    state = torch.load(project.folder / "experiments/none/training_states/2.state", weights_only=True)
    assert "hardware_penalty" not in state
