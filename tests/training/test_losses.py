"""What the alpha step adds to the pixel loss."""

import math
import re

import pytest
import torch
from basicsr.losses import build_loss
from reference import golden_json

from quantnas_sr.cost import edge_costs
from quantnas_sr.errors import OptionError
from quantnas_sr.losses.entropy_loss import EntropyLoss, entropy_factor, total_entropy
from quantnas_sr.losses.hardware_cost_loss import HardwareCostLoss

# --- entropy


@pytest.mark.parametrize("case", ["epochs20_warmup0", "epochs20_warmup9", "epochs12_warmup0", "epochs20_warmup2"])
def test_factor_of_the_entropy_is_the_authors_epoch_by_epoch(case):
    epochs, warmup = map(int, re.fullmatch(r"epochs(\d+)_warmup(\d+)", case).groups())
    expected = golden_json("entropy_schedule.json")[case]
    assert len(expected) == epochs
    assert [entropy_factor(epoch, epochs, warmup) for epoch in range(epochs)] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("epochs, warmup", [(2, 0), (3, 1), (5, 0), (20, 0), (20, 18), (100, 10)])
def test_factor_grows_from_0_to_1(epochs, warmup):
    factors = [entropy_factor(epoch, epochs, warmup) for epoch in range(epochs)]
    assert factors == sorted(factors)
    assert factors[: warmup + 1] == [0.0] * (warmup + 1)
    assert factors[-1] == pytest.approx(1.0)


def probabilities(*rows):
    return {str(i): torch.tensor(row, requires_grad=True) for i, row in enumerate(rows)}


def test_entropy_is_the_sum_over_slots_in_nats():
    uniform, mixed = [[0.25, 0.25], [0.25, 0.25]], [[0.5, 0.25, 0.25]]
    expected = math.log(4) + 0.5 * math.log(2) + 0.5 * math.log(4)
    assert total_entropy(probabilities(uniform, mixed)).item() == pytest.approx(expected)
    assert total_entropy(probabilities([[1.0, 0.0]], [[0.0, 1.0]])).item() == 0.0


def test_entropy_loss_is_weight_times_factor_times_entropy():
    loss = EntropyLoss(loss_weight=1e-2, epochs=20)
    p = probabilities([[0.5, 0.5]], [[0.9, 0.1]])
    for epoch in range(20):
        for within in (0.0, 0.5):
            expected = 1e-2 * entropy_factor(epoch, 20, 4) * total_entropy(p).item()
            assert loss(p, (epoch + within) / 20, warmup=0.2).item() == pytest.approx(expected, rel=1e-6)


def test_entropy_loss_does_not_act_before_the_alphas_move():
    p = probabilities([[0.5, 0.5]])
    assert EntropyLoss()(p, 0.3, warmup=0.3).item() == 0.0
    assert EntropyLoss(epochs=3)(p, 0.0, warmup=0.99).item() == 0.0


def test_entropy_falls_against_its_gradient_until_one_edge_is_left(supernet):
    net = supernet()
    for alphas in net.alphas.values():
        alphas.data.normal_()
    winners = {name: int(alphas.argmax()) for name, alphas in net.alphas.items()}
    loss = EntropyLoss(loss_weight=1.0)
    last = math.inf
    for _ in range(30):
        value = loss(net.probabilities(), progress=0.99)
        assert value.item() < last
        last = value.item()
        net.zero_grad()
        value.backward()
        for alphas in net.alphas.values():
            alphas.data -= 2 * alphas.grad
    assert {name: int(alphas.argmax()) for name, alphas in net.alphas.items()} == winners
    assert last < 0.2 * len(winners)


@pytest.mark.parametrize("epochs", [1, 0, -3, 2.5, "20"])
def test_a_schedule_of_less_than_two_steps_is_refused(epochs):
    with pytest.raises(OptionError, match=re.escape(f"epochs: {epochs!r} is not a whole number above 1")):
        EntropyLoss(epochs=epochs)


# --- hardware cost


@pytest.mark.parametrize("cost", ["bitops", "macs", "params"])
@pytest.mark.parametrize("space", ["basic", "rfdn"])
def test_hardware_cost_is_its_weight_at_uniform_alphas(space, cost, supernet):
    net = supernet(space)
    loss = HardwareCostLoss(loss_weight=0.5, cost=cost)
    loss.attach(net)
    assert loss(net.probabilities()).item() == pytest.approx(0.5, rel=1e-5)


@pytest.mark.parametrize("cost, size", [("bitops", (32, 32)), ("macs", (20, 24))])
def test_hardware_cost_is_that_of_the_edges(cost, size, supernet):
    net = supernet()
    for alphas in net.alphas.values():
        alphas.data.normal_()
    loss = HardwareCostLoss(loss_weight=2.0, cost=cost, size=size)
    loss.attach(net)
    costs, p = edge_costs(net, cost, size), net.probabilities()
    expected = sum((costs[name] * p[name]).sum().item() for name in costs)
    uniform = sum(float(table.mean()) for table in costs.values())
    assert loss.expected(p).item() == pytest.approx(expected, rel=1e-5)
    assert loss(p).item() == pytest.approx(2.0 * expected / uniform, rel=1e-5)


def test_hardware_cost_draws_the_alphas_to_the_cheapest_edge(supernet):
    net = supernet()
    loss = HardwareCostLoss(loss_weight=1.0)
    loss.attach(net)
    loss(net.probabilities()).backward()
    for name, alphas in net.alphas.items():
        assert alphas.grad.argmin() == loss.costs[name].argmin()


def test_an_unknown_cost_is_refused_with_the_nearest():
    with pytest.raises(OptionError, match="unknown cost 'bitop', did you mean 'bitops'"):
        HardwareCostLoss(cost="bitop")
    with pytest.raises(OptionError, match="unknown cost"):
        HardwareCostLoss(cost=["bitops"])


@pytest.mark.parametrize("size", [32, [32], [32, 0], [32, 32, 3], ["a", "b"], None], ids=str)
def test_a_size_that_is_no_height_and_width_is_refused(size):
    with pytest.raises(OptionError, match="size"):
        HardwareCostLoss(size=size)


@pytest.mark.parametrize("name", ["EntropyLoss", "HardwareCostLoss"])
def test_basicsr_builds_the_losses_by_their_names(name):
    assert type(build_loss({"type": name, "loss_weight": 1e-4})).__name__ == name
