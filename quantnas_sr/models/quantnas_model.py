"""Quantization-aware training of a network that a search found, or of any network in `QuantizedArch`."""

import warnings
from collections import OrderedDict
from typing import Any, Dict, List

import torch
from basicsr.utils import get_root_logger
from basicsr.utils.registry import MODEL_REGISTRY

from quantnas_sr.cost import count
from quantnas_sr.cost.quantized import check_quantized
from quantnas_sr.errors import NetworkError
from quantnas_sr.models.experiment import ExperimentModel
from quantnas_sr.models.step_rates import separate_steps, set_rates
from quantnas_sr.quantization import calibrate_inputs, is_calibrated, observe_inputs, set_quantize

#: Images of so many iterations set the trained steps of activations, unless the options say otherwise; but at most a
#: tenth of a training.
CALIBRATION_ITERATIONS = 10


@MODEL_REGISTRY.register()
class QuantNASModel(ExperimentModel):
    """BasicSR's `SRModel` for a network whose convolutions quantize.

    ``train: fp_warmup`` trains in full precision for that share of the iterations first; then the LSQ steps start from
    the weights that were reached. The next ``train: calibration_iter`` iterations (10, at most a tenth) train nothing
    where activations have trained steps that are not set: they look at the images that the steps start from. With
    ``train: step_lr`` the learning rate of every trained step is that share of the step. What the network costs is
    logged at the start.
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
        train = self.opt["train"]
        self.fp_iterations = int(train.get("fp_warmup", 0) * train["total_iter"])
        by_default = min(CALIBRATION_ITERATIONS, int(train["total_iter"]) // 10)
        iterations = int(train.get("calibration_iter", by_default))
        calibrates = iterations and not is_calibrated(self.get_bare_model(self.net_g))
        self.calibrated_at = self.fp_iterations + iterations if calibrates else 0

    def setup_optimizers(self) -> None:
        """As BasicSR's, with rates of their own for the quantizers' steps where the options ask for them."""
        super().setup_optimizers()
        share = self.opt["train"].get("step_lr")
        if share:
            separate_steps(self.optimizer_g, self.get_bare_model(self.net_g), share)

    def get_current_learning_rate(self) -> List[float]:
        """That of the weights; the steps' own would fill the log."""
        return super().get_current_learning_rate()[:1]

    def _calibrates(self, current_iter: int) -> bool:
        return self.fp_iterations < current_iter <= self.calibrated_at

    def update_learning_rate(self, current_iter: int, warmup_iter: int = -1) -> None:
        """As BasicSR's; that the optimizer did not step before is no mistake after a calibration."""
        with warnings.catch_warnings():
            if self._calibrates(current_iter - 1):
                warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step")
            super().update_learning_rate(current_iter, warmup_iter)

    def optimize_parameters(self, current_iter: int) -> None:
        """One step, quantized or in the warm-up; or a look at the activations."""
        if self._calibrates(current_iter):
            self._calibrate(first=current_iter == self.fp_iterations + 1, last=current_iter == self.calibrated_at)
            return
        if self.fp_iterations:
            self._set_quantize(current_iter > self.fp_iterations)
        super().optimize_parameters(current_iter)
        if current_iter == self.fp_iterations + 1:  # whose batch has set steps anew
            set_rates(self.optimizer_g, self.schedulers)

    @torch.no_grad()
    def _calibrate(self, first: bool, last: bool) -> None:
        if first:
            self._set_quantize(True)
            for network in self._networks():
                observe_inputs(self.get_bare_model(network))
        self.get_bare_model(self.net_g)(self.lq)
        self.log_dict = OrderedDict()
        if last:
            for network in self._networks():
                calibrate_inputs(self.get_bare_model(network))
            set_rates(self.optimizer_g, self.schedulers)
            if hasattr(self, "net_g_ema"):
                self.model_ema(decay=0)

    def _networks(self) -> List[torch.nn.Module]:
        return [self.net_g, self.net_g_ema] if hasattr(self, "net_g_ema") else [self.net_g]

    def _set_quantize(self, quantize: bool) -> None:
        for network in self._networks():
            set_quantize(network, quantize)
