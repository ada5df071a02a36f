"""Low-resolution images that an exported network is checked with, and that its ranges are measured on."""

from pathlib import Path
from typing import Iterator, Optional, Sequence

import numpy as np
import torch

from quantnas_sr.errors import DataError

#: A check looks at this many pixels a side, from the middle of each image, and at this many images.
CROP, CHECKED = 96, 4


def tensors(folder: Optional[str], crop: Optional[int], most: int) -> Iterator[torch.Tensor]:
    """As `arrays`."""
    for array in arrays(folder, crop, most):
        yield torch.from_numpy(array)


def arrays(folder: Optional[str], crop: Optional[int] = CROP, most: int = CHECKED) -> Iterator[np.ndarray]:
    """Images as (1, 3, H, W) in 0..1, evenly out of a folder, or made up: waves of all lengths, edges, and noise.

    Args:
        folder: its sub-folders count too; None makes images up.
        crop: pixels a side from the middle of each; None takes the whole.
        most: images.

    Raises:
        DataError: there is no image, or one that cannot be read.
    """
    if folder is None:
        yield from _synthetic(most)
        return
    paths = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".bmp"))
    if not paths:
        raise DataError(f"{folder}: no image there. Allowed: a folder of .png, .jpg or .bmp")
    for path in paths[:: max(1, len(paths) // most)][:most]:
        yield array_of(path, crop)


def array_of(path: Path, crop: Optional[int] = None) -> np.ndarray:
    """An image file, or ``crop`` pixels a side from its middle: (1, 3, H, W), RGB in 0..1, float32.

    Raises:
        DataError: it cannot be read.
    """
    import cv2

    image = cv2.imread(str(path))
    if image is None:
        raise DataError(f"{path}: not an image that can be read")
    if crop:
        top, left = (max(0, (side - crop) // 2) for side in image.shape[:2])
        image = image[top : top + crop, left : left + crop]
    rgb = np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1))
    return rgb[None].astype(np.float32) / 255


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
