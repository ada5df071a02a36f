"""Checkpoints prove that they are whole, and a run goes on from the newest one that is."""

import shutil

import pytest
import torch
from tiny_training import Pipeline

from quantnas_sr.compat.run_files import NETWORKS, newest_whole_state, prune
from quantnas_sr.errors import CheckpointError
from quantnas_sr.models.quantnas_model import QuantNASModel
from quantnas_sr.pth import DIGEST, read_pth, read_with_digest, write_pth
from quantnas_sr.system.digest import digest_of
from quantnas_sr.system.files import remove_leftovers, written_aside

resource = pytest.importorskip("resource", reason="limits on the size of files are of Unix")


def flip(path):
    """One bit in the middle of a tensor."""
    content = bytearray(path.read_bytes())
    at = content.index(MARK) + 2
    content[at] ^= 1
    path.write_bytes(content)


MARK = bytes(torch.full((4,), 1.2345).view(torch.uint8).tolist())


def content(iteration):
    return {"params": {"weight": torch.cat([torch.full((4,), 1.2345), torch.tensor([float(iteration)])])}}


@pytest.fixture
def opt(tmp_path, monkeypatch):
    """Parsed options of a run with checkpoints after 1, 2 and 3 iterations."""
    monkeypatch.chdir(tmp_path)
    folders = {name: tmp_path / "experiments/run" / name for name in ("models", "training_states")}
    for folder in folders.values():
        folder.mkdir(parents=True)
    for i in (1, 2, 3):
        digest = write_pth(content(i), folders["models"] / f"net_g_{i}.pth")
        state = {"iter": i, "more": content(i), NETWORKS: {f"net_g_{i}.pth": digest}}
        write_pth(state, folders["training_states"] / f"{i}.state")
    return {"name": "run", "network_g": {}, "path": {name: str(folder) for name, folder in folders.items()}}


def test_a_digest_is_that_of_values_types_and_shapes():
    x = torch.rand(2, 3, 4, 4)
    same = digest_of({"a": x, "b": (1, 2.0)})
    assert digest_of({"b": [1, 2.0], "a": x.contiguous(memory_format=torch.channels_last)}) == same
    for other in ({"a": x, "b": (1, 2)}, {"a": x.flatten(), "b": (1, 2.0)}, {"a": x.double(), "b": (1, 2.0)}):
        assert digest_of(other) != same
    for odd in (torch.zeros(()), torch.zeros(0, 3), torch.zeros(2, dtype=torch.bfloat16), torch.tensor([True])):
        assert digest_of(odd) == digest_of(odd.clone())


def test_a_flipped_bit_is_noticed_and_a_file_without_digest_is_read_as_ever(opt, tmp_path):
    path = tmp_path / "experiments/run/models/net_g_3.pth"
    assert read_pth(path).keys() == {"params"} and DIGEST in torch.load(path, weights_only=True)
    torch.save(content(3), tmp_path / "old.pth")
    for file in (path, tmp_path / "old.pth"):
        flip(file)
    assert read_with_digest(tmp_path / "old.pth")[1] is None
    with pytest.raises(CheckpointError, match="net_g_3.pth: the checkpoint is damaged"):
        read_pth(path)


DAMAGES = {
    "flipped bit in the state": lambda folder: flip(folder / "training_states/3.state"),
    "flipped bit in the network": lambda folder: flip(folder / "models/net_g_3.pth"),
    "half a state": lambda folder: (folder / "training_states/3.state").write_bytes(
        (folder / "training_states/3.state").read_bytes()[:700]
    ),
    "empty state": lambda folder: (folder / "training_states/3.state").write_bytes(b""),
    "no network": lambda folder: (folder / "models/net_g_3.pth").unlink(),
    "garbage": lambda folder: (folder / "models/net_g_3.pth").write_bytes(b"garbage" * 99),
    "network of another run": lambda folder: write_pth(content(9), folder / "models/net_g_3.pth"),
    "state of another iteration": lambda folder: shutil.copyfile(
        folder / "training_states/2.state", folder / "training_states/3.state"
    ),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=list(DAMAGES))
