"""Options that are missing, misspelt or of the wrong kind: a run that can start, or one line that names the key."""

import copy
import random
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
TRIED = 150


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
