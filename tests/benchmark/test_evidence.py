"""`benchmarks/evidence.py`: plans are read or refused, runs shared, resumed and left out, results are what they are."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from project import ROOT, Project, run_python

from quantnas_sr.cost import count
from quantnas_sr.errors import OptionError
from quantnas_sr.options.base import merged
from quantnas_sr.options.read import read_options, supernet_of
from quantnas_sr.search_space import DerivedNetwork
from quantnas_sr.system.processes import Outcome

SMALL = {"num_feat": 12, "num_block": 2}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Data, a search, a training, and a plan in ``plan.yml``."""
    project = Project(tmp_path_factory.mktemp("evidence"))
    project.make_data()
    search = {"network_g.num_feat": 12, "network_g.num_block": 2, "network_g.bits": [4, 8], "val": None}
    search.update({"train.hardware_opt.budget": None, "train.warmup_iter": -1, "logger.save_checkpoint_freq": 1})
    project.write("search_x.yml", project.options("search_plain_x4.yml", search))
    train = {"train.warmup_iter": -1, "train.fp_warmup": 0, "val": None, "logger.save_checkpoint_freq": 1}
    project.write("train_x.yml", project.options("train_plain_x4.yml", train))
    project.write("plan.yml", plan_of())
    return project


def plan_of(**changes):
    validation = {"dataroot_gt": "datasets/test/GTmod4", "dataroot_lq": "datasets/test/LRbicx4"}
    plan = {"name": "small", "search": "search_x.yml", "train": "train_x.yml", "validation": validation}
    rows = {"found": {"kind": "search", "seeds": [0]}, "random": {"kind": "random", "count": 3, "gbitops": [0.1, 0.4]}}
    return {**plan, "training_seeds": [0, 1], "rows": rows, **changes}


@pytest.fixture
def read(project, monkeypatch):
    """Reads a plan with changes, in the project's folder."""
    from study.plan import read_plan

    monkeypatch.chdir(project.folder)
    return lambda **changes: read_plan(Path(project.write("changed.yml", plan_of(**changes))))


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({"row": {}}, "the plan: unknown key 'row', did you mean 'rows'?"),
        ({"rows": {}}, "rows: there is none"),
        ({"rows": {"a": {"kind": "serch"}}}, "rows.a: unknown kind 'serch', did you mean 'search'?"),
        ({"rows": {"a": {"kind": "random", "coun": 1}}}, "rows.a: unknown key 'coun', did you mean 'count'?"),
        ({"rows": {"../a": {"kind": "random"}}}, "'../a' is the name of a row"),
        ({"rows": {"a": {"kind": "search", "seeds": [-1]}}}, "rows.a.seeds"),
        ({"training_seeds": []}, "training_seeds: there is none"),
        ({"training_seeds": 3}, "training_seeds: 3 is not a list"),
        ({"budget": -1}, "budget: -1"),
        ({"search": "nowhere.yml"}, "nowhere.yml: the options file cannot be read"),
        (
            {"validation": {"dataroot_gt": "nowhere", "dataroot_lq": "photos"}},
            "validation.dataroot_gt: there is no folder",
        ),
        ({"validation": {"dataroot_gt": "photos"}}, "validation: the key 'dataroot_lq' is missing"),
        ({"rank": {"supernet": "random", "networks": "random"}}, "rank: unknown supernet 'random'. Allowed: found"),
        ({"name": "../x"}, "name: '../x'"),
    ],
)
def test_a_plan_that_cannot_be_carried_out_is_refused_in_one_line(changes, expected, read):
    with pytest.raises(OptionError) as error:
        read(**changes)
    message = str(error.value)
    assert message.startswith("changed.yml: ")
    assert expected in message
    assert "\n" not in message


