"""A checkpoint is data: what it may name, how large it may be, and what nobody looks at."""

import json
import zipfile

import pytest
import torch
from basicsr.archs import spynet_arch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from quantnas_sr import bounds
from quantnas_sr.archs.quantized_arch import QuantizedArch
from quantnas_sr.bounds import TooLargeError, bounded, check_size, limits_of
from quantnas_sr.checkpoints import load_network
from quantnas_sr.compat import models
from quantnas_sr.conversion.recognition import recognize
from quantnas_sr.errors import CheckpointError, OptionError, QuantNASError
from quantnas_sr.mixed_precision.base_network import as_trained
from quantnas_sr.mixed_precision.nameable import nameable
from quantnas_sr.options.described import network_of_file
from quantnas_sr.pth import data_in, read_pth

ESPCN = {"type": "ESPCN", "num_feat": 4}


@ARCH_REGISTRY.register()
class LoadsByDefault(nn.Module):
    def __init__(self, num_feat: int = 4, pretrained: bool = True) -> None:
        super().__init__()


def save(path, arch, **more):
    """A checkpoint whose description names ``arch``, with the weights of another network."""
    network = QuantizedArch(ESPCN)
    described = {**network.arguments, "bits_by_layer": None, "arch": arch, **more}
    text = json.dumps({"quantized_arch": described})
    extra = torch.tensor(list(text.encode()), dtype=torch.uint8)
    torch.save({"params": {**network.state_dict(), "_extra_state": extra}}, path)
    return path


