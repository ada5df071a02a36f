"""What drawn networks tell about edges: `search_space.edge_losses`, and the draws of a `SearchNetwork`."""

from contextlib import nullcontext

import pytest
import torch

from quantnas_sr.search_space import Supernet
from quantnas_sr.search_space.edge_losses import EdgeLosses

ALPHAS = {"head": torch.zeros(1, 2), "body": torch.zeros(3, 2), "upsample": torch.zeros(2, 2)}
BITS = (4, 8)


def networks(count: int, seed: int = 0) -> list:
    generator = torch.Generator().manual_seed(seed)
    return [
        {slot: int(torch.randint(table.numel(), (), generator=generator)) for slot, table in ALPHAS.items()}
        for _ in range(count)
    ]


def test_the_table_is_what_the_edges_add_to_the_loss():
    truth = {"head": torch.tensor([[0.01, -0.01]]), "body": torch.linspace(-0.02, 0.02, 6).view(3, 2)}
    truth["upsample"] = torch.tensor([[0.03, -0.03], [0.0, 0.0]])
    losses = EdgeLosses(ALPHAS, BITS, half_life=10**9)
    for step in range(3000):
        drawn = networks(16, step)
        difficulty = 1 + step % 7
        added = [sum(float(truth[slot].flatten()[edge]) for slot, edge in network.items()) for network in drawn]
        losses.observe(drawn, difficulty * (1 + torch.tensor(added)))
    for slot, table in losses.table().items():
        assert table.shape == ALPHAS[slot].shape
        torch.testing.assert_close(table, truth[slot], atol=1e-3, rtol=0)


def test_what_few_bits_cost_in_one_slot_is_expected_of_the_others():
    alphas = {"seen": torch.zeros(1, 4), "other": torch.zeros(2, 4)}
    losses = EdgeLosses(alphas, (4, 5, 6, 8), half_life=10**9, widthless={"other": [1]})
    for step in range(200):
        edges = torch.randint(4, (4,), generator=torch.Generator().manual_seed(step)).tolist()
        added = torch.tensor([0.02 if edge == 0 else 0.0 for edge in edges])
        losses.observe([{"seen": edge, "other": 0} for edge in edges], 1 + added)
    table = losses.table()
    four, five, six, eight = table["other"][0].tolist()
    assert four - eight > 0.003 and 0.15 < (five - eight) / (four - eight) < 0.3 and abs(six - eight) < 1e-3
    assert table["other"][1].unique().numel() == 1  # an operation that computes the same at every width


def test_old_observations_fade():
    losses = EdgeLosses({"a": torch.zeros(1, 2)}, BITS, half_life=5)
    for sign in (1, -1):
        for _ in range(100):
            losses.observe([{"a": 0}, {"a": 1}], torch.tensor([1 + 0.1 * sign, 1 - 0.1 * sign]))
    assert losses.table()["a"][0, 0] < -0.01


def test_before_any_observation_no_edge_adds_anything_and_the_state_comes_back():
    losses = EdgeLosses(ALPHAS, BITS, half_life=10)
    assert all(not table.any() for table in losses.table().values())
    losses.observe(networks(4), torch.tensor([1.0, 2.0, 3.0, 4.0]))
    again = EdgeLosses(ALPHAS, BITS, half_life=10)
    again.load_state_dict(losses.state_dict())
    for slot, table in losses.table().items():
        assert torch.equal(table, again.table()[slot])


@pytest.mark.parametrize("bit_mixer", ["noise", "shared", "separate"])
def test_a_supernet_computes_the_edges_it_is_told_to(bit_mixer):
    torch.manual_seed(0)
    supernet = Supernet("plain", num_feat=8, num_block=2, selector="sample", bit_mixer=bit_mixer, noise_mode="exact")
    image = torch.rand(2, 3, 6, 6)
    choice = {slot: len(edges) - 1 for slot, edges in supernet.edge_names().items()}
    other = dict.fromkeys(choice, 0)

    def computed(edges=None):
        torch.manual_seed(1)
        with supernet.only(edges) if edges else nullcontext(), torch.no_grad():
            return supernet(image)

    computed(choice), computed(other)  # the first pass of a trained quantizer sets its step
    supernet.eval()
    assert not torch.equal(computed(choice), computed(other))
    for slot, edge in choice.items():
        supernet.alphas_by_slot()[slot].data.view(-1)[edge] = 50
    assert torch.equal(computed(), computed(choice))


def test_draws_follow_the_alphas_and_explore():
    torch.manual_seed(0)
    supernet = Supernet("plain", num_feat=8, num_block=1, selector="sample")
    with torch.no_grad():
        supernet.alphas_by_slot()["upsample"].view(-1)[2] = 50
    drawn = [supernet.draw(exploration=0)["upsample"] for _ in range(20)]
    assert set(drawn) == {2}
    drawn = [supernet.draw(exploration=0.5)["upsample"] for _ in range(100)]
    assert set(drawn) == {0, 1, 2, 3} and 40 < drawn.count(2) < 90
