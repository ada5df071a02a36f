"""Quantization-aware training of a network that a search found, or of any network in `QuantizedArch`."""

import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import torch
from basicsr.utils import get_root_logger

from quantnas_sr.checkpoints import load_as_named
from quantnas_sr.cost import count
from quantnas_sr.cost.quantized import check_quantized
from quantnas_sr.errors import NetworkError
from quantnas_sr.losses.teacher import TaughtLoss
from quantnas_sr.models.average import mark_the_better
from quantnas_sr.models.experiment import ExperimentModel
from quantnas_sr.models.lost_channels import highest_inputs, lost_channels_line
from quantnas_sr.models.phases import TrainingPhases
from quantnas_sr.quantization import calibrate_inputs, is_calibrated, observe_inputs, set_quantize
from quantnas_sr.registration import MODEL_REGISTRY
from quantnas_sr.system.random_state import random_state, set_random_state

#: By default the images of so many iterations, or of a tenth of what follows the warm-up where that is less, set the
#: steps of activations.
CALIBRATION_ITERATIONS = 10


@MODEL_REGISTRY.register()
class QuantNASModel(ExperimentModel):
    """BasicSR's `SRModel` for a network whose convolutions quantize.

    Training has up to three phases. The first, ``train: fp_warmup`` as a share of all iterations (0 by default), is in
    full precision; the LSQ steps of weights then start from the trained weights. In the second, ``train:
    calibration_iter`` iterations (10 by default, at most a tenth), nothing is trained: the inputs of the layers are
    observed, and set the steps of activations. It is left out where no activation has a trained step, or all are set
    already. The third trains the quantized network. At its end the weights are compared with their moving average, see
    `average`.

    With ``train: teacher`` the loss has a part that is the distance from the images of another network, see `teacher`;
    these are also the target where the data have no GT. With ``train: step_lr`` every trained step changes by about
    that share of itself in an iteration. The cost of the network is logged at the start.
    """

    def __init__(self, opt: Dict[str, Any]) -> None:
        super().__init__(opt)
        self._log_cost()

    def _log_cost(self) -> None:
        network = self.get_bare_model(self.net_g)
        try:
            cost = count(network)
        except NetworkError as error:
            get_root_logger().warning(f"The cost is not known: {error}")
            return
        check_quantized(network, cost)
        get_root_logger().info(
            f"Cost for a 32x32 input: {cost.bitops / 1e9:.3f} GBitOps, {cost.macs / 1e9:.3f} GMACs, "
            f"{100 * cost.quantized_share:.1f} % of them quantized; "
            f"{cost.params:,d} parameters, {cost.packed_bytes / 1e3:.1f} kB packed"
        )

    def init_training_settings(self) -> None:
        """As BasicSR's, with the lengths of the full-precision warm-up and of the calibration."""
        super().init_training_settings()
        teacher = self.opt["train"].get("teacher")
        if teacher is not None:
            network = load_as_named(teacher, "train.teacher")
            set_quantize(network, not teacher.get("full_precision", False))
            network.to(self.device, memory_format=torch.channels_last)
            self.cri_pix = TaughtLoss(self.cri_pix, network, teacher.get("loss_weight", 1.0))
        calibrates = not is_calibrated(self.get_bare_model(self.net_g))
        self.phases = TrainingPhases.of(self.opt["train"], calibrates, CALIBRATION_ITERATIONS)
        self._calibration_batches: List[Dict[str, Any]] = []
        self._is_compared = False
        #: Number of channels that the last validation found lost.
        self._lost = 0

    def step_learning_rate(self, current_iter: int, warmup_iter: int) -> None:
        """As BasicSR's, without torch's warning that the optimizer has not stepped, which is right in a calibration."""
        with warnings.catch_warnings():
            if self.phases.calibrates(current_iter - 1):
                warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step")
            super().step_learning_rate(current_iter, warmup_iter)

    def optimize_parameters(self, current_iter: int) -> None:
        """A step of the weights, quantized or in the warm-up; or a calibration pass, which trains nothing."""
        first_quantized = self.phases.full_precision + 1
        if self.phases.calibrates(current_iter):
            self._calibrate(first=current_iter == first_quantized, last=current_iter == self.phases.calibrated_at)
            return
        if self.phases.full_precision:
            self._set_quantize(current_iter >= first_quantized)
        if not isinstance(self.cri_pix, TaughtLoss):
            super().optimize_parameters(current_iter)
            return
        self.cri_pix.see(self.lq)
        if not hasattr(self, "gt"):
            self.gt = self.cri_pix.target
        super().optimize_parameters(current_iter)
        taught = self.reduce_loss_dict({"l_teacher": self.cri_pix.taught})["l_teacher"]
        self.log_dict.update(l_pix=self.log_dict["l_pix"] - taught, l_teacher=taught)

    def nondist_validation(self, dataloader, current_iter, tb_logger, save_img) -> None:
        """As for every model, and says which channels a training has lost, see `lost_channels`.

        When a training is over, the first set decides between weights and moving average.
        """
        with highest_inputs(self.trained_networks() if self.is_train else []) as highest:
            super().nondist_validation(dataloader, current_iter, tb_logger, save_img)
        if self.is_train:
            self._say_lost(highest.lost())
        if self._can_compare() and not self._is_compared:
            self._is_compared = True
            latest = Path(self.opt["path"]["models"]) / "net_g_latest.pth"
            mark_the_better(self, latest, dataloader, current_iter, tb_logger)

    def _say_lost(self, lost: Dict[str, Tuple[int, int]]) -> None:
        total = sum(count for count, _ in lost.values())
        if total > self._lost:
            get_root_logger().warning(lost_channels_line(lost))
        self._lost = total

    def _can_compare(self) -> bool:
        is_over = self.is_train and self.saved_at == -1
        return is_over and hasattr(self, "net_g_ema") and bool(self.opt["val"].get("metrics"))

    def _calibrate(self, first: bool, last: bool) -> None:
        if first:
            self._start_calibration()
        if self.finite_steps.takes(self.lq):
            self._calibration_batches.append({"lq": self.lq.cpu(), "random": random_state()})
            self._observe()
        self.finite_steps.end_iteration(self.iteration, self._newest_state)
        self.log_dict = OrderedDict()
        if last:
            self._end_calibration()

    def _start_calibration(self) -> None:
        self._set_quantize(True)
        for network in self.trained_networks():
            observe_inputs(network)

    @torch.no_grad()
    def _observe(self) -> None:
        self.get_bare_model(self.net_g)(self.lq)

    @torch.no_grad()
    def _end_calibration(self) -> None:
        for network in self.trained_networks():
            calibrate_inputs(network)
        self._calibration_batches = []
        if hasattr(self, "net_g_ema"):
            self.model_ema(decay=0)

    def extra_state(self) -> Dict[str, Any]:
        """The iterations at which phases end, and in the middle of a calibration the batches that it has seen."""
        return {"phases": self.phases.state_dict(), "calibration_batches": self._calibration_batches}

    def resume_training(self, resume_state: Dict[str, Any]) -> None:
        """As for every model, in the phase that the training was in."""
        done = resume_state.get("iter", 0)
        self._resume_phases(done, resume_state.get("phases"))
        if self.phases.full_precision and self.phases.full_precision >= done:
            self._set_quantize(False)
        elif self.phases.calibrates(done) and self.phases.calibrated_at > done:
            self._resume_calibration(resume_state.get("calibration_batches", []))
        super().resume_training(resume_state)

    def _resume_phases(self, done: int, saved: Optional[Dict[str, int]]) -> None:
        if saved is None:  # by a version that did not save them
            return
        asked, self.phases = self.phases, self.phases.resumed(done, saved)
        if self.phases.full_precision <= done and asked.full_precision != self.phases.full_precision:
            self.say(
                f"train.fp_warmup: {asked.full_precision} iterations by the new options; the warm-up ended after "
                f"iteration {self.phases.full_precision} and stays over."
            )

    def _resume_calibration(self, batches: List[Dict[str, Any]]) -> None:
        """Let the quantizers see again what they had seen; whatever else a pass changes stays as it is."""
        self._start_calibration()
        buffers = [(buffer, buffer.clone()) for buffer in self.net_g.buffers()]
        for batch in batches:
            self.lq = batch["lq"].to(self.device)
            set_random_state(batch["random"])
            self._observe()
        for buffer, value in buffers:
            buffer.copy_(value)
        self._calibration_batches = list(batches)

    def _set_quantize(self, quantize: bool) -> None:
        for network in self.trained_networks():
            set_quantize(network, quantize)
