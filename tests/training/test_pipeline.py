"""The chain as users run it: their commands, in a folder, on real LMDBs."""

import re
import shutil
import sysconfig
from pathlib import Path

import pytest
import torch
import yaml
from project import ROOT, Project, run_in_parallel, write_image

from quantnas_sr.search_space import Genotype, load_derived

SMALL_BASIC = {"network_g.num_feat": 12, "network_g.num_block": 1}
SMALL_RFDN = {"network_g.num_feat": 12, "network_g.num_block": 1}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    project = Project(tmp_path_factory.mktemp("project"))
    project.make_data()
    return project


@pytest.fixture(scope="module")
def searched(project) -> str:
    """A search of six iterations, stopped after three and resumed. Returns the log of the second part."""
    changes = {
        **SMALL_BASIC,
        "name": "searched",
        "train.total_iter": 6,
        "train.scheduler.periods": [6],
        "train.alpha_warmup": 0.2,
        "logger.save_checkpoint_freq": 3,
        "logger.use_tb_logger": True,
        "val.val_freq": 2,
        "val.save_img": True,
    }
    options = project.write("search.yml", project.options("search_basic_x4.yml", changes))
    project.run(str(ROOT / "quantnas_sr/train.py"), "-opt", options)
    for late in ("training_states/6.state", "models/net_g_6.pth", "models/net_g_latest.pth"):
        (project.folder / "experiments/searched" / late).unlink()
    shutil.copyfile(project.folder / "experiments/searched/training_states/3.state", project.folder / "3.state")
    return project.train(options, "--auto_resume")


@pytest.fixture(scope="module")
def trained(project, searched) -> str:
    """Training of what was found. Returns its log."""
    changes = {
        "name": "trained",
        "network_g.genotype": "experiments/searched/genotype.yml",
        "train.total_iter": 4,
        "train.scheduler.periods": [4],
        "train.fp_warmup": 0.5,
        "train.grad_clip": 1.0,
        "val": None,
    }
    options = project.write("train.yml", project.options("train_basic_x4.yml", changes))
    return project.train(options)


def test_a_search_goes_on_where_it_stopped_with_both_optimizers(project, searched):
    assert "Resuming training from epoch: 0, iter: 3" in searched
    before = torch.load(project.folder / "3.state", weights_only=True)
    after = torch.load(project.folder / "experiments/searched/training_states/6.state", weights_only=True)
    steps = [[s["step"].item() for s in state["optimizers"][1]["state"].values()] for state in (before, after)]
    assert set(steps[0]) == {1.0}, "one step of the alphas in three iterations, of which two are warm-up"
    assert set(steps[1]) == {4.0}
    assert after["optimizers"][0]["state"][0]["momentum_buffer"] is not None
    assert after["optimizers"][1]["param_groups"][0]["lr"] == 3e-4, "the rate of the alphas is fixed"
    assert after["optimizers"][0]["param_groups"][0]["lr"] < before["optimizers"][0]["param_groups"][0]["lr"]
    assert set(after["random"]) >= {"python", "numpy", "torch"}
    assert after["best_metric_results"]["DIV2K_valid"]["psnr"]["val"] > 0


def test_a_search_writes_its_genotype_at_checkpoints_and_at_the_end(project, searched):
    folder = project.folder / "experiments/searched"
    found = Genotype.load(folder / "genotype.yml")
    assert found == Genotype.load(folder / "genotypes/latest.yml") == Genotype.load(folder / "genotypes/6.yml")
    assert (folder / "genotypes/3.yml").is_file()
    assert found.origin["experiment"] == "searched" and found.origin["iteration"] == 6
    assert not [path for path in folder.rglob(".*") if path.is_dir()], "nothing half-written is left"


def test_a_search_validates_the_supernet_and_the_best_path(searched):
    assert "Validation DIV2K_valid\n" in searched
    assert "Validation DIV2K_valid_derived\n" in searched


