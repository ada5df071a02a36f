"""Options that are missing, misspelt or of the wrong kind: a run that can start, or one line that names the key."""

import copy
import random
import re
import sys
from typing import Any, Dict, Iterator, List, Tuple

import pytest
import torch
import yaml
from project import Project

from quantnas_sr.archs.quantized_arch import QuantizedArch
from quantnas_sr.errors import QuantNASError
from quantnas_sr.options import tables
from quantnas_sr.search_space import DerivedNetwork, Supernet

#: Shipped files, and what makes them small.
FILES: Dict[str, Dict[str, Any]] = {
    "search_basic_x4.yml": {"network_g.num_feat": 6, "network_g.num_block": 1},
    "train_basic_x4.yml": {"network_g.genotype": "genotype.yml"},
    "test_basic_x4.yml": {"network_g.genotype": "genotype.yml", "path.pretrain_network_g": "derived.pth"},
    "train_rfdn_8bit_x4.yml": {
        "network_g.arch.num_feat": 4,
        "network_g.arch.num_block": 1,
        "path.pretrain_network_g": "quantized.pth",
        "path.param_key_g": "params",
    },
    "comparisons/search_edmips_espcn.yml": {"network_g.arch.num_feat": 4},
}
#: Values of every kind.
VALUES = (
    "quick",
    "",
    [],
    [1],
    {},
    {"a": 1},
    None,
    -1,
    0,
    1,
    2.5,
    1e30,
    float("nan"),
    float("inf"),
    True,
    "yes",
    "1e-4",
)
DELETED = object()
TRIED = 80


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    project = Project(tmp_path_factory.mktemp("wrong"))
    project.make_data()
    genotype = Supernet("basic", num_feat=6, num_block=1).genotype()
    genotype.save(project.folder / "genotype.yml")
    torch.save({"params_ema": DerivedNetwork(genotype).state_dict()}, project.folder / "derived.pth")
    arch = {"type": "RFDN", "num_feat": 4, "num_block": 1}
    torch.save({"params": QuantizedArch(arch).state_dict()}, project.folder / "quantized.pth")
    return project


def places(options: Any, above: Tuple[str, ...] = ()) -> Iterator[Tuple[str, ...]]:
    """The path of every key."""
    for key, value in options.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from places(value, (*above, key))


def changed(options: Dict[str, Any], place: Tuple[str, ...], value: Any) -> Dict[str, Any]:
    options = copy.deepcopy(options)
    holder = options
    for key in place[:-1]:
        holder = holder[key]
    if value is DELETED:
        holder.pop(place[-1], None)
    else:
        holder[place[-1]] = value
    return options


def parse(project: Project, name: str, options: Any, monkeypatch, *arguments: str) -> Dict[str, Any]:
    """The options as a run would get them; ``name`` is that of the shipped file."""
    from basicsr.utils.options import parse_options

    (project.folder / "tried.yml").write_text(yaml.safe_dump(options, sort_keys=False))
    monkeypatch.chdir(project.folder)
    monkeypatch.setattr(sys, "argv", ["basicsr", "-opt", "tried.yml", *arguments])
    return parse_options(str(project.folder), is_train=not name.startswith("test"))[0]


def small(project: Project, name: str) -> Dict[str, Any]:
    options = project.options(name, FILES[name])
    if name.startswith("test"):
        del options["logger"]
    if "path" in options and "pretrain_network_g" not in FILES[name]:
        options["path"] = {k: v for k, v in options["path"].items() if k != "pretrain_network_g"}
        options["path"].update({k[5:]: v for k, v in FILES[name].items() if k.startswith("path.")})
    return options


def absent(options: Dict[str, Any]) -> Iterator[Tuple[str, ...]]:
    """The path of every key that the options do not have and that a run would read."""
    sections: Dict[Tuple[str, ...], Any] = {(): tables.RUN, ("path",): tables.PATH, ("val",): tables.VAL}
    sections.update({("logger",): tables.LOGGER, ("train",): tables.TRAIN[options["model_type"]]})
    sections.update({("datasets", phase): tables.DATASET for phase in options["datasets"]})
    sections.update({("train", key): ("weight_decay", "betas", "eps") for key in ("optim_g", "optim_alpha")})
    sections[("val", "metrics", "psnr")] = ("input_order", "better")
    for place, keys in sections.items():
        section = options
        for key in place:
            section = section.get(key, {})
        yield from ((*place, key) for key in keys if section and key not in section)


