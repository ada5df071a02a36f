"""The two-fold procedure: operations in full precision first, then bit widths for them."""

import pytest
import torch
import yaml
from project import Project

from quantnas_sr.errors import GenotypeError, OptionError
from quantnas_sr.search_space import Genotype, Supernet

CHOSEN = {"body_0": ("conv_5x1_1x5", 32), "skip": ("simple_1x1", 32), "tail_1": ("simple_5x5", 32)}


@pytest.fixture
def found(genotype) -> Genotype:
    """What a full-precision search could have found."""
    return genotype("basic", bits=32, **CHOSEN)


@pytest.mark.parametrize("bit_mixer", ["noise", "shared", "separate"])
def test_the_operations_stay_and_the_bits_are_searched(found, bit_mixer):
    net = Supernet(genotype=found, bits=[4, 8], bit_mixer=bit_mixer)
    assert {alphas.shape for alphas in net.alphas.values()} == {(1, 2)}
    net.alphas["skip"].data[0, 1] = 1.0
    result = net.genotype()
    assert {name: c.operation for name, c in result.slots.items()} == {n: c.operation for n, c in found.slots.items()}
    assert result.slots["skip"].bits == 8 and result.slots["body_0"].bits == 4
    for key in ("search_space", "scale", "num_feat", "num_block", "norm"):
        assert getattr(result, key) == getattr(found, key)
    x = torch.rand(1, 3, 16, 16)
    net(x).square().mean().backward()
    assert all(alphas.grad.ne(0).all() for alphas in net.alphas.values())
    assert net.derive()(x).shape == (1, 3, 32, 32)


def test_what_the_genotype_says_may_be_said_again(found):
    Supernet("basic", scale=2, num_feat=12, num_block=1, norm="adq", genotype=found)


@pytest.mark.parametrize(
    "given, line",
    [
        ({"scale": 4}, "scale: 4 here, 2 in the genotype"),
        ({"search_space": "rfdn"}, "search_space: rfdn here, basic in the genotype"),
        ({"num_feat": 36}, "num_feat: 36 here, 12 in the genotype"),
        ({"num_block": 3}, "num_block: 3 here, 1 in the genotype"),
        ({"norm": "batch"}, "norm: batch here, adq in the genotype"),
        ({"candidates": "big"}, "candidates: the genotype has one operation in each slot already; leave one"),
    ],
    ids=str,
)
def test_what_contradicts_the_genotype_is_one_line(found, tmp_path, given, line):
    with pytest.raises(OptionError) as caught:
        Supernet(genotype=found, **given)
    assert str(caught.value).startswith(line)
    found.save(tmp_path / "g.yml")
    with pytest.raises(OptionError, match=r"the genotype \S+g.yml"):
        Supernet(genotype=tmp_path / "g.yml", **given)


def test_a_genotype_that_is_not_there_and_no_space_at_all_are_one_line():
    with pytest.raises(GenotypeError, match="absent.yml: the genotype cannot be read"):
        Supernet(genotype="absent.yml")
    with pytest.raises(OptionError, match="the key 'search_space' is missing"):
        Supernet()


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    project = Project(tmp_path_factory.mktemp("two_fold"))
    project.make_data()
    return project


def test_operations_then_bits_then_training(project):
    small = {"train.alpha_warmup": 0, "val": None}
    changes = {**small, "name": "search_basic_full_precision_x4", "network_g.num_feat": 12, "network_g.num_block": 1}
    changes["network_g.bits"] = [32]
    project.train(project.write("operations.yml", project.options("search_basic_x4.yml", changes)))
    log = project.train(
        project.write("bits.yml", project.options("comparisons/search_basic_bits.yml", {**small, "name": "bits"}))
    )
    assert "Current genotype: " in log
    folder = project.folder / "experiments"
    first, second = (
        Genotype.load(folder / name / "genotype.yml") for name in ("search_basic_full_precision_x4", "bits")
    )
    assert {choice.bits for choice in first.slots.values()} == {32}
    assert {choice.bits for choice in second.slots.values()} <= {4, 8}
    assert [c.operation for c in first.slots.values()] == [c.operation for c in second.slots.values()]
    changes = {"name": "trained", "network_g.genotype": "experiments/bits/genotype.yml", "val": None}
    log = project.train(project.write("train.yml", project.options("train_basic_x4.yml", changes)))
    assert "End of training" in log


def test_a_contradiction_in_an_options_file_is_one_line(project):
    Supernet("basic", num_feat=12, num_block=1).genotype().save(project.folder / "found.yml")
    opt = project.options(
        "comparisons/search_basic_bits.yml", {"network_g.genotype": "found.yml", "network_g.num_feat": 36}
    )
    (project.folder / "bad.yml").write_text(yaml.safe_dump(opt))
    line = project.train("bad.yml", code=1).strip().splitlines()[-1]
    assert line == "basicsr train: network_g: num_feat: 36 here, 12 in the genotype found.yml"
