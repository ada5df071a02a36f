"""Bit widths of given networks, as users search them: search, train and test in a folder, on real LMDBs."""

from typing import Any, Dict

import pytest
import torch
import yaml
from project import Project

from quantnas_sr import cli
from quantnas_sr.archs.quantized_arch import QuantizedArch

OWN_ARCH = '''
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn


@ARCH_REGISTRY.register()
class SignedArch(nn.Module):
    """Signed activations, a convolution that is used twice, a grouped one with a stride."""

    def __init__(self, num_feat=8):
        super().__init__()
        self.first = nn.Conv2d(3, num_feat, 3, padding=1)
        self.body = nn.Sequential(nn.Conv2d(num_feat, num_feat, 3, stride=2, padding=1, groups=2), nn.Tanh())
        self.again = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.last = nn.Conv2d(num_feat, 192, 1)
        self.shuffle = nn.PixelShuffle(8)

    def forward(self, x):
        x = self.body(self.first(x - 0.5))
        return self.shuffle(self.last(self.again(self.again(x)))) + 0.5
'''
#: A user's own script, with all the runs in one process.
CHAIN = """
import os
import sys

import quantnas_sr  # noqa: F401
import own_arch  # noqa: F401
from basicsr.test import test_pipeline
from basicsr.train import train_pipeline

for pipeline, options in zip((train_pipeline, train_pipeline, test_pipeline), sys.argv[1:]):
    sys.argv = [pipeline.__name__, "-opt", options]
    pipeline(os.getcwd())
"""
ARCHS: Dict[str, Dict[str, Any]] = {
    "msrresnet": {"num_feat": 8, "num_block": 1},
    "espcn": {"num_feat": 8},
    "rfdn": {"num_feat": 8, "num_block": 1},
    "edsr": {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_block": 1, "upscale": 4},
    "own": {"type": "SignedArch"},
}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    project = Project(tmp_path_factory.mktemp("edmips"))
    project.make_data()
    (project.folder / "own_arch.py").write_text(OWN_ARCH)
    (project.folder / "chain.py").write_text(CHAIN)
    return project


def search(project: Project, network: str, **changes: Any) -> Dict[str, Any]:
    """Small options of a search of this network."""
    shipped = network if network in ("espcn", "rfdn") else "srresnet"
    opt = project.options(
        f"comparisons/search_edmips_{shipped}.yml",
        {
            "name": f"search_{network}",
            "path.pretrain_network_g": None,
            "train.alpha_warmup": 0,
            "val.val_freq": 2,
            **changes,
        },
    )
    opt["network_g"]["arch"] = {"type": opt["network_g"]["arch"]["type"], **ARCHS[network]}
    return opt


@pytest.mark.parametrize("name", ARCHS)
def test_search_then_train_then_test(project, name):
    opt = search(project, name, **{"network_g.skip": ["again"]} if name == "own" else {})
    genotype = f"experiments/search_{name}/bits_by_layer.yml"
    network = {"type": "QuantizedArch", "arch": opt["network_g"]["arch"], "bits_by_layer": genotype}
    changes = {"network_g": network, "path.pretrain_network_g": None, "name": f"train_{name}"}
    training = project.options("train_rfdn_8bit_x4.yml", {**changes, "val": None})
    changes.update(name=f"test_{name}", **{"path.param_key_g": "params_ema"})
    changes["path.pretrain_network_g"] = f"experiments/train_{name}/models/net_g_latest.pth"
    testing = project.options("test_rfdn_8bit_x4.yml", changes)
    files = [project.write(f"{i}.yml", options) for i, options in enumerate((opt, training, testing))]

    log = project.run("chain.py", *files)
    assert "Validation DIV2K_valid_derived\n" in log
    stages = ("Current genotype: ", "Network [QuantizedArch] is created", "Cost for a 32x32", "Validation Set5\n")
    assert sorted(stages, key=log.index) == list(stages)
    found = yaml.safe_load((project.folder / genotype).read_text())
    assert cli.main(["cost", str(project.folder / genotype), "--json"]) == (name == "own")
    origin = found.pop("origin")
    assert origin["experiment"] == f"search_{name}" and origin["arch"] == opt["network_g"]["arch"]
    assert set(found.values()) <= {4, 8, 32} and (found.get("again") == 32) == (name == "own")


@pytest.mark.parametrize("bit_mixer", ["noise", "separate"])
def test_the_other_mixers_search_from_weights_in_full_precision(project, bit_mixer):
    from quantnas_sr.archs.espcn_arch import ESPCN

    torch.save({"params": ESPCN(num_feat=8).state_dict()}, project.folder / "espcn.pth")
    changes = {"name": bit_mixer, "network_g.bit_mixer": bit_mixer, "path.pretrain_network_g": "espcn.pth"}
    log = project.train(project.write("search.yml", search(project, "espcn", **changes)))
    assert "Validation DIV2K_valid_derived\n" in log
    net = QuantizedArch(
        {"type": "ESPCN", "num_feat": 8}, bits_by_layer=project.folder / f"experiments/{bit_mixer}/bits_by_layer.yml"
    )
    assert len(list(net.quantized_layers())) == 3


def test_a_search_goes_on_where_it_stopped_and_names_its_layers(project):
    changes = {"train.total_iter": 4, "train.scheduler.periods": [4], "logger.save_checkpoint_freq": 2}
    opt = search(project, "msrresnet", name="resumed", **changes, **{"logger.use_tb_logger": True})
    options = project.write("resume.yml", opt)
    project.train(options)
    folder = project.folder / "experiments/resumed"
    whole = torch.load(folder / "models/net_g_4.pth", weights_only=True)["params"]
    for late in ("training_states/4.state", "models/net_g_4.pth", "models/net_g_latest.pth"):
        (folder / late).unlink()
    log = project.train(options, "--auto_resume")
    assert "Resuming training from epoch: 0, iter: 2" in log
    resumed = torch.load(folder / "models/net_g_4.pth", weights_only=True)["params"]
    assert resumed.keys() == whole.keys() and "alphas.body/0/conv1" in resumed
    assert (folder / "bits_by_layer/2.yml").is_file() and (folder / "bits_by_layer/latest.yml").is_file()
    assert not (folder / "genotype.yml").exists()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(project.folder / "tb_logger/resumed"))
    events.Reload()
    assert {"alphas/body.0.conv1/4bit", "cost/expected_bitops", "search/entropy"} <= set(events.Tags()["scalars"])


@pytest.mark.parametrize(
    "key, value, words",
    [
        ("bits", 8, ["network_g: bits: 8 is not a list"]),
        ("bit_mixer", "shard", ["network_g: unknown bit_mixer 'shard'", "'shared'"]),
        ("skipp", [], ["network_g: unknown key 'skipp'", "'skip'"]),
        ("skip", ["conv_frist"], ["network_g: skip: unknown layer 'conv_frist'", "'conv_first'"]),
        ("arch", None, ["network_g: the key 'arch' is missing"]),
        ("arch", {"type": "MSRResNett"}, ["network_g: arch: unknown type 'MSRResNett'", "'MSRResNet'"]),
        ("scale", 4, ["network_g: unknown key 'scale'"]),
    ],
    ids=str,
)
def test_a_bad_value_is_one_line_that_names_the_key(project, capsys, monkeypatch, key, value, words):
    from quantnas_sr import cli

    monkeypatch.chdir(project.folder)
    opt = search(project, "msrresnet")
    opt["network_g"].pop(key, None)
    opt["network_g"].update({} if value is None else {key: value})
    capsys.readouterr()
    assert cli.basicsr_main(["train", "-opt", project.write("bad.yml", opt)]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and all(word in lines[0] for word in words), lines
