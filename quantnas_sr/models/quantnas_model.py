"""Quantization-aware training of a network that a search found, or of any network in `QuantizedArch`."""

from typing import Any, Dict

from basicsr.utils import get_root_logger
from basicsr.utils.registry import MODEL_REGISTRY

from quantnas_sr.cost import count
from quantnas_sr.models.experiment import ExperimentModel
from quantnas_sr.quantization import set_quantize


@MODEL_REGISTRY.register()
class QuantNASModel(ExperimentModel):
    """BasicSR's `SRModel` for a network whose convolutions quantize.

    ``train: fp_warmup`` trains in full precision for that share of the iterations first; then the LSQ steps start from
    the weights that were reached. What the network costs is logged at the start.
    """

    def __init__(self, opt: Dict[str, Any]) -> None:
        super().__init__(opt)
        self._log_cost()

    def _log_cost(self) -> None:
        cost = count(self.get_bare_model(self.net_g))
        get_root_logger().info(
            f"Cost for a 32x32 input: {cost.bitops / 1e9:.3f} GBitOps, {cost.macs / 1e9:.3f} GMACs; "
            f"{cost.params:,d} parameters, {cost.packed_bytes / 1e3:.1f} kB packed"
        )

    def init_training_settings(self) -> None:
        """As BasicSR's, with the length of the full-precision warm-up."""
        super().init_training_settings()
        train = self.opt["train"]
        self.fp_iterations = int(train.get("fp_warmup", 0) * train["total_iter"])

    def optimize_parameters(self, current_iter: int) -> None:
        """One step, quantized or in the warm-up."""
        if self.fp_iterations:
            self._set_quantize(current_iter > self.fp_iterations)
        super().optimize_parameters(current_iter)

    def _set_quantize(self, quantize: bool) -> None:
        networks = [self.net_g, self.net_g_ema] if hasattr(self, "net_g_ema") else [self.net_g]
        for network in networks:
            set_quantize(network, quantize)
