"""Latency as a cost: the table, the command that measures it, and a search against it. No time decides a test."""

import json
import re

import pytest
import torch
import yaml
from project import Project
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from quantnas_sr import cli
from quantnas_sr.cost import ConvShape, Latency, LayerCost, edge_costs, edge_layers
from quantnas_sr.cost import measure as measuring
from quantnas_sr.cost.latency import LatencyTable, Machine
from quantnas_sr.errors import OptionError
from quantnas_sr.options.read import supernet_of

PLAIN = ConvShape(3, 8, (3, 3), (1, 1), 1, (1, 1), 7, 9)
SHAPES = {
    "plain": PLAIN,
    "column": ConvShape(4, 6, (5, 1), (1, 1), 1, (1, 1), 6, 6),
    "grouped": ConvShape(6, 12, (3, 3), (1, 1), 3, (1, 1), 6, 8),
    "depthwise": ConvShape(8, 8, (3, 3), (1, 1), 8, (1, 1), 6, 8),
    "strided": ConvShape(4, 4, (3, 3), (2, 2), 1, (1, 1), 5, 4),
    "dilated": ConvShape(4, 4, (3, 3), (1, 1), 1, (2, 2), 5, 4),
    "even": ConvShape(4, 4, (2, 4), (1, 2), 1, (1, 1), 5, 4),
}


@pytest.fixture
def measured(monkeypatch):
    """Instead of measuring: 1, 2, 3, ... seconds. Returns the list of what was to be measured."""
    calls = []

    def seconds_of(shape, bits, repeats):
        calls.append((shape, bits))
        return float(len(calls))

    monkeypatch.setattr(measuring, "seconds_of", seconds_of)
    return calls


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """With two searches of different widths."""
    monkeypatch.chdir(tmp_path)
    for name, bits in (("two", [4, 8]), ("three", [4, 8, 32])):
        network = {"type": "QuantNASSupernet", "search_space": "basic", "num_feat": 12, "num_block": 2, "bits": bits}
        train = {"hardware_opt": {"type": "HardwareCostLoss", "size": [6, 8]}}
        (tmp_path / f"{name}.yml").write_text(yaml.safe_dump({"scale": 2, "network_g": network, "train": train}))
    return tmp_path


def different_shapes(net):
    return {layer.conv for slot in edge_layers(net, (6, 8)).values() for op in slot for layer in op}


# --- what is measured


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_both_kernels_run_the_very_shape(shape):
    size = (1, shape.out_channels, shape.height, shape.width)
    floats, integers = measuring._float_run(shape)(), measuring._integer_run(shape)()
    assert floats.shape == integers.shape == size
    assert integers.dtype == torch.quint8
    for bits in (8, 32):
        assert 0 < measuring.seconds_of(shape, bits, repeats=1) < 60


@pytest.mark.parametrize("bits, kernel", [(2, 8), (4, 8), (8, 8), (9, 32), (16, 32), (32, 32)])
def test_up_to_8_bits_run_in_integers_and_the_others_as_floats(bits, kernel):
    assert measuring.computed_at(bits) == kernel


def test_a_torch_without_integer_kernels_says_so_and_still_measures_floats(monkeypatch):
    def gone(*_):
        raise AttributeError("removed")

    monkeypatch.setattr(torch, "quantize_per_tensor", gone)
    with pytest.raises(OptionError, match=r"has no integer kernel .* 3x3 convolution 3->8 to 7x9: widths up to 8 bits"):
        measuring.seconds_of(PLAIN, 4, repeats=1)
    assert measuring.seconds_of(PLAIN, 32, repeats=1) > 0


# --- the table