def test_a_search_logs_losses_alphas_and_costs_by_name(project, searched):
    assert all(f"{name}: " in searched for name in ("l_pix", "l_alpha_pix", "l_hardware", "l_entropy"))
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(project.folder / "tb_logger/searched"))
    events.Reload()
    tags = set(events.Tags()["scalars"])
    assert {"alphas/head_0/simple_3x3/4bit", "alphas/skip/simple_1x1/8bit", "cost/expected_bitops"} <= tags
    assert {"losses/l_hardware", "cost/best_path_bitops", "search/entropy"} <= tags


def test_training_starts_from_the_genotype_and_logs_its_cost(project, trained):
    assert "GBitOps" in trained and "End of training" in trained


def test_a_checkpoint_alone_rebuilds_its_network(project, trained):
    network = load_derived(project.folder / "experiments/trained/models/net_g_latest.pth")
    assert network.genotype == Genotype.load(project.folder / "experiments/searched/genotype.yml")
    assert network(torch.rand(1, 3, 8, 8)).shape == (1, 3, 32, 32)


def test_the_moving_average_follows_the_batch_statistics(project, trained):
    saved = torch.load(project.folder / "experiments/trained/models/net_g_latest.pth", weights_only=True)
    statistics = [key for key in saved["params"] if key.endswith("running_mean")]
    assert statistics
    for key in statistics:
        average, value = saved["params_ema"][key], saved["params"][key]
        assert average.abs().max() > 0, "it has left its initial value"
        assert (average.abs() <= value.abs().max()).all()


