"""What `quantnas pareto` makes of its arguments, and what it says about those that it cannot use."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Event, Timer

import pytest
import yaml
from project import Project

from quantnas_sr import cli
from quantnas_sr.errors import OptionError
from quantnas_sr.report import draw_crops, front, pareto_front
from quantnas_sr.report.alphas import read_alphas
from quantnas_sr.sweep import Sources, plan_jobs, points_of
from quantnas_sr.sweep.plan import Point, job_options, load_sources
from quantnas_sr.sweep.process import GUARD, Interrupted, run_logged
from quantnas_sr.sweep.records import jobs_of
from quantnas_sr.sweep.slurm import run_on_cluster


@pytest.fixture
def project(tmp_path, monkeypatch) -> Project:
    monkeypatch.chdir(tmp_path)
    project = Project(tmp_path)
    project.make_data()
    for stage in ("search", "train", "test"):
        project.write(f"{stage}_x4.yml", project.options(f"{stage}_basic_x4.yml"))
    return project


SOURCES = Sources(Path("search_x4.yml"), Path("train_x4.yml"), Path("test_x4.yml"))


def test_each_stage_gets_the_seed_and_what_the_one_before_it_wrote(project):
    jobs = plan_jobs(SOURCES, {}, Path("experiments/a"), points_of([0, 1e-4], [], [0, 3]))
    assert [job.name for job in jobs] == ["p0_s0", "p0.0001_s0", "p0_s3", "p0.0001_s3"]
    search, train, test = (yaml.safe_load(jobs[3].options_file(s).read_text()) for s in ("search", "train", "test"))
    assert search["train"]["hardware_opt"]["loss_weight"] == 1e-4
    assert {options["manual_seed"] for options in (search, train, test)} == {3}
    genotype = f"experiments/{search['name']}/genotype.yml"
    assert train["network_g"]["genotype"] == test["network_g"]["genotype"] == genotype
    assert test["path"]["pretrain_network_g"] == f"experiments/{train['name']}/models/net_g_latest.pth"
    assert test["path"]["param_key_g"] is None and test["val"]["save_img"] is True


def test_a_budget_is_given_to_the_search(project):
    options = job_options(load_sources(SOURCES, {}), "a", Point("budget", 2.6, 0))
    assert options["search"]["train"]["hardware_opt"]["budget"] == 2.6


def test_every_width_is_a_search_of_its_own(project):
    points = points_of([], [2.6], [0, 1], [24, 36, 24])
    jobs = plan_jobs(SOURCES, {}, Path("experiments/a"), points)
    assert [job.name for job in jobs] == ["b2.6_c24_s0", "b2.6_c36_s0", "b2.6_c24_s1", "b2.6_c36_s1"]
    assert [job.options("search")["network_g"]["num_feat"] for job in jobs] == [24, 36, 24, 36]
    assert {job.options("search")["train"]["hardware_opt"]["budget"] for job in jobs} == {2.6}


def test_every_depth_is_a_search_of_its_own_and_the_records_of_a_setting_have_one(project):
    points = points_of([], [2.6], [0], [24, 36], [1, 2])
    jobs = plan_jobs(SOURCES, {}, Path("experiments/a"), points)
    assert [job.name for job in jobs] == ["b2.6_c24_n1_s0", "b2.6_c24_n2_s0", "b2.6_c36_n1_s0", "b2.6_c36_n2_s0"]
    assert [job.options("search")["network_g"]["num_block"] for job in jobs] == [1, 2, 1, 2]
    assert [job.name for job in jobs_of(Path("experiments/a"))] == [job.name for job in jobs]


def test_a_width_that_a_candidate_cannot_have_is_refused_before_the_first_job(project):
    with pytest.raises(OptionError, match="search_x4.yml: network_g: .* 32 channels are not divisible by 3 groups"):
        plan_jobs(SOURCES, {}, Path("experiments/a"), points_of([], [2.6], [0], [36, 32]))
    assert not Path("experiments").exists()


@pytest.mark.parametrize("argument", ["--num-feat", "--num-block"])
def test_a_size_is_a_whole_number_above_0(project, argument, capsys):
    with pytest.raises(SystemExit):
        cli.main(["pareto", "search_x4.yml", argument, "0"])
    assert argument in capsys.readouterr().err
    assert not Path("experiments").exists()


def test_changes_reach_the_stage_that_they_are_for(project):
    changes = {"search": ["train:total_iter=7"], "train": ["logger:print_freq=3", "train:amp=bfloat16"]}
    loaded = load_sources(SOURCES, changes)
    assert loaded["search"]["train"]["total_iter"] == 7 and loaded["train"]["train"]["total_iter"] == 2
    assert loaded["train"]["logger"]["print_freq"] == 3 and loaded["train"]["train"]["amp"] == "bfloat16"


def test_the_other_files_are_those_beside_the_search(project):
    assert Sources.beside(SOURCES.search, None, None) == SOURCES


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["absent.yml"], "absent.yml: the options file cannot be read"),
        (["search_alone.yml"], "--train: which options file? There is no train_alone.yml beside search_alone.yml"),
        (["search_x4.yml", "--test", "absent.yml"], "absent.yml: the options file cannot be read"),
        (["train_x4.yml", "--train", "train_x4.yml", "--test", "test_x4.yml"], "train_x4.yml: not a search"),
        (["search_x4.yml", "--force_search", "trian:total_iter=1"], "unknown key 'trian', did you mean 'train'?"),
        (["search_x4.yml", "--force_search", "total_iter"], "must look like train:total_iter=1000"),
        (["search_x4.yml", "--force_search", "network_g:bits=[4, 99]"], "search_x4.yml: network_g: "),
        (["search_x4.yml", "--force_train", "train:grad_clp=1"], "train_x4.yml: train: unknown key 'grad_clp'"),
        (["search_x4.yml", "--force_test", "val:metrics=~"], "test_x4.yml: val: the key 'metrics' is missing"),
        (
            ["search_x4.yml", "--force_test", "model_type=SRModel"],
            "test_x4.yml: model_type: a SRModel writes no metrics",
        ),
        (["search_x4.yml", "--force_test", "datasets:test_1:dataroot_lq=no"], "test_x4.yml: datasets.test_1: "),
        (["search_x4.yml", "--output", "experiments/a b"], "--output: 'a b'"),
        (["search_x4.yml", "--slurm", "gpu"], "--slurm"),
    ],
)
def test_bad_arguments_are_one_line_and_start_nothing(project, arguments, words, capsys):
    (project.folder / "search_alone.yml").write_bytes((project.folder / "search_x4.yml").read_bytes())
    assert cli.main(["pareto", *arguments]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and words in error
    assert not list(project.folder.glob("experiments/*_search"))


@pytest.mark.parametrize("arguments", [["--penalties", "-1"], ["--budget", "0"], ["--jobs", "0"], ["--seeds", "x"]])
def test_numbers_out_of_range_are_refused(project, arguments, capsys):
    with pytest.raises(SystemExit):
        cli.main(["pareto", "search_x4.yml", *arguments])
    assert arguments[0] in capsys.readouterr().err


def test_a_report_of_a_folder_without_jobs_is_one_line(tmp_path, capsys):
    assert cli.main(["report", str(tmp_path)]) == 1
    assert "not the folder of a sweep" in capsys.readouterr().err


def test_without_its_extra_the_command_says_which_one(project, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert cli.main(["pareto", "search_x4.yml"]) == 1
    assert "quantnas_sr[report]" in capsys.readouterr().err


def test_slurm_without_its_extra_or_without_slurm_says_so(project, monkeypatch):
    jobs = plan_jobs(SOURCES, {}, Path("experiments/a"), points_of([0], [], [0]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "submitit", None)
        with pytest.raises(ValueError, match=r"quantnas_sr\[sweep\]"), run_on_cluster(jobs, [], None, 0):
            pass
    pytest.importorskip("submitit", reason="submitit is not installed (extra 'sweep')")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ValueError, match="there is no Slurm on this machine"), run_on_cluster(jobs, [], None, 0):
        pass


def test_stopping_a_command_ends_its_children_too(tmp_path):
    stop, mark = Event(), tmp_path / "alive"
    code = f"import time, pathlib\nwhile True: pathlib.Path({str(mark)!r}).touch(); time.sleep(.05)"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}])"
    Timer(1.5, stop.set).start()
    with pytest.raises(Interrupted):
        run_logged([sys.executable, "-c", child], tmp_path / "log", {}, stop, lambda seconds: None)
    assert mark.exists()
    mark.unlink()
    time.sleep(0.3)
    assert not mark.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM that a process could answer")
def test_a_command_that_is_stopped_may_save_first(tmp_path):
    stop = Event()
    code = """
