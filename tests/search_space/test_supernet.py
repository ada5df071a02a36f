"""The supernet over its options: what it computes, where gradients go, what it derives, and what it refuses."""

import copy

import pytest
import torch
from reference import golden_json
from torch import nn

from quantnas_sr.errors import OptionError
from quantnas_sr.quantization import QuantConv2d
from quantnas_sr.search_space import (
    ADQ,
    DerivedNetwork,
    SearchSpace,
    Supernet,
    get_search_space,
    register_search_space,
    space,
)
from quantnas_sr.search_space.operations import Operation

SPACES = ("basic", "rfdn")
MIXERS = ("noise", "shared", "separate")
BODY = ["conv_5x1_1x5", "conv_3x1_1x3", "simple_3x3", "simple_5x5"]
SIX = ["simple_1x1", "simple_3x3", "simple_5x5", "growth1_1x1", "growth1_3x3", "growth1_5x5"]

every_space = pytest.mark.parametrize("search_space", SPACES)


def image(*size: int) -> torch.Tensor:
    return torch.rand(1, 3, *(size or (16, 16)))


def step_back(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    y = net(x)
    (y * torch.randn_like(y)).mean().backward()
    return y


def choose(net: Supernet) -> None:
    """One-hot alphas at a random edge of every slot, also after a softmax."""
    for alphas in net.alphas.values():
        alphas.data.fill_(-1000.0)
        alphas.data.view(-1)[torch.randint(alphas.numel(), ())] = -1.0


def derived_layers(net: Supernet, derived: DerivedNetwork):
    """For each place: the mixed layer and the operation that was derived from it."""
    operations = [module for module in derived.modules() if isinstance(module, Operation)]
    return list(zip((layer for _, layer in net.places()), operations))


# --- the wiring


@pytest.mark.parametrize("bit_mixer", ["noise", "shared"])
@pytest.mark.parametrize("bits", [[4], [8], [4, 8]], ids=str)
@every_space
def test_supernet_has_the_weights_and_alphas_of_the_authors_one(search_space, bits, bit_mixer):
    reference = golden_json(f"arch_{search_space}.json")
    expected = reference["supernet_bits_" + "_".join(map(str, bits))]
    net = Supernet(search_space, candidates=reference["candidates"], bits=bits, bit_mixer=bit_mixer)
    weights = [
        p for name, p in net.named_parameters() if not name.startswith("alphas.") and not name.endswith("step_exponent")
    ]
    assert sum(p.numel() for p in weights) == expected["weights_params"]
    assert len(net.alphas) == expected["alphas"]
    assert sum(alphas.numel() for alphas in net.alphas.values()) == expected["alpha_numel"]


@pytest.mark.parametrize("selector", ["softmax", "gumbel", "hard_gumbel", "sample"])
@pytest.mark.parametrize("bit_mixer", MIXERS)
@every_space
def test_every_selector_and_mixer_goes_forward_and_back(search_space, bit_mixer, selector, supernet):
    net = supernet(search_space, bit_mixer=bit_mixer, selector=selector)
    y = step_back(net, image())
    assert y.shape == (1, 3, 32, 32)
    assert y.isfinite().all()
    for alphas in net.alphas.values():
        if selector == "sample":
            assert alphas.grad is None
            continue
        assert alphas.grad.isfinite().all()
        assert alphas.grad.ne(0).any()
        assert selector != "softmax" or alphas.grad.ne(0).all()
    if selector == "softmax":
        assert all(parameter.grad is not None for parameter in net.weights())


@pytest.mark.parametrize("scale, norm, num_block", [(2, "none", 2), (3, "adadm", 1), (4, "batch", 1), (4, "adq", 2)])
@every_space
def test_every_scale_and_norm_gives_the_large_image(search_space, scale, norm, num_block, supernet):
    net = supernet(search_space, scale=scale, norm=norm, num_block=num_block)
    y = step_back(net, image(16, 18))
    assert y.shape == (1, 3, 16 * scale, 18 * scale)
    assert {module.norm for module in net.modules() if isinstance(module, ADQ)} == {norm}


@pytest.mark.parametrize("bits", [[32], [8, 32], [2, 4, 8]], ids=str)
@pytest.mark.parametrize("bit_mixer", MIXERS)
def test_every_list_of_bits_goes_forward_and_back(bit_mixer, bits, supernet):
    net = supernet(bit_mixer=bit_mixer, bits=bits)
    assert step_back(net, image()).isfinite().all()
    assert all(alphas.shape[1] == len(bits) for alphas in net.alphas.values())


@pytest.mark.parametrize("size", [(1, 1), (5, 5), (14, 40), (15, 15)], ids=str)
def test_rfdn_takes_images_of_any_size(size, supernet):
    with torch.no_grad():
        assert supernet("rfdn").eval()(image(*size)).shape == (1, 3, 2 * size[0], 2 * size[1])


def test_slots_of_basic_are_in_the_order_of_the_wiring(supernet):
    expected = ["head_0", "head_1", "body_0", "body_1", "skip", "upsample", "tail_0", "tail_1"]
    assert list(supernet(num_block=2).slots) == expected


def test_cells_of_basic_share_their_alphas_but_not_their_weights(supernet):
    net = supernet(num_block=3)
    assert set(net.alphas) == {"head_0", "head_1", "body_0", "body_1", "skip", "upsample", "tail_0", "tail_1"}
    places = [layer for _, layer in net.places() if layer.slot.name == "skip"]
    assert len(places) == 3
    weights = [next(place.parameters()) for place in places]
    assert len({id(weight) for weight in weights}) == 3
    step_back(net, image())
    assert all(weight.grad.ne(0).any() for weight in weights)


def test_every_cell_of_rfdn_has_its_own_alphas(supernet):
    cells = {f"{kind}_{i}_{j}" for kind, places in (("skip", 3), ("body", 4)) for i in range(2) for j in range(places)}
    assert set(supernet("rfdn", num_block=2).alphas) == cells | {"upsample", "tail"}


def test_candidates_are_those_of_the_paper():
    basic, rfdn = get_search_space("basic").candidates, get_search_space("rfdn").candidates
    assert {kind: list(names) for kind, names in basic["default"].items()} == {
        "head": ["simple_3x3", "simple_5x5", "simple_3x3_grouped_3", "simple_5x5_grouped_3"],
        "body": BODY,
        "skip": ["simple_1x1", "simple_3x3", "simple_5x5"],
        "upsample": BODY,
        "tail": ["simple_1x1", "simple_3x3", "simple_5x5"],
    }
    assert {kind: len(names) for kind, names in basic["big"].items()} == {
        **{"head": 8, "body": 7, "skip": 4, "upsample": 12, "tail": 8}
    }
    assert all(sorted(names) == sorted(SIX) for names in rfdn["default"].values())
    nine = [*SIX, *(f"simple_{k}x{k}_grouped_2" for k in (1, 3, 5))]
    assert sorted(rfdn["large"]["body"]) == sorted(nine)


@pytest.mark.parametrize("search_space, candidates", [("basic", "big"), ("rfdn", "large")])
def test_the_other_lists_of_candidates_can_be_searched(search_space, candidates, supernet):
    assert step_back(supernet(search_space, candidates=candidates), image()).isfinite().all()


def test_candidates_by_kind_replace_the_default_of_that_kind_only(supernet):
    net = supernet(candidates={"body": ["zero", "skip_connect", "DWS_3x3"]})
    assert net.candidates["body_0"] == net.candidates["body_1"] == ["zero", "skip_connect", "DWS_3x3"]
    assert net.candidates["skip"] == ["simple_1x1", "simple_3x3", "simple_5x5"]
    step_back(net, image())


def test_sizes_are_those_of_the_space_by_default():
    with torch.device("meta"):
        basic, rfdn = Supernet("basic"), Supernet("rfdn")
    assert (basic.num_feat, basic.num_block, basic.scale, basic.bits) == (36, 3, 4, (4, 8))
    assert (rfdn.num_feat, rfdn.num_block) == (48, 4)


# --- selectors


def test_alphas_start_uniform_and_bits_are_sorted(supernet):
    net = supernet(bits=[8, 4])
    assert net.bits == (4, 8)
    for name, p in net.probabilities().items():
        assert p.shape == (len(net.candidates[name]), 2)
        torch.testing.assert_close(p, torch.full_like(p, 1 / p.numel()))


def test_weights_are_all_parameters_but_the_alphas(supernet):
    net = supernet()
    alphas = {id(p) for p in net.alphas.values()}
    weights = {id(p) for p in net.weights()}
    assert not alphas & weights
    assert alphas | weights == {id(p) for p in net.parameters()}


def computed(net: Supernet):
    """For each place the operations that a pass computed, told by the gradients of their weights."""
    net.zero_grad()
    step_back(net, image())
    return [
        (
            layer.slot.name,
            {name for name, op in layer.operations.items() if any(p.grad is not None for p in op.parameters())},
        )
        for _, layer in net.places()
    ]


@pytest.mark.parametrize("bit_mixer", MIXERS)
def test_hard_gumbel_computes_only_the_operation_it_draws(bit_mixer, supernet):
    net = supernet(selector="hard_gumbel", bit_mixer=bit_mixer)
    for _ in range(3):
        assert all(len(operations) == 1 for _, operations in computed(net))
    choose(net)
    assert computed(net) == [
        (layer.slot.name, {net.genotype().slots[layer.slot.name].operation}) for _, layer in net.places()
    ]


@pytest.mark.parametrize("bit_mixer", MIXERS)
@pytest.mark.parametrize("selector", ["softmax", "gumbel"])
def test_the_other_selectors_compute_every_operation(selector, bit_mixer, supernet):
    net = supernet(selector=selector, bit_mixer=bit_mixer)
    assert computed(net) == [(layer.slot.name, set(layer.operations)) for _, layer in net.places()]


def test_temperature_falls_geometrically_from_start_to_end(supernet):
    net = supernet(selector="gumbel", temperature=(8.0, 0.5))
    assert net.temperature == 8.0
    seen = []
    for progress in (0.0, 0.25, 0.5, 1.0):
        net.set_progress(progress)
        seen.append(net.temperature)
    assert seen == pytest.approx([8.0, 4.0, 2.0, 0.5])


def test_temperature_sharpens_the_draws(supernet):
    net = supernet(selector="gumbel", temperature=(50.0, 0.05))
    sharpness = []
    for progress in (0.0, 1.0):
        net.set_progress(progress)
        draws = torch.stack([net._select("skip", net.alphas["skip"]).weights for _ in range(50)])
        torch.testing.assert_close(draws.sum(dim=(1, 2)), torch.ones(50))
        sharpness.append(draws.amax(dim=(1, 2)).mean().item())
    assert sharpness[0] < 0.25
    assert sharpness[1] > 0.9


@pytest.mark.parametrize("selector", ["softmax", "gumbel", "hard_gumbel", "sample"])
@pytest.mark.parametrize("bit_mixer", ["shared", "separate"])
def test_evaluation_leaves_nothing_to_chance(bit_mixer, selector, supernet):
    net, x = supernet(bit_mixer=bit_mixer, selector=selector), image()
    net.eval()
    with torch.no_grad():
        assert torch.equal(net(x), net(x))


# --- genotype and derived network


@every_space
def test_genotype_is_the_largest_alpha_also_when_all_are_negative(search_space, supernet):
    net = supernet(search_space)
    edges = {}
    for name, alphas in net.alphas.items():
        alphas.data.uniform_(-9, -8)
        operation, bits = (int(torch.randint(n, ())) for n in alphas.shape)
        alphas.data[operation, bits] = -7.9
        edges[name] = (net.candidates[name][operation], net.bits[bits])
    found = net.genotype({"step": 7})
    assert {name: tuple(choice) for name, choice in found.slots.items()} == edges
    sizes = (found.search_space, found.scale, found.num_feat, found.num_block, found.norm)
    assert sizes == (search_space, 2, 12, 1, "adq")
    assert found.origin == {"step": 7}


@pytest.mark.parametrize("bits", [[4, 8], [8, 32]], ids=str)
@pytest.mark.parametrize("bit_mixer", ["shared", "separate"])
@every_space
def test_derived_network_computes_what_the_supernet_does_at_one_hot_alphas(
    search_space, bit_mixer, bits, supernet, randomize
):
    net, x = supernet(search_space, bit_mixer=bit_mixer, bits=bits), image()
    randomize(net)
    choose(net)
    net.eval()
    derived = net.derive()
    assert derived.genotype == net.genotype()
    assert not derived.training
    with torch.no_grad():
        torch.testing.assert_close(derived(x), net(x), rtol=1e-6, atol=1e-6)


def test_hard_gumbel_evaluates_what_would_be_derived_now(supernet, randomize):
    net, x = supernet(bit_mixer="shared", selector="hard_gumbel"), image()
    randomize(net)
    for alphas in net.alphas.values():
        alphas.data.normal_()
    net.eval()
    torch.testing.assert_close(net(x), net.derive()(x), rtol=1e-6, atol=1e-6)


@every_space
def test_derived_from_noise_the_weights_go_on_and_the_steps_start_from_them(search_space, supernet, randomize):
    net = supernet(search_space, bits=[4, 8])
    randomize(net)
    choose(net)
    derived = net.derive()
    assert derived.training
    for layer, operation in derived_layers(net, derived):
        choice = derived.genotype.slots[layer.slot.name]
        sources = layer.operations[choice.operation].operation
        for source, conv in zip(sources, operation):
            assert conv.bits == choice.bits
            assert torch.equal(conv.weight, source.weight)
            fresh = copy.deepcopy(conv)
            fresh.init_steps()
            assert torch.equal(conv.weight_quantizer.step, fresh.weight_quantizer.step)
    derived_state = derived.skeleton.state_dict()
    fixed = {k: v for k, v in net.skeleton.state_dict().items() if ".operations." not in k}
    assert fixed
    assert all(torch.equal(value, derived_state[key]) for key, value in fixed.items())


def test_derived_network_does_not_share_memory_with_the_supernet(supernet):
    net = supernet(bit_mixer="shared")
    derived = net.derive()
    ours = {p.data_ptr() for p in net.parameters()}
    assert not ours & {p.data_ptr() for p in derived.parameters()}
    step_back(derived, image())
    assert all(p.grad is None for p in net.parameters())


def test_operations_without_convolutions_can_be_derived(supernet):
    net = supernet(candidates={"body": ["zero", "skip_connect"]}, bit_mixer="shared").eval()
    net.alphas["body_0"].data[1] = 1000.0
    net.alphas["body_1"].data[0] = 1000.0
    for name in set(net.alphas) - {"body_0", "body_1"}:
        net.alphas[name].data[0, 0] = 1000.0
    x = image()
    torch.testing.assert_close(net.derive()(x), net(x))


@pytest.mark.parametrize("bit_mixer", MIXERS)
def test_a_supernet_can_be_copied_after_a_pass(bit_mixer, supernet):
    net = supernet(bit_mixer=bit_mixer)
    step_back(net, image())
    twin = copy.deepcopy(net)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), twin.parameters()))


