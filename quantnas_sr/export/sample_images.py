"""The low-resolution images for the check of an exported network and for the measurement of its value ranges."""

from pathlib import Path
from typing import Any, Iterator, List, Optional, Sequence, Union

import numpy as np
import torch

from quantnas_sr.errors import DataError
from quantnas_sr.images.bgr import read_planes
from quantnas_sr.images.folders import files_in
from quantnas_sr.images.formats import image_suffixes, is_image

#: A check takes a square of this side from the middle of each image, and this many images.
CROP, CHECKED = 96, 4


def tensors(folder: Optional[str], crop: Optional[int], most: int) -> Iterator[torch.Tensor]:
    """As `arrays`."""
    for array in arrays(folder, crop, most):
        yield torch.from_numpy(array)


def arrays(folder: Optional[str], crop: Optional[int] = CROP, most: int = CHECKED) -> Iterator[np.ndarray]:
    """Images as (1, 3, H, W), RGB in 0..1: evenly spaced ones of a folder, or synthetic ones (waves, edges, noise).

    Args:
        folder: a folder of images, with its sub-folders; None makes synthetic images.
        crop: height and width of the part taken from the middle of each image; None takes the whole image.
        most: the largest number of images.

    Raises:
        DataError: there is no image, or one that cannot be read.
    """
    if folder is None:
        yield from _synthetic(most)
        return
    for path in evenly_spaced(images_of(folder), most):
        yield read_planes(path, crop)


def images_of(folder: Union[str, Path]) -> List[Path]:
    """The images of a folder, with its sub-folders, in the order of their paths.

    Raises:
        DataError: there is none.
    """
    there = files_in(Path(folder)) if Path(folder).is_dir() else ()
    paths = sorted(path for path in there if is_image(path))
    if not paths:
        raise DataError(f"{folder}: no image there. Allowed: a folder of {', '.join(image_suffixes())}")
    return paths


def evenly_spaced(things: Sequence[Any], most: int) -> Sequence[Any]:
    """At most so many of them, from the first on."""
    return things[:: max(1, len(things) // most)][:most]


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
