"""`quantnas pareto` as users run it: killed half-way, called again, finished, with a job that fails; and its report."""

import json
import re
import time
from pathlib import Path
from typing import List

import pytest
from browser import chromium, look_at
from project import Project, Started

from quantnas_sr import cli
from quantnas_sr.cost import count
from quantnas_sr.search_space import DerivedNetwork, Genotype
from quantnas_sr.sweep import LeftOut, collect, run_sweep
from quantnas_sr.sweep.job import SweepJob, run_job
from quantnas_sr.sweep.slurm import run_on_cluster
from quantnas_sr.sweep.state import Stage

pytest.importorskip("matplotlib")

COMMAND = ["pareto", "options/search_x4.yml", "--jobs", "2", "--retries", "0"]
SEARCH = {
    "network_g.num_feat": 12,
    "network_g.num_block": 1,
    "network_g.bits": [2, 4, 8],
    "train.total_iter": 12,
    "train.scheduler.periods": [12],
    "train.optim_alpha.lr": "1e-1",
    "logger.save_checkpoint_freq": 6,
    "logger.print_freq": 10,
    "logger.use_tb_logger": True,
    "val": None,
}
SCREENSHOTS = Path(__file__).resolve().parents[1] / "screenshots"


def quantnas(*arguments: str) -> List[str]:
    return ["-m", "quantnas_sr", *arguments]