SHIPPED = [
    path for path in sorted((ROOT / "options/evidence").glob("*.yml")) if "rows" in yaml.safe_load(path.read_text())
]
SHIPPED.append(ROOT / "options/evidence/table_2_long.yml")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_plans_can_be_carried_out(path, project, monkeypatch):
    """In a folder with the data that they name; of all runs the options are checked."""
    from study.plan import read_plan

    monkeypatch.chdir(project.folder)
    for name in ("datasets/DIV2K_valid_crop256", "datasets/Set14", "datasets/demo/test"):
        if not Path(name).exists():
            shutil.copytree("datasets/test", name)
    for folder in ("photographs", "demo"):
        for kind in ("HR", "LRbicx4"):
            lmdb = f"train_{kind}_sub.lmdb"
            if not Path(f"datasets/{folder}/{lmdb}").exists():
                shutil.copytree(f"datasets/{lmdb}", f"datasets/{folder}/{lmdb}")
    teachers = Path("datasets/photographs/train_teachers_sub.lmdb")  # as benchmarks/teacher_images.py writes it
    if not teachers.exists():
        shutil.copytree("datasets/train_HR_sub.lmdb", teachers)
    for name in ("quantnas_sr", "models"):
        if not Path(name).exists():
            Path(name).symlink_to(ROOT / name)
    plan = read_plan(path)
    patch = {"datasets": {"train": {"gt_size": 32, "batch_size_per_gpu": 2}}}
    plan = replace(plan, search=merged(plan.search, patch), train=merged(plan.train, patch))
    study_of(plan, f"experiments/{path.stem}").check()


def test_small_searches_and_trainings_are_of_the_basic_space():
    """Whose norms, mixers and noise the plans compare, whatever `make demo` searches."""
    search, train = (read_options(ROOT / f"options/evidence/small_{stage}.yml") for stage in ("search", "train"))
    net = supernet_of(search)
    assert (net.search_space, net.num_block, net.norm, net.bits) == ("basic", 2, "adq", (4, 8))
    assert train["network_g"]["type"] == "QuantNASBasic"


def study_of(plan, folder="experiments/small", **arguments):
    from study.study import Study

    return Study(plan, Path(folder), **arguments)


@pytest.mark.parametrize(
    "rows, expected",
    [
        ({"a": {"kind": "uniform", "num_feat": 12, "num_block": 2, "bits": 17}}, "17 is not a bit width"),
        ({"a": {"kind": "genotype", "files": ["nowhere.yml"]}}, "nowhere.yml"),
        ({"a": {"kind": "search", "options": {"network_g": {"bit_mixer": "shard"}}}}, "did you mean 'shared'?"),
        (
            {"a": {"kind": "random", "train_options": {"train": {"total_iter": 0}}}},
            "rows.a: the training: train.total_iter",
        ),
    ],
)
def test_options_of_all_runs_are_checked_before_the_first(rows, expected, read):
    with pytest.raises(ValueError, match=expected.replace("?", r"\?")):
        study_of(read(rows=rows)).check()


def test_rows_are_the_networks_that_they_say(read):
    rows = {
        "random": {"kind": "random", "count": 2, "seed": 3},
        "uniform": {"kind": "uniform", **SMALL, "bits": 4, "ends": 8},
        "file": {"kind": "genotype", "files": ["g.yml"]},
    }
    plan = read(rows=rows, budget=0.2)
    study = study_of(plan)
    drawn = plan.rows["random"].genotypes(study, "random")
    assert drawn == plan.rows["random"].genotypes(study, "random")
    assert all(0.95 * 0.2 <= count(DerivedNetwork(genotype)).bitops / 1e9 <= 1.05 * 0.2 for genotype in drawn)
    (uniform,) = plan.rows["uniform"].genotypes(study, "uniform")
    assert [choice.bits for choice in uniform.slots.values()] == [8, 4, 4, 8]
    assert {choice.operation for choice in uniform.slots.values()} == {"simple_3x3"}
    uniform.save("g.yml")
    assert plan.rows["file"].genotypes(study, "file") == [uniform]


def test_bits_by_sensitivity_take_from_the_layer_that_bears_it(read, tmp_path):
    """At the start of a training that is one in the body: each is near the identity."""
    from study.sensitivity import greedy_genotype, patches

    from quantnas_sr.pth import write_pth
    from quantnas_sr.quantization import calibrate_on

    plan = read(rows={"by_sensitivity": {"kind": "sensitivity", **SMALL, "bits": [2, 8]}}, budget=0.4)
    row, study = plan.rows["by_sensitivity"], study_of(plan)
    genotype = row.example(study, "by_sensitivity")
    network = DerivedNetwork(genotype).train()
    options = plan.train_options(Path("g.yml"), 0, {})
    calibrate_on(network, patches(options, 4))
    write_pth({"params": network.state_dict()}, tmp_path / "net.pth")
    whole = count(DerivedNetwork(genotype)).bitops / 1e9
    found = greedy_genotype(tmp_path / "net.pth", options, 2, whole - 0.001, 4)
    assert [choice.bits for choice in found.slots.values()] in ([8, 2, 8, 8], [8, 8, 2, 8])
    assert greedy_genotype(tmp_path / "net.pth", options, 2, whole, 4) == genotype
    with pytest.raises(OptionError, match="budget: .* is below"):
        greedy_genotype(tmp_path / "net.pth", options, 2, 0.001, 4)


