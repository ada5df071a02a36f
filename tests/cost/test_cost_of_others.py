"""What networks of others cost, and how much of them is quantized: counted, or said in one line."""

import json
from collections import OrderedDict

import pytest
import torch
import yaml
from others import save, trained
from project import Project

from quantnas_sr import cli
from quantnas_sr.archs.quantized_arch import QuantizedArch
from quantnas_sr.archs.quantized_supernet_arch import QuantizedSupernet
from quantnas_sr.cost import count
from quantnas_sr.cost.dry_run import copied, dry_run
from quantnas_sr.cost.quantized import check_quantized, check_runs_quantized
from quantnas_sr.errors import CalibrationError, NetworkError, OptionError
from quantnas_sr.losses.hardware_cost_loss import HardwareCostLoss

RFDN = {"type": "RFDN", "num_feat": 8, "num_block": 1}
ECBSR = {
    "type": "ECBSR",
    "num_in_ch": 3,
    "num_out_ch": 3,
    "num_block": 1,
    "num_channel": 8,
    "with_idt": False,
    "act_type": "prelu",
    "scale": 2,
}
#: Multiply-adds for each pixel of the input.
HEAD, BODY, TAIL = 9 * 3 * 8, 9 * 8 * 8, 9 * 8 * 12


def cost_of(folder, file, *arguments, capsys):
    assert cli.main(["cost", str(folder / file), "--json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def refused(file, capsys):
    capsys.readouterr()
    assert cli.main(["cost", str(file)]) == 1
    out, err = capsys.readouterr()
    assert not out and err.count("\n") == 1
    return err


# --- counting


@pytest.mark.parametrize(
    "name, macs",
    [
        ("MakesWeightsInForward", HEAD + BODY + TAIL),
        ("KeepsATensor", HEAD + BODY + TAIL),
        ("BranchesOnValues", HEAD + TAIL),
        ("PoolsToAComputedSize", HEAD + BODY / 16 + TAIL),
        ("TakesMultiplesOnly", HEAD + BODY + TAIL),
        ("HasATableOfOneSize", HEAD + BODY + TAIL),
    ],
)
def test_networks_that_do_not_run_without_values_are_counted_on_real_tensors(name, macs):
    network = QuantizedArch({"type": name}, 8)
    torch.nn.init.constant_(network.network.head.bias, -9.0)  # what is between is below zero, whatever the image
    assert sum(layer.macs for layer in count(network).layers if layer.conv) == 32 * 32 * macs


def test_a_network_that_has_run_is_copied_and_counted_all_the_same():
    network = trained("MakesWeightsInForward").train()
    network.network.body.kept = network.network.body.first.weight * 2  # as a run in evaluation mode leaves it
    assert torch.equal(copied(network).network.body.kept, network.network.body.kept)
    assert count(network).macs > 0


def test_a_network_is_counted_for_the_channels_that_it_takes():
    assert count(trained("GrayNetwork", channels=1)).macs == 32 * 32 * 9 * 4
    assert dry_run(trained("GrayNetwork", channels=1), (5, 7)) == ((1, 1, 5, 7), (1, 1, 10, 14))


def test_counting_leaves_network_and_random_numbers_as_they_were():
    network = trained("MakesWeightsInForward").train()
    before, random = {k: v.clone() for k, v in network.state_dict().items()}, torch.get_rng_state()
    count(network)
    assert torch.equal(torch.get_rng_state(), random) and network.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_a_size_that_a_network_does_not_take_is_one_line():
    with pytest.raises(NetworkError) as caught:
        count(QuantizedArch({"type": "TakesMultiplesOnly"}).network, (33, 32))
    assert str(caught.value).startswith(
        "TakesMultiplesOnly does not run for an input of 33x32: pixel_unshuffle expects"
    )
    assert "\n" not in str(caught.value)


# --- the share that is quantized


def test_the_share_is_that_of_the_multiply_adds(capsys, tmp_path):
    network = QuantizedArch({"type": "KeepsATensor"}, bits_by_layer={"head": 32, "body": 4})
    share = (BODY + TAIL) / (HEAD + BODY + TAIL)
    assert count(network).quantized_share == pytest.approx(share)
    assert count(QuantizedArch({"type": "KeepsATensor"}, 32)).quantized_share == 0
    network(torch.rand(1, 3, 16, 16))
    file = save(network, tmp_path / "net.pth")
    assert cost_of(tmp_path, "net.pth", capsys=capsys)["quantized_share"] == pytest.approx(share)
    assert cli.main(["cost", file]) == 0
    assert f"  quantized   {100 * share:>10.1f} %" in capsys.readouterr().out


@pytest.mark.parametrize("arch", [ECBSR, {"type": "HasAReparameterisedBlock"}], ids=["ECBSR", "own"])
def test_quantized_layers_that_do_not_run_are_an_error(arch, tmp_path, capsys):
    network = QuantizedArch(arch)
    with pytest.raises(NetworkError, match=f"{arch['type']}: 0 % of the multiply-adds are quantized"):
        check_runs_quantized(network)
    network(torch.rand(1, 3, 16, 16))
    line = refused(save(network, tmp_path / "net.pth"), capsys)
    assert "net.pth: " in line and "Merge re-parameterised blocks into nn.Conv2d" in line
    check_runs_quantized(QuantizedArch(arch, 32))


def test_part_of_a_network_is_quantized_without_complaint():
    network = QuantizedArch({"type": "MakesWeightsInForward"}, skip=["head", "tail.0", "body.merged", "body.first"])
    with pytest.raises(NetworkError):
        check_quantized(network, count(network))
    check_runs_quantized(QuantizedArch({"type": "MakesWeightsInForward"}, skip=["body.merged"]))


def test_a_search_of_layers_that_do_not_run_is_refused():
    with pytest.raises(OptionError):
        HardwareCostLoss().attach(QuantizedSupernet(ECBSR))


def test_training_refuses_it_before_anything_is_written_and_logs_the_share_of_others(tmp_path, monkeypatch, capsys):
    project = Project(tmp_path)
    project.make_data()
    opt = project.options(
        "train_rfdn_8bit_x4.yml",
        {"network_g": {"type": "QuantizedArch", "arch": {**ECBSR, "scale": 4}}, "path.pretrain_network_g": None},
    )
    opt["val"] = None
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert cli.basicsr_main(["train", "-opt", project.write("train.yml", opt)]) == 1
    err = capsys.readouterr().err
    assert err.startswith("basicsr train: network_g: ECBSR: 0 % of the multiply-adds") and err.count("\n") == 1
    assert not (tmp_path / "experiments").exists()

    opt["network_g"]["arch"] = {"type": "ESPCN", "num_feat": 4}
    assert "100.0 % of them quantized" in project.train(project.write("train.yml", opt))


# --- layers that evaluation reaches and training does not


def test_such_a_layer_is_named_and_a_network_that_was_not_trained_is_told_so():
    with pytest.raises(
        CalibrationError, match=r"^the layer body\.merged is used in evaluation but was not in training"
    ):
        trained("MakesWeightsInForward")(torch.rand(1, 3, 16, 16))
    with pytest.raises(CalibrationError, match="^the activations have no quantization steps yet"):
        QuantizedArch({"type": "MakesWeightsInForward"}).eval()(torch.rand(1, 3, 16, 16))


# --- files


@pytest.fixture
def folder(tmp_path):
    network = QuantizedArch(RFDN, bits_by_layer={"fea_conv": 4})
    network(torch.rand(1, 3, 16, 16))
    save(network, tmp_path / "net.pth")
    (tmp_path / "train.yml").write_text(yaml.safe_dump({"network_g": {"type": "QuantizedArch", **network.arguments}}))
    widths = QuantizedSupernet(OrderedDict(RFDN), bits=[4, 8], skip=["fea_conv"], activation_quantizer="hwgq")
    widths.genotype({"seed": 1}).save(tmp_path / "bits_by_layer.yml")
    return tmp_path


def test_the_checkpoint_of_a_quantized_arch_has_the_cost_of_its_options(folder, capsys):
    from_checkpoint, from_options = (cost_of(folder, name, capsys=capsys) for name in ("net.pth", "train.yml"))
    assert from_checkpoint == from_options
    bits = {layer["name"]: layer["bits"] for layer in from_checkpoint["layers"]}
    assert bits.pop("network.fea_conv") == 4 and set(bits.values()) == {8}


def test_the_bits_by_layer_of_a_search_say_what_the_network_costs(folder, capsys):
    cost = cost_of(folder, "bits_by_layer.yml", "--size", "16", capsys=capsys)
    bits = {layer["name"]: layer["bits"] for layer in cost["layers"]}
    assert bits.pop("network.fea_conv") == 32 and set(bits.values()) == {4}
    network = QuantizedArch(RFDN, bits_by_layer=folder / "bits_by_layer.yml", activation_quantizer="hwgq")
    assert cost["bitops"] == count(network, (16, 16)).bitops


def test_an_older_file_of_bits_by_layer_is_read_and_names_what_lacks_for_its_cost(folder, capsys):
    data = yaml.safe_load((folder / "bits_by_layer.yml").read_text())
    data["origin"] = {"arch": "RFDN", "seed": 1}
    (folder / "genotype.yml").write_text(yaml.safe_dump(data))
    assert len(list(QuantizedArch(RFDN, bits_by_layer=folder / "genotype.yml").quantized_layers())) > 10
    line = refused(folder / "genotype.yml", capsys)
    assert "genotype.yml: has the bit widths of layers, but not the options of their network" in line


@pytest.mark.parametrize(
    "name, content, line",
    [
        (
            "net.onnx",
            b"\x08\xff",
            "net.onnx: does not describe a network. Allowed: the .pth of a trained network, a geno",
        ),
        ("train.yml", b"name: x\ndatasets: {}\n", "train.yml: network_g: null is not a mapping with the key 'type'"),
        (
            "x.yml",
            b"fea_conv: 4\norigin: {arch: {type: RFDM}}\n",
            "x.yml: arch: unknown type 'RFDM', did you mean 'RFDN'",
        ),
        ("x.yml", b"fea: 4\norigin: {arch: {type: RFDN}}\n", "x.yml: bits_by_layer: unknown layer 'fea'"),
        ("x.yml", b"\xff\xfe", "x.yml: "),
        ("x.pth", b"text", "x.pth: not a checkpoint"),
    ],
    ids=str,
)
def test_a_file_that_describes_no_network_is_one_line(name, content, line, tmp_path, capsys):
    (tmp_path / name).write_bytes(content)
    assert line in refused(tmp_path / name, capsys)


def test_a_size_that_cannot_be_is_one_line_that_names_the_file(tmp_path, capsys):
    file = tmp_path / "train.yml"
    file.write_text(yaml.safe_dump({"network_g": {"type": "TakesMultiplesOnly"}}))
    capsys.readouterr()
    assert cli.main(["cost", str(file), "--size", "33"]) == 1
    assert "train.yml: TakesMultiplesOnly does not run for an input of 33x33: " in capsys.readouterr().err