def test_a_supernet_can_be_copied_after_a_pass_that_failed(supernet):
    net = supernet()
    with pytest.raises(RuntimeError):
        net(torch.rand(1, 5, 16, 16))
    copy.deepcopy(net)


# --- a space of the user's own


class OneLayer(nn.Module):
    def __init__(self, fill, scale, num_feat, num_block, norm):
        super().__init__()
        self.layers = nn.Sequential(fill("first", 3, num_feat), fill("last", num_feat, 3 * scale**2))
        self.shuffle = nn.PixelShuffle(scale)

    def forward(self, x):
        return self.shuffle(self.layers(x))


@pytest.fixture
def own_space(monkeypatch):
    monkeypatch.setattr(space, "_SPACES", dict(space._SPACES))
    candidates = {"default": {"first": ["simple_3x3", "simple_5x5"], "last": ["simple_1x1"]}}
    return register_search_space(SearchSpace("own", OneLayer, candidates, num_feat=8, num_block=1))


def test_a_space_of_the_users_own_is_searched_and_derived_like_ours(own_space):
    net = Supernet("own", scale=3, bit_mixer="shared")
    step_back(net, image())
    choose(net)
    x = image(4, 5)
    torch.testing.assert_close(net.eval().derive()(x), net(x))


def test_a_name_of_a_space_is_given_once(own_space):
    assert register_search_space(own_space) is own_space
    with pytest.raises(OptionError, match="'basic' is registered already"):
        register_search_space(SearchSpace("basic", OneLayer, {"default": {}}, num_feat=8, num_block=1))
    with pytest.raises(OptionError, match="'other'.*'default'"):
        register_search_space(SearchSpace("other", OneLayer, {"small": {}}, num_feat=8, num_block=1))


