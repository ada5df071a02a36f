"""Any BasicSR network, quantized: what changes, what does not, and which checkpoints load."""

import copy
import json
import types

import pytest
import torch
from basicsr.models.base_model import BaseModel
from basicsr.utils.registry import ARCH_REGISTRY
from networks import published
from torch import nn

from quantnas_sr.archs.quantized_arch import QuantizedArch
from quantnas_sr.cost import count
from quantnas_sr.errors import CalibrationError, DataError, OptionError
from quantnas_sr.quantization import HWGQ, LSQActivation, QuantConv2d, set_quantize


class OwnConv2d(nn.Conv2d):
    """A subclass, which may compute something else."""


@ARCH_REGISTRY.register()
class OwnArch(nn.Module):
    """A user's arch: strides, groups, dilation, other paddings, BatchNorm, a layer twice, a child named ``network``."""

    def __init__(self, num_feat: int = 8) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, num_feat, 3, stride=2, padding=2, dilation=2)
        self.network = nn.Sequential(
            nn.Conv2d(num_feat, num_feat, 3, padding="same", groups=2, bias=False), nn.BatchNorm2d(num_feat)
        )
        self.twice = nn.Conv2d(num_feat, num_feat, (1, 3), padding=(0, 1), padding_mode="reflect")
        self.again = self.twice
        self.own = OwnConv2d(num_feat, 12, 1)

    def forward(self, x):
        x = self.own(torch.relu(self.again(self.twice(self.network(self.down(x))))))
        return nn.functional.pixel_shuffle(x, 2)


@ARCH_REGISTRY.register()
class ArchWithoutConvolutions(nn.Module):
    def forward(self, x):
        return x


