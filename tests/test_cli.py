"""The commands `quantnas cost` and `quantnas draw`, and what every command does with bad input."""

import json

import pytest
import torch
import yaml

from quantnas_sr import cli
from quantnas_sr.errors import DataError
from quantnas_sr.search_space import DerivedNetwork, Supernet


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    genotype = Supernet("basic", bits=[4]).genotype()
    genotype.save("genotype.yml")
    torch.save({"params": DerivedNetwork(genotype).state_dict()}, "net.pth")
    return tmp_path


@pytest.mark.parametrize("source", ["genotype.yml", "net.pth"])
def test_cost_prints_the_figures_of_a_genotype_or_a_checkpoint(folder, source, capsys):
    assert cli.main(["cost", source, "--size", "64", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["size"] == [64, 64]
    assert figures["bitops"] == 16 * figures["macs"] == sum(layer["bitops"] for layer in figures["layers"])
    assert cli.main(["cost", source]) == 0
    text = capsys.readouterr().out
    assert "input 32x32" in text and "multiply-adds" in text
    assert f"{figures['bitops'] / 4 / 1e9:.3f}" in text, "a quarter of the pixels costs a quarter"


@pytest.mark.parametrize("command", [["cost", "absent.yml"], ["draw", "absent.yml", "net.svg"], ["cost", "absent.pth"]])
def test_a_missing_file_is_one_line(folder, command, capsys):
    before = set(folder.iterdir())
    assert cli.main(command) == 1
    out = capsys.readouterr()
    assert out.err.count("\n") == 1 and command[1] in out.err
    assert set(folder.iterdir()) == before


@pytest.mark.parametrize(
    "network, bits, gmacs",
    [
        ({"type": "RFDN"}, 32, 27.1),
        ({"type": "MSRResNet", "num_feat": 64, "num_block": 16}, 32, 166.4),
        ({"type": "QuantizedArch", "arch": {"type": "RFDN"}, "bits": 4}, 4, 27.1),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else str(value),
)
def test_cost_takes_the_options_file_of_any_network(folder, network, bits, gmacs, capsys):
    (folder / "train.yml").write_text(yaml.safe_dump({"name": "x", "network_g": network}))
    assert cli.main(["cost", "train.yml", "--size", "256", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["macs"] / 1e9 == pytest.approx(gmacs, rel=0.005), "the published figures"
    assert figures["bitops"] == bits**2 * figures["macs"]


@pytest.mark.parametrize(
    "network, line",
    [
        ({"type": "RFDM"}, "quantnas: train.yml: network_g: unknown type 'RFDM', did you mean 'RFDN'?"),
        ({"type": "RFDN", "feat": 8}, "quantnas: train.yml: network_g: unknown key 'feat', did you mean 'num_feat'?"),
        (
            {"type": "QuantizedArch", "arch": {"type": "RFDN"}, "bits": 1},
            "quantnas: train.yml: network_g: QuantizedArch",
        ),
        (
            {"type": "QuantizedSupernet", "arch": {"type": "RFDN"}},
            "quantnas: train.yml: network_g: type QuantizedSupernet is of a search; its bits_by_layer.yml has a cost",
        ),
    ],
    ids=str,
)
def test_an_options_file_whose_network_has_no_cost_is_one_line(folder, network, line, capsys):
    (folder / "train.yml").write_text(yaml.safe_dump({"network_g": network}))
    assert cli.main(["cost", "train.yml"]) == 1
    err = capsys.readouterr().err
    assert err.startswith(line) and err.count("\n") == 1


def test_draw_says_what_it_wrote(folder, capsys):
    assert cli.main(["draw", "genotype.yml", "net.svg"]) == 0
    assert "net.svg" in capsys.readouterr().out
    assert (folder / "net.svg").stat().st_size > 1000


def test_an_error_of_a_worker_process_is_its_own_last_line(capsys):
    def fail():
        raise DataError("Caught DataError in worker 0.\nTraceback:\nquantnas_sr.errors.DataError: a.png: broken")

    assert cli.reported("basicsr train", fail) == 1
    assert capsys.readouterr().err == "basicsr train: a.png: broken\n"


def test_an_interrupted_command_says_so(capsys):
    def interrupt():
        raise KeyboardInterrupt

    assert cli.reported("quantnas", interrupt) == 130
    assert capsys.readouterr().err == "quantnas: interrupted\n"
