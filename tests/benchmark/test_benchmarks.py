"""The benchmarks run, and what they compare with computes equation 5."""

from argparse import Namespace

import pytest
import torch
from project import PROCESSES, Project

from quantnas_sr.search_space import Slot
from quantnas_sr.search_space.mixing.merged_noise import MergedNoise
from quantnas_sr.search_space.mixing.mixed_layer import MixedLayer
from quantnas_sr.search_space.mixing.selectors import Selection

TINY = {"num_feat": 12, "num_block": 1, "batch": 1, "patch": 8}


def test_the_literal_formulation_has_the_mean_and_variance_of_the_exact_mode():
    """For one operation: for several, ours draws the noise of the image once, and theirs for each."""
    from literal import LiteralLayer

    torch.manual_seed(0)
    layer = MixedLayer(Slot("body", 4, 4), ["simple_3x3"], (2, 4), 4, "noise", MergedNoise(fast=False))
    layer.selection = Selection(torch.tensor([[0.3, 0.2]]))
    x, n = torch.randn(1, 4, 6, 7), 3000
    with torch.no_grad():
        ours = torch.cat([layer(x) for _ in range(n)])
        layer.noisy_layer = LiteralLayer((2, 4))
        theirs = torch.cat([layer(x) for _ in range(n)])
    assert (ours.var(0) / theirs.var(0)).log().abs().max() < 6 * (4 / n) ** 0.5
    error = (ours.mean(0) - theirs.mean(0)) / ((ours.var(0) + theirs.var(0)) / n).sqrt()
    assert error.abs().max() < 5


@pytest.mark.parametrize("options", [{"literal": True}, {"noise_mode": "fast", "amp": "bfloat16"}], ids=str)
def test_a_step_of_a_search_moves_alphas_and_weights(options, monkeypatch):
    from steps import search

    from quantnas_sr.models import experiment, search_model

    monkeypatch.setattr(search_model, "frozen", search_model.frozen)
    monkeypatch.setattr(experiment, "keep_freed_memory", lambda: None)
    model = search("basic", **TINY, **options).model
    before = {name: p.detach().clone() for name, p in model.supernet.named_parameters()}
    model.optimize_parameters(model.schedule.warmup_iterations + 2)
    moved = {name for name, p in model.supernet.named_parameters() if not torch.equal(p, before[name])}
    assert moved >= {name for name in before if name.startswith("alphas.") or ".operations." in name}


def test_a_case_is_timed_beside_the_calibrating_convolution(monkeypatch):
    import side_by_side
    from side_by_side import Case, measure, table

    monkeypatch.setattr(side_by_side.multiprocessing, "get_context", lambda method: PROCESSES)
    results, c = measure([Case("tiny", ("steps", "search"), {"space": "basic", **TINY})], rounds=1, warmup=1)
    assert c > 0
    assert results[0].median > 0
    assert results[0].peak >= results[0].before > 0.05
    assert "| tiny | " in table(results, c)


@pytest.mark.parametrize("dataset", ["PairedImageDataset", "QuantNASSearchDataset"])
def test_loading_is_timed_over_epochs(dataset, tmp_path):
    from data_loading import loader_of, seconds_per_batch

    project = Project(tmp_path)
    project.make_data()
    args = Namespace(gt=tmp_path / "datasets/train_HR_sub.lmdb", lq=tmp_path / "datasets/train_LRbicx4_sub.lmdb")
    args.workers, args.batch = 0, 2
    assert 0 < seconds_per_batch(loader_of(args, dataset, 32), batches=20) < 10


def test_the_distributions_of_the_two_noise_modes_are_compared():
    from noise_modes import agreement, distributions

    found = distributions(seed=0, draws=6)
    assert found["output variance, fast / exact"] == pytest.approx(1, abs=0.5)
    slots = {"exact": [{"skip": ["simple_1x1", 4]}], "fast": [{"skip": ["simple_1x1", 4]}]}
    assert agreement(slots) == {"between the modes, same seed": 1.0}
