"""The plain space: what it computes at the start, how it reads the image, and trained steps in every mixer."""

import pytest
import torch
import torch.nn.functional as F

from quantnas_sr.cost import count
from quantnas_sr.errors import GenotypeError, OptionError
from quantnas_sr.quantization import QuantConv2d, calibrate_on, is_calibrated
from quantnas_sr.search_space import Choice, DerivedNetwork, Genotype, Supernet, get_search_space
from quantnas_sr.search_space.conv_spec import PAPER_STYLE, ConvSpec
from quantnas_sr.search_space.mixing.multi_bit_conv import NoiseConv2d

MIXERS = ("noise", "shared", "separate")
every_mixer = pytest.mark.parametrize("bit_mixer", MIXERS)
every_scale = pytest.mark.parametrize("scale", [2, 3, 4])


def genotype(scale=4, num_feat=8, num_block=2, bits=4, **changes):
    slots = get_search_space("plain").slots(scale, num_feat, num_block)
    choices = {name: Choice("simple_3x3", bits if name.startswith("body") else 8) for name in slots}
    choices.update(changes)
    return Genotype("plain", scale, num_feat, num_block, "none", choices, {}, "lsq")


def images(n=2, height=12, width=10):
    return torch.randint(0, 256, (n, 3, height, width)) / 255


def supernet(bit_mixer, **options):
    torch.manual_seed(0)
    return Supernet("plain", num_feat=8, num_block=2, bit_mixer=bit_mixer, **options)


def choose(net):
    """One-hot alphas at a random edge of every slot, also after a softmax."""
    for alphas in net.alphas.values():
        alphas.data.fill_(-1000.0)
        alphas.data.view(-1)[torch.randint(alphas.numel(), ())] = -1.0


# --- the wiring


@every_scale
def test_without_the_last_layer_it_is_nearest_neighbour_upscaling(scale):
    network, x = DerivedNetwork(genotype(scale)), images()
    for parameter in (network.skeleton.upsample[0].weight, network.skeleton.upsample[0].bias):
        parameter.data.zero_()
    torch.testing.assert_close(network(x), F.interpolate(x, scale_factor=scale, mode="nearest"))


def test_body_layers_start_near_the_identity_and_hand_on_what_they_read():
    body = DerivedNetwork(genotype(bits=8, num_feat=16, num_block=4)).skeleton.body.train()
    x = torch.rand(4, 16, 20, 20)
    y = body(x)
    inside = (slice(None), slice(None), slice(6, -6), slice(6, -6))
    correlation = torch.corrcoef(torch.stack([x[inside].flatten(), y[inside].flatten()]))[0, 1]
    assert correlation > 0.7


def test_the_cost_is_that_of_its_convolutions():
    """44 channels, five 3x3 body layers of 4 bits, first and last layer 8 bits, at 32x32."""
    pixels, c = 32 * 32, 44
    expected = pixels * 9 * (64 * 3 * c + 5 * 16 * c * c + 64 * c * 48)
    assert count(DerivedNetwork(genotype(num_feat=c, num_block=5))).bitops == expected


def test_the_search_chooses_the_depth():
    assert "skip_connect" in supernet("noise").candidates["body_0"]
    short = DerivedNetwork(genotype(body_0=Choice("skip_connect", 4)))
    assert len([m for m in short.modules() if isinstance(m, QuantConv2d)]) == 3


def test_another_norm_is_refused():
    with pytest.raises(OptionError, match="unknown norm 'adq'.*Allowed: none"):
        Supernet("plain", norm="adq")


# --- the image


def test_the_first_layer_reads_an_image_file_exactly():
    layer, x = DerivedNetwork(genotype()).skeleton.head[0], images()
    assert torch.equal(layer.input_quantizer.to_int(x), (x * 255).round())
    torch.testing.assert_close(layer.input_quantizer(x), x, rtol=0, atol=1e-7)


def test_noise_leaves_alone_what_8_bits_read_exactly():
    def inputs_std(bits, quantizer):
        conv = NoiseConv2d(torch.nn.Conv2d(3, 4, 3), bits, activation_quantizer=quantizer)
        return conv.input_unit_std.tolist()

    assert inputs_std((4, 8), "image") == pytest.approx([0.5 / 15, 0.0])
    assert inputs_std((4, 8), "relu_lsq") == pytest.approx([0.5 / 15, 0.5 / 255])


@every_mixer
def test_first_convolutions_alone_read_the_image(bit_mixer):
    net = supernet(bit_mixer, candidates={"head": ["conv_3x1_1x3"]})
    derived = net.derive()
    first, second = derived.skeleton.head
    assert [type(layer.input_quantizer).__name__ for layer in (first, second)] == [
        "ImageQuantizer",
        "RectifiedLSQActivation",
    ]


# --- trained steps