@pytest.mark.parametrize(
    "arch, line",
    [
        ({"type": "SpyNet", "load_path": "evil.pth"}, "a file may not name SpyNet. Allowed: ECBSR, EDSR"),
        ({"type": "VGGFeatureExtractor", "layer_name_list": ["conv1_1"]}, "may not name VGGFeatureExtractor"),
        ({"type": "BasicVSR"}, "may not name BasicVSR"),
        ({"type": "QuantNASNetwork", "genotype": "/etc/hostname"}, "may not name QuantNASNetwork"),
        ({"type": "QuantizedArch", "arch": ESPCN, "bits_by_layer": "/etc/hostname"}, "may not name QuantizedArch"),
        ({"type": "LoadsByDefault"}, "pretrained: true names a file"),
        ({"type": "LoadsByDefault", "pretrained": "x"}, "pretrained: 'x' names a file"),
        ({**ESPCN, "activation": "../evil"}, "activation: '../evil' names a file"),
        (
            {"type": "SpandrelArch", "model": "CodeFormer", "hyperparameters": {"vqgan_path": "x"}},
            "vqgan_path: 'x' names",
        ),
        ({"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 20000}, "more than [0-9]* "),
        ({"type": "MSRResNet", "num_block": 65536}, "more than [0-9]* "),
        ({"type": "SwinIR", "img_size": 10**6}, "more than [0-9]* "),
        ({"type": "SwinIR", "depths": [10**6], "num_heads": [6]}, "more than [0-9]* "),
        (None, "arch: null is not a mapping"),
        ("ESPCN", "arch: 'ESPCN' is not a mapping"),
    ],
    ids=lambda arch: str(arch)[:40],
)
def test_a_checkpoint_may_name_a_closed_list_of_networks(arch, line, tmp_path):
    path = save(tmp_path / "net.pth", arch)
    for read in (load_network, recognize):
        with pytest.raises(CheckpointError, match=line) as caught:
            read(path)
        assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_a_network_of_a_project_may_be_named_if_it_reads_nothing():
    assert nameable({"type": "LoadsByDefault", "pretrained": False})
    assert nameable({"type": "LoadsByDefault_quantnas"})  # that there is none, the builder says
    with pytest.raises(OptionError, match="names a file"):
        nameable({"type": "LoadsByDefault", "pretrained": False, "more": [{"a": "b/c"}]})


def test_a_file_of_bit_widths_may_name_no_more_than_a_checkpoint(tmp_path):
    (tmp_path / "bits.yml").write_text("conv: 8\norigin: {arch: {type: SpyNet, load_path: evil.pth}}\n")
    with pytest.raises(OptionError, match="may not name SpyNet"):
        network_of_file(tmp_path / "bits.yml")


def test_a_network_is_no_larger_than_its_checkpoint(monkeypatch):
    state = {"a": torch.zeros(10), "b": 5}
    monkeypatch.setattr(bounds, "_SPARE", 0)
    most = limits_of(state)
    assert most.weights == 40
    with bounded(most=most):
        nn.Linear(3, 9)
    with pytest.raises(TooLargeError, match="more than 40 weights"), bounded(most=most):
        nn.Linear(9, 9)
    with pytest.raises(TooLargeError, match="more than 40 weights"):
        check_size(lambda: nn.Linear(9, 9), most)
    with pytest.raises(TooLargeError, match=f"more than {most.modules} layers"):
        check_size(lambda: nn.Sequential(*(nn.Identity() for _ in range(most.modules + 1))), most)
    with pytest.raises(TooLargeError, match="layers"), bounded():
        nn.ModuleList(nn.Identity() for _ in range(bounds.MOST_MODULES + 2))
    nn.Linear(9, 9)  # outside nothing is counted


def test_the_size_of_a_result_is_known_before_it_is_computed():
    rows = torch.zeros(2**14, 1)
    with pytest.raises(TooLargeError, match="values in one tensor"), bounded():
        rows - rows.T
    with pytest.raises(TooLargeError, match="values in one tensor"), bounded():
        torch.arange(10**9)


@pytest.mark.parametrize(
    "tensor, line",
    [
        (torch.zeros(1).expand(10**6, 10**6), "has 1000000000000 values, more than the file"),
        (torch.zeros(2, 2).to_sparse(), "not a dense tensor"),
        (torch.zeros(2).to("meta"), "not a dense tensor"),
        (torch.zeros(2, dtype=torch.complex64), "not a dense tensor"),
        (torch.quantize_per_tensor(torch.zeros(2), 0.1, 0, torch.quint8), "not a dense tensor"),
        ([1], "is not a tensor but 'list'"),
        (torch.tensor([float("nan")]), "is not finite"),
    ],
    ids=lambda value: str(value)[:30].split("\n")[0],
)
def test_tensors_that_cannot_be_weights_are_named(tensor, line, tmp_path):
    state = QuantizedArch(ESPCN).state_dict()
    torch.save({"params": {**state, "conv1.weight": tensor}}, tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match=line):
        load_network(tmp_path / "net.pth")


def zipped(path, content, how=zipfile.ZIP_STORED, values=b"\0" * 8):
    with zipfile.ZipFile(path, "w", how) as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/data/0", values)


@pytest.mark.parametrize(
    "content, line",
    [
        (b"\x80\x02cbuiltins\nbytearray\n\x8a\x05\x00\xe4\x0b\x54\x02\x85R.", "it holds builtins.bytearray"),
        (b"\x80\x02N" + b"\x85" * 100_000 + b".", "it says more of its values than a network could have"),
    ],
    ids=["memory", "depth"],
)
def test_a_pickle_that_takes_memory_is_not_loaded(content, line, tmp_path):
    (tmp_path / "old.pth").write_bytes(content)
    zipped(tmp_path / "new.pth", content)
    for name in ("old.pth", "new.pth"):
        with pytest.raises(CheckpointError, match=line):
            read_pth(tmp_path / name)


def test_a_file_that_unpacks_to_more_than_itself_is_not_loaded(tmp_path):
    zipped(tmp_path / "net.pth", b"\x80\x02}.", zipfile.ZIP_DEFLATED, b"\0" * 10**7)
    with pytest.raises(CheckpointError, match="unpacks to 10000"):
        read_pth(tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match="a pipe or a device"):
        read_pth("/dev/zero")


def test_before_torch_2_6_the_archs_of_basicsr_load_weights_only_too(monkeypatch):
    asked = {}
    old = type(torch)("torch")
    old.__dict__.update(vars(torch))
    old.__version__ = torch.torch_version.TorchVersion("2.5.1")
    old.load = lambda *args, **kwargs: asked.update(kwargs) or {"params": {}}
    monkeypatch.setattr(models, "torch", old)
    monkeypatch.setattr(spynet_arch, "torch", old)
    monkeypatch.setattr(models.base_model, "torch", old)
    models.load_weights_only()
    with pytest.raises(RuntimeError, match="Missing key"):
        spynet_arch.SpyNet("evil.pth")
    assert asked["weights_only"] is True and models.base_model.torch.load.keywords == {"weights_only": True}


@pytest.mark.parametrize(
    "change, line",
    [
        ({"num_block": 2147483648}, "num_block: 2147483648 is too large. Allowed: at most 64"),
        ({"num_feat": 24000}, "num_feat: 24000 is too large. Allowed: at most 2048"),
        ({"num_feat": 2048, "num_block": 64}, "more than [0-9]* weights"),
    ],
    ids=str,
)
def test_a_genotype_has_bounds_that_are_checked_before_anything_is_built(change, line, genotype):
    from quantnas_sr.search_space import DerivedNetwork, Genotype

    data = {**genotype("basic").to_dict(), **change}
    with pytest.raises(QuantNASError, match=line):
        DerivedNetwork(Genotype.from_dict(data))


def test_a_description_without_values_is_none():
    sparse = torch.zeros(4, dtype=torch.uint8).to_sparse()
    assert [data_in(extra) for extra in (sparse, torch.zeros(4, dtype=torch.uint8, device="meta"), 5)] == [None] * 3


def test_names_out_of_a_file_stay_on_one_line():
    with pytest.raises(OptionError, match=r"arch: ESPCN of a\\nb was trained") as error:
        as_trained({"type": "ESPCN"}, "a\nb")
    assert "\n" not in str(error.value)
