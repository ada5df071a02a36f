"""Low-resolution images: an exported network is checked with them, and its ranges are measured on them."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Iterator, Optional, Sequence, Union

import cv2
import numpy as np
import torch

from quantnas_sr.data.prepare.find import EXTENSIONS
from quantnas_sr.errors import DataError

#: Sides in pixels of the crops, from the middle of each image, that a file is checked with, and their number.
CROP, CHECKED = 96, 4


def tensors(folder: Optional[Union[str, os.PathLike]], crop: Optional[int], most: int) -> Iterator[torch.Tensor]:
    """As `arrays`, as tensors of PyTorch."""
    for array in arrays(folder, crop, most):
        yield torch.from_numpy(array)


def arrays(
    folder: Optional[Union[str, os.PathLike]], crop: Optional[int] = CROP, most: int = CHECKED
) -> Iterator[np.ndarray]:
    """Images as (1, 3, H, W) in 0..1: evenly picked from a folder, or synthetic (waves of all lengths, edges, noise).

    Args:
        folder: of images, which may be in sub-folders too; None makes synthetic ones.
        crop: height and width of a crop from the middle of each image of the folder; None takes the whole image.
        most: number of images at most.

    Raises:
        DataError: there is no image in the folder, or one that cannot be read.
    """
    if folder is None:
        yield from _synthetic(most)
        return
    paths = sorted(path for path in Path(folder).rglob("*") if _is_image(path))
    if not paths:
        raise DataError(f"{folder}: no image there. Allowed: a folder of {', '.join(EXTENSIONS)}")
    for path in paths[:: max(1, len(paths) // most)][:most]:
        yield array_of(path, crop)


def array_of(path: Path, crop: Optional[int] = None) -> np.ndarray:
    """An image file, or a square of ``crop`` pixels a side from its middle: (1, 3, H, W), RGB in 0..1, float32.

    Raises:
        DataError: it cannot be read.
    """
    image = None
    with suppress(OSError, cv2.error):  # cv2.imread cannot open names outside of the code page on Windows
        image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise DataError(f"{path}: not an image that can be read")
    if crop:
        top, left = (max(0, (side - crop) // 2) for side in image.shape[:2])
        image = image[top : top + crop, left : left + crop]
    rgb = np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1))
    return rgb[None].astype(np.float32) / 255


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in EXTENSIONS and not path.name.startswith(".")


def _synthetic(number: int) -> Iterator[np.ndarray]:
    generator = np.random.default_rng(0)
    y, x = np.mgrid[0:CROP, 0:CROP] / CROP
    for _ in range(number):
        channels = []
        for _ in range(3):
            wave = sum(np.cos(2 * np.pi * (f * x * a + f * y * b + c)) / f for f, a, b, c in _waves(generator))
            edge = generator.random() * (x * generator.normal() + y * generator.normal() > 0.2)
            channels.append(wave / 6 + edge + generator.normal(0, 0.02, x.shape))
        image = np.stack(channels)
        image = (image - image.min()) / np.ptp(image)
        yield (image * 255).round().astype(np.float32)[None] / np.float32(255)


def _waves(generator: np.random.Generator) -> Iterator[Sequence[float]]:
    for frequency in (1, 2, 4, 8, 16):
        yield frequency, generator.normal(), generator.normal(), generator.random()
