"""How a quantized network compares with the same network in full precision, in dB."""

from pathlib import Path
from typing import Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence

import numpy as np
import torch
from basicsr.metrics import calculate_psnr
from torch import Tensor

from quantnas_sr.errors import DataError
from quantnas_sr.export.sample_images import evenly_spaced, images_of
from quantnas_sr.images.bgr import read_bgr, read_planes

#: A PSNR of equal images.
_EQUAL = 99.0


class Pair(NamedTuple):
    """Low-resolution image (1, 3, H, W), RGB in 0..1; its ground truth (s*H, s*W, 3), BGR, uint8, if there is one."""

    lq: Tensor
    gt: Optional[np.ndarray]


def pairs(images: Path, gt: Optional[Path], most: int) -> List[Pair]:
    """Evenly spaced images of a folder, with their ground truth of the same name in another folder.

    Raises:
        DataError: there is no image, one cannot be read, or has no ground truth.
    """
    paths = evenly_spaced(images_of(images), most)
    targets = {} if gt is None else {path.stem: path for path in images_of(gt)}
    return list(_read(paths, targets, gt))


def _read(paths: Iterable[Path], targets: Dict[str, Path], gt: Optional[Path]) -> Iterator[Pair]:
    for path in paths:
        target = _target_of(path.stem, targets)
        if gt is not None and target is None:
            raise DataError(f"{gt}: no ground truth of {path.name} there. Allowed: the same name, also without x4")
        yield Pair(torch.from_numpy(read_planes(path, None)), None if target is None else read_bgr(target))


def _target_of(stem: str, targets: Dict[str, Path]) -> Optional[Path]:
    """The ground truth of ``0801x4`` is ``0801x4`` or ``0801``."""
    short, times, scale = stem.rpartition("x")
    return targets.get(stem) or (targets.get(short) if times and scale.isdigit() else None)


class Quality(NamedTuple):
    """Mean PSNR over images, in dB.

    Attributes:
        to_float: to the images of the network in full precision, RGB; None for itself.
        luma: of the Y channel to the ground truth, without a border of the scale; None without ground truth.
    """

    to_float: Optional[float]
    luma: Optional[float]


@torch.no_grad()
def outputs(network: Callable[[Tensor], Tensor], images: Iterable[Pair]) -> List[np.ndarray]:
    """What a network, in evaluation mode, makes of images: (s*H, s*W, 3), BGR, uint8.

    Raises:
        DataError: a ground truth has another size than the output.
    """
    made = []
    for lq, gt in images:
        made.append(_to_bgr(network(lq)))
        if gt is not None and gt.shape != made[-1].shape:
            raise DataError(f"the ground truth of an image is {_size(gt)}, the network's output {_size(made[-1])}")
    return made


def quality(made: Sequence[np.ndarray], baseline: Optional[Sequence[np.ndarray]], images: Sequence[Pair]) -> Quality:
    """Compare the outputs of a network with those of the one in full precision, and with the ground truth."""
    to_float = None if baseline is None else float(np.mean([_psnr(*two) for two in zip(made, baseline)]))
    scale = made[0].shape[0] // images[0].lq.shape[2]
    luma = [_psnr(out, pair.gt, scale, luma=True) for out, pair in zip(made, images) if pair.gt is not None]
    return Quality(to_float, float(np.mean(luma)) if luma else None)


def _size(image: np.ndarray) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"


def _psnr(one: np.ndarray, other: np.ndarray, border: int = 0, luma: bool = False) -> float:
    return min(_EQUAL, float(calculate_psnr(one, other, crop_border=border, test_y_channel=luma)))


def _to_bgr(output: Tensor) -> np.ndarray:
    image = output[0].clamp(0, 1).mul(255).round().byte().numpy()
    return np.ascontiguousarray(image[::-1].transpose(1, 2, 0))