class Pretended:
    """In the place of trainings: runs end in an instant, with a file in the place of the network."""

    def __init__(self, monkeypatch, failing=()):
        from study.run import Run
        from study.study import Study

        self.ran = []

        def carry_out(run, threads, stop):
            self.ran.append(run.name)
            if any(word in run.name for word in failing):
                return "ended by SIGKILL"
            run.network.parent.mkdir(parents=True)
            run.network.touch()
            return None

        monkeypatch.setattr(Run, "carry_out", carry_out)
        monkeypatch.setattr(Study, "_psnr", lambda study, run, images: 20 + len(self.ran) / 100)


def test_runs_come_seed_by_seed_and_are_not_repeated(read, monkeypatch, tmp_path):
    plan = read(
        rows={"random": {"kind": "random", "count": 2, "gbitops": [0.1, 0.4]}, "one": {"kind": "uniform", **SMALL}}
    )
    monkeypatch.chdir(tmp_path)
    pretended = Pretended(monkeypatch, failing=["one_0_t1"])
    study = study_of(plan)
    study.carry_out()
    names = [
        f"small_{name}" for name in ("random_0_t0", "random_1_t0", "one_0_t0", "random_0_t1", "random_1_t1", "one_0_t1")
    ]
    assert pretended.ran == names
    assert study.failed == {"small_one_0_t1": "ended by SIGKILL"}

    again = Pretended(monkeypatch)
    study_of(plan).carry_out()
    assert again.ran == ["small_one_0_t1"]


@pytest.mark.parametrize("seeds, own", [([0], []), ([0, 1], ["small_one_0_t1"])])
def test_a_run_of_another_process_is_waited_for_after_the_rest(seeds, own, read, monkeypatch, tmp_path):
    from study import study as module

    plan = read(rows={"one": {"kind": "uniform", **SMALL}}, training_seeds=seeds)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "POLL_SECONDS", 0.01)
    pretended = Pretended(monkeypatch)
    study = study_of(plan)
    run, *_ = [run for network in study.networks() for run in network.trainings.values()]
    wait = study._stop.wait

    def other_process_ends(seconds):
        assert pretended.ran == own
        run.network.parent.mkdir(parents=True, exist_ok=True)
        run.network.touch()
        held.__exit__(None, None, None)
        return wait(seconds)

    monkeypatch.setattr(study._stop, "wait", other_process_ends)
    held = run.locked()
    assert held.__enter__()
    study.carry_out()
    assert pretended.ran == own
    assert run.facts["psnr"] == 20 + len(own) / 100


def test_options_of_a_run_that_has_begun_must_not_change(read, tmp_path, monkeypatch):
    plan, changed = read(), read(train_options={"train": {"total_iter": 3, "scheduler": {"periods": [3]}}})
    study = study_of(plan, tmp_path / "small")
    (run, *_) = study.networks()[0].trainings.values()
    run.folder.mkdir(parents=True)
    (run.folder / f"{run.name}.yml").write_text(yaml.safe_dump(run.options))
    study.check()
    with pytest.raises(OptionError, match="begun with other options: train.scheduler.periods was .2. and is .3."):
        study_of(changed, tmp_path / "small").check()


