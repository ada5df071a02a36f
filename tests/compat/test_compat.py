"""Every patch of quantnas_sr.compat: the defect is there without it, and gone with it."""

import functools
import importlib
import inspect
import math
import os
import pickle
import queue
import shutil
import subprocess
import sys
import textwrap
import types
from collections import OrderedDict
from pathlib import Path

import basicsr
import cv2
import lmdb
import numpy as np
import pytest
import torch
import yaml
from project import ROOT, run_in_parallel, run_python
from torch import nn

from quantnas_sr import compat
from quantnas_sr.compat import data, imports, models
from quantnas_sr.compat.replacing import alike, rebind, replaced
from quantnas_sr.errors import DataError, OptionError

no_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="the defect is on machines without CUDA")


def upstream(patched):
    """BasicSR's own function under a patch; skips where the installed BasicSR did not need the patch."""
    original = inspect.unwrap(patched)
    if original is patched:
        pytest.skip(f"this BasicSR needs no patch of {patched.__name__}")
    return original


#: What there is of torchvision for the module that BasicSR needs of it.
TORCHVISION = {
    "__init__.py": "",
    "transforms/__init__.py": "",
    "transforms/functional.py": "def rgb_to_grayscale(img): ...\n",
}


def write_script(folder, text):
    script = folder / "script.py"
    script.write_text(textwrap.dedent(text))
    return script


@pytest.fixture
def pairs(tmp_path):
    """The options of a PairedImageDataset of four random pairs, scale 2."""
    for kind, size in (("gt", 32), ("lq", 16)):
        (tmp_path / kind).mkdir()
        for name in "abcd":
            cv2.imwrite(
                str(tmp_path / kind / f"{name}.png"), np.random.randint(0, 256, (size, size, 3)).astype(np.uint8)
            )
    return {
        "name": "pairs",
        "type": "PairedImageDataset",
        "dataroot_gt": str(tmp_path / "gt"),
        "dataroot_lq": str(tmp_path / "lq"),
        "io_backend": {"type": "disk"},
        "gt_size": 16,
        "use_hflip": True,
        "use_rot": True,
        "scale": 2,
        "phase": "train",
    }


