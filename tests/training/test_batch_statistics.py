"""Statistics of batch normalisation belong to the weights that are validated and saved."""

import pytest
import torch
from tiny_training import new_model, options, train
from torch import nn

from quantnas_sr.models.batch_statistics import RecentBatches, recompute_statistics


class Noisy(nn.Module):
    """Fails where a recomputation of statistics puts it into training mode."""

    def forward(self, x):
        assert not self.training
        return x


def small_network():
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), Noisy(), nn.Conv2d(4, 2, 1), nn.BatchNorm2d(2))


def batches(count=3):
    return [torch.randn(5, 3, 6, 6) for _ in range(count)]


def test_statistics_are_averages_over_the_batches_with_the_weights_as_they_are():
    network, data = small_network(), batches()
    recompute_statistics(network, data)
    first = [network[0](x) for x in data]
    mean = torch.stack([x.mean((0, 2, 3)) for x in first]).mean(0)
    var = torch.stack([x.var((0, 2, 3)) for x in first]).mean(0)
    torch.testing.assert_close(network[1].running_mean, mean)
    torch.testing.assert_close(network[1].running_var, var)
    normalized = [
        network[3](nn.functional.batch_norm(x, None, None, network[1].weight, network[1].bias, True)) for x in first
    ]
    torch.testing.assert_close(network[4].running_mean, torch.stack([x.mean((0, 2, 3)) for x in normalized]).mean(0))


def test_nothing_else_changes():
    network = small_network().train()
    network[3].eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    recompute_statistics(network, [])
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    recompute_statistics(network, batches())
    changed = {key for key, value in network.state_dict().items() if not torch.equal(value, before[key])}
    assert all("running_" in key or "num_batches" in key for key in changed)
    assert [module.training for module in network] == [True, True, True, False, True]
    assert network[1].momentum == 0.1


def test_statistics_of_processes_that_train_together_are_averaged(monkeypatch):
    """The other of two processes saw the same batches less 1."""
    network, data = small_network(), batches()
    recompute_statistics(network, data)
    alone = network[1].running_mean.clone()
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda tensor: tensor.mul_(2).sub_(1))
    recompute_statistics(network, data)
    torch.testing.assert_close(network[1].running_mean, alone - 0.5)


def test_the_last_batches_are_kept():
    recent, data = RecentBatches(2), batches(3)
    for batch in data:
        recent.add(batch)
    assert [torch.equal(kept, given) for kept, given in zip(recent.state_dict(), data[1:])] == [True, True]


def statistics(network):
    return {key: value for key, value in network.state_dict().items() if "running_" in key}


@pytest.fixture
def trained(tmp_path, genotype):
    """Makes a model of the basic space that was trained for nine iterations and saved."""

    def make(**changes):
        opt = options(tmp_path, {f"train.{key}": value for key, value in changes.items()})
        opt["network_g"] = {"type": "QuantNASBasic", "genotype": genotype().to_dict()}
        model = new_model(opt)
        train(model, 1, 9)
        model.save(0, 9)
        return model, torch.load(tmp_path / "models/net_g_9.pth", weights_only=True)

    return make


def test_a_checkpoint_has_the_statistics_of_its_weights(trained):
    """Those of a network and of its moving average, which BasicSR saves in one file."""
    model, saved = trained(ema_decay=0.9, precise_bn=4)
    kept = model.recent_batches.state_dict()
    assert len(kept) == 4
    for key in ("params", "params_ema"):
        network = model.get_bare_model(model.net_g)
        network.load_state_dict(saved[key])
        recompute_statistics(network, kept)
        for name, value in statistics(network).items():
            torch.testing.assert_close(value, saved[key][name])
    differ = [not torch.equal(saved["params"][name], saved["params_ema"][name]) for name in statistics(network)]
    assert any(differ)


def test_validation_in_evaluation_mode_is_like_training(trained):
    """On the batches that the statistics are of, both modes compute nearly the same; running statistics do not."""
    errors = {}
    for count in (0, 9):
        model, _ = trained(precise_bn=count)
        network, batch = model.get_bare_model(model.net_g), model.lq
        with torch.no_grad():
            evaluated = network.eval()(batch)
            errors[count] = (evaluated - network.train()(batch)).abs().mean()
    assert errors[9] < 0.5 * errors[0]


def test_a_search_saves_the_derived_network_with_statistics_of_its_own(tmp_path):
    model = new_model(options(tmp_path, {}, search=True))
    train(model, 1, 3)
    model.save(0, 3)
    from quantnas_sr.search_space.derived import load_derived

    network = load_derived(tmp_path / "models/net_derived_3.pth")
    found = {name: value.clone() for name, value in statistics(network).items()}
    assert found
    recompute_statistics(network, model.recent_batches.state_dict())
    for name, value in statistics(network).items():
        torch.testing.assert_close(value, found[name])