def test_a_table_is_the_same_after_its_file(tmp_path):
    table = LatencyTable(Machine("a processor", 2, "2.0"), "2026-01-02")
    table.seconds = {(shape, bits): 1e-7 * bits / 3 for shape in SHAPES.values() for bits in (2, 32)}
    table.save(tmp_path / "t.json")
    assert LatencyTable.load(tmp_path / "t.json") == table
    assert len(json.loads((tmp_path / "t.json").read_text())["layers"]) == 2 * len(SHAPES)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda t: t.update(version=2), "no latency table of version 1"),
        (lambda t: t.pop("machine"), "'machine' and 'layers'"),
        (lambda t: t["machine"].update(colour="red"), "'machine' and 'layers'"),
        (lambda t: t["layers"][0].update(seconds=0), '"seconds": 0} is no time'),
        (lambda t: t["layers"][0].update(seconds="fast"), "is no time of a convolution"),
        (lambda t: t["layers"][0].update(kernel=[3]), "is no time of a convolution"),
        (lambda t: t["layers"][0].update(bits=4.5), "is no time of a convolution"),
        (lambda t: t["layers"][0].pop("groups"), "is no time of a convolution"),
        (lambda t: t.update(layers=["x"]), '"x" is no time'),
    ],
)
def test_a_broken_table_is_one_line(tmp_path, change, message):
    path = tmp_path / "t.json"
    LatencyTable(Machine("a", 1, "2"), "", {(PLAIN, 8): 1.0}).save(path)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(OptionError, match=re.escape(message)) as error:
        Latency(str(path))
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("content", ["", "[1]", "{", "\x00"], ids=repr)
def test_a_file_that_is_no_table_is_one_line(tmp_path, content):
    (tmp_path / "t.json").write_text(content)
    with pytest.raises(OptionError, match="no latency table") as error:
        Latency(str(tmp_path / "t.json"))
    assert "\n" not in str(error.value)


def test_a_table_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(OptionError, match="t.json: the latency table cannot be read"):
        Latency(str(tmp_path / "t.json"))
    with pytest.raises(OptionError, match="table: None is not the name of a file"):
        Latency(None)


# --- the cost


def test_an_edge_costs_the_seconds_of_its_convolutions_at_all_places(tmp_path, supernet):
    net = supernet(num_block=2, bits=[4, 32])
    table = LatencyTable(Machine("a", 1, "2"), "")
    for shape in different_shapes(net):
        table.seconds.update({(shape, 4): 0.25 * shape.height * shape.out_channels, (shape, 32): 1.0})
    table.save(tmp_path / "t.json")
    costs = edge_costs(net, {"type": "latency", "table": str(tmp_path / "t.json")}, (6, 8))
    skip = net.candidates["skip"].index("simple_3x3")
    assert costs["skip"][skip].tolist() == [2 * 0.25 * 6 * 12, 2.0]
    factorized = net.candidates["body_0"].index("conv_5x1_1x5")
    assert costs["body_0"][factorized].tolist() == [2 * 2 * 0.25 * 6 * 12, 4.0]


def test_a_layer_without_a_time_is_named_with_the_command_that_adds_it(tmp_path):
    path = str(tmp_path / "t.json")
    LatencyTable(Machine("a", 3, "2"), "", {(PLAIN, 8): 2.5}).save(path)
    cost, layer = Latency(path), LayerCost("conv", 0, 8, 0, PLAIN)
    assert cost.of(layer) == 2.5
    expected = f"{path}: no time of a 3x3 convolution 3->8 to 7x9 at 4 bits. Add what is missing: "
    command = f"quantnas latency SEARCH.yml --threads 3 --output {path}"
    with pytest.raises(OptionError, match=re.escape(expected + command)):
        cost.of(layer._replace(bits=4))
    with pytest.raises(OptionError, match="conv is no two-dimensional convolution"):
        cost.of(layer._replace(conv=None))


# --- the command


def test_every_kernel_and_shape_is_measured_once_and_4_bits_are_those_of_8(folder, measured, capsys):
    assert cli.main(["latency", "two.yml", "--threads", "1"]) == 0
    shapes = different_shapes(supernet_of("two.yml"))
    assert sorted(measured) == sorted((shape, 8) for shape in shapes)
    seconds = LatencyTable.load("latency.json").seconds
    assert len(seconds) == 2 * len(shapes)
    assert all(seconds[shape, 4] == seconds[shape, 8] for shape in shapes)
    assert f"wrote latency.json: {2 * len(shapes)} times" in capsys.readouterr().out


def test_what_the_table_has_is_kept_and_only_the_rest_is_measured(folder, measured):
    cli.main(["latency", "two.yml"])
    before, number = LatencyTable.load("latency.json").seconds, len(measured)
    assert cli.main(["latency", "two.yml"]) == 0
    assert len(measured) == number
    assert cli.main(["latency", "three.yml"]) == 0
    after = LatencyTable.load("latency.json").seconds
    assert {bits for _, bits in measured[number:]} == {32}
    assert len(measured) == 2 * number
    assert before.items() <= after.items() and len(after) == 3 * number
    assert cli.main(["latency", "two.yml", "--again"]) == 0
    assert len(measured) == 3 * number
    assert set(LatencyTable.load("latency.json").seconds) == set(before)