class TestImports:
    def test_basicsr_needs_the_dropped_torchvision_module(self, monkeypatch):
        name = "torchvision.transforms.functional_tensor"
        monkeypatch.delitem(sys.modules, name)
        without_ours = [finder for finder in sys.meta_path if not isinstance(finder, imports._FunctionalTensor)]
        monkeypatch.setattr(sys, "meta_path", without_ours)
        with pytest.raises(ModuleNotFoundError, match=name):
            importlib.reload(basicsr.data.degradations)
        imports.provide_functional_tensor()
        importlib.reload(basicsr.data.degradations)

    def test_rgb_to_grayscale_is_torchvisions(self):
        from basicsr.data.degradations import rgb_to_grayscale
        from torchvision.transforms import functional

        image = torch.rand(3, 4, 4)
        torch.testing.assert_close(rgb_to_grayscale(image), functional.rgb_to_grayscale(image))

    def test_child_processes_read_our_import_before_their_work(self, tmp_path):
        """Their work imports, when it is unpickled, the module that BasicSR needs."""
        script = write_script(
            tmp_path,
            """
            import importlib, multiprocessing

            class Work:
                def __reduce__(self):
                    return importlib.import_module, ("torchvision.transforms.functional_tensor",)

            def done(start_method):
                process = multiprocessing.get_context(start_method).Process(target=print, args=(Work(),))
                process.start()
                process.join()
                return process.exitcode == 0

            def main():
                import quantnas_sr

                for start_method in ("spawn", "forkserver"):
                    assert done(start_method), start_method
                del multiprocessing.current_process()._config["quantnas_sr"]
                assert not done("spawn")

            if __name__ == "__main__":
                main()
            """,
        )
        (tmp_path / "torchvision/transforms").mkdir(parents=True)
        for name, text in TORCHVISION.items():
            (tmp_path / "torchvision" / name).write_text(text)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
        streams = {"capture_output": True, "text": True, "timeout": 120}
        run = subprocess.run([sys.executable, str(script)], cwd=tmp_path, env=environment, **streams)
        assert run.returncode == 0, run.stderr
        assert run.stdout.count("functional_tensor") == 2
        assert "functional_tensor" in run.stderr, "without our import the last process must have failed"

    def test_children_of_children_inherit_it(self):
        inherited = pickle.loads(pickle.dumps(imports._ImportsQuantNAS()))
        assert type(inherited) is imports._ImportsQuantNAS

    def test_a_file_in_the_archs_folder_of_a_clone_is_enough(self, tmp_path):
        """Also before the setup.py of the clone has written its version.py."""
        shutil.copytree(Path(basicsr.__file__).parent, tmp_path / "basicsr")
        (tmp_path / "basicsr" / "version.py").unlink()
        shutil.rmtree(tmp_path / "basicsr" / "__pycache__", ignore_errors=True)
        (tmp_path / "VERSION").write_text("9.8.7\n")
        (tmp_path / "basicsr" / "archs" / "quantnas_arch.py").write_text(
            "import quantnas_sr  # noqa\n"
            "import sys\n"
            "from quantnas_sr.compat import when_basicsr_is_imported\n"
            "def show(word):\n"
            "    print(word, 'basicsr.train' in sys.modules, 'basicsr.version' in sys.modules)\n"
            "def nested():\n"
            "    show('first')\n"
            "    when_basicsr_is_imported(lambda: show('nested'))\n"
            "when_basicsr_is_imported(nested)\n"
            "when_basicsr_is_imported(lambda: show('second'))\n"
            "print('scanned')\n"
        )
        script = write_script(
            tmp_path,
            """
            import sys
            import basicsr
            from basicsr.train import load_resume_state, parse_options

            print(basicsr.__version__, load_resume_state.__module__, hasattr(load_resume_state, "__wrapped__"))
            print(hasattr(basicsr.parse_options, "__wrapped__"), hasattr(parse_options, "__wrapped__"))
            """,
        )
        printed = run_python(str(script), folder=tmp_path, path=[tmp_path])
        assert printed.splitlines()[-6:] == [
            "scanned",
            "first True True",
            "nested True True",
            "second True True",
            "9.8.7 basicsr.train True",
            "True True",
        ], printed

    def test_callback_runs_at_once_when_basicsr_is_there(self):
        called = []
        compat.when_basicsr_is_imported(lambda: called.append(True))
        assert called

    def test_apply_twice_patches_once(self):
        before = basicsr.train.load_resume_state
        compat.apply()
        assert basicsr.train.load_resume_state is before


class TestReplacing:
    def test_rebind_reaches_names_that_were_imported_from(self):
        def original():
            pass

        module = types.ModuleType("some_user_module")
        module.original = original
        sys.modules[module.__name__] = module
        try:
            rebind(original, len)
        finally:
            del sys.modules[module.__name__]
        assert module.original is len

    def test_replaced_puts_back_what_was_there(self):
        module = alike(math, pi=3)
        with pytest.raises(KeyError), replaced(vars(module), pi=4):
            assert module.pi == 4
            raise KeyError
        assert module.pi == 3 and math.pi > 3