def attempts(project: Project) -> List[Tuple[str, Tuple[str, ...], Any]]:
    """Every key of the files, left out and with every value; and every other key that a run reads."""
    return [
        (name, place, value)
        for name in FILES
        for options in [small(project, name)]
        for place in (*places(options), *absent(options))
        for value in (DELETED, *VALUES)
    ]


@pytest.mark.parametrize("name", FILES)
def test_the_files_as_they_are_can_start(project, monkeypatch, name):
    parse(project, name, small(project, name), monkeypatch)


def test_a_wrong_option_is_one_line_that_names_the_key(project, monkeypatch):
    before = {str(path) for path in project.folder.rglob("*")}
    for name, place, value in random.Random(0).sample(attempts(project), TRIED):
        tried = f"{name}: {'.'.join(place)}: {'deleted' if value is DELETED else value!r}"
        try:
            parse(project, name, changed(small(project, name), place, value), monkeypatch)
        except QuantNASError as error:
            assert "\n" not in str(error), tried
            assert any(key in str(error) for key in place[-2:]), f"{tried}: {error}"
        except BaseException as error:
            pytest.fail(f"{tried}: {type(error).__name__}: {error}")
    assert {str(path) for path in project.folder.rglob("*")} - before <= {str(project.folder / "tried.yml")}