ARCHS = {
    "MSRResNet": {"type": "MSRResNet", "num_feat": 8, "num_block": 1},
    "EDSR": {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_block": 1},
    "RFDN": {"type": "RFDN", "num_feat": 8, "num_block": 1},
    "ESPCN": {"type": "ESPCN", "num_feat": 8},
    "own": {"type": "OwnArch"},
}
RFDN = ARCHS["RFDN"]
#: Where a network is trained: a small one.
TRAINED = ARCHS["MSRResNet"]

every_arch = pytest.mark.parametrize("arch", ARCHS.values(), ids=ARCHS)


def base_of(arch):
    return ARCH_REGISTRY.get(arch["type"])(**{key: value for key, value in arch.items() if key != "type"})


def images(n=2):
    return torch.rand(n, 3, 10, 12)


def error_at(bits, base, x, arch=RFDN, **options):
    """Relative error of the output of ``base`` quantized, after calibration."""
    network = QuantizedArch(arch, bits, **options)
    network.load_state_dict(base.state_dict())
    with torch.no_grad():
        network(x)
        return float((network.eval()(x) - base(x)).norm() / base(x).norm())


# --- what is computed


@every_arch
def test_at_32_bits_it_is_the_network_itself(arch):
    base, network = base_of(arch).eval(), QuantizedArch(arch, bits=32).eval()
    network.load_state_dict(base.state_dict(), strict=True)
    x = images()
    assert torch.equal(network(x), base(x))
    assert network.state_dict().keys() - {"_extra_state"} == base.state_dict().keys()


@every_arch
def test_with_its_quantizers_off_it_computes_what_the_network_computes(arch):
    base, network = base_of(arch).eval(), QuantizedArch(arch, bits=4).eval()
    network.load_state_dict(base.state_dict(), strict=True)
    set_quantize(network, False)
    x = images()
    torch.testing.assert_close(network(x), base(x))


@pytest.mark.parametrize("name", ["MSRResNet", "EDSR", "RFDN", "ESPCN"])
def test_fewer_bits_are_further_from_the_network(name):
    base, x = base_of(ARCHS[name]).eval(), images()
    errors = [error_at(bits, base, x, ARCHS[name]) for bits in (2, 4, 8)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 3 * errors[2]


def test_at_8_bits_the_published_network_is_close_to_itself():
    smooth = nn.functional.interpolate(torch.rand(2, 3, 3, 4), (20, 24), mode="bicubic").clamp(0, 1)
    assert error_at(8, published(), smooth, {"type": "RFDN"}) < 0.02


def test_every_convolution_is_replaced_once_and_keeps_how_it_convolves():
    network = QuantizedArch(ARCHS["own"], bits=4)
    base = network.network
    assert {name for name, _ in network.quantized_layers()} == {"down", "network.0", "twice"}
    assert base.twice is base.again
    assert type(base.own) is OwnConv2d
    for name, theirs in base_of(ARCHS["own"]).named_modules():
        if type(theirs) is nn.Conv2d:
            ours = base.get_submodule(name)
            for key in ("stride", "padding", "padding_mode", "dilation", "groups", "kernel_size"):
                assert getattr(ours, key) == getattr(theirs, key)
            assert (ours.bias is None) == (theirs.bias is None)


def test_lsq_adds_no_activation_function_and_hwgq_cuts_negative_inputs_off():
    x = images() - 0.5
    for quantizer, expected in (("lsq", x), ("hwgq", x.relu())):
        network = QuantizedArch({"type": "ESPCN", "num_feat": 4}, 16, activation_quantizer=quantizer)
        conv = network.network.conv1
        set_quantize(network, False)
        torch.testing.assert_close(conv(x), nn.functional.conv2d(expected, conv.weight, conv.bias, padding=2))
        assert type(conv.input_quantizer) is {"lsq": LSQActivation, "hwgq": HWGQ}[quantizer]


@pytest.mark.parametrize(
    "arch, quantizer",
    [
        (ARCHS["MSRResNet"], "lsq"),
        (ARCHS["EDSR"], "lsq"),
        ({"type": "RFDN", "num_feat": 32, "num_block": 1}, "lsq"),
        (ARCHS["own"], "lsq"),
        ({"type": "ESPCN", "num_feat": 8, "activation": "relu"}, "hwgq"),
    ],
    ids=str,
)
def test_gradients_reach_every_weight_and_every_step(arch, quantizer):
    network = QuantizedArch(arch, bits=4, activation_quantizer=quantizer)
    network(torch.rand(2, 3, 32, 32)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.ne(0).any(), name


def test_untrained_it_says_so_when_it_is_tested():
    with pytest.raises(CalibrationError, match="no quantization steps yet: train the network, or load"):
        QuantizedArch(RFDN).eval()(images())


# --- which layers


def widths_of(**options):
    return {name: layer.bits for name, layer in QuantizedArch(RFDN, **options).quantized_layers()}


def test_bits_by_layer_are_for_the_layers_that_they_name(tmp_path):
    given = {"fea_conv": 16, "B1.c1_d": 4, "LR_conv": 32}
    widths = widths_of(bits=8, bits_by_layer=given)
    assert (widths["fea_conv"], widths["B1.c1_d"], "LR_conv" in widths) == (16, 4, False)
    assert {bits for name, bits in widths.items() if name not in given} == {8}
    (tmp_path / "bits.json").write_text(json.dumps(given))
    (tmp_path / "bits.yml").write_text("fea_conv: 16\nB1.c1_d: 4\nLR_conv: 32\n")
    for name in ("bits.json", "bits.yml"):
        assert widths_of(bits=8, bits_by_layer=str(tmp_path / name)) == widths


def test_skipped_layers_stay_in_full_precision():
    everything = widths_of()
    widths = widths_of(skip=["fea_conv", "*.esa.*"], bits_by_layer={"fea_conv": 4})
    assert everything.keys() - widths.keys() == {"fea_conv"} | {name for name in everything if ".esa." in name}


@pytest.mark.parametrize(
    "options, message",
    [
        ({"bits": 17}, "bits: 17 is not a bit width. Allowed: 2 to 16, or 32 for full precision"),
        ({"activation_quantizer": "lqs"}, "unknown activation_quantizer 'lqs', did you mean 'lsq'? Allowed: hwgq, lsq"),
        ({"bits_by_layer": {"fea_con": 8}}, "bits_by_layer: unknown layer 'fea_con', did you mean 'fea_conv'? Allowed"),
        ({"bits_by_layer": {"fea_conv": 1}}, "bits_by_layer: fea_conv: 1 is not a bit width."),
        ({"bits_by_layer": 8}, "bits_by_layer: 8 is not a mapping from names of layers to bits"),
        ({"bits_by_layer": "absent.yml"}, "bits_by_layer: absent.yml cannot be read (No such file or directory)"),
        ({"skip": ["*.eas.*"]}, "skip: unknown layer '*.eas.*'"),
        ({"skip": "fea_conv"}, "skip: 'fea_conv' is not a list of patterns of names"),
        ({"arch": "RFDN"}, "arch: 'RFDN' is not a mapping with the key 'type'"),
        ({"arch": {"num_feat": 8}}, "arch: {'num_feat': 8} is not a mapping with the key 'type'"),
        ({"arch": {"type": "RFDM"}}, "arch: unknown type 'RFDM', did you mean 'RFDN'? Allowed"),
        ({"arch": {"type": "RFDN", "feat": 8}}, "arch: unknown key 'feat', did you mean 'num_feat'? Allowed"),
        ({"arch": {"type": "EDSR", "num_in_ch": 3}}, "arch: EDSR cannot be built: "),
        ({"arch": {"type": "ArchWithoutConvolutions"}}, "arch: ArchWithoutConvolutions has no nn.Conv2d to quantize"),
    ],
    ids=str,
)
def test_what_cannot_be_used_is_one_line_that_says_which_argument(options, message):
    with pytest.raises(OptionError) as caught:
        QuantizedArch(**{"arch": RFDN, **options})
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_file_of_bits_that_is_not_plain_data_is_named(tmp_path):
    for content in (b"!!python/object/apply:os.getcwd []", b"\xff\xfe\x00"):
        (tmp_path / "bits.yml").write_bytes(content)
        with pytest.raises(OptionError, match="bits.yml is neither YAML nor JSON of plain data"):
            QuantizedArch(RFDN, bits_by_layer=tmp_path / "bits.yml")


# --- checkpoints


def load_network(network, state, tmp_path, key="params", file_key="params"):
    """As a BasicSR model loads it, strictly."""
    torch.save(state if file_key is None else {file_key: state}, tmp_path / "net.pth")
    model = types.SimpleNamespace(get_bare_model=lambda net: net)
    model._print_different_keys_loading = types.MethodType(BaseModel._print_different_keys_loading, model)
    BaseModel.load_network(model, network, str(tmp_path / "net.pth"), strict=True, param_key=key)


@every_arch
def test_a_checkpoint_of_the_network_in_full_precision_loads_strictly(arch, tmp_path, randomize):
    base, network = base_of(arch), QuantizedArch(arch, bits=4)
    randomize(base)
    load_network(network, base.state_dict(), tmp_path)
    state = network.state_dict()
    assert all(torch.equal(state[key], value) for key, value in base.state_dict().items())
    for _, layer in network.quantized_layers():
        expected = layer.weight_quantizer.initial_state(layer.weight)
        assert torch.equal(layer.weight_quantizer.step_exponent, expected["step_exponent"])
        assert not layer.input_quantizer.is_calibrated


def test_the_published_weights_load_strictly():
    state = published().state_dict()
    network = QuantizedArch({"type": "RFDN"})
    network.load_state_dict(state, strict=True)
    assert all(torch.equal(network.state_dict()[key], value) for key, value in state.items())


@every_arch
@pytest.mark.parametrize("quantizer", ["lsq", "hwgq"])
def test_its_own_checkpoint_loads_strictly_and_computes_the_same(arch, quantizer, tmp_path):
    first, second = (QuantizedArch(arch, 4, activation_quantizer=quantizer) for _ in range(2))
    first(images())
    load_network(second, first.state_dict(), tmp_path)
    x = images()
    assert torch.equal(first.eval()(x), second.eval()(x))


def test_a_checkpoint_of_full_precision_starts_the_steps_anew():
    network = QuantizedArch(RFDN)
    network(images())
    network.load_state_dict(base_of(RFDN).state_dict())
    with pytest.raises(CalibrationError):
        network.eval()(images())


def test_a_part_of_a_larger_network_loads_like_the_whole():
    class Outer(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

    outer, base = Outer(QuantizedArch(RFDN)), Outer(base_of(RFDN))
    outer.load_state_dict(base.state_dict())
    outer.load_state_dict(outer.state_dict())
    assert torch.equal(outer.inner.network.fea_conv.weight, base.inner.fea_conv.weight)


@pytest.mark.parametrize("change", ["missing", "unknown", "other size"])
def test_a_checkpoint_of_another_network_is_refused(change):
    state = base_of(RFDN).state_dict()
    if change == "missing":
        del state["fea_conv.weight"]
    elif change == "unknown":
        state["fea_conv_2.weight"] = state["fea_conv.weight"]
    else:
        state["fea_conv.weight"] = torch.zeros(3)
    with pytest.raises(RuntimeError, match="fea_conv"):
        QuantizedArch(RFDN).load_state_dict(state)


# --- cost and training


@every_arch
@pytest.mark.parametrize("quantizer", ["lsq", "hwgq"])
def test_it_costs_the_macs_of_the_network_at_its_bits(arch, quantizer):
    base, network = count(base_of(arch)), QuantizedArch(arch, 4, activation_quantizer=quantizer)
    cost = count(network)
    assert cost.macs == base.macs
    own = sum(layer.macs for layer in cost.layers if layer.name.endswith(".own"))
    assert cost.bitops == (cost.macs - own) * 16 + own * 1024
    assert all(layer.quantize for _, layer in network.quantized_layers())


def test_a_copy_is_calibrated_as_the_original():
    network = QuantizedArch(RFDN)
    network(images())
    x = images()
    assert torch.equal(copy.deepcopy(network).eval()(x), network.eval()(x))


def model_options(tmp_path, **train):
    optimizer = {"type": "Adam", "lr": 1e-3}
    scheduler = {"type": "CosineAnnealingRestartLR", "periods": [4], "eta_min": 1e-6}
    return {
        "is_train": True,
        "dist": False,
        "num_gpu": 0,
        "network_g": {"type": "QuantizedArch", "arch": TRAINED, "bits": 8},
        "path": {"pretrain_network_g": str(tmp_path / "base.pth"), "param_key_g": None, "strict_load_g": True},
        "train": {
            "total_iter": 4,
            "ema_decay": 0.9,
            "optim_g": optimizer,
            "scheduler": scheduler,
            "pixel_opt": {"type": "L1Loss"},
            **train,
        },
    }


@pytest.mark.parametrize("fp_warmup", [0, 0.5])
def test_it_trains_with_warm_up_and_moving_average_from_bare_weights(tmp_path, fp_warmup):
    from quantnas_sr.models.quantnas_model import QuantNASModel

    torch.save(base_of(TRAINED).state_dict(), tmp_path / "base.pth")
    model = QuantNASModel(model_options(tmp_path, fp_warmup=fp_warmup, calibration_iter=0))
    quantized = []
    for iteration in range(1, 5):
        x = images()
        model.feed_data({"lq": x, "gt": nn.functional.interpolate(x, scale_factor=4)})
        model.optimize_parameters(iteration)
        quantized.append(model.net_g.network.conv_first.quantize)
    assert quantized == ([False, False, True, True] if fp_warmup else [True] * 4)
    average = model.net_g_ema.network.conv_first.input_quantizer
    own = model.net_g.network.conv_first.input_quantizer
    assert 0 < average.calibrated_share < 1 == own.calibrated_share
    with torch.no_grad():
        ours, averaged = model.net_g.eval()(x), model.net_g_ema(x)
    assert (ours - averaged).norm() / ours.norm() < 0.8
    state = model.net_g_ema.state_dict()
    again = QuantizedArch(TRAINED).eval()
    again.load_state_dict(state)
    torch.testing.assert_close(again(x), averaged, rtol=1e-3, atol=1e-3)
    assert again.network.conv_first.input_quantizer.calibrated_share == 1
    assert isinstance(again.network.conv_first, QuantConv2d)


@pytest.mark.parametrize("fp_warmup", [0, 0.25])
def test_the_first_iterations_calibrate_on_all_their_images_and_train_nothing(tmp_path, fp_warmup):
    from quantnas_sr.models.quantnas_model import QuantNASModel

    torch.save(base_of(TRAINED).state_dict(), tmp_path / "base.pth")
    model = QuantNASModel(model_options(tmp_path, fp_warmup=fp_warmup, calibration_iter=2))
    quantizer, weight = model.net_g.network.conv_first.input_quantizer, model.net_g.network.conv_first.weight
    x, moved = images(), []
    for iteration in range(1, 5):
        before = weight.detach().clone()
        model.feed_data({"lq": x / iteration, "gt": torch.zeros(len(x), 3, 4 * x.shape[2], 4 * x.shape[3])})
        model.update_learning_rate(iteration)
        model.optimize_parameters(iteration)
        moved.append(not torch.equal(weight, before))
        if iteration == 2 + 4 * fp_warmup:
            seen = float(x.amax()) / (1 + 4 * fp_warmup)
            top = (2**8 - 1 - int(quantizer.zero_point)) * float(quantizer.step.detach())
            assert top == pytest.approx(seen, rel=0.1)
            # in one memory order: in another, a convolution adds its products in another order
            average = copy.deepcopy(model.net_g_ema).to(memory_format=torch.channels_last)
            assert torch.equal(average(x), model.net_g.eval()(x))
            model.net_g.train()
        else:
            model.net_g_ema(x)  # a validation
            model.net_g.eval()(100 * x)
            model.net_g.train()
    assert moved == ([True, False, False, True] if fp_warmup else [False, False, True, True])


@pytest.mark.parametrize("calibration_iter", [0, 2])
def test_steps_learn_at_a_rate_in_proportion_to_them(tmp_path, calibration_iter):
    from quantnas_sr.models.quantnas_model import QuantNASModel

    torch.save(base_of(TRAINED).state_dict(), tmp_path / "base.pth")
    model = QuantNASModel(model_options(tmp_path, step_lr=1e-2, calibration_iter=calibration_iter))

    def steps():
        state = model.net_g.state_dict()
        return {key: 2 ** value.detach() for key, value in state.items() if key.endswith("quantizer.step_exponent")}

    x = images()
    for iteration in range(1, 5):
        model.feed_data({"lq": x, "gt": torch.zeros(len(x), 3, 4 * x.shape[2], 4 * x.shape[3])})
        model.update_learning_rate(iteration)
        before, learns = steps(), iteration > max(1, calibration_iter)
        model.optimize_parameters(iteration)
        moved = {
            key: float((value - before[key]).abs().max() / before[key].abs().mean()) for key, value in steps().items()
        }
        if learns:
            assert max(moved.values()) < 0.02
            assert sum(share > 1e-5 for share in moved.values()) > 0.8 * len(moved)
    assert len(model.get_current_learning_rate()) == 1
    rates = [group["lr"] for group in model.optimizer_g.param_groups]
    again = QuantNASModel(model_options(tmp_path, step_lr=1e-2, calibration_iter=calibration_iter))
    again.resume_training(
        {"optimizers": [model.optimizer_g.state_dict()], "schedulers": [model.schedulers[0].state_dict()]}
    )
    assert [group["lr"] for group in again.optimizer_g.param_groups] == rates
    assert again.schedulers[0].base_lrs == model.schedulers[0].base_lrs


@pytest.mark.parametrize("step_lr", [None, 1e-2])
def test_a_resumed_training_has_the_steps_of_one_that_was_not_interrupted(tmp_path, step_lr):
    from quantnas_sr.models.quantnas_model import QuantNASModel

    torch.save(base_of(TRAINED).state_dict(), tmp_path / "base.pth")
    options = {"step_lr": step_lr, "calibration_iter": 1, "ema_decay": 0}
    batches = [images() for _ in range(4)]

    def train(model, iterations):
        for iteration in iterations:
            x = batches[iteration - 1]
            model.feed_data({"lq": x, "gt": torch.zeros(len(x), 3, 4 * x.shape[2], 4 * x.shape[3])})
            model.update_learning_rate(iteration)
            model.optimize_parameters(iteration)

    whole = QuantNASModel(model_options(tmp_path, **options))
    train(whole, [1, 2])
    torch.save(whole.net_g.state_dict(), tmp_path / "base.pth")
    state = {
        "optimizers": [copy.deepcopy(whole.optimizer_g.state_dict())],
        "schedulers": [copy.deepcopy(whole.schedulers[0].state_dict())],
    }
    train(whole, [3, 4])
    resumed = QuantNASModel(model_options(tmp_path, **options))
    resumed.resume_training(state)
    train(resumed, [3, 4])
    expected = whole.net_g.state_dict()
    for key, value in resumed.net_g.state_dict().items():
        assert torch.equal(value, expected[key]), key


@pytest.mark.parametrize("key", [None, "params", "params_ema"])
@pytest.mark.parametrize("bare", [True, False])
@pytest.mark.parametrize("is_train", [True, False])
def test_bare_weights_and_checkpoints_load_whatever_key_is_named(tmp_path, key, bare, is_train):
    from quantnas_sr.models.experiment import ExperimentModel

    base, network = base_of(RFDN), base_of(RFDN)
    state = base.state_dict()
    torch.save(state if bare else {"params": state}, tmp_path / "net.pth")
    model = ExperimentModel.__new__(ExperimentModel)
    model.get_bare_model, model.is_train = lambda net: net, is_train
    model.load_network(network, str(tmp_path / "net.pth"), True, key)
    assert torch.equal(network.fea_conv.weight, base.fea_conv.weight)


@pytest.mark.parametrize("average", [True, False])
def test_a_checkpoint_alone_rebuilds_it(tmp_path, average):
    from quantnas_sr.checkpoints import load_network

    network = QuantizedArch(RFDN, bits=4, bits_by_layer={"fea_conv": 8}, skip=["*conv4"])
    network(images())
    key = "params_ema" if average else "params"
    torch.save({"params": QuantizedArch(RFDN, bits=2).state_dict(), key: network.state_dict()}, tmp_path / "net.pth")
    again = load_network(tmp_path / "net.pth")
    x = images()
    assert torch.equal(again(x), network.eval()(x))
    assert again.network.fea_conv.bits == 8 and type(again.network.B1.esa.conv4) is nn.Conv2d


def test_a_checkpoint_of_an_arch_that_is_not_registered_here_says_so(tmp_path):
    from quantnas_sr.checkpoints import load_network

    network = QuantizedArch(RFDN)
    network(images())
    network.arguments["arch"]["type"] = "RFDM"
    torch.save({"params": network.state_dict()}, tmp_path / "net.pth")
    with pytest.raises(DataError, match="unknown type 'RFDM', did you mean 'RFDN'"):
        load_network(tmp_path / "net.pth")
