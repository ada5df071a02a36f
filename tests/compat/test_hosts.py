"""Projects of others that import this package: they run as before, and with ours in them."""

import shutil
import textwrap
from pathlib import Path
from typing import Any, Dict

import basicsr
import pytest
import torch
import yaml
from project import run_python, write_image

from quantnas_sr.checkpoints import load_network
from quantnas_sr.errors import DataError

NETWORK = '''
import torch
from basicsr.utils.registry import ARCH_REGISTRY


@ARCH_REGISTRY.register()
class RFDN(torch.nn.Module):
    """Not the one of quantnas_sr."""

    def __init__(self, width=4, upscale=2):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 3 * upscale**2, 3, padding=1)
        self.width, self.upscale = width, upscale

    def forward(self, x):
        return torch.nn.functional.pixel_shuffle(self.conv(x), self.upscale)
'''
FOUND = """
from basicsr.utils.registry import ARCH_REGISTRY

print("RFDN of", ARCH_REGISTRY.get("RFDN").__module__)
print("ours of", ARCH_REGISTRY.get("RFDN_quantnas").__module__)
"""


class Host:
    """A project in a folder, with four pairs of images."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for i in range(4):
            write_image(folder / f"gt/{i}.png", 32, 32, seed=i)
            write_image(folder / f"lq/{i}.png", 16, 16, seed=i)

    def write(self, files: Dict[str, str]) -> None:
        for name, text in files.items():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_text(textwrap.dedent(text))

    def options(self, name: str, **changes: Any) -> str:
        """Writes an options file of a plain run of one iteration; returns its name."""
        data = {"name": "tiny", "type": "PairedImageDataset", "dataroot_gt": "gt", "dataroot_lq": "lq", "gt_size": 16}
        data.update(io_backend={"type": "disk"}, use_hflip=True, use_rot=True)
        data.update(num_worker_per_gpu=0, batch_size_per_gpu=1)
        train = {"total_iter": 1, "optim_g": {"type": "Adam", "lr": "1e-3"}, "pixel_opt": {"type": "L1Loss"}}
        train["scheduler"] = {"type": "MultiStepLR", "milestones": [10], "gamma": 0.5}
        opt = {"name": name, "model_type": "SRModel", "scale": 2, "num_gpu": 0, "manual_seed": 0, "path": {}}
        opt.update(datasets={"train": data}, network_g={"type": "RFDN", "width": 3}, train=train)
        opt["logger"] = {"print_freq": 1, "save_checkpoint_freq": 1, "use_tb_logger": False}
        opt.update(changes)
        opt["train"] = {**train, **opt["train"]}
        self.write({f"{name}.yml": yaml.safe_dump(opt, sort_keys=False)})
        return f"{name}.yml"

    def run(self, *command: str) -> str:
        """All that a Python process prints; nothing but this package and the project can be imported on top."""
        return run_python(*command, folder=self.folder, path=[self.folder], CUDA_VISIBLE_DEVICES="")


@pytest.fixture
def host(tmp_path) -> Host:
    return Host(tmp_path)


def test_a_gan_of_a_project_whose_generator_has_a_name_of_ours_trains(host):
    """This package is imported first; numbers are text, and the discriminator has BasicSR's suffix in the registry."""
    train = """
        import quantnas_sr
        import own_arch
        from basicsr.train import train_pipeline

        train_pipeline(".")
    """
    host.write({"train.py": train + FOUND.replace("\n", "\n        "), "own_arch.py": NETWORK})
    gan = {"type": "GANLoss", "gan_type": "vanilla", "real_label_val": 1.0, "fake_label_val": 0.0, "loss_weight": 5e-3}
    losses = {"gan_opt": gan, "optim_d": {"type": "Adam", "lr": "1e-3"}, "net_d_iters": 1, "net_d_init_iters": 0}
    discriminator = {"type": "UNetDiscriminatorSN", "num_in_ch": 3, "num_feat": 4}
    options = host.options("gan", model_type="SRGANModel", network_d=discriminator, train=losses)
    out = host.run("train.py", "-opt", options)
    assert "Network [RFDN] is created" in out and "Model [SRGANModel] is created" in out and "End of training" in out
    assert "RFDN of own_arch\nours of quantnas_sr.archs.rfdn_arch" in out
    assert (host.folder / "experiments/gan/models/net_d_latest.pth").is_file()


LATE = """
    import sys, types

    name = "torchvision.transforms.functional_tensor"  # as a torchvision has it with which BasicSR can be imported
    from torchvision.transforms.functional import rgb_to_grayscale
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].rgb_to_grayscale = rgb_to_grayscale

    from basicsr.train import train_pipeline
    from basicsr.utils.options import parse_options as parse
    assert "quantnas_sr" not in sys.modules
    import own.archs

    sys.argv[1:] = ["-opt", "wrong.yml"]
    try:
        parse(".")
    except ValueError as error:
        print("refused:", error)
    sys.argv[1:] = ["-opt", "short.yml"]
    train_pipeline(".")
"""
SCAN = """
    import importlib

    for name in ("own_arch", "quantnas_arch"):
        importlib.import_module(f"own.archs.{name}")
"""