#: What BasicSR meets with a traceback, some of it only at the first validation: key, value, words of the line.
TRIED_BY_HAND = [
    ("val.metrics.psnr.crop_border", DELETED, ["val.metrics.psnr: the key 'crop_border' is missing"]),
    ("val.metrics.psnr.crop_border", 400, ["val.metrics.psnr.crop_border: 400 leaves too little", "Allowed: at most"]),
    ("val.metrics.psnr.crop_boarder", 4, ["val.metrics.psnr: unknown key 'crop_boarder'", "'crop_border'"]),
    ("val.metrics.psnr.test_y_chanel", True, ["unknown key 'test_y_chanel'", "'test_y_channel'"]),
    ("val.metrics.psnr.type", "calculate_pnsr", ["val.metrics.psnr: unknown type", "'calculate_psnr'"]),
    ("val.metrics.psnr", 4, ["val.metrics.psnr: 4 is not a mapping"]),
    ("val.val_freq", DELETED, ["val: the key 'val_freq' is missing"]),
    ("val.val_freq", 0, ["val.val_freq: 0 is not allowed", "at least 1"]),
    ("val.save_img", DELETED, ["val: the key 'save_img' is missing"]),
    ("val.save_img", "yes", ["val.save_img: 'yes' is not true or false"]),
    ("val.vall_freq", 5, ["val: unknown key 'vall_freq'", "'val_freq'"]),
    ("datasets.val", DELETED, ["val.metrics: there is no dataset"]),
    ("datasets.val.color", "y", ["datasets.val: color: y gives images of 1 channel", "Allowed: color: rgb"]),
    ("datasets.vall", {}, ["datasets: unknown phase 'vall'", "'val'"]),
    ("datasets", {}, ["datasets: there is none"]),
    ("datasets.train", DELETED, ["datasets: the key 'train' is missing"]),
    ("datasets.train.gt_size", 30, ["gt_size 30 must be a multiple of the scale 4"]),
    ("datasets.train.use_hflip", "yes", ["datasets.train.use_hflip: 'yes' is not true or false"]),
    ("datasets.train.use_rot", DELETED, ["datasets.train: the key 'use_rot' is missing"]),
    ("datasets.train.num_worker_per_gpu", DELETED, ["the key 'num_worker_per_gpu' is missing"]),
    ("datasets.train.batch_size_per_gpu", "many", ["datasets.train.batch_size_per_gpu: 'many' is not a number"]),
    ("datasets.train.dataset_enlarge_ratio", 0, ["dataset_enlarge_ratio: 0 is not allowed", "above 0"]),
    ("datasets.train.io_backend", "lmdb", ["datasets.train.io_backend: 'lmdb' is not a mapping"]),
    ("datasets.train.io_backend.type", "lmbd", ["datasets.train.io_backend: unknown type 'lmbd'", "'lmdb'"]),
    ("datasets.train.prefetch_mode", "cuda", ["datasets.train.prefetch_mode: cuda needs pin_memory: true"]),
    ("datasets.train.persistent_workers", True, ["persistent_workers: true needs num_worker_per_gpu above 0"]),
    ("datasets.train.type", "SingleImageDataset", ["datasets.train: SingleImageDataset has no GT to train with"]),
    ("logger", DELETED, ["the key 'logger' is missing"]),
    ("logger", [], ["logger: [] is not a mapping"]),
    ("logger", None, ["the key 'logger' is missing"]),
    ("logger.print_freq", DELETED, ["logger: the key 'print_freq' is missing"]),
    ("logger.print_freq", 2.5, ["logger.print_freq: 2.5 is not a whole number"]),
    ("logger.save_checkpoint_freq", "often", ["logger.save_checkpoint_freq: 'often' is not a number"]),
    ("logger.use_tb_logger", DELETED, ["logger: the key 'use_tb_logger' is missing"]),
    ("logger.wandb.project", "sr", ["logger.wandb.project"]),
    ("manual_seed", "x", ["manual_seed: 'x' is not a number"]),
    ("num_gpu", "all", ["num_gpu: 'all' is not allowed", "auto"]),
    ("num_gpu", -1, ["num_gpu: -1 is not allowed"]),
    ("name", "..", ["name: '..' is not a name"]),
    ("name", "", ["name: '' is empty"]),
    ("name", 7, ["name: 7 is not text: put it in quotes"]),
    ("scale", "four", ["scale: 'four' is not a number"]),
    ("path.pretrain_network", "a.pth", ["path: unknown key 'pretrain_network'", "'pretrain_network_g'"]),
    ("path.strict_load_g", None, ["path.strict_load_g: null is not true or false"]),
    ("path.resume_state", "absent.state", ["path.resume_state: there is no file absent.state"]),
    ("path.pretrain_network_g", "tried.yml", ["tried.yml"]),
    ("train.fp_warmup", None, ["train.fp_warmup: null is not a number"]),
    ("train.step_lr", 1e30, ["train.step_lr: 1e+30 is not allowed", "at most 1"]),
    ("train.bias_lr", 1e30, ["train.bias_lr: 1e+30 is not allowed", "at most 1"]),
    ("train.calibration_iter", 10, ["train.calibration_iter: 10 leaves none of total_iter"]),
    ("train.optim_g.lr", DELETED, ["train.optim_g: the key 'lr' is missing"]),
    ("train.optim_g.lr", -1, ["train.optim_g.lr: -1 is not allowed"]),
    ("train.optim_g.lr", float("nan"), ["train.optim_g.lr: nan is not a finite number"]),
    ("train.optim_g.weight_decay", -1, ["train.optim_g.weight_decay: -1 is not allowed"]),
    ("train.optim_g.momentun", 0.9, ["train.optim_g: unknown key 'momentun'"]),
    ("train.optim_g.nesterov", True, ["train.optim_g: unknown key 'nesterov'"]),
    ("train.scheduler.periods", [1, 1], ["train.scheduler: periods has 2 entries and restart_weights 1"]),
    ("train.scheduler.periods", "all", ["train.scheduler.periods: 'all' is not a list"]),
    ("train.scheduler.eta_mim", 1e-6, ["train.scheduler: unknown key 'eta_mim'", "'eta_min'"]),
    ("train.pixel_opt", DELETED, ["the key 'pixel_opt' is missing"]),
    ("train.pixel_opt.loss_weight", -1, ["train.pixel_opt.loss_weight: -1 is not allowed"]),
    ("train.pixel_opt.reduction", "sums", ["train.pixel_opt: unknown reduction 'sums'", "'sum'"]),
    ("train.pixel_opt.type", "EntropyLoss", ["train.pixel_opt: type EntropyLoss is another kind of loss"]),
    ("train.ema_decay", 1, ["train.ema_decay: 1 is not allowed"]),
    ("train.warmup_iter", None, ["train.warmup_iter: null is not a number"]),
    ("dist_params.port", "x" * 300, []),
]


def with_key(options: Dict[str, Any], key: str, value: Any) -> Dict[str, Any]:
    return changed(options, tuple(key.split(".")), value)


