"""``base:`` of an options file, and the files that it makes short: options/comparisons."""

import os
import subprocess
import sys
from typing import Any, Dict, Iterator, Mapping, Tuple

import pytest
import yaml
from project import ROOT, Project, load_options

from quantnas_sr import cli
from quantnas_sr.errors import OptionError
from quantnas_sr.options.base import load_options as load
from quantnas_sr.options.check import check
from quantnas_sr.search_space import Supernet

COMPARISONS = sorted((ROOT / "options/comparisons").glob("*.yml"))


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    project = Project(tmp_path_factory.mktemp("base"))
    project.make_data()
    Supernet("basic").genotype().save(project.folder / "genotype.yml")
    (project.folder / "widths.yml").write_text("{}\n")
    return project


def leaves(options: Any, above: Tuple[str, ...] = ()) -> Iterator[Tuple[Tuple[str, ...], Any]]:
    if isinstance(options, Mapping):
        for key, value in options.items():
            yield from leaves(value, (*above, key))
    else:
        yield above, options


def write(folder, **files: str):
    for name, text in files.items():
        path = folder / f"{name}.yml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_a_file_says_only_in_what_it_differs(tmp_path):
    write(tmp_path, first="name: a\ntrain: {lr: 1, steps: [1, 2]}\n", second="base: first.yml\ntrain: {steps: [3]}\n")
    assert load(tmp_path / "second.yml") == {"name": "a", "train": {"lr": 1, "steps": [3]}}


def test_a_base_may_have_a_base_in_another_folder(tmp_path):
    (tmp_path / "below").mkdir()
    write(tmp_path, first="a: 1\nb: 1\nc: 1\n", second="base: first.yml\nb: 2\nc: 2\n")
    (tmp_path / "below/third.yml").write_text("base: ../second.yml\nc: ~\n")
    assert load(tmp_path / "below/third.yml") == {"a": 1, "b": 2, "c": None}


def test_a_mapping_of_another_type_keeps_nothing_of_the_base(tmp_path):
    write(tmp_path, first="net: {type: A, width: 3, bits: 4}\n")
    write(tmp_path, other="base: first.yml\nnet: {type: B}\n", same="base: first.yml\nnet: {type: A, bits: 8}\n")
    assert load(tmp_path / "other.yml") == {"net": {"type": "B"}}
    assert load(tmp_path / "same.yml") == {"net": {"type": "A", "width": 3, "bits": 8}}


def test_a_search_of_the_comparisons_is_trained_and_tested_as_its_base_is():
    from quantnas_sr.sweep.plan import Sources

    sources = Sources.beside(ROOT / "options/comparisons/search_rfdn_adadm.yml", None, None)
    assert (sources.train.resolve(), sources.test.resolve()) == (
        ROOT / "options/train_rfdn_x4.yml",
        ROOT / "options/test_rfdn_x4.yml",
    )


