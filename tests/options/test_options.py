"""Bad input: one line, exit code 1, and nothing made or moved."""

from pathlib import Path
from typing import Any, Dict

import cv2
import numpy as np
import pytest
import yaml
from project import ROOT, Project, set_option, write_image

from quantnas_sr import cli
from quantnas_sr.search_space import Supernet
from quantnas_sr.sweep.plan import check_stage


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Project:
    project = Project(tmp_path_factory.mktemp("options"))
    project.make_data()
    Supernet("basic").genotype().save(project.folder / "genotype.yml")
    return project


@pytest.fixture
def project(shared, monkeypatch) -> Project:
    monkeypatch.chdir(shared.folder)
    return shared


def contents(folder: Path) -> set:
    return {str(path) for path in folder.rglob("*")}


def complaint(project: Project, opt: Dict[str, Any], capsys, stage: str = "train") -> str:
    """The one line that a run with these options ends with; checks the exit code and that nothing was made."""
    options = project.write("bad.yml", opt)
    before = contents(project.folder)
    capsys.readouterr()
    assert cli.basicsr_main([stage, "-opt", options]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert contents(project.folder) == before
    return lines[0]


SEARCH = "search_basic_x4.yml"
BAD_VALUES = [
    ("network_g.selector", "sofmax", ["selector 'sofmax'", "'softmax'"]),
    ("network_g.bit_mixer", "nosie", ["bit_mixer 'nosie'", "'noise'"]),
    ("network_g.noise_mode", "exakt", ["noise_mode 'exakt'", "'exact'"]),
    ("train.amp", "bfloat", ["train: unknown amp 'bfloat'", "'bfloat16'"]),
    ("network_g.norm", "adam", ["norm 'adam'", "'adadm'"]),
    ("network_g.search_space", "bassic", ["search space 'bassic'", "'basic'"]),
    ("network_g.bits", [], ["bits: [] is not a list"]),
    ("network_g.bits", [0], ["bits: 0 is not a bit width", "2 to 16"]),
    ("network_g.bits", [4, 33], ["bits: 33 is not a bit width"]),
    ("network_g.num_feat", 35, ["35 channels are not divisible by 3 groups", "head_0"]),
    ("network_g.candidates", "bigg", ["candidates 'bigg'", "'big'"]),
    ("network_g.candidates", {"body": ["simple_33"]}, ["unknown operation 'simple_33'", "'simple_3x3'"]),
    ("network_g.bit_mixr", "noise", ["network_g: unknown key 'bit_mixr'", "'bit_mixer'"]),
    ("network_g.type", "QuantNASSupernett", ["network_g: unknown type", "'QuantNASSupernet'"]),
    ("network_g.type", "MSRResNet", ["cannot be searched", "QuantNASSupernet, QuantizedSupernet"]),
    ("network_g.scale", 5, ["scale '5'", "2, 3, 4"]),
    ("model_type", "QuantNASSearch", ["model_type 'QuantNASSearch'", "'QuantNASSearchModel'"]),
    ("train.optim_g.lr", "fast", ["train.optim_g.lr: 'fast' is not a number"]),
    ("train.optim_alpha.lr", "3e-4x", ["train.optim_alpha.lr: '3e-4x' is not a number"]),
    ("train.optim_g.type", "SDG", ["train.optim_g: unknown type 'SDG'", "'SGD'"]),
    ("train.scheduler.type", "Cosine", ["train.scheduler: unknown type 'Cosine'", "CosineAnnealingRestartLR"]),
    ("train.total_iter", 5, ["train.scheduler.periods: [2] end before total_iter 5"]),
    ("train.alpha_warmupp", 0.1, ["train: unknown key 'alpha_warmupp'", "'alpha_warmup'"]),
    ("train.alpha_warmup", 1.5, ["alpha_warmup: 1.5 is not allowed"]),
    ("train.hardware_opt.cost", "bitop", ["train.hardware_opt: unknown cost 'bitop'", "'bitops'"]),
    ("train.hardware_opt.weight", 1, ["train.hardware_opt: unknown key 'weight'", "loss_weight"]),
    ("train.hardware_opt.budget", "much", ["train.hardware_opt.budget: 'much' is not a number"]),
    ("train.hardware_opt.budget", -1, ["train.hardware_opt: budget: -1 is not a number above 0"]),
    ("train.hardware_opt.budget", 0.3, ["train.hardware_opt: budget: 0.3 GBitOps is not possible", "cost 1.10238 to"]),
    ("train.entropy_opt", None, ["train: the key 'entropy_opt' is missing"]),
    ("train.pixel_opt.type", "L11Loss", ["train.pixel_opt: unknown type 'L11Loss'", "'L1Loss'"]),
    ("datasets.train.type", "QuantNASSerchDataset", ["datasets.train: unknown type", "'QuantNASSearchDataset'"]),
    ("datasets.train.dataset", "PairedDataset", ["datasets.train: unknown dataset", "'PairedImageDataset'"]),
    ("datasets.train.alpha_fraction", "half", ["datasets.train.alpha_fraction: 'half' is not a number"]),
    ("datasets.train.alpha_fraction", 1.0, ["datasets.train.alpha_fraction: 1.0"]),
    ("num_gpu", 1, ["num_gpu: 1", "no GPU"]),
    ("path", None, ["the key 'path' is missing"]),
    ("datasets.train.dataroot_gt", "datasets/absent.lmdb", ["datasets.train", "absent.lmdb"]),
]


@pytest.mark.parametrize(("key", "value", "words"), BAD_VALUES, ids=[f"{key}={value}" for key, value, _ in BAD_VALUES])
def test_a_bad_value_is_one_line_that_names_the_key(project, capsys, key, value, words):
    line = complaint(project, project.options(SEARCH, {key: value}), capsys)
    assert all(word in line for word in words), line


def test_numbers_written_as_text_are_numbers(project):
    from quantnas_sr.options.check import check

    opt = project.options(SEARCH, {"train.optim_g.lr": "2e-3", "train.total_iter": "1e3"})
    opt["is_train"], opt["train"]["scheduler"]["periods"] = True, ["1e3"]
    for phase, dataset in opt["datasets"].items():
        dataset.update(phase=phase, scale=4)
    check(opt)
    assert opt["train"]["optim_g"]["lr"] == 2e-3
    assert opt["train"]["total_iter"] == 1000 and isinstance(opt["train"]["total_iter"], int)
    assert opt["train"]["optim_g"]["weight_decay"] == 3e-7
    assert opt["train"]["pixel_opt"]["reduction"] == "mean"


def test_an_options_file_that_asks_for_python_objects_runs_nothing(project, capsys):
    text = yaml.safe_dump(project.options(SEARCH)) + "\nevil: !!python/object/apply:pathlib.Path.touch [marker]\n"
    (project.folder / "evil.yml").write_text(text)
    assert cli.basicsr_main(["train", "-opt", "evil.yml"]) == 1
    assert "evil.yml" in capsys.readouterr().err
    assert not (project.folder / "marker").exists()


def test_a_missing_options_file_is_one_line(project, capsys):
    assert cli.basicsr_main(["train", "-opt", "absent.yml"]) == 1
    assert "absent.yml" in capsys.readouterr().err


def training(project: Project, changes: Dict[str, Any]) -> Dict[str, Any]:
    base = {"network_g.genotype": "genotype.yml", "val": None}
    return project.options("train_basic_x4.yml", {**base, **changes})


BAD_QUANTIZED = [
    ("bits", 1, ["network_g: bits: 1 is not a bit width"]),
    ("bitz", 4, ["network_g: unknown key 'bitz'", "'bits'"]),
    ("arch", None, ["network_g: the key 'arch' is missing"]),
    ("arch.type", "RFDM", ["network_g: arch: unknown type 'RFDM'", "'RFDN'"]),
    ("arch.num_feet", 8, ["network_g: arch: unknown key 'num_feet'", "'num_feat'"]),
    ("skip", ["fea_con"], ["network_g: skip: unknown layer 'fea_con'", "'fea_conv'"]),
    ("bits_by_layer", "absent.yml", ["network_g: bits_by_layer: absent.yml cannot be read"]),
]


@pytest.mark.parametrize(("key", "value", "words"), BAD_QUANTIZED, ids=[f"{k}={v}" for k, v, _ in BAD_QUANTIZED])
def test_a_bad_value_of_a_quantized_network_is_one_line_that_names_the_key(project, capsys, key, value, words):
    changes = {f"network_g.{key}": value, "path.pretrain_network_g": None, "val": None}
    line = complaint(project, project.options("train_rfdn_8bit_x4.yml", changes), capsys)
    assert all(word in line for word in words), line


BAD_GENOTYPES = [
    ("slots.skip.operation", "simple_33", ["line", "unknown operation 'simple_33'", "'simple_3x3'"]),
    ("slots.skip", None, ["7 of 8 slots", "missing: skip"]),
    ("slots.skip.bits", 0, ["0 is not a bit width"]),
    ("slots.skip.bits", 33, ["33 is not a bit width"]),
    ("genotype_version", 2, ["genotype version 2", "version 1"]),
]


@pytest.mark.parametrize(("key", "value", "words"), BAD_GENOTYPES, ids=[f"{k}={v}" for k, v, _ in BAD_GENOTYPES])
def test_a_bad_genotype_is_one_line_that_names_the_file(project, capsys, key, value, words):
    data = yaml.safe_load((project.folder / "genotype.yml").read_text())
    set_option(data, key, value)
    (project.folder / "bad_genotype.yml").write_text(yaml.safe_dump(data))
    line = complaint(project, training(project, {"network_g.genotype": "bad_genotype.yml"}), capsys)
    assert all(word in line for word in ["bad_genotype.yml", *words]), line


def test_a_genotype_that_asks_for_python_objects_runs_nothing(project, capsys):
    (project.folder / "evil_genotype.yml").write_text("!!python/object/apply:pathlib.Path.touch [marker]\n")
    line = complaint(project, training(project, {"network_g.genotype": "evil_genotype.yml"}), capsys)
    assert "evil_genotype.yml, line 1" in line
    assert not (project.folder / "marker").exists()


def test_a_genotype_of_another_space_is_one_line(project, capsys):
    line = complaint(project, training(project, {"network_g.type": "QuantNASRFDN"}), capsys)
    assert "search space 'rfdn'" in line and "'basic'" in line


def test_a_checkpoint_of_another_genotype_is_one_line(project, capsys):
    import torch

    from quantnas_sr.search_space import DerivedNetwork

    other = DerivedNetwork(Supernet("basic", bits=[8]).genotype())
    torch.save({"params": other.state_dict()}, project.folder / "other.pth")
    changes = {"path.pretrain_network_g": "other.pth", "path.param_key_g": "params"}
    line = complaint(project, training(project, changes), capsys)
    assert "another genotype: head_0 is simple_3x3 at 8 bits there and simple_3x3 at 4 bits here" in line


@pytest.mark.parametrize("name", ["absent.pth", "bad.yml"])
def test_a_checkpoint_that_cannot_be_read_is_one_line(project, capsys, name):
    line = complaint(project, training(project, {"path.pretrain_network_g": name}), capsys)
    assert name in line


def broken_folder(project: Project, name: str) -> Dict[str, str]:
    gt, lq = project.folder / f"broken/{name}/gt", project.folder / f"broken/{name}/lq"
    for i in range(2):
        write_image(gt / f"{i}.png", 64, 64, seed=i)
        write_image(lq / f"{i}.png", 16, 16, seed=i)
    return {"datasets.train.dataroot_gt": str(gt), "datasets.train.dataroot_lq": str(lq)}


def test_an_image_that_does_not_decode_is_named(project, capsys):
    roots = broken_folder(project, "decode")
    Path(roots["datasets.train.dataroot_lq"], "1.png").write_bytes(b"not an image")
    changes = {**roots, "datasets.train.io_backend": {"type": "disk"}}
    assert "1.png" in complaint(project, training(project, changes), capsys)


def test_an_image_that_breaks_off_in_the_middle_is_named_when_it_is_read(project, capsys):
    roots = broken_folder(project, "truncated")
    for i in range(2):
        path = Path(roots["datasets.train.dataroot_lq"], f"{i}.png")
        noise = np.random.default_rng(i).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        data = cv2.imencode(".png", noise)[1].tobytes()
        path.write_bytes(data[:60])
    changes = {**roots, "datasets.train.io_backend": {"type": "disk"}, "datasets.train.num_worker_per_gpu": 1}
    options = project.write("truncated.yml", training(project, {**changes, "name": "truncated"}))
    line = project.train(options, code=1).strip().splitlines()[-1]
    assert line.startswith("basicsr train: ") and ".png" in line and "decode" in line


@pytest.mark.parametrize("command", [[], ["trian"], ["--help"]])
def test_basicsr_without_a_known_command_shows_how_it_is_called(command, capsys):
    code = cli.basicsr_main(command)
    out = capsys.readouterr()
    assert code == (0 if command == ["--help"] else 2)
    assert "train" in out.out + out.err


def test_every_key_of_ours_is_in_the_table_of_the_documentation():
    import inspect

    from basicsr.utils.registry import ARCH_REGISTRY, LOSS_REGISTRY

    from quantnas_sr.options.tables import OUR_LOGGER, QAT_TRAIN, SEARCH_DATASET, SEARCH_TRAIN, SR_TRAIN, TEACHER

    keys = {*SEARCH_DATASET, *SEARCH_TRAIN, *QAT_TRAIN, *TEACHER, *OUR_LOGGER} - set(SR_TRAIN)
    for registry, name in (
        (ARCH_REGISTRY, "QuantNASSupernet"),
        (ARCH_REGISTRY, "QuantNASBasic"),
        (ARCH_REGISTRY, "RFDN"),
        (ARCH_REGISTRY, "ESPCN"),
        (ARCH_REGISTRY, "QuantizedArch"),
        (ARCH_REGISTRY, "QuantizedSupernet"),
        (LOSS_REGISTRY, "HardwareCostLoss"),
        (LOSS_REGISTRY, "EntropyLoss"),
    ):
        keys |= set(inspect.signature(registry.get(name)).parameters)
    rows = [line for line in (ROOT / "docs/options.md").read_text().splitlines() if line.startswith("|")]
    documented = {row.split("|")[2].strip().strip("`") for row in rows[2:]}
    assert documented == keys


def test_the_page_of_basicsrs_keys_is_what_the_tables_say():
    from quantnas_sr.options.documentation import markdown

    assert markdown() in (ROOT / "docs/basicsr_options.md").read_text(encoding="utf-8")


def test_steps_and_biases_may_have_rates_of_their_own_in_a_search(project):
    opt = project.options(SEARCH, {"train.step_lr": 0.01, "train.bias_lr": 0.1})
    check_stage(opt, "search", "search.yml", None)