@every_mixer
@every_scale
def test_every_parameter_of_the_supernet_is_trained(bit_mixer, scale):
    net = supernet(bit_mixer, scale=scale)
    y = net(images())
    assert y.shape == (2, 3, 12 * scale, 10 * scale)
    (y * torch.randn_like(y)).sum().backward()
    assert not [name for name, parameter in net.named_parameters() if parameter.grad is None]


@pytest.mark.parametrize("bit_mixer", ["shared", "separate"])
@pytest.mark.parametrize("seed", range(3))
def test_the_derived_network_computes_what_the_supernet_computes_at_one_hot_alphas(bit_mixer, seed):
    net = supernet(bit_mixer)
    net(images())  # sets the steps of activations
    torch.manual_seed(seed)
    choose(net)
    x = images()
    torch.testing.assert_close(net.eval().derive()(x), net(x))


def test_what_a_search_against_noise_finds_is_calibrated_on_one_batch():
    derived = supernet("noise").eval().derive()
    assert not is_calibrated(derived)
    calibrate_on(derived, images())
    assert is_calibrated(derived) and not derived.training
    assert derived(images()).isfinite().all()


def test_activations_after_a_relu_are_unsigned():
    network = DerivedNetwork(genotype()).train()
    network(images())
    for layer in network.modules():
        if isinstance(layer, QuantConv2d):
            x = torch.randn(1, layer.in_channels, 4, 4)
            assert layer.input_quantizer.to_int(x).amin() == 0


@pytest.mark.parametrize("bits", [[32], [8, 32]], ids=str)
@every_mixer
def test_full_precision_can_be_searched(bit_mixer, bits):
    net = supernet(bit_mixer, bits=bits)
    assert net(images()).isfinite().all()
    derived = net.eval().derive()
    calibrate_on(derived, images())
    assert derived(images()).isfinite().all()


@pytest.mark.parametrize("space", ["basic", "rfdn"])
@every_mixer
def test_the_papers_spaces_take_trained_steps_too(bit_mixer, space):
    net = Supernet(space, num_feat=12, num_block=1, bit_mixer=bit_mixer, activation_quantizer="lsq")
    net(images(2, 16, 16))
    derived = net.eval().derive()
    calibrate_on(derived, images(2, 16, 16))
    assert derived.genotype.activation_quantizer == "lsq"
    assert derived(images(1, 16, 16)).isfinite().all()


# --- the genotype file


def test_the_file_says_which_quantizer_and_is_read_again(tmp_path):
    genotype().save(tmp_path / "genotype.yml")
    assert "activation_quantizer: lsq" in (tmp_path / "genotype.yml").read_text()
    assert Genotype.load(tmp_path / "genotype.yml") == genotype()


def test_a_file_without_the_key_is_of_hwgq():
    data = genotype().to_dict()
    del data["activation_quantizer"]
    assert Genotype.from_dict(data).activation_quantizer == "hwgq"


def test_an_unknown_quantizer_is_refused_in_one_line():
    with pytest.raises(GenotypeError, match="unknown activation_quantizer 'lsk', did you mean 'lsq'"):
        Genotype.from_dict({**genotype().to_dict(), "activation_quantizer": "lsk"})
    with pytest.raises(OptionError, match="unknown activation_quantizer 'hwg', did you mean 'hwgq'"):
        Supernet("plain", activation_quantizer="hwg")


def test_a_checkpoint_of_another_quantizer_is_refused():
    with pytest.raises(GenotypeError, match="activation_quantizer is hwgq there and lsq here"):
        other = Genotype.from_dict({**genotype().to_dict(), "activation_quantizer": "hwgq"})
        DerivedNetwork(genotype()).load_state_dict(DerivedNetwork(other).state_dict())


def test_the_style_of_a_slot_is_the_papers_by_default():
    (spec,) = PAPER_STYLE.applied([ConvSpec(3, 8, (3, 3))])
    assert (spec.bias, spec.activation_quantizer, spec.identity) == (False, "hwgq", False)


# --- the options files


@pytest.mark.parametrize("scale", [2, 4])
def test_the_shipped_files_describe_the_search_the_training_and_the_test_of_one_network(scale):
    from project import load_options

    from quantnas_sr.options.read import supernet_of

    search, train, test = (load_options(f"{stage}_plain_x{scale}.yml") for stage in ("search", "train", "test"))
    net = supernet_of(search)
    assert (net.search_space, net.scale, net.norm, net.activation_quantizer) == ("plain", scale, "none", "lsq")
    genotype = f"experiments/{search['name']}/genotype.yml"
    assert test["network_g"] == {"type": "QuantNASPlain", "genotype": genotype}
    assert train["network_g"] == test["network_g"]
    assert f"experiments/{train['name']}/" in test["path"]["pretrain_network_g"]
    assert {opt["scale"] for opt in (search, train, test)} == {scale}