def test_a_test_run_takes_tiny_gray_and_transparent_images(project, trained):
    folder = project.folder / "datasets/odd"
    for i, (size, channels) in enumerate([((20, 20), 3), ((64, 48), 1), ((48, 64), 4)]):
        write_image(folder / f"GTmod4/{i}.png", *size, seed=i, channels=channels)
        write_image(folder / f"LRbicx4/{i}.png", size[0] // 4, size[1] // 4, seed=i, channels=channels)
    changes = {
        "name": "tested",
        "network_g.genotype": "experiments/searched/genotype.yml",
        "path.pretrain_network_g": "experiments/trained/models/net_g_latest.pth",
        "datasets.test_2": None,
    }
    opt = project.options("test_basic_x4.yml", changes)
    opt["datasets"]["test_1"].update(project.test_data("odd"))
    log = project.test(project.write("test.yml", opt))
    assert "# psnr: " in log and "# ssim: " in log
    written = sorted(p.name for p in (project.folder / "results/tested/visualization/Set5").iterdir())
    assert written == ["0_tested.png", "1_tested.png", "2_tested.png"]


def test_the_rfdn_files_run_too(project):
    changes = {**SMALL_RFDN, "name": "rfdn", "val": None, "train.alpha_warmup": 0}
    project.train(project.write("search_rfdn.yml", project.options("search_rfdn_x4.yml", changes)))
    changes = {"name": "rfdn_trained", "network_g.genotype": "experiments/rfdn/genotype.yml", "val": None}
    log = project.train(project.write("train_rfdn.yml", project.options("train_rfdn_x4.yml", changes)))
    assert "Network [QuantNASRFDN] is created" in log


@pytest.mark.parametrize("amp, mode", [("bfloat16", "fast"), ("float16", "exact")])
def test_search_and_training_in_mixed_precision(amp, mode, project):
    """The files they leave are in float32, and the scale of the gradients is among them where there is one."""
    changes = {**SMALL_BASIC, "name": f"search_{amp}", "train.amp": amp, "network_g.noise_mode": mode, "val": None}
    log = project.train(project.write("a.yml", project.options("search_basic_x4.yml", changes)))
    losses = [float(value) for value in re.findall(r"l_pix: (\S+)", log)]
    assert losses and all(0 < loss < 10 for loss in losses)
    changes = {
        "name": f"train_{amp}",
        "train.amp": amp,
        "network_g.genotype": f"experiments/search_{amp}/genotype.yml",
        "logger.save_checkpoint_freq": 2,
        "val": None,
    }
    project.train(project.write("b.yml", project.options("train_basic_x4.yml", changes)))
    folder = project.folder / f"experiments/train_{amp}"
    weights = torch.load(folder / "models/net_g_2.pth", weights_only=True)["params"]
    assert all(w.dtype is torch.float32 for w in weights.values() if w.is_floating_point())
    state = torch.load(folder / "training_states/2.state", weights_only=True)
    assert bool(state["gradient_scaler"]) == (amp == "float16")


def test_a_search_in_two_processes_resumed_is_the_uninterrupted_one(project):
    changes = {**SMALL_BASIC, "name": "two", "val.val_freq": 2, "train.alpha_warmup": 0.1, "train.total_iter": 3}
    changes.update({"network_g.selector": "sample", "logger.save_checkpoint_freq": 1, "train.scheduler.periods": [3]})
    options = project.write("two.yml", project.options("search_basic_x4.yml", changes))
    script = [str(ROOT / "quantnas_sr/train.py"), "-opt", options, "--launcher", "pytorch"]
    run_in_parallel(2, project.folder, *script)
    folder = project.folder / "experiments/two"
    state = torch.load(folder / "training_states/1.state", weights_only=True)
    other = state["processes"][1]
    assert not torch.equal(state["random"]["torch"], other["random"]["torch"]), "each draws its own noise"
    assert not torch.equal(state["recent_batches"][0], other["recent_batches"][0])
    files = [folder / "models/net_g_latest.pth", folder / "genotype.yml"]
    whole = [path.read_bytes() for path in files]
    for iteration in (2, 3):
        (folder / f"training_states/{iteration}.state").unlink()
    run_in_parallel(2, project.folder, *script, "--auto_resume")
    assert [path.read_bytes() for path in files] == whole


PLAIN_TRAIN = """
{imports}
from basicsr.train import train_pipeline

if __name__ == "__main__":
    train_pipeline({folder!r})
"""


@pytest.mark.parametrize(
    ("imports", "files"),
    [
        ("import quantnas_sr  # noqa: F401", {}),
        (
            "import importlib, pathlib\n"
            "for file in pathlib.Path('archs').glob('*_arch.py'):\n"
            "    importlib.import_module(f'archs.{file.stem}')",
            {"archs/quantnas_arch.py": "import quantnas_sr  # noqa: F401\n", "archs/__init__.py": ""},
        ),
    ],
    ids=["import in train.py", "file in archs"],
)
def test_a_plain_basicsr_project_trains_a_derived_network(project, searched, imports, files):
    folder = project.folder
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    (folder / "plain.py").write_text(PLAIN_TRAIN.format(imports=imports, folder=str(folder)))
    log = project.run("plain.py", "-opt", plain_options(project, f"plain_{len(files)}"))
    assert "Network [QuantNASBasic] is created" in log and "End of training" in log


def plain_options(project: Project, name: str) -> str:
    """A derived network under BasicSR's own model.

    Every run needs a name of its own: BasicSR moves the folder of an earlier one to a name with the time in seconds,
    which two runs that begin in one second would share.
    """
    genotype = "experiments/searched/genotype.yml"
    changes = {"name": name, "model_type": "SRModel", "network_g.genotype": genotype, "val": None}
    changes.update({"train.fp_warmup": None, "train.grad_clip": None})
    return project.write(f"{name}.yml", project.options("train_basic_x4.yml", changes))


def test_a_copy_of_basicsr_with_our_file_among_its_archs_trains_a_derived_network(project, searched, tmp_path):
    installed = Path(sysconfig.get_paths()["purelib"]) / "basicsr"
    if not installed.is_dir():
        pytest.skip("BasicSR is not in this environment's site-packages")
    shutil.copytree(installed, tmp_path / "basicsr")
    (tmp_path / "basicsr/archs/quantnas_arch.py").write_text("import quantnas_sr  # noqa: F401\n")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from basicsr.train import train_pipeline; import basicsr;"
        f"assert basicsr.__file__.startswith({str(tmp_path)!r}); train_pipeline({str(project.folder)!r})"
    )
    log = project.run("-c", code, "-opt", plain_options(project, "copy"))
    assert "Network [QuantNASBasic] is created" in log and "End of training" in log


def test_the_name_of_a_shipped_options_file_is_the_name_of_its_run():
    for path in sorted((ROOT / "options").glob("*.yml")):
        opt = yaml.safe_load(path.read_text())
        assert opt["name"] == path.stem, path
