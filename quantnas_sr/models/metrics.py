"""The file that holds the results of validations: ``metrics.json`` in the folder of a run."""

import json
from pathlib import Path
from typing import Any, Dict, Mapping, Optional

import numpy as np

from quantnas_sr.system.files import written_aside

FILE_NAME = "metrics.json"


def plain(value: Any) -> Any:
    """Nested dictionaries without NumPy's number types, which JSON and torch's safe loader refuse."""
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    return value.item() if isinstance(value, np.generic) else value


class MetricsFile:
    """The last validation of every dataset, written after each.

    The file is ``{"name": run, "datasets": {dataset: {"iteration": i, "metrics": {metric: value}, "best": {metric:
    {"value": value, "iteration": i}}}}}``. In a test run there is no ``iteration`` and no ``best``.

    Args:
        folder: of the run, such as ``experiments/<name>`` or ``results/<name>``.
        name: of the run.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / FILE_NAME
        self.name = name
        self.datasets: Dict[str, Dict[str, Any]] = {}

    def record(
        self,
        dataset: str,
        metrics: Mapping[str, float],
        iteration: Optional[int],
        best: Mapping[str, Mapping[str, Any]],
    ) -> None:
        """Add the results of a validation, or replace the dataset's earlier ones, and write the file.

        Args:
            dataset: its name in the options.
            metrics: value by metric.
            iteration: of the training; None in a test run.
            best: of every metric BasicSR's record of the best value so far, with ``val`` and ``iter``.
        """
        entry: Dict[str, Any] = {"metrics": dict(metrics)}
        if iteration is not None:
            of_best = {metric: {"value": record["val"], "iteration": record["iter"]} for metric, record in best.items()}
            entry = {"iteration": iteration, **entry, "best": of_best}
        self.datasets[dataset] = plain(entry)
        with written_aside(self.path) as aside:
            aside.write_text(json.dumps({"name": self.name, "datasets": self.datasets}, indent=1), encoding="utf-8")