def test_estimates_are_those_of_the_textbook():
    from scipy import stats
    from study.statistics import Estimate, improvement, kendall, of_row, paired

    values = [28.1, 28.3, 28.0, 28.4]
    low, high = stats.t.interval(0.95, 3, loc=28.2, scale=stats.sem(values))
    assert Estimate.of(values)[2:4] == (pytest.approx(low, abs=6e-4), pytest.approx(high, abs=6e-4))
    assert of_row([{0: 1.0, 1: 3.0}]) == Estimate.of([1.0, 3.0])
    assert of_row([{0: 1.0, 1: 3.0}, {0: 5.0}]) == Estimate.of([2.0, 5.0])

    a, b = (
        [{0: 30.0, 1: 30.2}, {0: 30.4, 1: 30.4}],
        [{0: 29.0, 1: 29.4, 2: 0.0}, {0: 29.0, 1: 29.0}, {0: 29.2, 1: 29.0}],
    )
    by_seed = paired(a, b)
    assert (by_seed.mean, by_seed.count) == (pytest.approx(((30.2 - 29.0667) + (30.3 - 29.1333)) / 2, abs=1e-3), 2)
    assert paired(a, [{5: 1.0}]) is None

    b[0].pop(2)
    gain = improvement(a, b)
    welch = stats.ttest_ind([30.1, 30.4], [29.2, 29.0, 29.1], equal_var=False)
    interval = welch.confidence_interval(0.95)
    assert (gain.decibel, gain.beaten, gain.others) == (1.15, 3, 3)
    assert (gain.low, gain.high) == (-0.049, 2.349)
    assert (gain.low, gain.high) == (pytest.approx(interval.low, abs=1e-3), pytest.approx(interval.high, abs=1e-3))
    assert gain.percent == pytest.approx(100 * 1.15 / 29.1, abs=1e-3)
    assert improvement(a[:1], b).low is None
    assert kendall([1, 2, 3, 4], [1, 2, 4, 3]) == {"tau": 0.667, "p": 0.3333}


@pytest.fixture
def quick_processes(project, monkeypatch):
    """Runs begin in processes that have imported torch already; the list of the options files that they got."""
    from study import run

    begun = []

    def run_logged(command, log, environment, stop, tick):
        begun.append(Path(command[3]).name)
        printed = run_python(*command[1:], folder=project.folder)
        log.write_text(printed)
        tick(1.0)
        return Outcome(0, printed)

    monkeypatch.setattr(run, "run_logged", run_logged)
    monkeypatch.chdir(project.folder)
    return begun


def evidence(monkeypatch, *arguments):
    from evidence import main

    monkeypatch.setattr("sys.argv", ["evidence.py", *arguments])
    return main()


def test_an_interrupted_plan_goes_on_to_its_results(project, quick_processes, monkeypatch, capsys):
    """The whole chain: a search, random networks, trainings, exported integers, the rank of the supernet."""
    from study.run import Run

    rows = {"found": {"kind": "search", "seeds": [0]}, "random": {"kind": "random", "count": 2, "gbitops": [0.1, 0.4]}}
    tests = {"again": {"dataroot_gt": "datasets/test/GTmod4", "dataroot_lq": "datasets/test/LRbicx4"}}
    rank = {"supernet": "found", "networks": "random"}
    name = project.write("whole.yml", plan_of(rows=rows, training_seeds=[0], test=tests, rank=rank))
    carry_out = Run.carry_out

    def interrupted(run, threads, stop):
        if len(quick_processes) == 2:
            raise KeyboardInterrupt
        return carry_out(run, threads, stop)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "carry_out", interrupted)
        assert evidence(monkeypatch, name) == 130
    assert evidence(monkeypatch, name, "--report") == 0
    assert "1 of 3 trainings" in capsys.readouterr().out
    assert evidence(monkeypatch, name) == 0
    runs = ("found_s0", "found_0_t0", "random_0_t0", "random_1_t0")
    assert quick_processes == [f"small_{run}.yml" for run in runs]

    output = project.folder / "experiments/small"
    assert (output / "report.md").read_text().strip() in capsys.readouterr().out
    assert (output / "report.png").stat().st_size > 1000
    results = json.loads((output / "results.json").read_text())
    assert results["trainings"] == {"done": 3, "planned": 3}
    assert results["hours"] == {"search": pytest.approx(1 / 3600, abs=1e-3), "train": pytest.approx(3 / 3600, abs=1e-3)}
    assert [len(row["networks"]) for row in results["rows"].values()] == [1, 2]
    found = results["rows"]["found"]
    assert found["psnr"]["mean"] > 10
    assert found["test"]["again"] == found["psnr"]
    assert 0 < found["networks"][0]["search"]["probability"] <= 1
    assert results["rank"]["tau"] in (-1, 1)
    assert [difference["rows"] for difference in results["differences"]] == [["found", "random"]]


def test_what_is_wrong_is_one_line(project, monkeypatch, capsys):
    monkeypatch.chdir(project.folder)
    assert evidence(monkeypatch, "nowhere.yml") == 1
    assert capsys.readouterr().err == (
        "evidence: nowhere.yml: the options file cannot be read (No such file or directory)\n"
    )