def test_places_of_one_slot_must_have_the_same_channels(own_space):
    def skeleton(fill, **sizes):
        return nn.Sequential(fill("first", 3, 8), fill("first", 8, 12))

    uneven = SearchSpace("uneven", skeleton, {"default": {"first": ["simple_1x1"]}}, num_feat=8, num_block=1)
    with pytest.raises(OptionError, match="uneven: slot first has different channels"):
        uneven.slots(2, 8, 1)


# --- what is refused

BAD_OPTIONS = [
    ({"selector": "sofmax"}, "unknown selector 'sofmax', did you mean 'softmax'"),
    ({"bit_mixer": "shard"}, "unknown bit_mixer 'shard', did you mean 'shared'"),
    ({"norm": "adm"}, "unknown norm 'adm', did you mean 'adadm'"),
    ({"search_space": "basci"}, "unknown search space 'basci', did you mean 'basic'"),
    ({"search_space": ["basic"]}, "search.space"),
    ({"scale": 5}, "unknown scale '5'.* Allowed: 2, 3, 4"),
    ({"scale": 4.0}, "scale.*4.0"),
    ({"scale": "4"}, "scale.*4"),
    ({"bits": []}, r"bits: \[\] is not a list of at least one bit width"),
    ({"bits": [0]}, "bits: 0 is not a bit width. Allowed: 2 to 16, or 32"),
    ({"bits": [33]}, "bits: 33 is not a bit width"),
    ({"bits": [4, True]}, "bits: True is not a bit width"),
    ({"bits": [4, "8"]}, "bits: '8' is not a bit width"),
    ({"bits": [4, 4]}, r"bits: \[4, 4\] names a bit width twice"),
    ({"bits": "48"}, "bits: '48' is not a list"),
    ({"bits": 8}, "bits: 8 is not a list"),
    ({"bits": 4.5}, "bits: 4.5 is not a list"),
    ({"bits": [[4], [8]]}, "bits: .*4"),
    ({"num_feat": 13}, r"slot head_0 \(3 -> 13 channels\): .* 13 channels are not divisible by 3 groups"),
    ({"num_feat": 0}, "num_feat: 0 is not a whole number above 0"),
    ({"num_feat": "12"}, "num_feat: '12' is not a whole number"),
    ({"num_feat": True}, "num_feat: true is not a whole number"),
    ({"num_block": 0}, "num_block: 0 is not a whole number above 0"),
    ({"candidates": "bigg"}, "unknown candidates 'bigg', did you mean 'big'"),
    ({"candidates": {"bodi": ["simple_3x3"]}}, "candidates: unknown kind of slot 'bodi', did you mean 'body'"),
    ({"candidates": {"body": ["simpl_3x3"]}}, "body: unknown operation 'simpl_3x3', did you mean 'simple_3x3'"),
    ({"candidates": {"body": ["simple_4x4"]}}, "candidates: body: operation 'simple_4x4' has an even kernel"),
    ({"candidates": {"body": []}}, r"candidates: body must be a list of operations, not \[\]"),
    ({"candidates": {"body": "simple_3x3"}}, "candidates: body must be a list of operations, not 'simple_3x3'"),
    ({"candidates": {"body": ["zero", "zero"]}}, "candidates: body names an operation twice"),
    ({"candidates": {"upsample": ["skip_connect"]}}, r"slot upsample \(12 -> 48 channels\): .*skip_connect cannot"),
    ({"candidates": {"body": 5}}, "candidates: body must be a list of operations, not 5"),
    ({"candidates": ["simple_3x3"]}, "candidates"),
    ({"candidates": 5}, "candidates"),
    ({"candidates": None}, "candidates"),
    ({"temperature": [5.0]}, r"temperature: \[5.0\] is not two numbers above 0"),
    ({"temperature": [5.0, 0]}, "temperature"),
    ({"temperature": [-1, 1]}, "temperature"),
    ({"temperature": ["warm", "cold"]}, "temperature"),
    ({"temperature": 5.0}, "temperature: 5.0"),
    ({"temperature": [float("nan"), 1.0]}, "temperature"),
]


@pytest.mark.parametrize("options, complaint", BAD_OPTIONS, ids=lambda value: str(value)[:40])
def test_a_value_that_is_not_allowed_is_refused_by_its_key_and_the_nearest_word(options, complaint):
    with pytest.raises(OptionError, match=complaint) as caught:
        Supernet(**{"search_space": "basic", "scale": 4, "num_feat": 12, "num_block": 1, **options})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("num_feat", [1, 2, 3])
def test_rfdn_refuses_so_few_channels_that_its_attention_would_have_none(num_feat):
    with pytest.raises(OptionError, match="num_feat"):
        Supernet("rfdn", num_feat=num_feat, num_block=1)


def test_fixed_convolutions_of_rfdn_have_8_bits_and_no_bias(genotype):
    derived = DerivedNetwork(genotype("rfdn", bits=4))
    inside = {id(m) for op in derived.modules() if isinstance(op, Operation) for m in op.modules()}
    fixed = [m for m in derived.modules() if isinstance(m, nn.Conv2d) and id(m) not in inside]
    assert len(fixed) == 1 + 7 + 2
    assert all(isinstance(conv, QuantConv2d) and conv.bits == 8 and conv.bias is None for conv in fixed)
