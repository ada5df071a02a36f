"""MACs, BitOps, parameters and bytes: of any network, and of a supernet's alphas."""

import copy
import json
import math

import pytest
import torch
from basicsr.archs.ecbsr_arch import ECBSR
from basicsr.archs.edsr_arch import EDSR
from basicsr.archs.srresnet_arch import MSRResNet
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils.flop_counter import FlopCounterMode

from quantnas_sr.archs.rfdn_arch import RFDN
from quantnas_sr.cost import ConvShape, LayerCost, NetworkCost, count, edge_costs, expected_cost
from quantnas_sr.cost.summary import as_dict, derived_network, print_cost
from quantnas_sr.quantization import QuantConv2d
from quantnas_sr.search_space import DerivedNetwork
from quantnas_sr.search_space.operations import Operation


class EveryLayer(nn.Module):
    """Strides, groups, dilation, a transposed and a one-dimensional tail: what no network of this package has."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 8, 5, stride=2, padding=3, dilation=2)
        self.grouped = nn.Conv2d(8, 12, 3, groups=4, bias=False)
        self.up = nn.ConvTranspose2d(12, 6, 4, stride=2, padding=1, groups=2)
        self.head = nn.Linear(6, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.up(self.grouped(self.down(x))).permute(0, 2, 3, 1))


class Recursive(nn.Module):
    """One convolution, three times."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = QuantConv2d(3, 3, 3, bits=4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(self.conv(self.conv(x)))


NETWORKS = {
    "MSRResNet": lambda: MSRResNet(num_feat=16, num_block=2, upscale=4),
    "MSRResNet x3": lambda: MSRResNet(num_feat=16, num_block=2, upscale=3),
    "EDSR": lambda: EDSR(3, 3, num_feat=16, num_block=2, upscale=2),
    "ECBSR": lambda: ECBSR(3, 3, num_block=2, num_channel=8, with_idt=True, act_type="prelu", scale=2),
    "RFDN": lambda: RFDN(num_feat=16, num_block=2),
    "every layer": EveryLayer,
    "recursive": Recursive,
    "nothing in the middle": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(), nn.Conv2d(4, 3, 1)),
}

#: The costs that are counted, of a whole network.
COUNTED = {
    "bitops": lambda cost: cost.bitops,
    "macs": lambda cost: cost.macs,
    "params": lambda cost: sum(layer.weights for layer in cost.layers),
}

every_network = pytest.mark.parametrize("name", NETWORKS)


def choose(net):
    """One-hot probabilities at a random edge of every slot, and alphas that agree with them."""
    probabilities = {}
    for name, alphas in net.alphas.items():
        edge = torch.randint(alphas.numel(), ())
        alphas.data.view(-1)[edge] = 1.0
        probabilities[name] = torch.zeros_like(alphas).view(-1).index_fill(0, edge, 1.0).view_as(alphas)
    return probabilities


# --- any network


@every_network
def test_macs_are_half_of_what_torch_counts_as_flops(name):
    network = NETWORKS[name]().eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.rand(1, 3, 24, 20))
    assert count(network, (24, 20)).macs == counter.get_total_flops() / 2


@every_network
def test_counting_changes_nothing(name):
    network = NETWORKS[name]()
    x = torch.rand(1, 3, 24, 20)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    attributes = {key: value.clone() for key, value in vars(network).items() if isinstance(value, torch.Tensor)}
    random = torch.get_rng_state()
    count(network, (24, 20))
    assert torch.equal(torch.get_rng_state(), random)
    assert network.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    for key, value in attributes.items():
        assert type(getattr(network, key)) is torch.Tensor
        assert torch.equal(getattr(network, key), value)
    assert not any(module._forward_hooks for module in network.modules())
    assert network(x).isfinite().all()


def test_counting_a_network_with_batch_norm_leaves_its_statistics(genotype):
    network = DerivedNetwork(genotype())
    before = copy.deepcopy(network.state_dict())
    count(network)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


