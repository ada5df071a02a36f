"""A training that has lost channels says so."""

import torch
from tiny_training import Pipeline

from quantnas_sr.models.lost_channels import highest_inputs, lost_channels_line
from quantnas_sr.pth import write_pth
from quantnas_sr.quantization import set_quantize
from quantnas_sr.search_space import Choice, DerivedNetwork, Genotype

DATA = {"type": "PairedImageDataset", "dataroot_gt": "hr", "dataroot_lq": "lr", "io_backend": {"type": "disk"}}
LINE = "Channels that are 0 for every validation image"


def genotype():
    slots = dict.fromkeys(("head", "body_0", "body_1", "upsample"), Choice("simple_3x3", 8))
    return Genotype("plain", 2, 5, 2, "none", slots, {}, "lsq")


def network_without(channels):
    """A network of which the first layer gives nothing in ``channels``, whatever the image."""
    torch.manual_seed(0)
    network = DerivedNetwork(genotype())
    set_quantize(network, False)
    first = network.skeleton.head[0]
    with torch.no_grad():
        for name, bias in network.named_parameters():
            if name.endswith("bias"):
                bias.fill_(20)  # above all that the weights take away
        first.bias[channels] = -20
    return network


def test_channels_that_no_image_reaches_are_counted_by_the_layer_that_reads_them():
    network = network_without([0, 3])
    with highest_inputs([network]) as found:
        for _ in range(2):
            network(torch.rand(2, 3, 6, 6))
    assert found.lost()["skeleton.body.0.0"] == (2, 5)
    network(torch.rand(1, 3, 6, 6))
    assert not any(layer._forward_pre_hooks for layer in network.modules()), "nothing watches after the block"


def test_one_image_is_enough_for_a_channel_to_live():
    network = network_without([])
    with highest_inputs([network]) as found:
        found.see("layer", torch.tensor([[-1.0, 0.0]]).reshape(1, 2, 1, 1))
        assert found.lost() == {"layer": (2, 2)}
        found.see("layer", torch.tensor([[-2.0, 0.1]]).reshape(1, 2, 1, 1))
        assert found.lost() == {"layer": (1, 2)}


def test_the_line_names_the_layers_with_the_largest_losses():
    line = lost_channels_line({"a": (1, 8), "b": (7, 8), "c": (2, 8), "d": (1, 8), "e": (3, 8)})
    assert "7 of 8 that b reads, 3 of 8 that e reads, 2 of 8 that c reads and in 2 more layers" in line


def test_a_training_says_which_channels_it_has_lost_once(tmp_path, monkeypatch, capfd):
    run = Pipeline(tmp_path, 4, monkeypatch, capfd)
    genotype().save(tmp_path / "genotype.yml")
    write_pth({"params": network_without([1, 4]).state_dict()}, tmp_path / "start.pth")
    options = run.options(
        {
            "network_g": {"type": "QuantNASPlain", "genotype": "genotype.yml"},
            "path.pretrain_network_g": "start.pth",
            "datasets.val": {"name": "v", **DATA},
            "val": {"val_freq": 2, "save_img": False},
            "train.total_iter": 6,
            "train.fp_warmup": 0.9,
            "train.optim_g.lr": 1e-4,
        }
    )
    code, log = run.run("train", options)
    assert code == 0
    said = [line for line in log.splitlines() if LINE in line]
    assert len(said) == 1 and "2 of 5 that skeleton.body.0.0 reads" in said[0]
    write_pth({"params": network_without([]).state_dict()}, tmp_path / "start.pth")
    assert LINE not in run.run("train", {**options, "name": "whole"})[1]
