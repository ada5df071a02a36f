"""What both models add to BasicSR's: files that are never half-written, and a state that a run can go on from."""

import copy
import signal
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, NoReturn, Optional

import torch
from basicsr.utils import get_root_logger
from basicsr.utils.dist_util import master_only
from torch import Tensor

from quantnas_sr.compat.resume import PROCESSES
from quantnas_sr.compat.run_files import NETWORKS, iterations_of, prune
from quantnas_sr.compat.training import DATA_POSITION
from quantnas_sr.errors import CheckpointError
from quantnas_sr.models.batch_statistics import PRECISE_BN, RecentBatches, batch_norms
from quantnas_sr.models.finite_steps import MAX_SKIPPED, FiniteSteps, StatisticsBefore, check_finite, watched
from quantnas_sr.models.metrics import plain
from quantnas_sr.models.own_rates import set_own_rates
from quantnas_sr.models.precision import MixedPrecision, OptimizerThatSteps
from quantnas_sr.models.saved.optimizer_state import Names, parameter_names
from quantnas_sr.models.saved.resuming import recorded_options, resumed_states
from quantnas_sr.models.saved.saving import saved_whole
from quantnas_sr.models.validation import ValidatingModel
from quantnas_sr.pth import key_of, read_pth
from quantnas_sr.quantization.expansion import without_expansion
from quantnas_sr.system.allocator import keep_freed_memory
from quantnas_sr.system.distributed import of_all_processes
from quantnas_sr.system.random_state import random_numbers_untouched, random_state, seed_by, set_random_state
from quantnas_sr.system.stopping import Stopping


