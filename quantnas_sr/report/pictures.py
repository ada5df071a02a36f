"""The images of a test set: the scores of bicubic upsampling, and crops of the output of each network."""

from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np

from quantnas_sr.images.bgr import read_bgr
from quantnas_sr.report.crops import Captioned, bicubic, draw_crops
from quantnas_sr.report.front import by_setting
from quantnas_sr.sweep import Record

ROWS = 3


class Pair(NamedTuple):
    """Files of an image."""

    truth: Path
    small: Path


class TestSet(NamedTuple):
    """Pairs of a test set and the options of its metrics, by name."""

    name: str
    scale: int
    pairs: List[Pair]
    metrics: Dict[str, Any]

    __test__ = False

    @classmethod
    def all_of(cls, options: Dict[str, Any]) -> "List[TestSet]":
        """The test sets in the options of a test that are folders of image pairs; others are left out."""
        sets = []
        for _, dataset in sorted(options["datasets"].items()):
            pairs = _pairs(dataset)
            if pairs:
                sets.append(cls(dataset["name"], options["scale"], pairs, options["val"]["metrics"]))
        return sets

    def score(self, image: np.ndarray, truth: np.ndarray) -> Dict[str, float]:
        """The metrics of the test; images (H, W, 3), BGR, 0..255."""
        from basicsr.metrics import calculate_metric

        height, width = image.shape[:2]
        data = {"img": image, "img2": truth[:height, :width]}
        return {name: float(calculate_metric(data, options)) for name, options in self.metrics.items()}

    def score_bicubic(self) -> Dict[str, float]:
        """Mean metrics of bicubic upsampling."""
        scores = [self.score(bicubic(read_bgr(small), self.scale), read_bgr(truth)) for truth, small in self.pairs]
        return {name: float(np.mean([score[name] for score in scores])) for name in self.metrics}

    def draw(self, records: Sequence[Record], output: Path) -> bool:
        """Crops of a few images: LR, bicubic, the first seed of each setting, ground truth. False: none were saved."""
        first = {setting: group[0] for setting, group in by_setting(records).items()}
        step = max(1, len(self.pairs) // ROWS)
        rows = [self._row(pair, first) for pair in self.pairs[::step][:ROWS]]
        if not all(rows):
            return False
        draw_crops(rows, output, width=1.5)
        return True

    def _row(self, pair: Pair, first: Dict[str, Record]) -> List[Captioned]:
        small, truth = read_bgr(pair.small), read_bgr(pair.truth)
        images = [("bicubic", bicubic(small, self.scale))]
        for setting, record in first.items():
            run = record.runs["test"]
            path = Path("results") / run / "visualization" / self.name / f"{pair.small.stem}_{run}.png"
            if not path.is_file():
                return []
            images.append((setting, read_bgr(path)))
        height, width = images[0][1].shape[:2]
        truth = truth[:height, :width]
        captioned = [(self._caption(name, image, truth), image) for name, image in images]
        return [("LR", small), *captioned, ("ground truth", truth)]

    def _caption(self, name: str, image: np.ndarray, truth: np.ndarray) -> str:
        psnr = self.score(image, truth).get("psnr")
        return name if psnr is None else f"{name}\n{psnr:.2f} dB"


def _pairs(dataset: Dict[str, Any]) -> List[Pair]:
    if (dataset.get("io_backend") or {}).get("type", "disk") != "disk" or "dataroot_lq" not in dataset:
        return []
    truths = Path(dataset.get("dataroot_gt", "")).expanduser()
    template, folder = dataset.get("filename_tmpl", "{}"), Path(dataset["dataroot_lq"]).expanduser()
    files = sorted(path for path in truths.glob("*") if path.is_file() and not path.name.startswith("."))
    pairs = [Pair(path, folder / f"{template.format(path.stem)}{path.suffix}") for path in files]
    return [pair for pair in pairs if pair.small.is_file()]


def bicubic_scores(sets: Sequence[TestSet]) -> Dict[Tuple[str, str], float]:
    """{(test set, metric): mean} of bicubic upsampling."""
    return {(s.name, metric): value for s in sets for metric, value in s.score_bicubic().items()}
