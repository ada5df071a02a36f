"""The trained weights against their moving average, at the end of a training."""

from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator

from basicsr.utils import get_root_logger

from quantnas_sr.compat.replacing import replaced
from quantnas_sr.models.validation import ValidatingModel
from quantnas_sr.pth import mark_better

#: Added to the name of a validation set where the weights are validated instead of their moving average.
WEIGHTS = " (weights)"


def mark_the_better(model: ValidatingModel, checkpoint: Path, loader: Any, current_iter: int, tb_logger: Any) -> None:
    """Validate the weights too, and let a checkpoint say whether they or their moving average are better.

    With few bits they can differ by half a decibel, in either direction: weights that move to and fro between two
    integers lie between them on average. The first metric of the options decides; results stand in the log, in
    TensorBoard and in ``metrics.json``, under the name of the dataset with `WEIGHTS`.

    Args:
        model: that has just validated its moving average.
        checkpoint: the ``.pth`` that holds both.
        loader, current_iter, tb_logger: of this validation.
    """
    metric = next(iter(model.opt["val"]["metrics"]))
    average, dataset = model.metric_results[metric], loader.dataset.opt
    name = dataset["name"]
    with replaced(dataset, name=name + WEIGHTS), _without_average(model):
        model.nondist_validation(loader, current_iter, tb_logger, save_img=False)
    weights, higher = model.metric_results[metric], model.best_metric_results[name][metric]["better"] == "higher"
    better = "params" if weights != average and (weights > average) == higher else "params_ema"
    mark_better(checkpoint, better)
    get_root_logger().info(
        f"{name}, {metric}: {average:.4f} of the moving average, {weights:.4f} of the weights themselves. "
        f"{checkpoint.name} says so: commands take its {better} unless they are asked for others."
    )


@contextmanager
def _without_average(model: ValidatingModel) -> Iterator[None]:
    average = vars(model).pop("net_g_ema")
    try:
        yield
    finally:
        model.net_g_ema = average