class TestModels:
    get_optimizer = staticmethod(functools.partial(basicsr.models.base_model.BaseModel.get_optimizer, None))

    @pytest.mark.parametrize(
        "name", ["Adam", "AdamW", "Adamax", "NAdam", "RAdam", "SGD", "ASGD", "RMSprop", "Rprop", "Adagrad", "Adadelta"]
    )
    def test_every_torch_optimizer_steps(self, name):
        weight = nn.Parameter(torch.ones(2, 2))
        optimizer = self.get_optimizer(name, [weight], 0.1)
        weight.square().sum().backward()
        optimizer.step()
        assert type(optimizer) is getattr(torch.optim, name)
        assert not torch.equal(weight, torch.ones(2, 2))

    def test_options_reach_the_optimizer(self):
        group = self.get_optimizer("SGD", [nn.Parameter(torch.ones(1))], 0.1, momentum=0.9).param_groups[0]
        assert (group["lr"], group["momentum"]) == (0.1, 0.9)

    def test_upstream_knows_fewer_optimizers(self):
        with pytest.raises(NotImplementedError):
            upstream(basicsr.models.base_model.BaseModel.get_optimizer)(None, "NAdam", [nn.Parameter(torch.ones(1))], 1)

    @pytest.mark.parametrize("name", ["AdmW", "LBFGS", "Optimizer"])
    def test_an_unknown_optimizer_is_an_option_error(self, name):
        with pytest.raises(OptionError, match=f"unknown optimizer '{name}'.*Allowed: .*AdamW"):
            self.get_optimizer(name, [nn.Parameter(torch.ones(1))], 0.1)

    def test_a_model_that_makes_other_optimizers_itself_sees_basicsrs_error(self):
        with pytest.raises(NotImplementedError):
            self.get_optimizer("Lion", [nn.Parameter(torch.ones(1))], 0.1)

    @staticmethod
    def average(model_ema, decay):
        """The moving average's BatchNorm after one step from fresh networks, and the network's own."""
        model = types.SimpleNamespace(get_bare_model=lambda net: net)
        model.net_g, model.net_g_ema = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        model.net_g(torch.rand(4, 3, 5, 5))
        model_ema(model, decay)
        return model.net_g_ema, model.net_g

    @pytest.mark.parametrize("decay", [0, 0.999])
    def test_buffers_are_averaged_like_parameters(self, decay):
        average, net = self.average(basicsr.models.base_model.BaseModel.model_ema, decay)
        start = {"running_mean": 0.0, "running_var": 1.0}
        for name, initial in start.items():
            expected = decay * initial + (1 - decay) * getattr(net, name)
            torch.testing.assert_close(getattr(average, name), expected)
        assert average.num_batches_tracked == 1

    def test_buffers_of_another_shape_or_name_stay_as_they_are(self):
        model = types.SimpleNamespace(
            get_bare_model=lambda net: net, net_g=nn.Conv2d(1, 1, 1), net_g_ema=nn.Conv2d(1, 1, 1)
        )
        for network, size in ((model.net_g, 2), (model.net_g_ema, 3)):
            network.register_buffer("mask", torch.full((size,), float(size)))
        model.net_g_ema.register_buffer("own", torch.ones(1))
        basicsr.models.base_model.BaseModel.model_ema(model, 0)
        assert torch.equal(model.net_g_ema.mask, torch.full((3,), 3.0)) and model.net_g_ema.own == 1

    def test_a_moving_average_that_needs_more_of_its_model_is_left_alone(self, monkeypatch):
        def model_ema(self, decay=0.999):
            self.its_own_attribute  # noqa: B018

        monkeypatch.setattr(basicsr.models.base_model.BaseModel, "model_ema", model_ema)
        models.average_buffers()
        assert basicsr.models.base_model.BaseModel.model_ema is model_ema

    def test_upstream_leaves_buffers_behind(self):
        average, net = self.average(upstream(basicsr.models.base_model.BaseModel.model_ema), 0)
        assert not torch.equal(average.running_mean, net.running_mean)

    def test_a_checkpoint_cannot_run_code(self, tmp_path):
        class Attack:
            def __reduce__(self):
                return os.mkdir, (str(tmp_path / "attacked"),)

        torch.save({"params": Attack()}, tmp_path / "net.pth")
        model = types.SimpleNamespace(get_bare_model=lambda net: net)
        with pytest.raises(pickle.UnpicklingError):
            basicsr.models.base_model.BaseModel.load_network(model, nn.PReLU(), tmp_path / "net.pth")
        assert not (tmp_path / "attacked").exists()