@pytest.mark.parametrize(
    ("key", "value", "words"), TRIED_BY_HAND, ids=[f"{k}={str(v)[:20]}" for k, v, _ in TRIED_BY_HAND]
)
def test_what_basicsr_would_meet_with_a_traceback_is_one_line(project, monkeypatch, key, value, words):
    options = with_key(small(project, "train_basic_x4.yml"), key, value)
    if not words:
        parse(project, "train_basic_x4.yml", options, monkeypatch)
        return
    with pytest.raises(QuantNASError) as error:
        parse(project, "train_basic_x4.yml", options, monkeypatch)
    assert all(word in str(error.value) for word in words) and "\n" not in str(error.value), str(error.value)


SEARCHES = [
    ("train.hardware_opt", 0, ["train.hardware_opt: 0 is not a mapping"]),
    ("train.hardware_opt.loss_weight", float("nan"), ["train.hardware_opt.loss_weight: nan is not a finite number"]),
    ("train.entropy_opt.loss_weight", -1, ["train.entropy_opt.loss_weight: -1 is not allowed"]),
    ("train.hardware_opt.type", "L1Loss", ["train.hardware_opt: type L1Loss is another kind of loss"]),
    ("datasets.train.alpha_fracton", 0.5, ["datasets.train: unknown key 'alpha_fracton'", "'alpha_fraction'"]),
    ("datasets.train.datasett", "PairedImageDataset", ["datasets.train: unknown key 'datasett'", "'dataset'"]),
    ("datasets.train.dataset", "SingleImageDataset", ["has no GT to train with"]),
    ("datasets.train.type", "PairedImageDataset", ["a search cannot use type PairedImageDataset"]),
    ("scale", 2, ["GT must be 2 times as large as LQ"]),
    ("network_g.temperature", "hot", ["network_g: temperature: 'hot' is not a list of 2"]),
    ("network_g.bits", 8, ["network_g: bits: 8 is not a list"]),
]


@pytest.mark.parametrize(("key", "value", "words"), SEARCHES, ids=[f"{key}={value}" for key, value, _ in SEARCHES])
def test_a_wrong_option_of_a_search_is_one_line(project, monkeypatch, key, value, words):
    options = small(project, "search_basic_x4.yml")
    options["datasets"]["train"].pop("alpha_fraction" if "fracton" in key else "", None)
    options["datasets"]["train"].pop("dataset" if "datasett" in key else "", None)
    with pytest.raises(QuantNASError) as error:
        parse(project, "search_basic_x4.yml", with_key(options, key, value), monkeypatch)
    assert all(word in str(error.value) for word in words) and "\n" not in str(error.value), str(error.value)


def test_every_key_is_missed_by_its_name_when_it_is_misspelt(project, monkeypatch):
    name = "search_basic_x4.yml"
    options = small(project, name)
    named_by_users = [("datasets",), ("val", "metrics")]
    tried = [place for place in places(options) if place[:-1] not in named_by_users]
    for place in random.Random(0).sample(tried, 25):
        key = place[-1]
        other = key[:-2] + key[-1] if len(key) > 4 else key[:-2] + key[-1] + key[-2]
        if other == key or place[-1] == "lr":
            continue
        wrong = copy.deepcopy(options)
        holder = wrong
        for above in place[:-1]:
            holder = holder[above]
        holder[other] = holder.pop(key)
        with pytest.raises(QuantNASError, match=key):
            parse(project, name, wrong, monkeypatch)


NUMBERS = {
    "train.total_iter": ("5e1", 50),
    "val.val_freq": ("1e3", 1000),
    "logger.print_freq": (1e2, 100),
    "logger.save_checkpoint_freq": ("5.0e3", 5000),
    "datasets.train.batch_size_per_gpu": ("2e0", 2),
    "datasets.train.dataset_enlarge_ratio": ("1e1", 10),
    "manual_seed": ("1e2", 100),
    "train.grad_clip": ("5e-1", 0.5),
    "network_g.arch.num_feat": ("4e0", 4),
    "network_g.arch.img_range": ("2.55e2", 255.0),
}
WORDS = {"name": "1e4", "datasets.val.name": "2e-3", "val.suffix": "1e4", "logger.wandb.resume_id": "1e5"}


