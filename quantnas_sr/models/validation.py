"""Validation and test: images of any size, metrics that fit the images, and a file with the results."""

import inspect
from functools import cached_property
from pathlib import Path
from typing import Any, Dict, Optional

from basicsr.models.sr_model import SRModel
from torch import Tensor

from quantnas_sr.errors import DataError
from quantnas_sr.input_shapes import input_shape, run_fitting
from quantnas_sr.models.metrics import MetricsFile
from quantnas_sr.registration import METRIC_REGISTRY


class ValidatingModel(SRModel):
    """`SRModel` that takes images of any size and writes the results to ``metrics.json`` in the folder of the run."""

    def __init__(self, opt: Dict[str, Any]) -> None:
        #: Number of iterations that the weights have been trained for; None in a test run and before the first.
        self.iteration: Optional[int] = None
        self.metrics_file = MetricsFile(Path(opt["path"].get("visualization", "")).parent, opt.get("name", ""))
        super().__init__(opt)

    def test(self) -> None:
        """As BasicSR's, for images of any size: padded where the network needs it, and the output cropped."""
        image = self.lq

        def run(x: Tensor) -> Tensor:
            self.lq = x
            super(ValidatingModel, self).test()
            return self.output

        try:
            self.output = run_fitting(run, image, lambda: self._size_multiple)
        finally:
            self.lq = image

    @cached_property
    def _size_multiple(self) -> int:
        network = getattr(self, "net_g_ema", self.net_g)
        found = input_shape(self.get_bare_model(network))
        return found.multiple if found else 1

    def get_current_visuals(self) -> Dict[str, Tensor]:
        """As BasicSR's.

        Raises:
            DataError: the validation has metrics that compare with GT, and the image has none.
        """
        visuals = super().get_current_visuals()
        metrics = (self.opt["val"].get("metrics") or {}).values()
        if "gt" not in visuals and any(_compares_with_gt(metric) for metric in metrics):
            raise DataError("val.metrics: they compare with GT, and the images of the dataset have none")
        return visuals

    def nondist_validation(self, dataloader, current_iter, tb_logger, save_img) -> None:
        """As BasicSR's, under the number of iterations that the weights have had, and with ``metrics.json``.

        Without the DDP wrapper: one process validates, and must not wait for the others' buffers.
        """
        if self.iteration is not None:
            current_iter = self.iteration  # BasicSR counts on after the last one
        wrapped, self.net_g = self.net_g, self.get_bare_model(self.net_g)
        try:
            super().nondist_validation(dataloader, current_iter, tb_logger, save_img)
        finally:
            self.net_g = wrapped
        if self.opt["val"].get("metrics") is not None:
            name = dataloader.dataset.opt["name"]
            self.metrics_file.record(name, self.metric_results, self.iteration, self.best_metric_results[name])

    def _initialize_best_metric_results(self, dataset_name: str) -> None:
        """As BasicSR's, where the options have metrics that an earlier part of the run did not have, too."""
        earlier = getattr(self, "best_metric_results", {}).pop(dataset_name, {})
        super()._initialize_best_metric_results(dataset_name)
        records = self.best_metric_results[dataset_name]
        records.update({metric: record for metric, record in earlier.items() if metric in records})


def _compares_with_gt(metric: Dict[str, Any]) -> bool:
    return "img2" in inspect.signature(METRIC_REGISTRY.find(metric["type"])).parameters
