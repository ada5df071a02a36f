"""A training that a signal stops finishes its iteration, saves, says how to go on, and loses nothing."""

import os
import signal

import pytest
from project import run_in_parallel
from tiny_training import Pipeline

from quantnas_sr.models.experiment import ExperimentModel
from quantnas_sr.models.search_model import QuantNASSearchModel
from quantnas_sr.pth import read_with_digest
from quantnas_sr.system import stopping
from quantnas_sr.system.stopping import Stopping

RUNS = {
    "training": (signal.SIGTERM, {"train.ema_decay": 0.9, "network_g.arch.activation": "tanh"}),
    "training with Slurm's warning": (signal.SIGUSR1, {"train.fp_warmup": 0.3}),
    "search": (signal.SIGINT, {"datasets.train.type": "QuantNASSearchDataset"}),
}


def results(run):
    """The digest of the weights, and the genotype."""
    folder = run.folder / "experiments/run"
    weights = read_with_digest(folder / "models/net_g_latest.pth")[1]
    return [weights, *(path.read_bytes() for path in folder.glob("genotype.yml"))]


@pytest.fixture
def handlers():
    """The handlers of the signals, which must be the same afterwards."""
    Stopping.release()
    before = [signal.getsignal(number) for number in stopping.SIGNALS]
    yield
    assert [signal.getsignal(number) for number in stopping.SIGNALS] == before


@pytest.mark.parametrize("number, changes", RUNS.values(), ids=list(RUNS))
def test_a_stopped_run_goes_on_as_if_it_had_not_been(number, changes, tmp_path, monkeypatch, capfd, handlers):
    run, search = Pipeline(tmp_path, 7, monkeypatch, capfd), "datasets.train.type" in changes
    opt = run.options({"train.total_iter": 6, "val": None, **changes}, search)
    assert run.run("train", opt)[0] == 0
    whole = results(run)
    model = QuantNASSearchModel if search else ExperimentModel
    step = model.optimize_parameters

    def struck(self, current_iter):
        if current_iter == 3:
            os.kill(os.getpid(), number)
        step(self, current_iter)

    with monkeypatch.context() as patch:
        patch.setattr(model, "optimize_parameters", struck)
        with pytest.raises(SystemExit) as stopped:
            run.run("train", opt)
    printed = "".join(capfd.readouterr())
    assert stopped.value.code == 128 + number
    line = f"Stopped by {number.name} after iteration 3: go on with the same command and --auto_resume."
    assert line in printed and "Traceback" not in printed
    assert run.states() == [3]
    assert run.run("train", opt, "--auto_resume")[0] == 0
    assert results(run) == whole


def test_a_training_that_fails_gives_the_signals_back(tmp_path, monkeypatch, capfd, handlers):
    def fails(self, current_iter):
        assert signal.getsignal(signal.SIGTERM) == self.stopping._receive
        raise FloatingPointError

    monkeypatch.setattr(ExperimentModel, "optimize_parameters", fails)
    run = Pipeline(tmp_path, 7, monkeypatch, capfd)
    with pytest.raises(FloatingPointError):
        run.run("train", run.options({"val": None}))


def test_a_second_signal_does_what_it_did_before(monkeypatch, capfd):
    caught = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: caught.append(number))
    try:
        listening = Stopping()
        listening.listen()
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert not caught, "the same one, which a launcher has handed on"
        monkeypatch.setattr(stopping, "ONCE_MORE", 0.0)
        os.kill(os.getpid(), signal.SIGTERM)
        assert caught == [signal.SIGTERM] and listening.received == signal.SIGTERM
        assert capfd.readouterr().err.count("stopping after this iteration") == 1
    finally:
        signal.signal(signal.SIGTERM, before)


STRUCK = """
import os, signal, sys
os.setpgrp()
import quantnas_sr, basicsr.train
from quantnas_sr.models.quantnas_model import QuantNASModel
step = QuantNASModel.optimize_parameters
def struck(self, current_iter):
    if current_iter == 2 and os.environ["RANK"] == "1":
        os.killpg(0, signal.SIGTERM)
    step(self, current_iter)
QuantNASModel.optimize_parameters = struck
from quantnas_sr.cli import basicsr_main
if __name__ == "__main__":
    sys.exit(basicsr_main(["train", *sys.argv[1:]]))
"""


def test_processes_stop_at_the_same_iteration_whichever_was_told(tmp_path, monkeypatch, capfd):
    run = Pipeline(tmp_path, 7, monkeypatch, capfd)
    opt = run.options({"train.total_iter": 50, "train.calibration_iter": 0})
    run.write(opt)
    (tmp_path / "struck.py").write_text(STRUCK)
    printed = run_in_parallel(2, tmp_path, "struck.py", "-opt", "opt.yml", "--launcher", "pytorch", code=143)
    assert "Stopped by SIGTERM after iteration" in printed
    (saved,) = run.states()
    assert 2 <= saved <= 3
