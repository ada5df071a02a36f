"""``val``: its metrics, and whether the datasets have what they need."""

import inspect
from typing import Any, Dict, Mapping

from quantnas_sr.data.pairs import Size
from quantnas_sr.errors import OptionError
from quantnas_sr.options.checks.datasets import lacks_gt
from quantnas_sr.options.registered import registered
from quantnas_sr.options.tables import ARGUMENTS
from quantnas_sr.registration import METRIC_REGISTRY
from quantnas_sr.values.kinds import MAPPING
from quantnas_sr.values.signatures import check_arguments

Options = Dict[str, Any]

#: Side of the window that BasicSR's SSIM looks through.
_SSIM_WINDOW = 11


def check_validation(opt: Options, sizes: Mapping[str, Size]) -> None:
    """Check ``val`` and its metrics.

    Args:
        opt: checked options.
        sizes: of `check_datasets`.

    Raises:
        OptionError: a key is missing, a metric cannot be computed as it is asked for, or there are no images for it.
    """
    val = opt.get("val")
    if val is None:
        return
    if not opt["is_train"] and val["save_img"] and "suffix" not in val:
        raise OptionError("val: the key 'suffix' is missing. Allowed: a name, or ~ for the name of the run")
    sets = {phase: dataset for phase, dataset in opt["datasets"].items() if phase != "train"}
    metrics = val.get("metrics") or {}
    if metrics and not sets:
        raise OptionError("val.metrics: there is no dataset to compute them on: datasets has no 'val'")
    for name, metric in metrics.items():
        where = f"val.metrics.{name}"
        compares = _check_metric(metric, where)
        for phase, dataset in sets.items():
            if compares and lacks_gt(dataset):
                raise OptionError(
                    f"{where}: {metric['type']} compares with GT, and datasets.{phase} has none. "
                    "Allowed: no metrics, calculate_niqe, or PairedImageDataset"
                )
            if phase in sizes:
                _check_border(metric, min(sizes[phase]), where, phase)


def _check_border(metric: Options, side: int, where: str, phase: str) -> None:
    """Something of the smallest image must be left without its border: a pixel, or the window of SSIM."""
    needed = _SSIM_WINDOW if "ssim" in metric["type"] else 1
    border = metric.get("crop_border", 0)
    if side - 2 * border < needed:
        raise OptionError(
            f"{where}.crop_border: {border} leaves too little of the smallest image of datasets.{phase}, of {side} "
            f"pixels. Allowed: at most {max(0, (side - needed) // 2)}"
        )


def _check_metric(metric: Any, where: str) -> bool:
    """Check the options of one metric. Returns whether it compares with GT."""
    MAPPING.checked(metric, where)
    if metric.get("type") is None:
        raise OptionError(f"{where}: the key 'type' is missing")
    function = registered(f"{where}.type", metric["type"], METRIC_REGISTRY)
    parameters = inspect.signature(function).parameters
    images = {name: None for name in ("img", "img2") if name in parameters}
    arguments = {**images, **{key: value for key, value in metric.items() if key not in ("type", "better")}}
    check_arguments(function, arguments, where, ARGUMENTS, strict=function.__module__.startswith("basicsr."))
    if "better" in metric:
        ARGUMENTS["better"].checked(metric["better"], f"{where}.better")
    metric.update({key: value for key, value in arguments.items() if key not in images})
    return "img2" in images
