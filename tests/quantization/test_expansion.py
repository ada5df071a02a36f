"""Weights that are trained as a sum with a product: the same network before, after, and in every checkpoint."""

import copy

import pytest
import torch
from tiny_training import assert_same, new_model, options, resumed, train

from quantnas_sr.checkpoints import load_network
from quantnas_sr.cost import count
from quantnas_sr.errors import OptionError
from quantnas_sr.pth import DIGEST
from quantnas_sr.quantization.expansion import is_expanded, without_expansion
from quantnas_sr.search_space import Choice, DerivedNetwork

CHOICES = {"body_0": Choice("conv_3x1_1x3", 4), "tail_1": Choice("simple_5x5", 8)}


def network(genotype, expansion):
    torch.manual_seed(0)
    return DerivedNetwork(genotype(**CHOICES), expansion)


def expanded(net):
    return [module for module in net.modules() if is_expanded(module)]


def move(net):
    """Change every parameter a little, as a training step does."""
    for parameter in net.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.02)


def test_at_the_start_nothing_is_added(genotype):
    x = torch.rand(1, 3, 8, 8)
    assert torch.equal(network(genotype, 16).eval()(x), network(genotype, 0).eval()(x))


def test_every_part_of_the_sum_is_trained(genotype):
    net = network(genotype, 16)
    move(net)
    net(torch.rand(2, 3, 8, 8)).square().mean().backward()
    parts = [part for layer in expanded(net) for part in layer.parametrizations.weight.parameters()]
    assert len(parts) == 3 * len(expanded(net)) > 9
    assert all(part.grad.abs().max() > 0 for part in parts)


def test_the_sum_alone_is_the_same_network(genotype):
    net, x = network(genotype, 16).eval(), torch.rand(1, 3, 8, 8)
    move(net)
    before = copy.deepcopy(net.state_dict())
    plain = without_expansion(net)
    assert not expanded(plain) and torch.equal(plain(x), net(x))
    assert list(net.state_dict()) == list(before), "the network itself is left alone"
    assert without_expansion(plain) is plain
    assert set(plain.state_dict()) == set(network(genotype, 0).state_dict())


@pytest.mark.parametrize("from_width, to_width", [(16, 0), (0, 16), (16, 16)])
def test_a_checkpoint_loads_into_a_network_of_either_kind(genotype, from_width, to_width):
    one, x = network(genotype, from_width).eval(), torch.rand(1, 3, 8, 8)
    move(one)
    other = network(genotype, to_width).eval()
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(x), other(x))


def test_its_cost_is_that_of_the_sum(genotype):
    assert count(network(genotype, 16)) == count(network(genotype, 0))


@pytest.mark.parametrize("width", [-1, 1.5, True, "many"])
def test_another_width_is_refused(genotype, width):
    with pytest.raises(OptionError, match="expansion: .* is not a whole number above 0"):
        DerivedNetwork(genotype(), width)


@pytest.fixture
def opt(tmp_path, genotype):
    opt = options(tmp_path, {"train.ema_decay": 0.9, "train.fp_warmup": 0.25})
    opt["network_g"] = {"type": "QuantNASBasic", "genotype": genotype().to_dict(), "expansion": 8}
    return opt


def test_a_training_goes_on_with_it(opt):
    whole = new_model(opt)
    train(whole, 1, 9, save=True)
    for iteration in (2, 6):
        model = resumed(opt, iteration)
        train(model, iteration + 1, 9, save=True)
        assert_same(whole, model)


def test_the_last_checkpoint_of_a_training_holds_the_sums(opt, tmp_path):
    model = new_model(opt)
    train(model, 1, 9)
    model.save(0, 9)
    model.save(-1, -1)
    latest = torch.load(tmp_path / "models/net_g_latest.pth", weights_only=True)
    assert set(latest) == {"params", "params_ema", DIGEST}
    del latest[DIGEST]
    assert not [key for state in latest.values() for key in state if "parametrizations" in key]
    x = torch.rand(1, 3, 8, 8)
    for key in latest:
        outputs = [load_network(tmp_path / f"models/net_g_{label}.pth", key)(x) for label in ("latest", 9)]
        assert torch.equal(*outputs)
    assert expanded(model.get_bare_model(model.net_g)), "the model goes on as it was"