def test_text_that_is_a_number_becomes_one_everywhere_and_names_stay_text(project, monkeypatch):
    options = small(project, "train_rfdn_8bit_x4.yml")
    for key, value in {**{key: given for key, (given, _) in NUMBERS.items()}, **WORDS}.items():
        options = with_key(options, key, value)
    options["train"]["scheduler"]["periods"] = ["5e1"]
    parsed = parse(project, "train_rfdn_8bit_x4.yml", options, monkeypatch)
    for key, expected in {**{key: number for key, (_, number) in NUMBERS.items()}, **WORDS}.items():
        value = parsed
        for part in key.split("."):
            value = value[part]
        assert value == expected and type(value) is type(expected), key
    assert parsed["train"]["scheduler"]["periods"] == [50]


@pytest.mark.parametrize("seed, forced", [(1e2, []), (-0.0, []), (3, ["--force_yml", "manual_seed=1e2"])], ids=str)
def test_a_seed_may_be_a_whole_number_with_a_point(seed, forced, project, monkeypatch):
    options = with_key(small(project, "train_rfdn_8bit_x4.yml"), "manual_seed", seed)
    parsed = parse(project, "train_rfdn_8bit_x4.yml", options, monkeypatch, *forced)
    assert parsed["manual_seed"] == (100 if forced else int(seed)) and type(parsed["manual_seed"]) is int


def test_commands_read_numbers_that_are_written_as_text(project):
    from quantnas_sr.options.described import network_of_file
    from quantnas_sr.options.read import cost_size, supernet_of

    network = {"type": "RFDN", "num_feat": "4e0", "num_block": 1, "img_range": "2.55e2"}
    (project.folder / "numbers.yml").write_text(yaml.safe_dump({"network_g": network}))
    assert network_of_file(project.folder / "numbers.yml").img_range == 255
    search = {"network_g": {"type": "QuantNASSupernet", "search_space": "basic", "num_feat": "6e0", "num_block": "1e0"}}
    search["train"] = {"hardware_opt": {"size": ["1e1", "2e1"]}}
    (project.folder / "numbers.yml").write_text(yaml.safe_dump(search))
    assert supernet_of(project.folder / "numbers.yml").num_feat == 6
    assert cost_size(project.folder / "numbers.yml") == (10, 20)


@pytest.mark.parametrize(
    "change",
    ["val:val_freq=often", "train:total_iter=a=b", "nothing:here=1", "train:scheduler:periods=[1", "val:val_frq=3"],
)
def test_a_forced_option_that_cannot_be_used_is_one_line(project, monkeypatch, change):
    options = small(project, "train_basic_x4.yml")
    with pytest.raises(QuantNASError) as error:
        parse(project, "train_basic_x4.yml", options, monkeypatch, "--force_yml", change)
    assert "\n" not in str(error.value)


def test_forced_options_are_checked_in_place_of_those_of_the_file(project, monkeypatch):
    options = with_key(small(project, "train_basic_x4.yml"), "val.val_freq", "often")
    forced = ["--force_yml", "val:val_freq=1e1", "train:optim_g:lr=1e-2", "train:scheduler:periods=[4]"]
    parsed = parse(project, "train_basic_x4.yml", options, monkeypatch, *forced)
    assert (parsed["val"]["val_freq"], parsed["train"]["optim_g"]["lr"]) == (10, 0.01)
    assert parsed["train"]["scheduler"]["periods"] == [4]


def test_the_check_leaves_no_trace_in_the_random_numbers_of_the_run(project, monkeypatch):
    options = small(project, "train_rfdn_8bit_x4.yml")
    parse(project, "train_rfdn_8bit_x4.yml", options, monkeypatch)
    after = torch.rand(3)
    torch.manual_seed(options["manual_seed"])
    assert torch.equal(after, torch.rand(3))


@pytest.mark.parametrize("launcher", [False, True])
@pytest.mark.parametrize("num_gpu", [2, "auto"])
def test_several_gpus_need_a_launcher(project, monkeypatch, num_gpu, launcher):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    from quantnas_sr.options.check import check

    opt = parse_one_gpu(project, monkeypatch)
    opt.update(num_gpu=2 if num_gpu == "auto" else num_gpu, dist=launcher)
    if launcher:
        check(opt)
        return
    with pytest.raises(QuantNASError, match="num_gpu: 2 GPUs need one process each: .*torchrun.*0 or 1"):
        check(opt)
    with pytest.raises(QuantNASError, match="torchrun"):
        options = with_key(small(project, "train_basic_x4.yml"), "num_gpu", num_gpu)
        parse(project, "train_basic_x4.yml", options, monkeypatch)