def test_a_file_in_the_archs_of_a_project_that_imports_basicsr_first_brings_everything(host):
    """Checks, ``base:``, our models, and our classes beside the project's of the same name, which its options get."""
    host.write({"train.py": LATE + FOUND.replace("\n", "\n    "), "own/__init__.py": "", "own/archs/__init__.py": SCAN})
    host.write({"own/archs/own_arch.py": NETWORK, "own/archs/quantnas_arch.py": "import quantnas_sr"})
    network = {"type": "QuantizedArch", "arch": {"type": "RFDN", "width": 5}}
    host.options("whole", model_type="QuantNASModel", network_g=network)
    host.options("wrong", model_type="QuantNASModel", network_g={**network, "bitz": 4})
    host.write({"short.yml": "base: whole.yml\nname: short\n"})
    out = host.run("train.py")
    assert "refused: network_g: unknown key 'bitz', did you mean 'bits'?" in out
    assert "Network [QuantizedArch] is created" in out and "End of training" in out
    assert "RFDN of own.archs.own_arch\nours of quantnas_sr.archs.rfdn_arch" in out
    checkpoint = host.folder / "experiments/short/models/net_g_latest.pth"
    with pytest.raises(DataError, match="RFDN of own.archs.own_arch was trained, and that is not imported here"):
        load_network(checkpoint)


OLD_REGISTRY = '''
class Registry:
    """As before BasicSR 1.4.0: without suffixes."""

    def __init__(self, name):
        self._name, self._obj_map = name, {}

    def _do_register(self, name, obj):
        assert name not in self._obj_map, f"{name} was already registered"
        self._obj_map[name] = obj

    def register(self, obj=None):
        def register(obj):
            self._do_register(obj.__name__, obj)
            return obj

        return register if obj is None else self._do_register(obj.__name__, obj)

    def get(self, name):
        if name not in self._obj_map:
            raise KeyError(name)
        return self._obj_map[name]

    def __contains__(self, name):
        return name in self._obj_map

    def keys(self):
        return self._obj_map.keys()


DATASET_REGISTRY, ARCH_REGISTRY, MODEL_REGISTRY = Registry("dataset"), Registry("arch"), Registry("model")
LOSS_REGISTRY, METRIC_REGISTRY = Registry("loss"), Registry("metric")
'''
KEPT = {
    "archs": ("__init__", "arch_util", "srresnet_arch", "vgg_arch"),
    "data": ("__init__", "data_sampler", "data_util", "paired_image_dataset", "prefetch_dataloader", "transforms"),
    "models": ("__init__", "base_model", "lr_scheduler", "sr_model"),
}


def copy_of_basicsr(folder: Path) -> None:
    """A reduced copy inside a project: an old registry, no version.py, an ``__init__`` that imports only some parts."""
    shutil.copytree(Path(basicsr.__file__).parent, folder / "basicsr", ignore=shutil.ignore_patterns("__pycache__"))
    for part, kept in KEPT.items():
        for path in (folder / "basicsr" / part).glob("*.py"):
            if path.stem not in kept:
                path.unlink()
    (folder / "basicsr/version.py").unlink()
    (folder / "basicsr/utils/registry.py").write_text(OLD_REGISTRY)
    imports = "".join(f"from .{part} import *\n" for part in ("archs", "data", "metrics", "models", "test", "utils"))
    (folder / "basicsr/__init__.py").write_text(imports)


def test_a_copy_of_basicsr_in_a_project_trains_and_resumes_with_our_file_among_its_archs(host):
    """``python basicsr/train.py``: the functions of the script are not those of the module ``basicsr.train``."""
    copy_of_basicsr(host.folder)
    archs = host.folder / "basicsr/archs"
    # Whichever of the two comes first in the folder: the project's class, which has a width, gets the name.
    (archs / "quantnas_arch.py").write_text("import quantnas_sr\n")
    (archs / "rfdn_arch.py").write_text(NETWORK)
    network = {"type": "QuantizedArch", "arch": {"type": "RFDN", "width": 3}}
    host.options("whole", network_g=network, model_type="QuantNASModel")
    host.write({"short.yml": "base: whole.yml\nname: short\n"})
    out = host.run("basicsr/train.py", "-opt", "short.yml")
    assert "Network [QuantizedArch] is created" in out and "End of training" in out
    more = ["--auto_resume", "--force_yml", "train:total_iter=2"]
    out = host.run("basicsr/train.py", "-opt", "short.yml", *more)
    assert "Resuming training from epoch: 0, iter: 1." in out and "End of training" in out
    state = torch.load(host.folder / "experiments/short/training_states/2.state", weights_only=True)
    assert state["iter"] == 2
