"""What both models add to BasicSR's: files that are never half-written, and a state that a run can go on from."""

import os
import random
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator

import numpy as np
import torch
from basicsr.models.sr_model import SRModel
from basicsr.utils.dist_util import master_only

from quantnas_sr.errors import CheckpointError
from quantnas_sr.files import written_aside
from quantnas_sr.models.allocator import keep_freed_memory
from quantnas_sr.models.precision import MixedPrecision, ScaledOptimizer
from quantnas_sr.pth import read_pth


def random_state() -> Dict[str, Any]:
    """The state of all random generators as plain data and tensors."""
    name, keys, *rest = np.random.get_state()
    state = {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(keys.astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: Dict[str, Any]) -> None:
    """The inverse of `random_state`."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"].cpu())
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())


class ExperimentModel(SRModel):
    """`SRModel` in channels-last order and in mixed precision, whose checkpoints are written in one step.

    They hold the state of the random generators, of the gradient scaler, and the best metrics too.
    """

    def __init__(self, opt: Dict[str, Any]) -> None:
        amp = opt["train"].get("amp") if opt["is_train"] else None
        device_type = "cuda" if opt["num_gpu"] != 0 else "cpu"
        self.precision = MixedPrecision(amp or "none", device_type)
        if opt["is_train"] and device_type == "cpu":
            keep_freed_memory()
        super().__init__(opt)

    def model_to_device(self, net: torch.nn.Module) -> torch.nn.Module:
        """As BasicSR's, with the channels of a pixel side by side in memory, the faster order for convolutions."""
        return super().model_to_device(self.precision.attach(net.to(memory_format=torch.channels_last)))

    def optimize_parameters(self, current_iter: int) -> None:
        """BasicSR's training step, in the precision of ``train: amp``."""
        optimizer = self.optimizer_g
        self.optimizer_g = ScaledOptimizer(optimizer, self.precision)
        try:
            with self.precision.scaling_output():
                super().optimize_parameters(current_iter)
        finally:
            self.optimizer_g = optimizer

    def feed_data(self, data: Dict[str, Any]) -> None:
        """As BasicSR's, in the memory order of the network."""
        super().feed_data(data)
        self.lq = self.lq.contiguous(memory_format=torch.channels_last)

    def load_network(self, net, load_path, strict=True, param_key="params") -> None:
        """As BasicSR's, for bare weights and for checkpoints whatever key the options name.

        BasicSR's moving average asks bare weights for ``params_ema``, and a run that started from bare weights goes on
        from a checkpoint with the same ``param_key_g: ~``.
        """
        content = read_pth(load_path)
        if not isinstance(content, dict):
            raise CheckpointError(f"{load_path}: holds no state dict")
        keys = [key for key in ("params", "params_ema") if isinstance(content.get(key), dict)]
        if param_key not in content:
            param_key = keys[0] if keys else None
        try:
            super().load_network(net, load_path, strict, param_key)
        except (RuntimeError, AttributeError) as error:
            problem = str(error).splitlines()[-1].strip()
            raise CheckpointError(f"{load_path}: does not fit the network of the options: {problem}") from None

    def setup_optimizers(self) -> None:
        """BasicSR's own, and gradient clipping by norm before every step of the weights (``train: grad_clip``)."""
        super().setup_optimizers()
        self.clip_gradients()

    def clip_gradients(self) -> None:
        """Clip in front of every step of ``optimizer_g`` from now on, if the options say so."""
        max_norm = self.opt["train"].get("grad_clip")
        if max_norm:

            def clip(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
                parameters = [p for group in optimizer.param_groups for p in group["params"]]
                torch.nn.utils.clip_grad_norm_(parameters, max_norm)

            self.optimizer_g.register_step_pre_hook(clip)

    @contextmanager
    def _saved_aside(self, folder: str, name: str) -> Iterator[Path]:
        """Let BasicSR save ``name`` in a folder aside, then put it in its place."""
        final = Path(self.opt["path"][folder])
        with written_aside(final / name) as aside:
            self.opt["path"][folder] = str(aside.parent)
            try:
                yield aside
            finally:
                self.opt["path"][folder] = str(final)

    @master_only
    def save_network(self, net, net_label: str, current_iter: int, param_key="params") -> None:
        """As BasicSR's, in one step."""
        label = "latest" if current_iter == -1 else current_iter
        with self._saved_aside("models", f"{net_label}_{label}.pth"):
            super().save_network(net, net_label, current_iter, param_key)

    @master_only
    def save_training_state(self, epoch: int, current_iter: int) -> None:
        """As BasicSR's, in one step, with the random generators and the best metrics."""
        if current_iter == -1:
            return
        with self._saved_aside("training_states", f"{current_iter}.state") as aside:
            super().save_training_state(epoch, current_iter)
            state = read_pth(aside)
            state["random"] = random_state()
            state["gradient_scaler"] = self.precision.scaler.state_dict()
            state["best_metric_results"] = _plain(getattr(self, "best_metric_results", {}))
            state.update(self.extra_state())
            torch.save(state, aside)

    def extra_state(self) -> Dict[str, Any]:
        """What a kind of model adds to the training state: plain data and tensors."""
        return {}

    def resume_training(self, resume_state: Dict[str, Any]) -> None:
        """As BasicSR's, with what `save_training_state` added."""
        super().resume_training(resume_state)
        if "random" in resume_state:
            set_random_state(resume_state["random"])
        if resume_state.get("gradient_scaler"):
            self.precision.scaler.load_state_dict(resume_state["gradient_scaler"])
        if resume_state.get("best_metric_results"):
            self.best_metric_results = resume_state["best_metric_results"]

    def nondist_validation(self, dataloader, current_iter, tb_logger, save_img) -> None:
        """As BasicSR's, without the DDP wrapper: one process validates, and must not wait for the others' buffers."""
        wrapped, self.net_g = self.net_g, self.get_bare_model(self.net_g)
        try:
            super().nondist_validation(dataloader, current_iter, tb_logger, save_img)
        finally:
            self.net_g = wrapped

    @property
    def experiment_folder(self) -> Path:
        """``experiments/<name>``."""
        return Path(os.path.dirname(self.opt["path"]["models"]))


def _plain(value: Any) -> Any:
    """Nested dictionaries of numbers and words without numpy's number types, which a safe loader refuses."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return value.item() if isinstance(value, np.generic) else value