def parse_one_gpu(project: Project, monkeypatch) -> Dict[str, Any]:
    options = with_key(small(project, "train_basic_x4.yml"), "num_gpu", 1)
    return parse(project, "train_basic_x4.yml", options, monkeypatch)


def test_more_gpus_than_there_are_is_one_line(project, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    options = with_key(small(project, "train_basic_x4.yml"), "num_gpu", 8)
    with pytest.raises(QuantNASError, match="num_gpu: 8, but torch finds 2 GPUs"):
        parse(project, "train_basic_x4.yml", options, monkeypatch)


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("test")])
def test_a_test_without_weights_is_one_line(project, monkeypatch, name):
    for path in ({}, {"pretrain_network_g": None}):
        with pytest.raises(QuantNASError, match="path.pretrain_network_g: a test needs the .pth"):
            parse(project, name, {**small(project, name), "path": path}, monkeypatch)


def test_weights_of_another_network_are_one_line(project, monkeypatch):
    options = with_key(small(project, "train_rfdn_8bit_x4.yml"), "network_g.arch.num_feat", 8)
    with pytest.raises(QuantNASError, match="path.pretrain_network_g: quantized.pth does not fit network_g"):
        parse(project, "train_rfdn_8bit_x4.yml", options, monkeypatch)


def test_a_network_that_upscales_by_another_factor_is_one_line(project, monkeypatch):
    options = with_key(small(project, "train_rfdn_8bit_x4.yml"), "network_g.arch.upscale", 2)
    with pytest.raises(QuantNASError, match="scale: 4 here, but network_g makes 16x16 pixels of 8x8"):
        parse(project, "train_rfdn_8bit_x4.yml", {**options, "path": {}}, monkeypatch)


def test_a_patch_that_the_network_cannot_take_is_one_line(project, monkeypatch):
    options = small(project, "train_rfdn_8bit_x4.yml")
    network = {"type": "RRDBNet", "scale": 1, "num_in_ch": 3, "num_out_ch": 3, "num_feat": 4, "num_block": 1}
    options.update(network_g={**network, "num_grow_ch": 2}, path={}, scale=1)
    for phase in ("train", "val"):
        options["datasets"][phase]["dataroot_lq"] = options["datasets"][phase]["dataroot_gt"]
    options["datasets"]["train"]["gt_size"] = 34
    with pytest.raises(QuantNASError, match="datasets.train.gt_size: 34 is not allowed. Allowed: multiples of 4"):
        parse(project, "train_rfdn_8bit_x4.yml", options, monkeypatch)
    options["datasets"]["train"]["gt_size"] = 36
    parse(project, "train_rfdn_8bit_x4.yml", options, monkeypatch)


def test_a_calibration_that_would_not_end_is_one_line(project, monkeypatch):
    opt = small(project, "train_basic_x4.yml")
    opt["train"].update(total_iter=20, fp_warmup=0.9, calibration_iter=1)
    opt["train"]["scheduler"]["periods"] = [20]
    parse(project, "train_basic_x4.yml", opt, monkeypatch)
    opt["train"]["calibration_iter"] = 2
    line = "train.calibration_iter: 2 leaves none of the 2 iterations after fp_warmup to train in. Allowed: less than 2"
    with pytest.raises(QuantNASError, match=re.escape(line)):
        parse(project, "train_basic_x4.yml", opt, monkeypatch)


def test_debug_without_validation_is_one_line(project, monkeypatch):
    options = {**small(project, "train_basic_x4.yml"), "val": None}
    parse(project, "train_basic_x4.yml", options, monkeypatch)
    with pytest.raises(QuantNASError, match="val: null cannot be used with --debug"):
        parse(project, "train_basic_x4.yml", options, monkeypatch, "--debug")


def test_keys_that_are_no_text_and_mappings_within_themselves_end(project, monkeypatch):
    options = small(project, "train_basic_x4.yml")
    with pytest.raises(QuantNASError, match="the key 5 is not text"):
        parse(project, "train_basic_x4.yml", {**options, "val": {**options["val"], 5: 1}}, monkeypatch)
    options["notes"] = {}
    options["notes"]["itself"] = options["notes"]
    with pytest.raises(QuantNASError, match="not plain YAML"):
        parse(project, "train_basic_x4.yml", options, monkeypatch)