class TestOptions:
    attack = "a: !!python/object/apply:os.getcwd []"

    def test_an_options_file_cannot_run_code(self):
        with pytest.raises(yaml.YAMLError, match="could not determine a constructor"):
            yaml.load(self.attack, Loader=basicsr.utils.options.ordered_yaml()[0])

    def test_upstream_runs_code(self):
        loader = upstream(basicsr.utils.options.ordered_yaml)()[0]
        assert yaml.load(self.attack, Loader=loader) == {"a": os.getcwd()}

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("!!python/tuple [8, [8]]", (8, [8])),
            ("!!python/list [1]", [1]),
            ("!!python/dict {a: 1}", {"a": 1}),
            ("!!python/str 1", "1"),
            ("!!python/int '3'", 3),
            ("!!python/float '1e-4'", 1e-4),
            ("!!python/bool 'true'", True),
            ("!!python/none ''", None),
        ],
    )
    def test_plain_data_of_python_is_read_as_by_basicsr(self, text, value):
        loader = basicsr.utils.options.ordered_yaml()[0]
        assert yaml.load(f"a: {text}", Loader=loader) == {"a": value}
        assert yaml.load(f"a: {text}", Loader=yaml.UnsafeLoader) == {"a": value}

    def test_mappings_keep_their_order_both_ways(self):
        loader, dumper = basicsr.utils.options.ordered_yaml()
        text = "z: {y: 1, a: [2, {c: ~, b: !!float 1}]}\n"
        opt = yaml.load(text, Loader=loader)
        assert list(opt["z"]) == ["y", "a"] and opt["z"]["a"] == [2, {"c": None, "b": 1.0}]
        assert type(opt) is type(opt["z"]["a"][1]) is OrderedDict
        assert yaml.load(yaml.dump(opt, Dumper=dumper, sort_keys=False), Loader=loader) == opt

    def parse(self, parse_options, monkeypatch, tmp_path):
        (tmp_path / "opt.yml").write_text(
            "{name: x, model_type: SRModel, num_gpu: 0, network_g: {type: MSRResNet}, datasets: {}, path: {}}"
        )
        monkeypatch.setattr(sys, "argv", ["train.py", "--local-rank=1", "-opt", str(tmp_path / "opt.yml")])
        return parse_options(str(tmp_path), is_train=False)[1]

    def test_the_launcher_of_torch_is_understood(self, monkeypatch, tmp_path):
        assert self.parse(basicsr.utils.options.parse_options, monkeypatch, tmp_path).local_rank == 1

    def test_upstream_refuses_it(self, monkeypatch, tmp_path, capsys):
        with pytest.raises(SystemExit):
            self.parse(upstream(basicsr.utils.options.parse_options), monkeypatch, tmp_path)