BAD = {
    "absent": ("base: absent.yml\n", "bad.yml: base: absent.yml cannot be read"),
    "itself": ("base: bad.yml\n", "bad.yml: base: bad.yml is based on this file itself"),
    "no path": ("base: [a, b]\n", "base: ['a', 'b'] is not the path"),
    "a list": ("base: list.yml\n", "base: list.yml is not a mapping"),
    "python": ("base: evil.yml\n", "evil.yml"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_base_is_one_line(tmp_path, monkeypatch, capsys, case):
    text, words = BAD[case]
    monkeypatch.chdir(tmp_path)
    write(tmp_path, bad=text, list="[1]\n", evil="a: !!python/object/apply:pathlib.Path.touch [marker]\n")
    assert cli.basicsr_main(["train", "-opt", "bad.yml"]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and words in lines[0]
    assert not (tmp_path / "marker").exists()


def test_two_files_based_on_each_other_are_an_error(tmp_path):
    write(tmp_path, a="base: b.yml\n", b="base: a.yml\n")
    with pytest.raises(OptionError, match="a.yml is based on this file itself"):
        load(tmp_path / "a.yml")


def test_basicsr_runs_a_file_with_a_base(project):
    changes = {"network_g.genotype": "genotype.yml", "val": None}
    project.write("whole.yml", project.options("train_basic_x4.yml", changes))
    (project.folder / "short.yml").write_text("base: whole.yml\nname: short\ntrain: {total_iter: 1}\n")
    project.train("short.yml")
    assert (project.folder / "experiments/short/models/net_g_latest.pth").is_file()


def small(project: Project, name: str) -> Dict[str, Any]:
    """A file of options/comparisons as BasicSR's parser would hand it to the check, on this project's data."""
    changes: Dict[str, Any] = {"path.pretrain_network_g": None}
    if name.startswith("test"):
        changes["datasets.test_1.name"] = "Set5"
    opt = project.options(f"comparisons/{name}", changes)
    if opt["network_g"]["type"] == "QuantNASSupernet" and not opt["network_g"].get("genotype"):
        opt["network_g"].update(num_feat=12, num_block=1)
    elif opt["network_g"].get("arch") == {"type": "RFDN"}:
        opt["network_g"]["arch"] = {"type": "RFDN", "num_feat": 8, "num_block": 1}
    opt["is_train"], opt["num_gpu"] = not name.startswith("test"), 0
    for phase, dataset in opt["datasets"].items():
        dataset.update(phase=phase.partition("_")[0], scale=opt["scale"])
    return opt


@pytest.mark.parametrize("path", COMPARISONS, ids=lambda path: path.stem)
def test_every_comparison_can_run(project, monkeypatch, path):
    monkeypatch.chdir(project.folder)
    opt = small(project, path.name)
    if "genotype" in opt["network_g"]:
        opt["network_g"]["genotype"] = "genotype.yml"
    if opt["network_g"].get("bits_by_layer"):
        opt["network_g"]["bits_by_layer"] = "widths.yml"
    check(opt)
    assert opt["name"] == f"{path.stem}_x4"


@pytest.mark.parametrize("path", COMPARISONS, ids=lambda path: path.stem)
def test_every_comparison_changes_what_its_base_says_and_nothing_in_vain(path):
    own = yaml.safe_load(path.read_text())
    base = dict(leaves(load_options(f"comparisons/{own.pop('base')}")))
    now = dict(leaves(load_options(f"comparisons/{path.name}")))
    for key, value in leaves(own):
        assert now[key] == value
        whole = "type" in own["network_g"] if key[0] == "network_g" else False  # it has to say all of itself
        assert whole or "arch" in key or key not in base or base[key] != value, f"{key} is the base's already"


def test_the_page_of_comparisons_names_every_file():
    page = (ROOT / "docs/comparisons.md").read_text()
    missing = [path.name for path in COMPARISONS if not path.name.startswith("test") and path.name not in page]
    assert not missing


FOREIGN = "# Größe, 大きさ\nname: über_größe\nmodel_type: QuantNASModel\nnumber: 1e-4\n"


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "with a byte order mark"])
def test_an_options_file_is_utf8_whatever_the_locale(tmp_path, monkeypatch, mark):
    from basicsr.utils import options as basicsr_options

    path = tmp_path / "a.yml"
    path.write_bytes(mark + FOREIGN.encode())
    assert load(path)["name"] == "über_größe"
    with open(path, encoding="ascii", errors="strict") as stream:  # as BasicSR opens it under LC_ALL=C
        opt = yaml.load(stream, Loader=basicsr_options.ordered_yaml()[0])
    assert opt["name"] == "über_größe" and opt["number"] == 1e-4


def test_the_copy_of_an_options_file_and_the_log_are_utf8_whatever_the_locale(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import logging, sys\nimport quantnas_sr\nfrom basicsr.utils import get_root_logger\n"
        "from basicsr.utils.options import copy_opt_file\n"
        "copy_opt_file(sys.argv[1], sys.argv[2])\n"
        "get_root_logger(log_level=logging.INFO, log_file=sys.argv[2] + '/run.log').info('\\u00fcber')\n"
    )
    (tmp_path / "a.yml").write_bytes(FOREIGN.encode())
    (tmp_path / "run").mkdir()
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(script), str(tmp_path / "a.yml"), str(tmp_path / "run")]
    subprocess.run(command, env=environment, cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "run/a.yml").read_bytes().endswith(FOREIGN.encode())
    assert "über" in (tmp_path / "run/run.log").read_text(encoding="utf-8")