class Spy(nn.Conv2d):
    """Remembers whether the image that it was given has any memory."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.empty = x.is_meta or isinstance(x, FakeTensor)
        return super().forward(x)


def test_a_huge_image_takes_no_memory():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), Spy(4, 2, 1))
    seen = []
    network[1].register_forward_hook(lambda module, *_: seen.append(module.empty))
    assert count(network, (4000, 4000)).macs == 20 * 4000 * 4000
    assert seen == [True]


@pytest.mark.parametrize("size", [(24, 32), (1200, 1600)], ids=["computed", "not computed"])
def test_what_is_counted_does_not_depend_on_whether_it_is_computed(size):
    network = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), Spy(6, 12, 3, stride=2, padding=1), nn.PixelShuffle(2))
    seen = []
    network[1].register_forward_hook(lambda module, *_: seen.append(module.empty))
    pixels = size[0] * size[1]
    assert [layer.macs for layer in count(network, size).layers] == [162 * pixels, 648 * pixels // 4]
    assert seen == [size[0] > 1000]


@pytest.mark.parametrize(
    "network, gmacs, exact",
    [(RFDN, 27.14, 27_033_648_384), (lambda: MSRResNet(num_feat=64, num_block=16), 166.0, 166_207_684_608)],
    ids=["RFDN", "MSRResNet"],
)
def test_published_networks_have_their_published_gmacs_at_256(network, gmacs, exact):
    """The paper's table, whose counter rounds and adds activation functions; and the convolutions added up by hand."""
    macs = count(network(), (256, 256)).macs
    assert macs == exact
    assert macs / 1e9 == pytest.approx(gmacs, rel=0.005)


def test_bitops_are_macs_times_bits_squared_and_32_bits_count_as_32_times_32():
    network = nn.Sequential(QuantConv2d(3, 4, 3, bits=4), QuantConv2d(4, 4, 1, bits=32), nn.Conv2d(4, 2, 3, padding=1))
    cost = count(network, (10, 12))
    macs = [3 * 4 * 9 * 120, 4 * 4 * 120, 4 * 2 * 9 * 120]
    assert cost.layers == [
        LayerCost("0", macs[0], 4, 108, ConvShape(3, 4, (3, 3), (1, 1), 1, (1, 1), 10, 12)),
        LayerCost("1", macs[1], 32, 16, ConvShape(4, 4, (1, 1), (1, 1), 1, (1, 1), 10, 12)),
        LayerCost("2", macs[2], 32, 72, ConvShape(4, 2, (3, 3), (1, 1), 1, (1, 1), 10, 12)),
    ]
    assert cost.macs == sum(macs)
    assert cost.bitops == macs[0] * 16 + (macs[1] + macs[2]) * 1024
    assert cost.params == sum(p.numel() for p in network.parameters())
    assert cost.size == (10, 12)


def test_packed_bytes_are_weights_at_their_bits_and_the_rest_as_floats(genotype):
    network = DerivedNetwork(genotype(head_0=("simple_3x3", 3), skip=("conv_5x1_1x5", 5), tail_1=("simple_1x1", 32)))
    packed, weights = 0, 0
    for module in network.modules():
        if isinstance(module, QuantConv2d):
            weights += module.weight.numel()
            packed += math.ceil(module.weight.numel() * module.bits / 8)
    rest = sum(p.numel() for p in network.parameters()) - weights
    assert count(network).packed_bytes == packed + 4 * rest


def test_a_convolution_is_described_by_what_decides_its_work():
    cost = count(EveryLayer(), (24, 20))
    shapes = {layer.name: layer.conv for layer in cost.layers}
    assert shapes["down"] == ConvShape(3, 8, (5, 5), (2, 2), 1, (2, 2), 11, 9)
    assert shapes["grouped"] == ConvShape(8, 12, (3, 3), (1, 1), 4, (1, 1), 9, 7)
    assert shapes["up"] is None and shapes["head"] is None
    assert str(shapes["down"]) == "5x5 convolution 3->8 stride 2x2 dilation 2x2 to 11x9"
    assert str(shapes["grouped"]) == "3x3 convolution 8->12 groups 4 to 9x7"


def test_every_call_of_a_layer_has_a_row():
    first, second, third = count(Recursive()).layers
    assert first.weights == 81
    assert second == third == first._replace(weights=0)


def test_weights_that_are_used_more_than_once_are_stored_once():
    cost = count(Recursive())
    assert cost.macs == 3 * 81 * 32 * 32
    assert cost.packed_bytes == math.ceil(81 * 4 / 8) + 4 * 3


def test_a_layer_whose_bits_are_no_single_width_counts_at_32(supernet):
    cost = count(supernet(bit_mixer="shared"))
    assert cost.bitops == cost.macs * 1024


def test_other_numbers_of_channels():
    assert count(nn.Conv2d(1, 4, 3, padding=1), (8, 8), channels=1).macs == 36 * 64


# --- the alphas of a supernet