def processes(mark: str) -> List[int]:
    """Those whose command line says ``mark``."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark in path.read_bytes().decode(errors="replace"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def wait_for(condition, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    project = Project(tmp_path_factory.mktemp("sweep"))
    project.make_data()
    (project.folder / "options").mkdir()
    project.write("options/search_x4.yml", project.options("search_basic_x4.yml", SEARCH))
    changes = {"network_g.genotype": None, "val": None}
    project.write("options/train_x4.yml", project.options("train_basic_x4.yml", changes))
    changes = {"datasets.test_1": None, "network_g.genotype": None}
    project.write("options/test_x4.yml", project.options("test_basic_x4.yml", changes))
    return project


@pytest.fixture(scope="module")
def killed(project) -> Project:
    """The sweep, killed by SIGKILL when a search had written a checkpoint."""
    with Started(*quantnas(*COMMAND, "--penalties", "0.5"), folder=project.folder):
        wait_for(lambda: list(project.folder.glob("experiments/*/training_states/6.state")))
    return project


@pytest.fixture(scope="module")
def finished(killed) -> Project:
    """The command again with two more penalties; of one the search is done, and somebody has removed its genotype."""
    wait_for(lambda: not processes(str(killed.folder / "experiments")), 20)
    job = SweepJob(killed.folder / "experiments/pareto_x4/jobs/p0.1_s0")
    job.folder.mkdir()
    for stage in ("search", "train", "test"):
        text = SweepJob(job.folder.parent / "p0.5_s0").options_file(stage).read_text().replace("p0.5_s0", "p0.1_s0")
        job.options_file(stage).write_text(text.replace("loss_weight: 0.5\n", "loss_weight: 0.1\n"))
    state = job.load()
    state.stages["search"] = Stage(started=True, done=True)
    job.save(state)
    killed.last = killed.run(*quantnas(*COMMAND, "--penalties", "0", "0.1", "0.5"), code=1)
    return killed


def results(project: Project) -> dict:
    return json.loads((project.folder / "experiments/pareto_x4/results.json").read_text())


def test_a_kill_ends_everything_that_was_started_and_the_next_call_goes_on(killed, finished):
    log = (killed.folder / "experiments/pareto_x4/jobs/p0.5_s0/search.log").read_text()
    assert log.count("$ ") == 2 and "--auto_resume" in log and "Resuming training from" in log, "two attempts"
    assert not processes(str(killed.folder / "experiments"))


def test_a_penalty_makes_networks_smaller_and_every_figure_is_recorded(finished, monkeypatch):
    monkeypatch.chdir(finished.folder)
    free, dear = collect(Path("experiments/pareto_x4"))[0]
    assert (free.penalty, dear.penalty) == (0, 0.5)
    assert dear.gbitops < free.gbitops
    for record in (free, dear):
        cost = count(DerivedNetwork(Genotype.load(record.genotype)))
        assert (record.params, record.packed_bytes) == (cost.params, cost.packed_bytes)
        assert record.gbitops == pytest.approx(cost.bitops / 1e9) and record.gmacs == pytest.approx(cost.macs / 1e9)
        assert set(record.metrics) == {"Set14"} and record.metrics["Set14"]["psnr"] > 0
        assert all(record.seconds[stage] > 0 for stage in ("search", "train", "test"))


def test_what_is_done_is_not_done_again(finished, monkeypatch):
    monkeypatch.chdir(finished.folder)
    jobs = [SweepJob(path) for path in Path("experiments/pareto_x4/jobs").resolve().glob("*_s0")]
    before = {job: job.load() for job in jobs}
    start = time.monotonic()
    run_sweep([job for job in jobs if job.name != "p0.1_s0"], at_once=2, retries=0)
    assert time.monotonic() - start < 5
    assert before == {job: job.load() for job in jobs}


def test_a_failing_job_is_left_out_with_its_reason_and_the_others_stay(finished):
    reason = "experiments/pareto_x4_p0.1_s0_search/genotype.yml: the genotype cannot be read"
    last = finished.last.strip().splitlines()[-1]
    assert last.startswith("quantnas: no result from p0.1_s0: train: ") and reason in last
    assert "left out: train" in finished.last
    assert [record["name"] for record in results(finished)["records"]] == ["p0_s0", "p0.5_s0"]
    assert results(finished)["left_out"][0]["stage"] == "train"


def test_a_failing_job_is_tried_again(tmp_path, monkeypatch):
    (tmp_path / "train.py").write_text("raise SystemExit('no space left')")
    monkeypatch.setattr("quantnas_sr.sweep.job.PACKAGE", tmp_path)
    job = SweepJob(tmp_path / "p0_s0")
    job.folder.mkdir()
    run_job(job, retries=2, threads=1)
    assert job.load().failed == ["search", "no space left"]
    log = (job.folder / "search.log").read_text()
    assert log.count("$ ") == 3 and log.count("--auto_resume") == 2, "one attempt and two more"


def test_options_that_changed_since_are_one_line(finished, monkeypatch, capsys):
    monkeypatch.chdir(finished.folder)
    assert cli.main([*COMMAND, "--penalties", "0", "--force_search", "train:total_iter=6"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "train.total_iter was 12 and is 6" in error and "search.yml" in error


def test_two_commands_do_not_run_the_same_job(finished, monkeypatch):
    monkeypatch.chdir(finished.folder)
    job = SweepJob(Path("experiments/pareto_x4/jobs/p0_s0").resolve())
    with job.locked(), pytest.raises(ValueError, match="p0_s0: another process is running this job"):
        run_sweep([job], at_once=1, retries=1)
    assert job.load().failed is None


def test_a_cluster_runs_the_same_jobs(finished, monkeypatch, tmp_path):
    """Whose last stage is said to be missing; what it wrote is still there."""
    pytest.importorskip("submitit", reason="submitit is not installed (extra 'sweep')")
    monkeypatch.chdir(finished.folder)
    (tmp_path / "test.py").write_text("print('tested')")
    monkeypatch.setattr("quantnas_sr.sweep.job.PACKAGE", tmp_path)
    job = SweepJob(Path("experiments/pareto_x4/jobs/p0_s0").resolve())
    state = job.load()
    before, state.metrics, state.stages["test"] = state.metrics, {}, Stage()
    job.save(state)
    with run_on_cluster([job], ["partition=any", "timeout_min=5"], None, 0, cluster="debug") as futures:
        assert futures[0].exception() is None
    assert job.load().metrics == before and (job.folder / "test.log").read_text().endswith("tested\n")


def page(project: Project) -> str:
    return (project.folder / "experiments/pareto_x4/report.html").read_text()


def test_the_report_has_the_front_the_table_the_pictures_and_the_reasons(finished):
    text = page(finished)
    for words in ("By setting", "Networks", "Pictures", "Genotypes and their search", "Jobs without a result"):
        assert (f"<h2>{words}</h2>" in text) == (words != "By setting"), f"{words}: one seed has no spread"
    for record in results(finished)["records"]:
        assert f"<td>{record['gbitops']:.3f}</td>" in text and f"<td>{record['metrics']['Set14']['psnr']:.2f}" in text
        assert f'alt="genotype of {record["name"]}"' in text and f'alt="alphas of {record["name"]}"' in text
    assert "p0.1_s0" in text and "the genotype cannot be read" in text
    assert "IEEE Access 2024, table 1" in text and "EdMIPS (4,8)" in text, "Set14 stands beside the paper"
    folder = finished.folder / "experiments/pareto_x4"
    written = {path.name for path in folder.glob("*.*g")}
    assert {"front_Set14_psnr.png", "front_Set14_ssim.png", "crops.png", "genotype_p0_s0.svg"} <= written


def test_the_report_needs_nothing_but_itself(finished):
    text = page(finished)
    assert "<script" not in text and not re.search(r'(src|href)="(?!data:)', text) and "url(" not in text


@pytest.mark.skipif(chromium() is None, reason="there is no chromium or google-chrome on the PATH")
@pytest.mark.parametrize("width", [390, 1280], ids=["phone", "desktop"])
def test_the_report_fits_the_screen_in_a_browser(finished, width):
    """The pictures of it stay in tests/screenshots."""
    SCREENSHOTS.mkdir(exist_ok=True)
    path = SCREENSHOTS / f"report_{width}.png"
    seen = look_at(finished.folder / "experiments/pareto_x4/report.html", width, path)
    assert seen["innerWidth"] == width and seen["scrollWidth"] <= width, "the page itself does not scroll sideways"
    assert seen["images"] >= 7 and not seen["broken"] and not seen["requests"]
    assert path.stat().st_size > 10_000


def test_report_makes_it_anew(finished, monkeypatch, capsys):
    monkeypatch.chdir(finished.folder)
    path = Path("experiments/pareto_x4/report.html")
    path.unlink()
    assert cli.main(["report", "experiments/pareto_x4"]) == 0
    assert str(path) in capsys.readouterr().out
    assert "<h2>Networks</h2>" in path.read_text()


def test_what_is_left_out_is_told_in_words():
    assert str(LeftOut("p0_s0", "train", "no space")) == "p0_s0: train: no space"
