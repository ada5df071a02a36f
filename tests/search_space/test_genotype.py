"""The genotype, its file, and the checkpoints that carry it."""

import math
import os
import pickle
from pathlib import Path

import pytest
import torch
import yaml
from reference import golden_genotype, golden_json

from quantnas_sr.cost import count
from quantnas_sr.errors import GenotypeError, QuantNASError
from quantnas_sr.search_space import Choice, DerivedNetwork, Genotype, load_derived
from quantnas_sr.search_space.derived import read_state

GOLDEN_SIZES = {"basic": (36, 3), "rfdn": (48, 4)}
GOLDEN_CASES = [
    *(("basic", case) for case in ("all_3x3_8bit", "all_3x3_4bit", "mixed", "big_ops")),
    *(("rfdn", case) for case in ("all_3x3_8bit", "all_3x3_4bit", "mixed")),
]


@pytest.fixture
def text(genotype):
    return genotype(body_0=("conv_5x1_1x5", 4)).to_yaml()


@pytest.fixture
def image():
    return torch.rand(1, 3, 16, 16)


def refused(path: Path) -> str:
    """What the user is told about a file: one line."""
    with pytest.raises(GenotypeError) as caught:
        Genotype.load(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def line_of(text: str, start: str) -> int:
    return next(i for i, line in enumerate(text.splitlines(), 1) if line.strip().startswith(start))


# --- what the authors' derived networks are


@pytest.mark.parametrize("space, name", GOLDEN_CASES)
def test_derived_network_has_the_size_and_cost_of_the_authors_one(space, name):
    case = golden_json(f"arch_{space}.json")[f"derived_{name}"]
    network = DerivedNetwork(golden_genotype(space, case, *GOLDEN_SIZES[space]))
    steps = sum(p.numel() for key, p in network.named_parameters() if key.endswith("weight_quantizer.step_exponent"))
    assert steps == case["lsq_steps"]
    for size in (32, 256):
        cost = count(network, (size, size))
        assert cost.params == case["params"]
        assert cost.bitops == case[f"bitops_{size}x{size}"]
    with torch.device("meta"):
        shapes = [list(network.to("meta").eval()(torch.empty(1, 3, size, size)).shape) for size in (32, 256)]
    assert shapes == [case["out_32"], case["out_256"]]


# --- round trips


@pytest.mark.parametrize("space", ["basic", "rfdn"])
def test_a_genotype_comes_back_from_file_tensor_and_plain_data(space, genotype, tmp_path):
    given = genotype(space, upsample=("simple_5x5", 4))
    given = Genotype.from_dict({**given.to_dict(), "origin": {"iter": 5, "note": "alphas: [1, 2]"}})
    given.save(tmp_path / "new folder" / "genotype.yml")
    for back in (
        Genotype.load(tmp_path / "new folder" / "genotype.yml"),
        Genotype.of(str(tmp_path / "new folder" / "genotype.yml")),
        Genotype.from_tensor(given.to_tensor()),
        Genotype.from_dict(given.to_dict()),
        Genotype.of(given.to_dict()),
        Genotype.of(given),
        pickle.loads(pickle.dumps(given)),
    ):
        assert back == given
        assert back.origin == {"iter": 5, "note": "alphas: [1, 2]"}
        assert all(isinstance(choice, Choice) for choice in back.slots.values())


def test_the_file_is_plain_yaml_with_one_line_a_slot(genotype):
    text = genotype(body_0=("conv_5x1_1x5", 4)).to_yaml()
    assert "\n  body_0: {operation: conv_5x1_1x5, bits: 4}\n" in text
    assert yaml.safe_load(text) == genotype(body_0=("conv_5x1_1x5", 4)).to_dict()


def test_equality_ignores_where_a_genotype_came_from_and_nothing_else(genotype):
    one = genotype()
    assert one == Genotype.from_dict({**one.to_dict(), "origin": {"iter": 1}})
    assert one != genotype(skip=("simple_1x1", 8))
    assert one != genotype(skip=("simple_3x3", 4))
    for key, value in (("scale", 3), ("num_feat", 24), ("norm", "none")):
        assert one != Genotype.from_dict({**one.to_dict(), key: value})


def test_the_order_of_the_slots_in_a_file_does_not_matter(genotype):
    data = genotype(skip=("simple_1x1", 4)).to_dict()
    shuffled = {**data, "slots": dict(reversed(data["slots"].items()))}
    assert list(Genotype.from_dict(shuffled).slots) == list(data["slots"])


# --- files that cannot be used


@pytest.mark.parametrize(
    "content, complaint",
    [
        (b"", "must be a mapping with the keys genotype_version"),
        (b"# nothing but a remark\n", "must be a mapping"),
        (b"- simple_3x3\n- simple_5x5\n", "must be a mapping"),
        (b"simple_3x3", "must be a mapping"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe\x00", "not text"),
        (b"a\x00b", "control characters are not allowed"),
        (b"slots: [1, 2", "line "),
        (b"slots:\n  head: {a: 1\n", "line 3"),
        (b"a: 1\n---\nb: 2\n", "line 2"),
        (b"slots: &s\n  again: *s\n", ""),
    ],
    ids=["empty", "comment", "list", "word", "binary", "nul", "open list", "open mapping", "two", "recursive"],
)
def test_what_is_no_genotype_file_is_refused(content, complaint, tmp_path):
    path = tmp_path / "genotype.yml"
    path.write_bytes(content)
    assert complaint in refused(path)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    assert "cannot be read" in refused(tmp_path / "genotype.yml")
    assert "cannot be read" in refused(tmp_path)


@pytest.mark.parametrize(
    "line, instead, complaint",
    [
        ("skip:", "skip: {operation: simpel_3x3, bits: 8}", "operation 'simpel_3x3', did you mean 'simple_3x3'"),
        ("skip:", "skip: {operation: simple_4x4, bits: 8}", "even kernel"),
        ("skip:", "skip: {operation: 3, bits: 8}", "unknown operation '3'"),
        ("skip:", "skip: {operation: simple_3x3, bits: 0}", "0 is not a bit width"),
        ("skip:", "skip: {operation: simple_3x3, bits: 33}", "33 is not a bit width"),
        ("skip:", "skip: {operation: simple_3x3, bits: true}", "True is not a bit width"),
        ("skip:", 'skip: {operation: simple_3x3, bits: "8"}', "'8' is not a bit width"),
        ("skip:", "skip: {operation: simple_3x3, bits: 8.0}", "8.0 is not a bit width"),
        ("skip:", "skip: {operation: simple_3x3, bit: 8}", "unknown key 'bit', did you mean 'bits'"),
        ("skip:", "skip: {operation: simple_3x3}", "lacks the key 'bits'"),
        ("skip:", "skip: {bits: 8}", "lacks the key 'operation'"),
        ("skip:", "skip: [simple_3x3, 8]", "skip must be a mapping with the keys operation, bits"),
        ("skip:", "skip: {operation: simple_3x3_grouped_5, bits: 8}", "12 channels are not divisible by 5 groups"),
        ("tail_0:", "tail_0: {operation: skip_connect, bits: 8}", "skip_connect cannot turn 3 channels into 12"),
        ("skip:", "skp: {operation: simple_3x3, bits: 8}", "unknown slot 'skp', did you mean 'skip'"),
        ("tail_1:", "tail_0: {operation: simple_3x3, bits: 8}", "key 'tail_0' stands here twice"),
        ("scale:", "scale: 5", "unknown scale '5'"),
        ("scale:", "scale: 2.0", "scale"),
        ("norm:", "norm: adqq", "unknown norm 'adqq', did you mean 'adq'"),
        ("search_space:", "search_space: basc", "unknown search space 'basc', did you mean 'basic'"),
        ("search_space:", "search_space: [basic]", "search"),
        ("genotype_version:", "genotype_version: 2", "genotype version 2, this package reads version 1"),
        ("num_feat:", "num_feat: many", "num_feat: 'many' is not a whole number"),
        ("num_feat:", "num_feat: 12.0", "num_feat: 12.0 is not a whole number"),
        ("num_block:", "num_block: 0", "num_block: 0 is not a whole number"),
        ("num_feat:", "num_feats: 12", "unknown key 'num_feats', did you mean 'num_feat'"),
        ("norm:", "norm: adq\nnorm: adq", "key 'norm' stands here twice"),
        ("origin:", "origin: 5", "origin"),
        ("origin:", "origin: here", "origin"),
        ("origin:", "origin: [1]", "origin"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 50 else "",
)
def test_a_bad_line_is_refused_by_file_and_line_number(line, instead, complaint, text, tmp_path):
    number = line_of(text, line)
    lines = text.splitlines()
    lines[number - 1] = ("  " if lines[number - 1].startswith(" ") else "") + instead
    path = tmp_path / "genotype.yml"
    path.write_text("\n".join(lines) + "\n")
    message = refused(path)
    assert f"line {number + instead.count(chr(10))}: " in message
    assert complaint in message


@pytest.mark.parametrize(
    "line, complaint",
    [
        ("skip:", "slots: 7 of 8 slots, missing: skip"),
        ("norm:", "lacks the key 'norm'"),
        ("genotype_version:", "lacks the key 'genotype_version'"),
    ],
)
def test_a_line_that_is_missing_is_named(line, complaint, text, tmp_path):
    path = tmp_path / "genotype.yml"
    path.write_text("\n".join(row for row in text.splitlines() if not row.strip().startswith(line)))
    assert complaint in refused(path)


@pytest.mark.parametrize("slots", ["slots: 3", "slots: ~", "slots: [simple_3x3]"])
def test_slots_that_are_no_mapping_are_refused(slots, text, tmp_path):
    path = tmp_path / "genotype.yml"
    path.write_text(text[: text.index("slots:")] + slots + "\n")
    assert "slots must be a mapping of 8 slots" in refused(path)


@pytest.mark.parametrize("tag", ["os.system", "builtins.exec", "subprocess.check_call"])
def test_code_in_a_file_does_not_run(tag, text, tmp_path):
    marker, path = tmp_path / "it ran", tmp_path / "genotype.yml"
    argument = f"open({str(marker)!r}, 'w')" if "exec" in tag else f"touch '{marker}'"
    path.write_text(text.replace("origin: {}", f'origin: !!python/object/apply:{tag} ["{argument}"]'))
    number = line_of(path.read_text(), "origin:")
    message = refused(path)
    assert f"line {number}:" in message
    assert "plain data only" in message
    assert not marker.exists()


def test_an_origin_that_a_checkpoint_cannot_hold_is_refused_or_kept(text, tmp_path, image):
    """YAML reads 2024-05-17 as a date."""
    path = tmp_path / "genotype.yml"
    path.write_text(text.replace("origin: {}", "origin: {date: 2024-05-17}"))
    try:
        network = DerivedNetwork(path)
    except GenotypeError as error:
        assert "origin" in str(error)
        return
    assert Genotype.from_tensor(network.state_dict()["_extra_state"]) == network.genotype


def test_plain_data_is_checked_like_a_file(genotype):
    data = genotype().to_dict()
    data["slots"]["skip"]["bits"] = 33
    with pytest.raises(GenotypeError, match="^genotype: bits: 33 is not a bit width"):
        DerivedNetwork(data)


def test_a_genotype_of_another_space_is_refused(genotype):
    class ForBasic(DerivedNetwork):
        search_space = "basic"

    ForBasic(genotype("basic"))
    with pytest.raises(GenotypeError, match="ForBasic is for the search space 'basic', the genotype is of 'rfdn'"):
        ForBasic(genotype("rfdn"))


# --- saving


def test_a_failure_while_writing_leaves_the_old_file_and_nothing_else(genotype, tmp_path, monkeypatch):
    path = tmp_path / "genotype.yml"
    genotype().save(path)
    before = path.read_text()

    def write_half(self, text, **kwargs):
        with open(self, "w") as file:
            file.write(text[: len(text) // 2])
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_text", write_half)
    with pytest.raises(OSError, match="disk full"):
        genotype(skip=("simple_1x1", 4)).save(path)
    assert path.read_text() == before
    assert os.listdir(tmp_path) == ["genotype.yml"]


# --- checkpoints


@pytest.fixture
def trained(genotype, randomize):
    """A network whose parameters and statistics are nowhere near their start."""
    network = DerivedNetwork(genotype(skip=("simple_1x1", 4), tail_0=("simple_5x5", 32)))
    randomize(network)
    return network.eval()


def save(path, state, key="params", **more):
    torch.save({key: state, **more}, path)
    return path


@pytest.mark.parametrize("space", ["basic", "rfdn"])
def test_a_checkpoint_alone_rebuilds_the_network(space, genotype, randomize, tmp_path, image):
    network = DerivedNetwork(genotype(space, upsample=("conv_5x1_1x5", 4)))
    randomize(network)
    back = load_derived(save(tmp_path / "net.pth", network.state_dict()))
    assert back.genotype == network.genotype
    assert not back.training
    with torch.no_grad():
        assert torch.equal(back(image), network.eval()(image))


def test_the_moving_average_is_preferred_unless_another_is_asked_for(trained, randomize, tmp_path):
    plain = {key: value.clone() for key, value in trained.state_dict().items()}
    randomize(trained)
    path = save(tmp_path / "net.pth", plain, params_ema=trained.state_dict())
    gamma = "skeleton.body.gamma"
    assert not torch.equal(plain[gamma], trained.state_dict()[gamma])
    assert torch.equal(load_derived(path).state_dict()[gamma], trained.state_dict()[gamma])
    assert torch.equal(load_derived(path, "params_ema").state_dict()[gamma], trained.state_dict()[gamma])
    assert torch.equal(load_derived(path, "params").state_dict()[gamma], plain[gamma])


def test_a_checkpoint_without_moving_average_gives_its_parameters(trained, tmp_path):
    path = save(tmp_path / "net.pth", trained.state_dict())
    assert read_state(path, "params_ema").keys() == trained.state_dict().keys()


@pytest.mark.parametrize(
    "other, difference",
    [
        ({"skip": ("simple_3x3", 4)}, "skip is simple_1x1 at 4 bits there and simple_3x3 at 4 bits here"),
        ({"skip": ("simple_1x1", 8)}, "skip is simple_1x1 at 4 bits there and simple_1x1 at 8 bits here"),
        ({"skip": ("simple_1x1", 4), "tail_0": ("simple_3x3", 32)}, "tail_0 is simple_5x5 at 32 bits there"),
    ],
)
def test_a_checkpoint_of_another_genotype_is_refused_by_the_first_difference(other, difference, trained, genotype):
    network = DerivedNetwork(genotype(**{"tail_0": ("simple_5x5", 32), **other}))
    before = network.state_dict()["skeleton.head.0.0.weight"].clone()
    with pytest.raises(GenotypeError, match=f"the checkpoint is of another genotype: {difference}"):
        network.load_state_dict(trained.state_dict())
    assert torch.equal(network.state_dict()["skeleton.head.0.0.weight"], before)


@pytest.mark.parametrize("key, value", [("scale", 3), ("num_feat", 24), ("norm", "none"), ("num_block", 2)])
def test_a_checkpoint_of_other_sizes_is_refused_by_the_first_difference(key, value, genotype):
    ours = genotype()
    theirs = DerivedNetwork({**ours.to_dict(), key: value})
    with pytest.raises(GenotypeError, match=f"another genotype: {key} is {value} there and {getattr(ours, key)} here"):
        DerivedNetwork(ours).load_state_dict(theirs.state_dict())


def test_a_checkpoint_of_the_same_genotype_from_elsewhere_loads(trained):
    twin = DerivedNetwork(Genotype.from_dict({**trained.genotype.to_dict(), "origin": {"run": "another"}}))
    twin.load_state_dict(trained.state_dict())


@pytest.mark.parametrize(
    "content",
    [
        *(None, 5, [1], "text", torch.zeros(3), {}, {"a": 1}, {"params": 5}, {"params": {}}),
        {"params": {"conv.weight": torch.zeros(1)}},
        {"conv.weight": torch.zeros(1)},
        {"params": {"_extra_state": b"{}"}},
        {"params": {"_extra_state": torch.tensor([0.5, 0.25])}},
        {"params": {"_extra_state": torch.tensor([1, 2, 255], dtype=torch.uint8)}},
        {"params": {"_extra_state": torch.tensor(list(b"{}"), dtype=torch.uint8)}},
    ],
    ids=lambda value: str(value)[:50],
)
def test_a_checkpoint_that_is_not_of_a_derived_network_is_refused(content, tmp_path):
    path = tmp_path / "net.pth"
    torch.save(content, path)
    with pytest.raises(GenotypeError) as caught:
        load_derived(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def drop(state):
    return {key: value for key, value in state.items() if not key.endswith("head.0.0.weight")}


def add(state):
    return {**state, "another.weight": torch.zeros(1)}


def reshape(state):
    return {**state, "skeleton.body.gamma": torch.zeros(2)}


@pytest.mark.parametrize("spoil", [drop, add, reshape])
def test_a_checkpoint_whose_weights_do_not_fit_its_genotype_is_refused(spoil, trained, tmp_path):
    path = save(tmp_path / "net.pth", spoil(trained.state_dict()))
    with pytest.raises(QuantNASError) as caught:
        load_derived(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"garbage" * 100, b"PK\x03\x04 half a zip"], ids=["empty", "garbage", "cut"])
def test_a_file_that_is_no_checkpoint_is_refused(content, tmp_path):
    path = tmp_path / "net.pth"
    path.write_bytes(content)
    with pytest.raises(GenotypeError) as caught:
        load_derived(path)
    assert str(caught.value).startswith(f"{path}: not a checkpoint")
    assert "\n" not in str(caught.value)


def test_a_checkpoint_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(GenotypeError, match="net.pth: the checkpoint cannot be read"):
        load_derived(tmp_path / "net.pth")


class _Touches:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch '{self.path}'",)


def test_code_in_a_checkpoint_does_not_run(tmp_path):
    marker, path = tmp_path / "it ran", tmp_path / "net.pth"
    torch.save({"params": _Touches(marker)}, path)
    with pytest.raises(GenotypeError, match="not a checkpoint"):
        load_derived(path)
    assert not marker.exists()


def test_the_genotype_in_a_state_dict_is_a_tensor_that_basicsr_can_save_and_compare(trained):
    state = trained.state_dict()["_extra_state"]
    assert state.dtype == torch.uint8
    assert state.dim() == 1
    assert math.prod(state.shape) > 100