class TestData:
    @pytest.fixture(autouse=True)
    def as_in_a_run_of_ours(self, monkeypatch):
        monkeypatch.setattr(data, "_checks_scale", True)

    @staticmethod
    def dataset(opt):
        return basicsr.data.paired_image_dataset.PairedImageDataset(opt)

    @staticmethod
    def index_of(dataset, name):
        return next(i for i, pair in enumerate(dataset.paths) if name in pair["gt_path"])

    def fail(self, opt):
        """The message for pair b; upstream's error, if any, must not have named both files."""
        dataset = self.dataset(opt)
        index = self.index_of(dataset, "b")
        with pytest.raises(DataError) as info:
            dataset[index]
        message = str(info.value)
        assert "\n" not in message
        assert os.path.join(opt["dataroot_gt"], "b") in message and os.path.join(opt["dataroot_lq"], "b") in message
        with pytest.raises(Exception) as info:
            upstream(type(dataset).__getitem__)(self.dataset(opt), index)
        assert opt["dataroot_lq"] not in str(info.value)
        return message

    @pytest.mark.parametrize("content", [b"", b"not an image"])
    def test_an_image_that_does_not_decode_is_named(self, pairs, content):
        Path(pairs["dataroot_lq"], "b.png").write_bytes(content)
        assert "the LQ image does not decode" in self.fail(pairs)

    def test_a_pair_of_wrong_sizes_is_named(self, pairs):
        cv2.imwrite(str(Path(pairs["dataroot_gt"], "b.png")), np.zeros((30, 32, 3), np.uint8))
        assert "GT (30, 32) is not 2x multiplication of LQ (16, 16)" in self.fail(pairs)

    def test_a_pair_smaller_than_the_patch_is_named(self, pairs):
        assert "smaller than patch size" in self.fail({**pairs, "gt_size": 64})

    def test_a_damaged_page_of_an_lmdb_is_said(self):
        class Client:
            def get(self, *_):
                raise lmdb.CorruptedError("Located page was wrong type")

        problem = data._image_problem(types.SimpleNamespace(file_client=Client()), {"gt_path": "b"}, "gt")
        assert problem == "cannot be read from the LMDB (Located page was wrong type)"

    def test_a_missing_lmdb_key_is_named(self, pairs):
        opt = {**pairs, "io_backend": {"type": "lmdb"}}
        for kind, names in (("gt", "abcd"), ("lq", "acd")):
            folder = opt[f"dataroot_{kind}"]
            opt[f"dataroot_{kind}"] = f"{folder}.lmdb"
            with lmdb.open(f"{folder}.lmdb", map_size=1 << 20) as base, base.begin(write=True) as transaction:
                for name in names:
                    transaction.put(name.encode(), Path(folder, f"{name}.png").read_bytes())
            Path(f"{folder}.lmdb", "meta_info.txt").write_text("".join(f"{name}.png (1,1,3) 1\n" for name in "abcd"))

        def fresh():
            return self.dataset({**opt, "io_backend": {"type": "lmdb"}})

        dataset = fresh()
        assert dataset[0]["gt"].shape == (3, 16, 16)
        lq = os.path.join(opt["dataroot_lq"], "b")
        with pytest.raises(DataError, match=f"b / {lq}: the LQ image is not in the LMDB"):
            dataset[1]

    def test_in_validation_a_gt_too_small_is_named(self, pairs):
        cv2.imwrite(str(Path(pairs["dataroot_gt"], "b.png")), np.zeros((30, 32, 3), np.uint8))
        dataset = self.dataset({**pairs, "phase": "val"})
        with pytest.raises(DataError, match=r"GT \(30, 32\) is smaller than 2 times LQ \(16, 16\)"):
            dataset[self.index_of(dataset, "b")]

    def test_a_project_that_checks_nothing_keeps_a_gt_that_is_too_small(self, pairs):
        cv2.imwrite(str(Path(pairs["dataroot_gt"], "b.png")), np.zeros((30, 32, 3), np.uint8))
        dataset = self.dataset({**pairs, "phase": "val"})
        data.check_scales(False)
        assert dataset[self.index_of(dataset, "b")]["gt"].shape == (3, 30, 32)

    def test_a_version_of_the_dataset_that_keeps_other_things_works_and_fails_by_itself(self, pairs):
        dataset = self.dataset({**pairs, "phase": "val"})
        for paths in ([{"gt_path": pair["gt_path"]} for pair in dataset.paths], [], None):
            dataset.paths = paths
            with pytest.raises((KeyError, IndexError, TypeError)):
                dataset[0]

    def test_good_pairs_and_the_end_of_the_dataset_are_as_before(self, pairs):
        cv2.imwrite(str(Path(pairs["dataroot_gt"], "b.png")), np.zeros((34, 33, 3), np.uint8))
        dataset = self.dataset({**pairs, "phase": "val"})
        items = list(dataset)
        assert [tuple(item["gt"].shape) for item in items] == [(3, 32, 32)] * 4

    def prefetch(self, monkeypatch, run, following):
        """What a training loop sees of a data set that fails at its second item."""
        from basicsr.data.prefetch_dataloader import PrefetchGenerator

        def fails():
            yield 1
            raise DataError("broken")

        monkeypatch.setattr(PrefetchGenerator, "run", run)
        monkeypatch.setattr(PrefetchGenerator, "__next__", following)
        monkeypatch.setattr("threading.excepthook", lambda arguments: None)
        generator = PrefetchGenerator(fails(), 2)
        generator.queue.get = functools.partial(generator.queue.get, timeout=0.5)
        assert next(generator) == 1
        return next(generator)

    def test_an_error_in_the_prefetching_thread_is_raised(self, monkeypatch):
        generator = basicsr.data.prefetch_dataloader.PrefetchGenerator
        with pytest.raises(DataError, match="broken"):
            self.prefetch(monkeypatch, generator.run, generator.__next__)

    def test_upstream_waits_for_ever(self, monkeypatch):
        generator = basicsr.data.prefetch_dataloader.PrefetchGenerator
        with pytest.raises(queue.Empty):
            self.prefetch(monkeypatch, upstream(generator.run), upstream(generator.__next__))


