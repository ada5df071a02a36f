"""The folder of a sweep that somebody else has made: its states and options are taken, or one line names the file."""

import json

import pytest
import yaml

from quantnas_sr.errors import OptionError
from quantnas_sr.report.front import mean_and_spread
from quantnas_sr.sweep.job import SweepJob, read_metrics
from quantnas_sr.sweep.records import jobs_of, options_of
from quantnas_sr.sweep.state import Stage, State, read_state, write_state

DONE = {"started": True, "done": True, "seconds": 1.5}
STATE = {"stages": dict.fromkeys(("search", "train", "test"), DONE), "metrics": {"Set5": {"psnr": 30}}, "failed": None}
SEARCH = {"name": "s", "manual_seed": 0, "train": {"hardware_opt": {"loss_weight": "1e-4"}}}
TEST = {
    "name": "t",
    "manual_seed": 0,
    "scale": 4,
    "network_g": {"genotype": "genotype.yml"},
    "val": {"metrics": {"psnr": {"type": "calculate_psnr"}}},
    "datasets": {"test": {"name": "Set5"}},
}
ODD_STATES = (
    "",
    "[1]",
    "null",
    "{",
    "[" * 100000,
    {},
    {**STATE, "stages": {}},
    {**STATE, "stages": {**STATE["stages"], "test": 5}},
    {**STATE, "stages": {**STATE["stages"], "test": {**DONE, "seconds": "long"}}},
    {**STATE, "stages": {**STATE["stages"], "test": {**DONE, "seconds": float("nan")}}},
    {**STATE, "stages": {**STATE["stages"], "test": {**DONE, "more": 1}}},
    {**STATE, "metrics": [1]},
    {**STATE, "metrics": {"Set5": 5}},
    {**STATE, "metrics": {"Set5": {"psnr": "<b>"}}},
    {**STATE, "failed": "yes"},
    {**STATE, "failed": ["nowhere", "x"]},
)


@pytest.mark.parametrize("state", ODD_STATES, ids=lambda state: str(state)[-30:])
def test_an_odd_state_is_one_line(state, tmp_path):
    (tmp_path / "state.json").write_text(state if isinstance(state, str) else json.dumps(state))
    with pytest.raises(OptionError, match="not the state of a job") as caught:
        SweepJob(tmp_path).load()
    assert "\n" not in str(caught.value) and "state.json" in str(caught.value)


def test_a_state_comes_back_as_it_was_written(tmp_path):
    state = State(metrics={"Set5": {"psnr": float("inf")}}, failed=["train", "out of memory"])
    state.stages["search"] = Stage(True, True, 2.5)
    write_state(tmp_path / "state.json", state)
    assert read_state(tmp_path / "state.json") == state


@pytest.mark.parametrize(
    "stage, options, line",
    [
        ("search", {**SEARCH, "name": "../../x"}, "name: '../../x' is not a name"),
        ("search", {**SEARCH, "train": {}}, "train.hardware_opt: null is not a mapping"),
        ("search", {**SEARCH, "manual_seed": "x"}, "manual_seed: 'x' is not a number"),
        ("search", [1], "is not a mapping"),
        ("test", {**TEST, "datasets": {"test": {"name": "../x"}}}, "datasets.test.name: '../x' is not a name"),
        ("test", {**TEST, "network_g": {}}, "network_g.genotype: null is not text"),
        ("test", {**TEST, "val": {"metrics": {"psnr": 5}}}, "val.metrics.psnr: 5 is not a mapping"),
        ("test", {**TEST, "scale": None}, "scale: null is not a number"),
    ],
    ids=str,
)
def test_odd_options_of_a_job_are_one_line(stage, options, line, tmp_path):
    (tmp_path / f"{stage}.yml").write_text(yaml.safe_dump(options))
    with pytest.raises(OptionError, match=line):
        options_of(SweepJob(tmp_path), stage)


def test_the_options_of_a_job_have_their_own_types(tmp_path):
    folder = tmp_path / "jobs/p0"
    folder.mkdir(parents=True)
    (folder / "search.yml").write_text(yaml.safe_dump(SEARCH))
    (folder / "test.yml").write_text(yaml.safe_dump(TEST))
    (job,) = jobs_of(tmp_path)
    assert options_of(job, "search")["train"]["hardware_opt"]["loss_weight"] == 1e-4
    assert options_of(job, "test")["scale"] == 4


@pytest.mark.parametrize("text", ["", "[]", '{"datasets": 5}', '{"datasets": {"a": {"metrics": {"b": "c"}}}}'])
def test_odd_metrics_of_a_test_are_none(text, tmp_path):
    (tmp_path / "metrics.json").write_text(text)
    assert read_metrics(tmp_path / "metrics.json") == {}


def test_equal_images_have_no_spread():
    assert mean_and_spread([float("inf"), 30.0])[0] == float("inf")
