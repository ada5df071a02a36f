"""The one reader of checkpoints: what is read, what is refused, and in which words."""

import datetime
import json

import pytest
import torch
from others import save, trained

from quantnas_sr.archs.quantized_arch import QuantizedArch
from quantnas_sr.checkpoints import load_derived, load_network, scale_of
from quantnas_sr.errors import CheckpointError, DataError, GenotypeError
from quantnas_sr.pth import BETTER, description_in, key_of, mark_better, read_pth, read_state, write_pth
from quantnas_sr.search_space import DerivedNetwork

ESPCN = {"type": "ESPCN", "num_feat": 4}


def described(text):
    return {"_extra_state": torch.tensor(list(text), dtype=torch.uint8)}


@pytest.mark.parametrize("content", [{"params": {"a": torch.ones(2)}}, [1, "two", None], {"iter": 5, "random": (1, 2)}])
def test_tensors_and_plain_data_come_back(content, tmp_path):
    torch.save(content, tmp_path / "x.pth")
    assert str(read_pth(tmp_path / "x.pth")) == str(content)


def test_what_is_neither_is_refused_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    torch.save({"params": {}, "when": datetime.timedelta(1)}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError) as caught:
        read_pth(tmp_path / "x.pth")
    assert str(caught.value).endswith("it holds datetime.timedelta, and only tensors and plain data are loaded")


@pytest.mark.parametrize(
    "keys, asked, key",
    [
        (("params", "params_ema"), None, "params_ema"),
        (("params", "params_ema"), "params", "params"),
        (("params",), None, "params"),
        (("params",), "params_ema", "params"),
        (("params_ema",), None, "params_ema"),
        (("params_ema",), "params", "params"),
        ((), None, "params"),
    ],
)
def test_the_moving_average_is_preferred(keys, asked, key):
    assert key_of(dict.fromkeys(keys, {}), asked) == key


@pytest.mark.parametrize(
    "better, asked, key",
    [
        ("params", None, "params"),
        ("params_ema", None, "params_ema"),
        ("params", "params_ema", "params_ema"),
        ("params_ema", "params", "params"),
        ("net", None, "params_ema"),
        ([], None, "params_ema"),
    ],
)
def test_what_a_checkpoint_calls_better_is_preferred(better, asked, key):
    assert key_of({"params": {}, "params_ema": {}, BETTER: better}, asked) == key


def test_a_checkpoint_is_told_which_is_better(tmp_path):
    path = tmp_path / "x.pth"
    write_pth({"params": {"a": torch.ones(2)}, "params_ema": {"a": torch.zeros(2)}}, path)
    mark_better(path, "params")
    content = read_pth(path)
    assert key_of(content) == "params" and content["params"]["a"].tolist() == [1, 1]
    assert [p.name for p in tmp_path.iterdir()] == ["x.pth"]


@pytest.mark.parametrize("spoil", [lambda file: file.truncate(100), lambda file: (file.seek(-40, 2), file.write(b"?"))])
def test_a_disk_that_does_not_keep_what_was_written_is_noticed(spoil, tmp_path, monkeypatch):
    def unreliable(handle):
        with open(handle, "r+b", closefd=False) as file:
            spoil(file)

    monkeypatch.setattr("quantnas_sr.pth.os.fsync", unreliable)
    with pytest.raises(CheckpointError, match="net.pth: the checkpoint is not what was written"):
        write_pth({"params": {"a": torch.ones(200)}}, tmp_path / "net.pth")


def test_what_cannot_be_marked_stays_as_it_is(tmp_path, monkeypatch):
    path = tmp_path / "x.pth"
    write_pth({"params": {}}, path)
    before = path.read_bytes()

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("quantnas_sr.pth.torch.save", full)
    with pytest.raises(CheckpointError, match=r"x\.pth: cannot be written: No space left on device$"):
        mark_better(path, "params")
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100000, b'{"a": 1'], ids=lambda text: repr(text[:8])
)
def test_an_extra_state_that_is_no_description_is_empty(text):
    assert description_in(described(text)) == {}
    assert description_in({"_extra_state": torch.zeros(2, 2)}) == description_in({}) == {}


def test_both_kinds_of_network_come_back_and_say_what_they_are(tmp_path, genotype):
    derived = DerivedNetwork(genotype())
    assert isinstance(load_network(save(derived, tmp_path / "derived.pth")), DerivedNetwork)
    arch = trained(ESPCN)
    assert isinstance(load_network(save(arch, tmp_path / "arch.pth")), QuantizedArch)
    with pytest.raises(GenotypeError, match=r"arch\.pth: is the checkpoint of a QuantizedArch, which has no genotype"):
        load_derived(tmp_path / "arch.pth")


@pytest.mark.parametrize(
    "change, line",
    [
        ({"bits_by_layer": "/etc/hostname"}, "bits_by_layer: '/etc/hostname' is not a mapping"),
        ({"bits_by_layer": 5}, "bits_by_layer: 5 is not a mapping"),
        ({"bits": "eight"}, "bits: 'eight' is not a number. Allowed: a whole number"),
        ({"activation_quantizer": ["lsq"]}, r"activation_quantizer: \['lsq'\] is not text"),
        ({"arch": {"type": "ESPCN", "num_feat": 5}}, "do not fit the network that it describes: size mismatch"),
        ({"arch": "ESPCN"}, "arch: 'ESPCN' is not a mapping"),
        ({"groups": 2}, "unknown key 'groups'"),
    ],
    ids=str,
)
def test_a_description_that_cannot_be_built_is_one_line(change, line, tmp_path):
    network = trained(ESPCN)
    state = network.state_dict()
    text = json.dumps({"quantized_arch": {**network.arguments, **change}}).encode()
    torch.save({"params": {**state, **described(text)}}, tmp_path / "net.pth")
    with pytest.raises(DataError, match=line) as caught:
        load_network(tmp_path / "net.pth")
    assert str(caught.value).startswith(f"{tmp_path / 'net.pth'}: ") and "\n" not in str(caught.value)


def test_a_network_without_a_description_is_told_what_is_allowed(tmp_path):
    torch.save({"params": torch.nn.Conv2d(3, 3, 3).state_dict()}, tmp_path / "net.pth")
    with pytest.raises(
        CheckpointError, match="nor the options of a QuantizedArch. Allowed: the checkpoint of a trained"
    ):
        read_state(tmp_path / "net.pth")


@pytest.mark.parametrize("arch, channels", [(ESPCN, 3), ("GrayNetwork", 1), ("TakesMultiplesOnly", 3)])
def test_the_scale_is_found_whatever_images_a_network_takes(arch, channels):
    assert scale_of(trained(arch, channels=channels)) == (4 if arch is ESPCN else 2)
