"""Runs without a class of this package are left as BasicSR has them; the others are checked."""

import copy
import functools
import inspect
import sys

import pytest
import yaml
from basicsr.utils import options
from basicsr.utils.registry import ARCH_REGISTRY, MODEL_REGISTRY

from quantnas_sr.errors import OptionError
from quantnas_sr.options.gate import is_our_run, read_numbers

TRAIN = {
    "name": "t",
    "type": "PairedImageDataset",
    "dataroot_gt": "absent",
    "dataroot_lq": "absent",
    "io_backend": {"type": "disk"},
    "gt_size": 16,
    "use_hflip": True,
    "use_rot": True,
    "num_worker_per_gpu": 0,
    "batch_size_per_gpu": 2,
}
NET = {"type": "MSRResNet", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_block": 1, "upscale": 4}
OPTIM = {"type": "Adam", "lr": "1e-4", "betas": [0.9, 0.99]}
PIXEL = {"type": "L1Loss"}
SCHEDULER = {"type": "MultiStepLR", "milestones": [4], "gamma": 0.5}


def run(**changes):
    """The options of a plain run of BasicSR on images that are not there, with other top-level keys."""
    train = {"ema_decay": 0.999, "optim_g": OPTIM, "scheduler": SCHEDULER, "total_iter": 10, "warmup_iter": -1}
    logger = {"print_freq": 1, "save_checkpoint_freq": 5, "use_tb_logger": False, "wandb": {"project": None}}
    base = {
        "name": "1e4",
        "model_type": "SRModel",
        "scale": 4,
        "num_gpu": 0,
        "manual_seed": 0,
        "path": {"strict": "no"},
    }
    base.update(datasets={"train": TRAIN}, network_g=NET, train=train, logger=logger)
    return {**copy.deepcopy(base), **copy.deepcopy(changes)}


def trained(**more):
    return {**run()["train"], **more}


GAN = {"type": "GANLoss", "gan_type": "vanilla", "real_label_val": 1.0, "fake_label_val": 0.0, "loss_weight": "5e-3"}
PERCEPTUAL = {
    "type": "PerceptualLoss",
    "layer_weights": {"conv5_4": 1},
    "vgg_type": "vgg19",
    "criterion": "l1",
    "style_weight": 0,
}
OTHERS = {
    "SRGAN": run(
        model_type="SRGANModel",
        network_d={"type": "VGGStyleDiscriminator", "num_in_ch": 3, "num_feat": 8},
        train=trained(optim_d=OPTIM, gan_opt=GAN, perceptual_opt=PERCEPTUAL, net_d_iters=1, net_d_init_iters=0),
    ),
    "Real-ESRGAN": run(
        model_type="RealESRGANModel",
        network_g={"type": "SRVGGNetCompact", "num_feat": 8, "act_type": "prelu"},
        network_d={"type": "UNetDiscriminatorSN", "num_in_ch": 3, "num_feat": 8, "skip_connection": True},
        resize_prob=[0.2, 0.7, 0.1],
        datasets={
            "train": {"name": "DF2K", "type": "RealESRGANDataset", "kernel_list": ["iso", "aniso"], "sinc": "1e-1"}
        },
        train=trained(optim_d=OPTIM, gan_opt=GAN, perceptual_opt=PERCEPTUAL),
    ),
    "names that nobody has": run(
        model_type="HATModel", network_g={"type": "HAT", "upsampler": "pixelshuffle"}, train=trained(mode="fast")
    ),
    "a schedule and an optimizer of its own": run(
        train=trained(scheduler={"type": "TrueCosine", "eta": "low"}, optim_g={"type": "Lion", "lr": "1e-4"})
    ),
    "networks without network_g": run(network_g=None, network_sr={"type": "RRDBNet"}, network_le={"type": "Encoder"}),
    "video": run(
        model_type="EDVRModel",
        network_g={"type": "EDVR", "hr_in": "no"},
        datasets={"train": {"name": "r", "type": "REDSDataset", "val_partition": "REDS4", "num_frame": 5}},
    ),
    "losses in a list": run(train=trained(losses=[{"type": "L1Loss", "kind": "fft"}, "word"], mixup=None)),
    "no training": run(train=None),
}


@pytest.fixture
def parse(tmp_path, monkeypatch):
    """The options of a file, as BasicSR's own function and as the one with our check return them."""

    def parse(opt, function=None, is_train=True, *arguments):
        (tmp_path / "opt.yml").write_text(yaml.safe_dump(opt, sort_keys=False))
        monkeypatch.setattr(sys, "argv", ["train.py", "-opt", str(tmp_path / "opt.yml"), *arguments])
        return (function or options.parse_options)(str(tmp_path), is_train=is_train)[0]

    return parse


@pytest.mark.parametrize("is_train", [True, False], ids=["train", "test"])
@pytest.mark.parametrize("case", OTHERS)
def test_the_options_of_others_are_as_basicsr_reads_them(parse, case, is_train):
    upstream = parse(OTHERS[case], inspect.unwrap(options.parse_options), is_train)
    ours = parse(OTHERS[case], is_train=is_train)
    read_numbers(upstream["train"])
    assert ours == upstream
    if "optim_g" in (ours["train"] or {}):
        assert ours["train"]["optim_g"]["lr"] == 1e-4


@pytest.mark.parametrize("base", ["resnet", 64, None, ["a"]])
def test_a_key_base_that_names_no_file_stays_in_options_that_are_whole(parse, base):
    assert parse(run(base=base))["base"] == base


@pytest.mark.parametrize(
    ("text", "value"),
    [("window: !!python/tuple [8, 8]", (8, 8)), ("window: größe", "größe"), ("window: [1e4]", ["1e4"])],
)
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_file_that_basicsr_reads_is_read(tmp_path, monkeypatch, text, value, encoding):
    """``open`` has the encoding of the locale, here one that is not UTF-8."""
    path = tmp_path / "opt.yml"
    path.write_text(yaml.safe_dump(run()) + text + "\n", encoding=encoding)
    in_locale = functools.partial(open, encoding="latin-1")
    monkeypatch.setitem(vars(options), "open", lambda name, mode="r": in_locale(name, mode=mode))
    monkeypatch.setattr(sys, "argv", ["train.py", "-opt", str(path)])
    assert options.parse_options(str(tmp_path))[0]["window"] == value


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"datasets": ["train"]}, "datasets: ['train'] is not a mapping of keys to values"),
        ({"datasets": {"test": "Set5"}}, "datasets.test: 'Set5' is not a mapping of keys to values"),
        ({"path": "net.pth"}, "path: 'net.pth' is not a mapping of keys to values"),
    ],
    ids=str,
)
def test_options_of_others_that_basicsr_cannot_read_are_one_line(parse, changes, said):
    with pytest.raises(OptionError) as error:
        parse(run(**changes))
    assert str(error.value) == said


