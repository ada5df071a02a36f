"""Two processes that train together do what one does with all of the images; they are started as Slurm starts them."""

import os
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from measured import RUNS, gradients, trained
from project import Started, free_port
from tiny_training import Pipeline, new_model, options

from quantnas_sr.models.batch_statistics import recompute_statistics

TESTS = Path(__file__).resolve().parents[1]
CHILD = """
from pathlib import Path

import quantnas_sr
import torch
from basicsr.utils.dist_util import get_dist_info, init_dist
from measured import measure

init_dist("slurm")
rank, processes = get_dist_info()
torch.save(measure(Path.cwd(), rank, processes), f"{rank}.pth")
torch.distributed.barrier()
torch.distributed.destroy_process_group()
"""


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What each of two processes measured, each with half of the images."""
    if sys.platform == "win32":
        pytest.skip("Slurm does not run there")
    folder = tmp_path_factory.mktemp("ranks")
    scontrol = folder / "scontrol"
    scontrol.write_text("#!/bin/sh\necho localhost\n", encoding="utf-8")
    scontrol.chmod(0o755)
    port = free_port()
    with ExitStack() as stack:
        started = [stack.enter_context(_task(folder, rank, port)) for rank in range(2)]
        for process in started:
            process.finished()
    return [torch.load(folder / f"{rank}.pth", weights_only=True) for rank in range(2)]


def _task(folder, rank, port):
    slurm = {"SLURM_PROCID": str(rank), "SLURM_NTASKS": "2", "SLURM_NODELIST": "here", "MASTER_PORT": str(port)}
    path = {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    return Started("-c", CHILD, folder=folder, path=[TESTS, TESTS / "training"], **slurm, **path)


@pytest.mark.parametrize("run", ["training", "search"])
def test_gradients_are_those_of_all_images_in_one_process(ranks, run, tmp_path):
    expected = gradients(trained(tmp_path, run, 1))
    for rank in ranks:
        assert set(rank[run]) == set(expected)
        for name, gradient in expected.items():
            torch.testing.assert_close(rank[run][name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_alphas_stay_the_same_bit_by_bit_whatever_each_process_draws(ranks):
    one, other = (rank["alphas"] for rank in ranks)
    assert all(torch.equal(*pair) for pair in zip(one, other))
    start = trained_alphas_at_the_start()
    assert not all(torch.equal(*pair) for pair in zip(one, start))


def trained_alphas_at_the_start():
    changes, search = RUNS["sampled"]
    model = new_model(options(Path.cwd(), changes, search))
    return [alphas.detach() for alphas in model.supernet.alphas_by_slot().values()]


def test_statistics_of_batch_normalisation_are_those_of_the_images_of_both(ranks):
    one, other = ranks
    assert all(torch.equal(*pair) for pair in zip(one["statistics"], other["statistics"]))
    changes, search = RUNS["normalised"]
    model = new_model(options(Path.cwd(), changes, search))
    model.net_g.load_state_dict(one["weights"])
    recompute_statistics(model.net_g, [*one["batches"], *other["batches"]])
    found = [value for name, value in model.net_g.state_dict().items() if "running_" in name]
    for expected, value in zip(found, one["statistics"]):
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)


def test_a_restarted_launch_goes_on_from_the_last_checkpoint(tmp_path, monkeypatch, capfd):
    """As ``torchrun --max-restarts`` calls it again, with the same arguments."""
    pipeline = Pipeline(tmp_path, 4, monkeypatch, capfd)
    opt = pipeline.options({"train.total_iter": 4, "logger.save_checkpoint_freq": 2})
    assert pipeline.run("train", opt)[0] == 0
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    opt["train"]["total_iter"] = 6
    code, printed = pipeline.run("train", opt)
    assert code == 0 and "Resuming training from epoch" in printed and "iter: 4" in printed
    assert pipeline.states() == [2, 4, 6] and len(list(Path("experiments").iterdir())) == 1