def test_a_width_whose_kernel_is_in_the_table_already_takes_its_time(folder, measured):
    cli.main(["latency", "two.yml"])
    table = LatencyTable.load("latency.json")
    number, whole = len(measured), dict(table.seconds)
    table.seconds = {(shape, bits): seconds for (shape, bits), seconds in whole.items() if bits == 8}
    table.save("latency.json")
    cli.main(["latency", "two.yml"])
    assert len(measured) == number
    assert LatencyTable.load("latency.json").seconds == whole


def test_an_interrupted_measurement_keeps_what_it_has_and_goes_on(folder, measured, monkeypatch):
    fake = measuring.seconds_of

    def interrupted(*arguments):
        if len(measured) == 3:
            raise KeyboardInterrupt
        return fake(*arguments)

    monkeypatch.setattr(measuring, "seconds_of", interrupted)
    assert cli.main(["latency", "two.yml"]) == 130
    assert len(LatencyTable.load("latency.json").seconds) == 6
    monkeypatch.setattr(measuring, "seconds_of", fake)
    assert cli.main(["latency", "two.yml"]) == 0
    assert len(measured) == len(set(measured)) == len(different_shapes(supernet_of("two.yml")))


def test_the_size_is_that_of_the_search_or_as_given(folder, measured):
    cli.main(["latency", "two.yml"])
    assert {(shape.height, shape.width) for shape, _ in measured} == {(6, 8), (12, 16)}
    measured.clear()
    cli.main(["latency", "two.yml", "--size", "7x5"])
    cli.main(["latency", "two.yml", "--size", "9"])
    assert {(shape.height, shape.width) for shape, _ in measured} == {(5, 7), (10, 14), (9, 9), (18, 18)}


def test_threads_are_set_for_the_measurement_only(folder, measured):
    before = torch.get_num_threads()
    cli.main(["latency", "two.yml", "--threads", str(before + 1)])
    assert LatencyTable.load("latency.json").machine.threads == before + 1
    assert torch.get_num_threads() == before


def test_times_of_two_machines_are_not_mixed(folder, measured, capsys):
    LatencyTable(Machine("another", 1, "1.0"), "", {(PLAIN, 8): 1.0}).save("latency.json")
    assert cli.main(["latency", "two.yml"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "latency.json was measured on: another, threads 1, torch 1.0; this is: " in error and "--again" in error
    assert not measured
    assert cli.main(["latency", "two.yml", "--again"]) == 0
    assert (PLAIN, 8) not in LatencyTable.load("latency.json").seconds


@pytest.mark.parametrize("options", ["absent.yml", "broken.yml"])
def test_an_options_file_that_cannot_be_used_is_one_line(folder, options, capsys):
    (folder / "broken.yml").write_text("train: {hardware_opt: {size: 3}}")
    assert cli.main(["latency", options]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not (folder / "latency.json").exists()


# --- the search


def test_a_search_against_a_measured_table_runs_and_one_without_its_times_does_not_start(tmp_path, monkeypatch):
    project = Project(tmp_path)
    project.make_data()
    changes = {
        "name": "fast",
        "network_g.num_feat": 12,
        "network_g.num_block": 1,
        "train.alpha_warmup": 0,
        "train.hardware_opt.cost": {"type": "latency", "table": "latency.json"},
        "train.hardware_opt.size": [8, 6],
        "logger.use_tb_logger": True,
    }
    options = project.write("search.yml", project.options("search_basic_x4.yml", changes))
    LatencyTable(Machine("a", 1, "2"), "", {(PLAIN, 8): 1.0}).save(tmp_path / "latency.json")
    refused = project.train(options, code=1)
    assert "train.hardware_opt: latency.json: no time of a " in refused
    assert not (tmp_path / "experiments").exists()

    monkeypatch.chdir(tmp_path)
    assert cli.main(["latency", options, "--repeats", "1", "--again"]) == 0
    log = project.train(options)
    assert "Hardware cost latency: " in log and " s at the start" in log
    assert (tmp_path / "experiments/fast/genotype.yml").is_file()
    events = EventAccumulator(str(tmp_path / "tb_logger/fast")).Reload()
    for tag in ("cost/expected_latency", "cost/best_path_latency"):
        assert [event.value > 0 for event in events.Scalars(tag)] == [True, True]