def test_only_what_basicsr_hands_to_torch_becomes_a_number(parse):
    opt = parse(OTHERS["Real-ESRGAN"])
    assert opt["name"] == "1e4" and opt["datasets"]["train"]["sinc"] == "1e-1"
    assert opt["train"]["gan_opt"]["loss_weight"] == 5e-3 and opt["train"]["gan_opt"]["gan_type"] == "vanilla"
    forced = parse(OTHERS["SRGAN"], None, True, "--force_yml", "train:optim_g:lr=2e-4")
    assert forced["train"]["optim_g"]["lr"] == 2e-4


@pytest.mark.parametrize(
    ("text", "number"), [("1e-4", 1e-4), ("5e1", 50), ("-1E+3", -1000), (".5e-3", 5e-4), ("2.e2", 200.0)]
)
def test_a_number_with_an_exponent_is_one(text, number):
    values = {"a": [text, {"b": text}]}
    read_numbers(values)
    assert values == {"a": [number, {"b": number}]}


@pytest.mark.parametrize("text", ["vanilla", "1e", "e5", "conv5_4", "1_0", "nan", "inf", "12", "0x1e3", "1e-4 s", ""])
def test_every_other_text_stays_one(text):
    values = {"a": text}
    read_numbers(values)
    assert values == {"a": text}


