"""`quantnas sample`: random genotypes, reproducible, within a range of cost."""

import pytest
import yaml

from quantnas_sr import cli
from quantnas_sr.cost import count, edge_costs, sample_genotypes
from quantnas_sr.errors import OptionError
from quantnas_sr.search_space import DerivedNetwork, Genotype


def bitops(genotype):
    return count(DerivedNetwork(genotype)).bitops / 1e9


@pytest.mark.parametrize("search_space", ["basic", "rfdn"])
def test_the_same_seed_draws_the_same_and_another_seed_others(search_space, supernet):
    net = supernet(search_space)
    first, again, other = (sample_genotypes(net, 5, seed=seed) for seed in (3, 3, 4))
    assert first == again
    assert first != other
    assert len({genotype.to_yaml() for genotype in first}) == 5


@pytest.mark.parametrize("search_space", ["basic", "rfdn"])
def test_samples_lie_within_the_range_of_cost(search_space, supernet):
    net = supernet(search_space)
    middle = sorted(bitops(g) for g in sample_genotypes(net, 9))[4]
    for genotype in sample_genotypes(net, 5, seed=1, gbitops=(0.95 * middle, 1.05 * middle)):
        assert 0.95 * middle <= bitops(genotype) <= 1.05 * middle


def test_every_choice_is_drawn_about_as_often(supernet):
    net = supernet()
    genotypes = sample_genotypes(net, 600)
    for name, table in edge_costs(net).items():
        seen = [genotype.slots[name] for genotype in genotypes]
        for choice in set(seen):
            assert seen.count(choice) == pytest.approx(600 / table.numel(), rel=0.5)
        assert len(set(seen)) == table.numel()


def test_a_range_without_genotypes_says_where_they_lie(supernet, monkeypatch):
    monkeypatch.setattr("quantnas_sr.cost.sample._MOST_DRAWS", 2**17)
    with pytest.raises(OptionError, match=r"0 of 2 genotypes .* between \d"):
        sample_genotypes(supernet(), 2, gbitops=(1e6, 2e6))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network = {"type": "QuantNASSupernet", "search_space": "basic", "num_feat": 12, "num_block": 1}
    (tmp_path / "search.yml").write_text(yaml.safe_dump({"scale": 2, "network_g": network}))
    return tmp_path


def test_the_command_writes_genotypes_and_says_what_they_cost(folder, capsys):
    assert cli.main(["sample", "search.yml", "--count", "3", "--seed", "1", "--output", "drawn"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for i, line in enumerate(lines):
        genotype = Genotype.load(folder / f"drawn/sample_{i}.yml")
        assert genotype.scale == 2
        assert genotype.origin["sampled"] == {"seed": 1, "index": i}
        assert f"sample_{i}.yml" in line and f"{bitops(genotype):.3f} GBitOps" in line
    assert len(lines) == 3


@pytest.mark.parametrize(
    "text, words",
    [
        (None, ["search.yml", "cannot be read"]),
        ("a: [", ["search.yml", "not plain YAML"]),
        ("- 1", ["search.yml", "not a mapping"]),
        ("scale: 4", ["search.yml", "'network_g' is missing"]),
        ("network_g: {type: MSRResNet}", ["MSRResNet", "QuantNASSupernet"]),
        ("network_g: {type: QuantNASSupernet, search_space: bassic}", ["'bassic'", "'basic'"]),
    ],
)
def test_bad_options_are_one_line_and_write_nothing(folder, text, words, capsys):
    (folder / "search.yml").unlink()
    if text is not None:
        (folder / "search.yml").write_text(text)
    assert cli.main(["sample", "search.yml"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert all(word in error for word in words), error
    assert not (folder / "samples").exists()


@pytest.mark.parametrize("arguments", [["--count", "0"], ["--count", "x"], ["--gbitops", "1"]])
def test_bad_arguments_are_refused(folder, arguments):
    with pytest.raises(SystemExit) as stop:
        cli.main(["sample", "search.yml", *arguments])
    assert stop.value.code == 2