def test_the_newest_whole_checkpoint_is_taken_and_a_line_names_the_damaged_one(damage, opt, tmp_path, capfd):
    folder = tmp_path / "experiments/run"
    damage(folder)
    (folder / "training_states/best.state").write_bytes(b"")
    (folder / "training_states/4.state.bak").write_bytes(b"")
    assert newest_whole_state(opt).name == "2.state"
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("Not resumed from: ") and "3." in lines[0]
    for i in (1, 2):
        (folder / f"models/net_g_{i}.pth").unlink()
    with pytest.raises(CheckpointError, match="none of the 3 checkpoints is whole"):
        newest_whole_state(opt)


def test_old_checkpoints_are_removed_and_nothing_else(opt, tmp_path):
    folder = tmp_path / "experiments/run"
    for name in ("net_g_latest.pth", "net_best_1.pth", "net_derived_1.pth"):
        (folder / "models" / name).write_bytes(b"")
    (folder / "training_states/best.state").write_bytes(b"")
    prune(opt, 2, newest=2)
    assert newest_whole_state(opt).name == "3.state", "of a later iteration"
    prune(opt, 2, newest=3)
    left = sorted(path.name for path in folder.glob("*/*"))
    assert left == [
        "2.state",
        "3.state",
        "best.state",
        "net_best_1.pth",
        "net_g_2.pth",
        "net_g_3.pth",
        "net_g_latest.pth",
    ]


def test_what_killed_runs_leave_is_removed_and_nothing_else(tmp_path):
    kept = [".net_g_1.pth.abcdefgh/other", ".net_g_2.pth.ABC/net_g_2.pth", ".git/config", ".x.pth.abcdefg1"]
    for name in (*kept, ".net_g_3.pth.ab_d1234/net_g_3.pth"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / ".4.state.abcdefgh").mkdir()
    with written_aside(tmp_path / "5.state") as aside:
        aside.write_bytes(b"")
        assert [path.name for path in remove_leftovers(tmp_path)] == [".4.state.abcdefgh", ".net_g_3.pth.ab_d1234"]
    assert (tmp_path / "5.state").is_file()
    assert all((tmp_path / name).is_file() for name in kept)


@pytest.fixture
def pipeline(tmp_path, monkeypatch, capfd):
    return Pipeline(tmp_path, 4, monkeypatch, capfd)


def test_a_full_disk_is_one_line_and_what_was_saved_before_is_whole(pipeline, monkeypatch):
    """`keep_checkpoints` too: the first pair is removed when the third is there."""
    monkeypatch.setattr("basicsr.models.base_model.time.sleep", lambda seconds: None)
    options = {"train.total_iter": 6, "logger.save_checkpoint_freq": 1, "logger.keep_checkpoints": 2}
    opt = pipeline.options(options)
    assert pipeline.run("train", opt)[0] == 0
    assert pipeline.states() == [5, 6]
    latest = pipeline.folder / "experiments/run/models/net_g_latest.pth"
    whole, step = read_with_digest(latest)[1], QuantNASModel.optimize_parameters
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def struck(self, current_iter):
        if current_iter == 4:
            resource.setrlimit(resource.RLIMIT_FSIZE, (9000, before[1]))
        step(self, current_iter)

    with monkeypatch.context() as patch:
        patch.setattr(QuantNASModel, "optimize_parameters", struck)
        try:
            code, printed = pipeline.run("train", opt)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    folder = pipeline.folder / "experiments/run"
    assert code == 1 and pipeline.states() == [2, 3]
    assert not list(folder.rglob(".*"))
    assert pipeline.run("train", opt, "--auto_resume")[0] == 0
    assert read_with_digest(latest)[1] == whole


def test_a_damaged_state_that_the_options_name_is_one_line(pipeline):
    (pipeline.folder / "broken.state").write_bytes(b"broken")
    code, printed = pipeline.run("train", pipeline.options({"path.resume_state": "broken.state"}))
    assert code == 1 and "Traceback" not in printed
    assert "basicsr train: broken.state: not a checkpoint" in printed