@pytest.mark.parametrize("cost", COUNTED)
@pytest.mark.parametrize("space", ["basic", "rfdn"])
def test_edges_at_one_hot_alphas_cost_what_the_derived_network_costs(space, cost, supernet):
    size = (18, 20)
    net = supernet(space, num_block=2, bits=[4, 8, 32])
    chosen = choose(net)
    expected = expected_cost({name: p.double() for name, p in chosen.items()}, edge_costs(net, cost, size))
    derived = DerivedNetwork(net.genotype())
    operations = {name: module for name, module in derived.named_modules() if isinstance(module, Operation)}
    total = count(derived, size)
    searched = [layer for layer in total.layers if layer.name.rpartition(".")[0] in operations]
    assert len(total.layers) - len(searched) == {"basic": 0, "rfdn": 2 * 8 + 2}[space]
    assert expected == COUNTED[cost](NetworkCost(size, searched, params=0))


@pytest.mark.parametrize("space", ["basic", "rfdn"])
def test_every_edge_has_its_cost_in_the_shape_of_the_alphas(space, supernet):
    net = supernet(space, bits=[4, 8])
    costs = edge_costs(net)
    assert {name: c.shape for name, c in costs.items()} == {name: a.shape for name, a in net.alphas.items()}
    for cost in costs.values():
        assert cost.dtype == torch.float64
        torch.testing.assert_close(cost[:, 1], 4 * cost[:, 0])


@pytest.mark.parametrize("space", ["basic", "rfdn"])
def test_edges_come_in_the_order_of_the_slots(space, supernet):
    net = supernet(space)
    assert list(edge_costs(net)) == list(net.slots)


def test_cells_that_share_a_slot_are_added_up(supernet):
    one, three = (edge_costs(supernet(num_block=n)) for n in (1, 3))
    assert torch.equal(three["skip"], 3 * one["skip"])
    assert torch.equal(three["head_0"], one["head_0"])


def test_operations_without_convolutions_cost_nothing(supernet):
    net = supernet(candidates={"body": ["zero", "skip_connect", "simple_1x1"]})
    for cost in COUNTED:
        table = edge_costs(net, cost)["body_0"]
        assert table[:2].eq(0).all()
        assert table[2].gt(0).all()


@pytest.mark.parametrize("operation", ["zero", "skip_connect"])
def test_a_network_with_an_operation_without_convolutions_costs_its_other_layers(operation, genotype):
    full, less = (count(DerivedNetwork(genotype(skip=(name, 8)))) for name in ("simple_1x1", operation))
    assert less.layers == [layer for layer in full.layers if ".skip." not in layer.name]
    assert len(full.layers) - len(less.layers) == 1


def test_expected_cost_is_the_mean_edge_at_uniform_alphas(supernet):
    net = supernet()
    costs = edge_costs(net)
    mean = sum(float(cost.mean()) for cost in costs.values())
    assert float(expected_cost(net.probabilities(), costs).detach()) == pytest.approx(mean, rel=1e-6)


def test_expected_cost_falls_against_its_gradient(supernet):
    net = supernet()
    costs = edge_costs(net)
    before = expected_cost(net.probabilities(), costs)
    before.backward()
    for name, alphas in net.alphas.items():
        assert alphas.grad.view(-1)[costs[name].argmax()] > 0
        assert alphas.grad.view(-1)[costs[name].argmin()] < 0
        alphas.data -= alphas.grad / before.detach()
    assert expected_cost(net.probabilities(), costs) < before


def test_the_cost_of_edges_changes_neither_supernet_nor_random_numbers(supernet):
    net = supernet("rfdn")
    before, random = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    edge_costs(net, size=(17, 19))
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert net.training


# --- what is printed


def test_the_report_of_a_genotype_and_of_its_checkpoint_agree(genotype, tmp_path, capsys):
    given = genotype(skip=("simple_1x1", 4))
    given.save(tmp_path / "g.yml")
    network = DerivedNetwork(given)
    torch.save({"params": network.state_dict()}, tmp_path / "net.pth")
    cost = count(network, (20, 24))
    for name in ("g.yml", "net.pth"):
        print_cost(name, derived_network(str(tmp_path / name)), (20, 24), as_json=True)
        printed = json.loads(capsys.readouterr().out)
        assert printed == json.loads(json.dumps(as_dict(cost)))
        assert sum(layer["bitops"] for layer in printed["layers"]) == printed["bitops"] == cost.bitops


def test_the_report_says_that_gmacs_are_multiply_adds(genotype, tmp_path, capsys):
    genotype().save(tmp_path / "g.yml")
    print_cost("g.yml", derived_network(str(tmp_path / "g.yml")), (32, 32), as_json=False)
    out = capsys.readouterr().out
    cost = count(DerivedNetwork(genotype()))
    assert f"{cost.macs / 1e9:.3f}" in out
    assert f"{cost.bitops / 1e9:.3f}" in out
    assert "multiply-adds" in out