class ExperimentModel(ValidatingModel):
    """BasicSR's `SRModel` in channels-last order and in mixed precision, whose checkpoints are written in one step.

    Before every validation and checkpoint the statistics of batch normalisation are computed anew over the last
    ``train: precise_bn`` training batches, those of the moving average, too (see `batch_statistics`).

    A training state also holds the position in the data and the states of the random generators, of each process, the
    state of the gradient scaler, the best metrics, and the options, so that a resumed run knows what has changed.
    """

    def __init__(self, opt: Dict[str, Any]) -> None:
        amp = opt["train"].get("amp") if opt["is_train"] else None
        device_type = "cuda" if opt["num_gpu"] != 0 else "cpu"
        self.precision = MixedPrecision(amp or "none", device_type)
        if opt["is_train"] and device_type == "cpu":
            keep_freed_memory()
        self.recorded_options = recorded_options(opt)
        super().__init__(opt)

    def model_to_device(self, net: torch.nn.Module) -> torch.nn.Module:
        """As BasicSR's, with the channels of a pixel side by side in memory, the faster order for convolutions."""
        return super().model_to_device(self.precision.attach(net.to(memory_format=torch.channels_last)))

    def update_learning_rate(self, current_iter: int, warmup_iter: int = -1) -> None:
        """As BasicSR's, which calls this first in every iteration: here ends a run that was asked to stop.

        Raises:
            SystemExit: a signal has been received; the iterations that are done are saved.
        """
        self.stopping.listen()
        number = self.stopping.agreed()
        if number is not None:
            self.stopping.close()
            self._stop(current_iter - 1, signal.Signals(number))
        self.step_learning_rate(current_iter, warmup_iter)

    def _stop(self, done: int, received: signal.Signals) -> NoReturn:
        position = self.opt.get(DATA_POSITION)
        if done != self.saved_at:
            self.save(position.at(done)[0] if position else 0, done)
        way = "go on with the same command and --auto_resume" if done else "nothing is done yet"
        get_root_logger().warning(f"Stopped by {received.name} after iteration {done}: {way}.")
        raise SystemExit(128 + received)

    def step_learning_rate(self, current_iter: int, warmup_iter: int) -> None:
        """What BasicSR's ``update_learning_rate`` does."""
        self.iteration = current_iter
        self._statistics_before.keep()
        super().update_learning_rate(current_iter, warmup_iter)

    def init_training_settings(self) -> None:
        """As BasicSR's, with the batches that statistics are computed anew from."""
        super().init_training_settings()
        count = self.opt["train"].get("precise_bn", PRECISE_BN)
        self.recent_batches = RecentBatches(count if batch_norms(self.net_g) else 0)
        self._statistics_are_current = False
        self.finite_steps = FiniteSteps(self.opt["train"].get("max_skipped", MAX_SKIPPED), self.say)
        self._statistics_before = StatisticsBefore(self.trained_networks())
        self.stopping = Stopping()
        #: The digests of the networks that have been saved since the last training state, by file name.
        self.network_digests: Dict[str, str] = {}
        #: The last iteration that has been saved, 0 before the first.
        self.saved_at = 0

    def trained_networks(self) -> List[torch.nn.Module]:
        """The network and, where there is one, its moving average, without wrappers."""
        networks = [self.net_g, self.net_g_ema] if hasattr(self, "net_g_ema") else [self.net_g]
        return [self.get_bare_model(network) for network in networks]

    @contextmanager
    def randomness_untouched(self) -> Iterator[None]:
        """Within the block nothing takes from the random numbers of the training, which then go on as before."""
        with random_numbers_untouched():
            yield

    def recompute_statistics(self) -> None:
        """Make the statistics of batch normalisation those of the weights as they are. All processes call this."""
        if not self.is_train or self._statistics_are_current:
            return
        with self.randomness_untouched():
            for network in self.trained_networks():
                self.recent_batches.recompute(network)
        self._statistics_are_current = True

    def validation(self, dataloader, current_iter, tb_logger, save_img=False) -> None:
        """As BasicSR's, with the statistics that belong to the weights; the training's random numbers are untouched."""
        self.recompute_statistics()
        with self.randomness_untouched():
            super().validation(dataloader, current_iter, tb_logger, save_img)

    def save(self, epoch: int, current_iter: int) -> None:
        """As BasicSR's, with the statistics that belong to the weights.

        Raises:
            TrainingError: a weight or a statistic is not finite, and nothing is saved.
        """
        self.recompute_statistics()
        for network in self.trained_networks():
            check_finite(network.state_dict(), f"iteration {self.iteration}: no checkpoint is written")
        super().save(epoch, current_iter)
        self.saved_at = current_iter
        if current_iter == -1:
            self.stopping.close()

    def optimize_parameters(self, current_iter: int) -> None:
        """BasicSR's training step, in the precision of ``train: amp``; none where it would not be finite.

        Raises:
            TrainingError: it is one of too many in a row.
        """
        self._statistics_are_current = False
        optimizer = self.optimizer_g
        with self.precision.scaling_output(), watched(l_pix=self.cri_pix, l_percep=self.cri_perceptual) as losses:
            self.optimizer_g = OptimizerThatSteps(optimizer, lambda own: self.step(own, losses, self.lq))
            try:
                super().optimize_parameters(current_iter)
            finally:
                self.optimizer_g = optimizer
        if self.finite_steps.all_allowed:
            self.keep_batch()
        else:
            self._statistics_before.restore()
        self.finite_steps.end_iteration(current_iter, self._newest_state)

    def keep_batch(self) -> None:
        """Remember the batch of an iteration that was trained on."""
        self.recent_batches.add(self.lq)

    def step(self, optimizer: torch.optim.Optimizer, losses: Mapping[str, Tensor], images: Tensor) -> None:
        """A step in the precision of ``train: amp``; none where images, losses or gradients are not finite."""
        self.precision.step(optimizer, lambda scale: self.finite_steps.allows(optimizer, losses, images, scale))

    def _newest_state(self) -> Optional[Path]:
        states = iterations_of(Path(self.opt["path"]["training_states"]))
        return next((path for path, *_ in states.values()), None)

    def feed_data(self, data: Dict[str, Any]) -> None:
        """As BasicSR's, in the memory order of the network; what there is no GT for keeps none of an earlier batch."""
        vars(self).pop("gt", None)
        super().feed_data(data)
        self.lq = self.lq.contiguous(memory_format=torch.channels_last)

    def load_network(self, net, load_path, strict=True, param_key="params") -> None:
        """As BasicSR's, for bare weights and for checkpoints whatever key the options name.

        BasicSR's moving average asks bare weights for ``params_ema``, and a run that started from bare weights goes on
        from a checkpoint with the same ``param_key_g: ~``. In a test this is the better of the weights and their moving
        average, as `key_of`.

        Raises:
            DataError: the weights do not fit the network of the options.
        """
        content = read_pth(load_path)
        if not isinstance(content, dict):
            raise CheckpointError(f"{load_path}: holds no state dict")
        keys = [key for key in ("params", "params_ema") if isinstance(content.get(key), dict)]
        if param_key is None and keys:
            param_key = keys[0] if self.is_train else key_of(content)
        elif not keys and param_key not in content:
            param_key = None
        try:
            super().load_network(net, load_path, strict, param_key)
        except (RuntimeError, AttributeError) as error:
            lines = [" ".join(line.split()) for line in str(error).splitlines()]
            problem = lines[1] if len(lines) > 1 else lines[0]
            raise CheckpointError(
                f"{load_path}: its weights do not fit the network of the options: {problem}"
            ) from None
        if net is getattr(self, "net_g_ema", None) and self.opt["path"].get("resume_state"):
            _copy_exactly(content.get(param_key), net)

    def setup_optimizers(self) -> None:
        """BasicSR's own; rates of steps and biases, gradients clipped (``train: step_lr, bias_lr, grad_clip``)."""
        super().setup_optimizers()
        set_own_rates(self.optimizer_g, self.get_bare_model(self.net_g), self.opt["train"])
        self.clip_gradients()

    def get_current_learning_rate(self) -> List[float]:
        """That of the weights, for the log: the first of the optimizer's groups."""
        return super().get_current_learning_rate()[:1]

    def clip_gradients(self) -> None:
        """Clip in front of every step of ``optimizer_g`` from now on, if the options say so."""
        max_norm = self.opt["train"].get("grad_clip")
        if max_norm:

            def clip(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
                parameters = [p for group in optimizer.param_groups for p in group["params"]]
                torch.nn.utils.clip_grad_norm_(parameters, max_norm)

            self.optimizer_g.register_step_pre_hook(clip)

    @master_only
    def save_network(self, net, net_label: str, current_iter: int, param_key="params") -> None:
        """As BasicSR's, in one step; the last network of a run with its expanded weights folded."""
        label = "latest" if current_iter == -1 else current_iter
        if current_iter == -1:
            net = [without_expansion(self.get_bare_model(one)) for one in (net if isinstance(net, list) else [net])]
            param_key = param_key if isinstance(param_key, list) else [param_key]
        name = f"{net_label}_{label}.pth"
        with saved_whole(self.opt, "models", name) as saved:
            super().save_network(net, net_label, current_iter, param_key)
        self.network_digests[name] = saved.digest

    def save_training_state(self, epoch: int, current_iter: int) -> None:
        """As BasicSR's, in one step, with what a resumed run needs to be the same run. All processes call this."""
        if current_iter != -1:
            first, *others = of_all_processes(self.own_state(current_iter))
            self._write_training_state(epoch, current_iter, {**first, PROCESSES: [{}, *others]})

    def own_state(self, current_iter: int) -> Dict[str, Any]:
        """What each process has its own of: random generators, position in the data, batches."""
        position = self.opt.get(DATA_POSITION)
        return {
            "random": random_state(),
            "data": position and position.state_dict(current_iter),
            "recent_batches": self.recent_batches.state_dict(),
            "finite_steps": self.finite_steps.state_dict(),
            **self.extra_state(),
        }

    @master_only
    def _write_training_state(self, epoch: int, current_iter: int, of_processes: Dict[str, Any]) -> None:
        more = {
            "gradient_scaler": self.precision.scaler.state_dict(),
            "best_metric_results": plain(getattr(self, "best_metric_results", {})),
            "options": self.recorded_options,
            "optimizer_types": [type(optimizer).__name__ for optimizer in self.optimizers],
            "parameter_names": self.parameter_names(),
            NETWORKS: self.network_digests,
            **of_processes,
        }
        with saved_whole(self.opt, "training_states", f"{current_iter}.state", more):
            super().save_training_state(epoch, current_iter)
        self.network_digests = {}
        keep = self.opt["logger"].get("keep_checkpoints")
        if keep:
            prune(self.opt, keep, current_iter)

    def parameter_names(self) -> List[Names]:
        """The names of the parameters of every optimizer, by group."""
        return parameter_names(self.optimizers, self.get_bare_model(self.net_g))

    def extra_state(self) -> Dict[str, Any]:
        """What a kind of model adds to the training state: plain data and tensors."""
        return {}

    def resume_training(self, resume_state: Dict[str, Any]) -> None:
        """As BasicSR's, with what `save_training_state` added; options that have changed hold from here on.

        Raises:
            OptionError: the training state is that of another kind of model.
        """
        super().resume_training({**resume_state, **resumed_states(self, resume_state, self.say)})
        self.iteration = resume_state.get("iter")
        self.saved_at = self.iteration or 0
        if resume_state.get("gradient_scaler"):
            self.precision.scaler.load_state_dict(resume_state["gradient_scaler"])
        if resume_state.get("best_metric_results"):
            self.best_metric_results = self._still_comparable(resume_state)
        self.recent_batches.load_state_dict(resume_state.get("recent_batches", ()))
        if "finite_steps" in resume_state:
            self.finite_steps.load_state_dict(resume_state["finite_steps"])
        if "random" in resume_state:
            set_random_state(resume_state["random"])
        elif self.opt.get("rank"):  # the run had fewer processes
            seed_by(self.opt["manual_seed"], self.opt["rank"], resume_state["iter"])

    def say(self, line: str) -> None:
        """Log what a resumed run does about options that have changed."""
        get_root_logger().warning(line)

    def _still_comparable(self, resume_state: Dict[str, Any]) -> Dict[str, Any]:
        """The best metrics so far, without those that the options define in another way now."""
        now = self.recorded_options["metrics"]
        before = resume_state.get("options", {}).get("metrics", now)
        best = copy.deepcopy(resume_state["best_metric_results"])
        return {
            dataset: {metric: record for metric, record in records.items() if before.get(metric) == now.get(metric)}
            for dataset, records in best.items()
        }

    @property
    def experiment_folder(self) -> Path:
        """``experiments/<name>``."""
        return Path(self.opt["path"]["models"]).parent


@torch.no_grad()
def _copy_exactly(saved: Any, average: torch.nn.Module) -> None:
    """Let a moving average go on as it was: loading turns an average of quantization steps into a step."""
    own = average.state_dict()
    for name, value in (saved or {}).items():
        if isinstance(value, Tensor) and name in own and own[name].shape == value.shape:
            own[name].copy_(value)
