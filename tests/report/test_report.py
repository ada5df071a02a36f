"""The report of a sweep, whatever its jobs, test sets and metrics are called."""

import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest
import yaml

from quantnas_sr import cli
from quantnas_sr.errors import MissingExtraError
from quantnas_sr.report import write_report
from quantnas_sr.report.page import PictureFolder
from quantnas_sr.search_space import Genotype, Supernet
from quantnas_sr.sweep.job import SweepJob
from quantnas_sr.sweep.state import Stage, State

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

SCRIPT = "<img src=x onerror=alert(1)>"
OUTSIDE = "../../outside"


class Page(HTMLParser):
    """The elements and the words of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: List[Tuple[str, Dict[str, Any]]] = []
        self.words: List[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: List[Tuple[str, Any]]) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def add_job(folder: Path, name: str, genotype: Genotype, failed: str = "") -> None:
    """A job that is done, or that failed for a reason, with a result on one test set of a bad name."""
    job = SweepJob(folder / "jobs" / name)
    job.folder.mkdir(parents=True)
    genotype.save(job.folder / "genotype.yml")
    runs = {stage: {"name": f"{name}_{stage}", "manual_seed": 0} for stage in ("search", "train", "test")}
    runs["search"]["train"] = {"hardware_opt": {"loss_weight": 1e-4}}
    runs["test"].update(scale=2, datasets={}, network_g={"genotype": str(job.folder / "genotype.yml")})
    runs["test"]["val"] = {"metrics": {"psnr": {"type": "calculate_psnr"}, OUTSIDE: {"type": "calculate_ssim"}}}
    for stage, options in runs.items():
        job.options_file(stage).write_text(yaml.safe_dump(options), encoding="utf-8")
    state = State({stage: Stage(True, not failed, 1.0) for stage in runs}, {OUTSIDE: {"psnr": 28.0, OUTSIDE: 0.8}})
    state.failed = ["train", failed] if failed else None
    job.save(state)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A folder in which a report was written, deep enough for names that lead upwards."""
    root = tmp_path_factory.mktemp("report")
    folder = root / "a/b/<b>sweep"
    genotype = Supernet("basic", scale=2, num_feat=12, num_block=1).genotype()
    for name in (SCRIPT, "one two", "one_two"):
        add_job(folder, name, genotype)
    add_job(folder, "broken", genotype, failed="<script>alert(2)</script>")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder.parent)
        write_report(folder)
    return root


@pytest.fixture
def sweep(root) -> Path:
    return root / "a/b/<b>sweep"


def test_names_with_markup_stay_words(sweep):
    page = Page(sweep / "report.html")
    assert "script" not in {tag for tag, _ in page.elements}
    assert {attributes["src"].partition(":")[0] for tag, attributes in page.elements if tag == "img"} == {"data"}
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    words = "".join(page.words)
    assert SCRIPT in words and "<script>alert(2)</script>" in words and "Pareto front: <b>sweep" in words
    assert f"genotype of {SCRIPT}" in [attributes.get("alt") for _, attributes in page.elements]


def test_names_with_dots_and_slashes_write_nothing_outside_the_folder(root, sweep):
    assert {path for path in root.rglob("*") if sweep not in path.parents} == {root / "a", root / "a/b", sweep}
    assert len(list(sweep.glob("front_*.png"))) == 2


def test_every_picture_has_a_file_of_its_own(sweep):
    assert len(list(sweep.glob("genotype_*.svg"))) == 3
    pictures = PictureFolder(Path("x"))
    paths = [pictures.path(word) for word in ("a/b", "a_b", "A_B", ".a_b", "a__b", "a" * 300, "", "..")]
    assert len({str(path).lower() for path in paths}) == len(paths)
    assert all(path.parent == Path("x") and len(path.name) < 200 and path.suffix == ".png" for path in paths)


def test_a_page_may_load_and_run_nothing(sweep):
    policy = next(a["content"] for _, a in Page(sweep / "report.html").elements if a.get("http-equiv"))
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_a_sweep_without_a_result_has_a_page_with_the_reasons(tmp_path, genotype):
    add_job(tmp_path / "sweep", "p0_s0", genotype(), failed="out of memory")
    words = "".join(Page(write_report(tmp_path / "sweep")).words)
    assert "No network is finished yet; 1 job without a result." in words and "out of memory" in words


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_a_missing_package_names_the_extra(package, tmp_path, genotype, monkeypatch, capsys):
    add_job(tmp_path / "sweep", "p0_s0", genotype(), failed="out of memory")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"{package}: pip install 'quantnas_sr\[report\]'"):
        write_report(tmp_path / "sweep")
    assert cli.main(["report", str(tmp_path / "sweep")]) == 1
    assert package in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.*g")) and not list(tmp_path.rglob("*.html"))
