"""What a search may keep small: by name, with arguments, and a user's own."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from quantnas_sr.cost import COST_REGISTRY, Cost, LayerCost, build_cost, edge_costs, edge_layers
from quantnas_sr.cost.slots import fixed_cost
from quantnas_sr.errors import OptionError
from quantnas_sr.losses.hardware_cost_loss import HardwareCostLoss
from quantnas_sr.search_space import SearchNetwork

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/costs.md"


@pytest.fixture
def registry(monkeypatch):
    """What a test registers is forgotten after it."""
    monkeypatch.setattr(COST_REGISTRY, "_obj_map", dict(COST_REGISTRY._obj_map))
    return COST_REGISTRY


def test_the_documented_cost_is_searched_against(registry, supernet):
    example = re.search(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL).group(1)
    exec(compile(example, str(DOCUMENT), "exec"), {"__name__": "my_cost"})
    net = supernet(bits=[4, 8])
    cost = {"type": "energy", "per_weight_bit": "2.5"}
    loss = HardwareCostLoss(loss_weight=1.0, cost=cost)
    loss.attach(net)
    bitops, params = edge_costs(net, "bitops"), edge_costs(net, "params")
    for name, table in edge_costs(net, cost).items():
        torch.testing.assert_close(table, 0.003 * bitops[name] + 2.5 * params[name] * torch.tensor([4, 8]))
    loss(net.probabilities()).backward()
    for name, alphas in net.alphas.items():
        assert alphas.grad.argmin() == loss.costs[name].argmin()


def test_every_documented_name_is_registered_and_the_other_way_round():
    names = set(re.findall(r"^\| `(\w+)` \|", DOCUMENT.read_text(), re.MULTILINE))
    assert names == set(COST_REGISTRY.keys())


@pytest.mark.parametrize("name", ["bitops", "macs", "params"])
def test_a_cost_is_the_same_by_its_name_as_a_mapping_and_built(name, supernet):
    net = supernet()
    expected = edge_costs(net, name)
    for given in ({"type": name}, build_cost(name)):
        assert all(torch.equal(table, expected[slot]) for slot, table in edge_costs(net, given).items())
    assert build_cost(name).name == name


@pytest.mark.parametrize(
    "cost, message",
    [
        ("BitOps", "unknown cost 'BitOps', did you mean 'bitops'?"),
        (None, "unknown cost 'None'. Allowed: bitops"),
        ({"type": "mac"}, "unknown cost 'mac', did you mean 'macs'?"),
        ({"typ": "macs"}, "cost: the key 'type' is missing"),
        ({"type": "macs", "size": 3}, "cost: unknown key 'size'. Allowed: none"),
    ],
    ids=str,
)
def test_a_cost_that_cannot_be_used_is_one_line(cost, message):
    with pytest.raises(OptionError, match=re.escape(message)) as error:
        HardwareCostLoss(cost=cost)
    assert "\n" not in str(error.value)


def test_a_search_in_which_nothing_costs_anything_is_refused(registry, supernet):
    @registry.register()
    class Free(Cost):
        def of(self, layer):
            return 0

    with pytest.raises(OptionError, match="by free no operation of this search costs anything"):
        HardwareCostLoss(cost="free").attach(supernet())


def test_what_the_edges_run_is_all_that_a_cost_has_to_know_of_a_network():
    layer = LayerCost("conv", macs=10, bits=32, weights=3)

    class Searched(torch.nn.Module):
        bits = (2, 8)

    @edge_layers.register
    def _of_searched(net: Searched, size):
        return {"only": [[], [layer], [layer, layer]]}

    table = edge_costs(Searched())["only"]
    assert table.tolist() == [[0, 0], [40, 640], [80, 1280]]
    with pytest.raises(TypeError, match="Linear is not searched"):
        edge_costs(torch.nn.Linear(1, 1))


def test_a_search_network_of_ones_own_has_costs_by_what_every_search_network_declares():
    """Its slots have other names than its layers, and a layer outside of them has a fixed cost."""

    class OneSlot(SearchNetwork):
        def __init__(self) -> None:
            super().__init__([4, 8], "softmax", (5.0, 0.5))
            self.add_alphas({"middle": 1})

        def edge_names(self):
            return {"middle": ["4bit", "8bit"]}

        def example(self):
            return nn.Sequential(nn.Conv2d(3, 2, 1), nn.Conv2d(2, 2, 3, padding=1)), {"1": "middle"}

    net = OneSlot()
    macs = 5 * 7 * 2 * 2 * 9
    assert edge_costs(net, "bitops", (5, 7))["middle"].tolist() == [[16 * macs, 64 * macs]]
    assert fixed_cost(net, "bitops", (5, 7)) == 32**2 * 5 * 7 * 3 * 2