OURS = {
    "model": run(model_type="QuantNASModel"),
    "network": run(network_g={"type": "QuantizedArch", "arch": NET}),
    "second network": run(network_d={"type": "ESPCN"}),
    "name with our suffix": run(network_g={"type": "RFDN_quantnas"}),
    "dataset": run(datasets={"train": {**TRAIN, "type": "QuantNASSearchDataset"}}),
    "loss": run(train=trained(entropy_opt={"type": "EntropyLoss"})),
    "loss in a list": run(train=trained(losses=[{"type": "HardwareCostLoss"}])),
}


@pytest.mark.parametrize("case", OURS)
def test_a_run_with_a_class_of_this_package_is_checked(parse, case):
    opt = {**OURS[case], "path": {}, "train": {**OURS[case]["train"], "optim_g": {"type": "Adm", "lr": 1e-4}}}
    with pytest.raises(OptionError, match="Adm"):
        parse(opt)


@pytest.mark.parametrize(
    "opt",
    [None, [], {"train": [1]}, {"datasets": [1]}, {"network_g": 1, 2: 3}, {"model_type": ["x"], "datasets": {"a": 1}}],
)
def test_options_of_any_shape_can_be_asked(opt):
    assert not is_our_run(opt)


@pytest.fixture
def registered(monkeypatch):
    """Registers a class of a project for the time of a test."""

    def register(registry, cls):
        monkeypatch.setitem(registry._obj_map, cls.__name__, cls)

    return register


def test_a_network_of_ours_trains_under_a_model_of_others(parse, registered, tmp_path, monkeypatch):
    from basicsr.models.sr_model import SRModel

    class OwnModel(SRModel):
        def get_optimizer(self, *args, **kwargs):
            raise NotImplementedError

        def setup_schedulers(self):
            raise NotImplementedError

    def own_network(**options):
        raise NotImplementedError

    registered(MODEL_REGISTRY, OwnModel)
    registered(ARCH_REGISTRY, own_network)
    monkeypatch.setattr("quantnas_sr.options.checks.datasets.check_paired_dataset", lambda *arguments: None)
    train = {"total_iter": 10, "gan_opt": GAN, "style": "word", "optim_g": {"type": "Lion", "lr": "1e-3"}}
    opt = run(model_type="OwnModel", network_g={"type": "QuantizedArch", "arch": NET}, train=train)
    assert parse(opt)["train"]["optim_g"]["lr"] == 1e-3
    gan = trained(gan_opt=GAN, optim_d=OPTIM, perceptual_opt=PERCEPTUAL, style="word")
    opt = run(model_type="SRGANModel", network_g={"type": "QuantizedArch", "arch": NET}, train=gan)
    assert parse(opt)["train"]["gan_opt"]["gan_type"] == "vanilla"
    opt = run(model_type="QuantNASModel", network_g={"type": "own_network"}, path={}, train=trained(pixel_opt=PIXEL))
    assert parse(opt)["model_type"] == "QuantNASModel"


def test_a_weight_of_any_loss_is_a_number_in_a_run_of_ours(parse, monkeypatch):
    monkeypatch.setattr("quantnas_sr.options.checks.datasets.check_paired_dataset", lambda *arguments: None)
    pixel = {"type": "L1Loss", "loss_weight": "much"}
    with pytest.raises(OptionError, match="train.pixel_opt.loss_weight: 'much' is not a number"):
        parse(run(model_type="QuantNASModel", path={}, train=trained(pixel_opt=pixel)))


@pytest.mark.parametrize("name", ["SRVGGNetCompact", "SRVGGNetCompact_basicsr"])
def test_a_network_is_found_as_basicsr_finds_it(name):
    from quantnas_sr.mixed_precision.base_network import build_arch

    if "SRVGGNetCompact_basicsr" not in ARCH_REGISTRY:
        pytest.skip("this BasicSR has no network with its suffix")
    assert type(build_arch({"type": name, "num_feat": 4, "num_conv": 1})).__name__ == "SRVGGNetCompact"
