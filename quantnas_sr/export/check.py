"""Compares an exported file with the network that it came from: every image, every layer, every runtime.

A runtime and PyTorch compute the same sums of integers. Between them are a few operations on real numbers (scales,
residual sums, the standard deviation of ADQ), which a runtime may compute in another order. A result close to the
boundary between two integers may then be rounded to the other integer, and at few bits this changes the layers that
follow. So each layer is checked separately (see `layer_check`), and then the images are compared.
"""

from pathlib import Path
from typing import Iterable, List, NamedTuple, Sequence

import numpy as np
import torch
from torch import nn

from quantnas_sr.deploy import runtimes as running
from quantnas_sr.errors import DataError
from quantnas_sr.export.layer_check import Comparison, LayerCheck
from quantnas_sr.export.litert.layer_check import LiteRTLayerCheck
from quantnas_sr.images.units import from_unit

#: Share of bytes that may differ by more than one without an explanation.
TOLERANCE = 1e-3
#: Largest relative difference of two outputs that are computed from the same integers.
_SAME = 1e-4
#: Largest change of a runtime's output when intermediate tensors are requested: this factor times its difference from
#: PyTorch's output, plus this number of bytes.
_FURTHER, _NEAR = 3, 0.02


class Agreement(NamedTuple):
    """How the images of a runtime agree with PyTorch's.

    Attributes:
        runtime: its name.
        equal: share of bytes that are equal.
        off: share of bytes that differ by more than one.
        largest: largest difference of two bytes.
        checked: the number of images for which every layer was checked, which is all of them or 0.
    """

    runtime: str
    equal: float
    off: float
    largest: int
    checked: int = 0

    def __str__(self) -> str:
        differ = f"{100 * self.off:.3f} % differ by more than 1 (at most by {self.largest})"
        why = ""
        if self.off > TOLERANCE and self.checked:
            images = f"all {self.checked} images" if self.checked > 1 else "the image"
            why = f"; every layer rounds correctly in {images}: numbers between two integers fell to the other one"
        return f"{self.runtime}: {100 * self.equal:.3f} % of the bytes are PyTorch's, {differ}{why}"


def to_bytes(image: np.ndarray) -> np.ndarray:
    """0..1 -> 0..255, as BasicSR writes images, in integers that can be subtracted."""
    return from_unit(image, np.uint8).astype(np.int16)


def agreement(runtime: str, ours: Iterable[np.ndarray], theirs: Iterable[np.ndarray]) -> Agreement:
    """Compare images of a runtime with PyTorch's: float arrays of equal shapes in 0..1."""
    difference = np.concatenate([np.abs(to_bytes(a) - to_bytes(b)).ravel() for a, b in zip(ours, theirs)])
    return Agreement(runtime, float((difference == 0).mean()), float((difference > 1).mean()), int(difference.max()))


def check(network: nn.Module, path: Path, runtimes: Sequence[str], images: Sequence[np.ndarray]) -> List[Agreement]:
    """Run an exported file in every runtime and compare it with PyTorch: all images, layer by layer and as a whole.

    Args:
        network: what was exported, in evaluation mode.
        path: the file.
        runtimes: names that `runtimes.open_network` takes.
        images: (1, 3, H, W) float32 each, in 0..1.

    Raises:
        DataError: a runtime computes something else (the line names the first image and layer), or PyTorch computes
            NaN.
    """
    with torch.inference_mode():
        expected = [network(torch.from_numpy(image)).numpy() for image in images]
    if not all(np.isfinite(image).all() for image in expected):
        raise DataError(f"{path.name}: the network makes images that are not finite: the training diverged")
    return [_agreement_of(network, path, runtime, images, expected) for runtime in runtimes]


def _agreement_of(
    network: nn.Module, path: Path, runtime: str, images: Sequence[np.ndarray], expected: Sequence[np.ndarray]
) -> Agreement:
    layer_check = LiteRTLayerCheck if path.suffix == ".tflite" else LayerCheck
    run, compare = running.open_network(path, runtime), layer_check(network, path, runtime)
    results = []
    for number, (image, target) in enumerate(zip(images, expected), start=1):
        results.append(run(image))
        difference = _difference(results[-1], target, compare(image))
        if difference:
            which = f" of image {number}" if number > 1 else ""
            raise DataError(f"{path.name}: {runtime} computes something else{which}: {difference}")
    return agreement(runtime, expected, results)._replace(checked=len(results))


def _difference(result: np.ndarray, expected: np.ndarray, layers: Comparison) -> str:
    """The first difference between a runtime and PyTorch, in words; empty if they agree.

    Args:
        result: the runtime's output, when nothing else was requested.
        expected: PyTorch's output.
        layers: the comparison of the layers, from a run in which intermediate tensors were requested too.
    """
    if result.shape != expected.shape:
        return f"its image has the shape {result.shape}, PyTorch's {expected.shape}"
    missing = "".join(f" ({phrase})" for phrase in layers.missing)
    if layers.wrong:
        return layers.wrong[0] + missing
    if not _distances(layers.output, layers.expected).max() <= _SAME * max(1.0, float(np.abs(layers.expected).max())):
        return "all layers read correct integers, but the output differs" + missing
    # Numbers close to a rounding boundary may be rounded differently in the two runs, but not more often than between a
    # runtime and PyTorch.
    if not _in_bytes(layers.output, result) <= _FURTHER * _in_bytes(layers.output, expected) + _NEAR:
        return "its output changes when intermediate tensors are requested"
    return ""


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.abs(a - b) if a.shape == b.shape else np.array(np.inf)


def _in_bytes(a: np.ndarray, b: np.ndarray) -> float:
    """The mean difference of two images in bytes; NaN where one of them has NaN."""
    if not np.isfinite(a.sum()) or not np.isfinite(b.sum()):
        return float("nan")
    return float(np.abs(to_bytes(a) - to_bytes(b)).mean())