@no_cuda
class TestWithoutCUDA:
    def resume_options(self, folder):
        torch.save({"iter": 4, "optimizers": [{"step": torch.ones(1)}]}, folder / "4.state")
        return {"auto_resume": False, "path": {"resume_state": str(folder / "4.state"), "models": "m"}, "network_g": {}}

    def test_training_state_is_loaded_to_the_cpu(self, tmp_path):
        state = basicsr.train.load_resume_state(self.resume_options(tmp_path))
        assert state["iter"] == 4 and state["optimizers"][0]["step"].device.type == "cpu"
        assert basicsr.train.torch.cuda is torch.cuda

    def test_upstream_asks_for_cuda_to_resume(self, tmp_path):
        with pytest.raises((AssertionError, RuntimeError)):
            upstream(basicsr.train.load_resume_state)(self.resume_options(tmp_path))

    def test_upstream_divides_by_the_number_of_gpus(self, monkeypatch):
        monkeypatch.setenv("RANK", "0")
        monkeypatch.setattr(torch.multiprocessing, "set_start_method", lambda method: None)
        with pytest.raises(ZeroDivisionError):
            upstream(basicsr.utils.dist_util.init_dist)("pytorch")

    def test_upstream_asks_for_cuda_to_distribute(self):
        model = types.SimpleNamespace(device="cpu", opt={"dist": True, "num_gpu": 0})
        with pytest.raises((AssertionError, RuntimeError)):
            upstream(basicsr.models.base_model.BaseModel.model_to_device)(model, nn.Conv2d(1, 1, 1))


OPTIONS = """
name: pair
model_type: SRModel
scale: 2
num_gpu: auto
manual_seed: 0
find_unused_parameters: true
datasets:
  train: {pairs, num_worker_per_gpu: 0, batch_size_per_gpu: 1, dataset_enlarge_ratio: 4}
network_g: {type: MSRResNet, num_in_ch: 3, num_out_ch: 3, num_feat: 4, num_block: 1, upscale: 2}
path: {}
train:
  ema_decay: 0.9
  optim_g: {type: AdamW, lr: !!float 1e-3}
  scheduler: {type: MultiStepLR, milestones: [3], gamma: 0.5}
  total_iter: 4
  pixel_opt: {type: L1Loss}
logger: {print_freq: 1, save_checkpoint_freq: 2, use_tb_logger: false}
"""


def test_two_cpu_processes_train_and_resume(tmp_path, pairs):
    """BasicSR's own pipeline as torchrun starts it, then again with --auto_resume for two more iterations."""
    data = yaml.dump(pairs, default_flow_style=True, width=10**6).strip()[1:-1]
    (tmp_path / "opt.yml").write_text(OPTIONS.replace("pairs", data))
    script = write_script(
        tmp_path,
        """
        import quantnas_sr
        from basicsr.train import train_pipeline
        from torch import distributed

        if __name__ == "__main__":
            train_pipeline(".")
            distributed.destroy_process_group()
        """,
    )
    train = [tmp_path, str(script), "-opt", "opt.yml", "--launcher", "pytorch"]
    assert "DistributedDataParallel" in run_in_parallel(2, *train)
    log = run_in_parallel(2, *train, "--auto_resume", "--force_yml", "train:total_iter=6")
    assert "Resuming training from epoch" in log
    experiment = tmp_path / "experiments" / "pair"
    assert sorted(path.name for path in experiment.glob("*/*.state")) == ["2.state", "4.state", "6.state"]
    state = torch.load(experiment / "training_states" / "6.state", weights_only=True)
    assert state["iter"] == 6 and state["optimizers"][0]["state"][0]["step"] == 6
    assert state["schedulers"][0]["last_epoch"] == 5