import pathlib, signal, sys, time
def save(*_):
    time.sleep(0.5)
    pathlib.Path("saved").touch()
    sys.exit(143)
signal.signal(signal.SIGTERM, save)
pathlib.Path("ready").touch()
time.sleep(60)
"""

    def stop_when_ready(seconds):
        if (tmp_path / "ready").exists():
            stop.set()

    command = [sys.executable, "-c", f"import os; os.chdir({str(tmp_path)!r})" + code]
    with pytest.raises(Interrupted):
        run_logged(command, tmp_path / "log", {}, stop, stop_when_ready)
    assert (tmp_path / "saved").exists()


def test_a_guarded_command_does_not_outlive_its_starter(tmp_path):
    mark = tmp_path / "alive"
    code = f"import time, pathlib\nwhile True: pathlib.Path({str(mark)!r}).touch(); time.sleep(.05)"
    command = [sys.executable, "-I", str(GUARD), sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as process:
        while not mark.exists():
            time.sleep(0.05)
        process.stdin.close()
        assert process.wait(10) == -signal.SIGKILL
    mark.unlink()
    time.sleep(0.3)
    assert not mark.exists()


def test_the_front_has_what_nobody_beats():
    points = [(3, 28.0), (1, 27.0), (2, 26.0), (3, 27.9), (4, 28.0), (1, 27.0)]
    assert pareto_front(points) == [1, 5, 0]
    assert pareto_front([(1, 5.0), (2, 4.0), (3, 6.0)], lower_is_better=True) == [0, 1]
    assert pareto_front([(2, 1.0)]) == [0]


def test_mean_and_spread_are_of_the_seeds():
    assert front.mean_and_spread([1.0, 3.0]) == (2.0, pytest.approx(2**0.5))
    assert front.mean_and_spread([5.0]) == (5.0, 0.0)


def test_alphas_of_a_resumed_search_count_once(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    for values in ({10: 0.5, 20: 0.6, 30: 0.9}, {20: 0.7, 40: 0.8}):
        writer = SummaryWriter(str(tmp_path))
        for step, value in values.items():
            writer.add_scalar("alphas/head_0/simple_3x3/4bit", value, step)
        writer.close()
        time.sleep(1.1)  # the names of event files have seconds
    series = read_alphas(tmp_path)["head_0"]["simple_3x3", 4]
    assert series == pytest.approx({10: 0.5, 20: 0.7, 30: 0.9, 40: 0.8})
    assert read_alphas(tmp_path / "absent") == {}


def test_crops_are_of_the_width_that_is_asked_for(tmp_path):
    import cv2
    import numpy as np

    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    draw_crops([[("a", image), ("b", image)]], tmp_path / "a.png", side=32, width=1.5)
    assert cv2.imread(str(tmp_path / "a.png")).shape[1] == 450
