"""The same crop of several pictures side by side."""

from pathlib import Path
from typing import List, Sequence, Tuple, Union

import numpy as np

from quantnas_sr.errors import MissingExtraError
from quantnas_sr.system.files import written_aside

#: A caption and an image, (H, W, 3), BGR as OpenCV reads it, 0..255.
Captioned = Tuple[str, np.ndarray]


def bicubic(image: np.ndarray, scale: int) -> np.ndarray:
    """MATLAB-style bicubic upsampling of (H, W, 3), 0..255, rounded to 8 bits."""
    from basicsr.utils.matlab_functions import imresize

    return (imresize(image.astype(np.float32) / 255, scale).clip(0, 1) * 255).round().astype(np.uint8)


def busiest_crop(image: np.ndarray, side: int) -> Tuple[int, int]:
    """Top and left of the square crop with the largest variation of brightness, on a grid of half its side."""
    gray = image.astype(np.float32).mean(axis=2)
    height, width = gray.shape
    places = [
        (top, left)
        for top in range(0, max(1, height - side + 1), side // 2)
        for left in range(0, max(1, width - side + 1), side // 2)
    ]
    return max(places, key=lambda place: gray[place[0] : place[0] + side, place[1] : place[1] + side].std())


def draw_crops(
    rows: Sequence[Sequence[Captioned]], output: Union[str, Path], side: int = 160, width: float = 2.4
) -> None:
    """Draw a grid: a row for each picture, a column for each method; the last column decides where the crop is.

    Images of a row that are smaller by a whole factor (the LR one) are enlarged pixel by pixel. A crop has ``side``
    pixels a side, and a column is ``width`` inches wide.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("drawing crops", "matplotlib", "report") from None
    columns = len(rows[0])
    figure = Figure(figsize=(width * columns, (width + 0.35) * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for row, places in zip(rows, axes):
        for (caption, crop), place in zip(_cropped(row, side), places):
            place.imshow(crop[..., ::-1], interpolation="nearest")
            place.set_title(caption, fontsize=9)
            place.set_axis_off()
    with written_aside(output) as aside:
        figure.savefig(aside, dpi=150, metadata={"Software": None})


def _cropped(row: Sequence[Captioned], side: int) -> List[Captioned]:
    reference = row[-1][1]
    top, left = busiest_crop(reference, side)
    crops = []
    for caption, image in row:
        factor = round(reference.shape[0] / image.shape[0])
        large = image.repeat(factor, axis=0).repeat(factor, axis=1)
        crops.append((caption, large[top : top + side, left : left + side]))
    return crops
