"""Colours for transparent pixels, so that what is hidden there does not leak into the edges of what is visible."""

from typing import List, Tuple

import cv2
import numpy as np

#: Rows around a strip in which the nearest visible pixel is looked for; more than the halo of the networks.
_REACH = 64
#: Memory that a strip may take, and what each of its pixels takes: its distance, its label, masks and indices.
_STRIP_BYTES, _BYTES_PER_PIXEL = 64 << 20, 24


def has_alpha(image: np.ndarray) -> bool:
    """Whether an image (H, W[, C]) has alpha as its last channel."""
    return image.ndim == 3 and image.shape[2] in (2, 4)


def spread_colours(image: np.ndarray) -> np.ndarray:
    """An image whose fully transparent pixels have the colour of the nearest visible pixel.

    A network mixes the colours of neighbours, alpha aside. The colours of transparent pixels are arbitrary, mostly
    black, and would come out as a dark fringe around what is visible.

    Args:
        image: (H, W[, C]) of any type.

    Returns:
        A copy; or the image itself if it has no alpha, nothing transparent, or nothing visible.
    """
    if not has_alpha(image):
        return image
    visible = image[..., -1] > 0
    if visible.all() or not visible.any():
        return image
    image = np.array(image, order="C")
    height, width = visible.shape
    rows = max(_REACH, _STRIP_BYTES // (_BYTES_PER_PIXEL * width) - 2 * _REACH)
    strips = [(start, min(start + rows, height)) for start in range(0, height, rows)]
    empty = [strip for strip in strips if not _fill(image, visible, *strip)]
    _extend(image, empty)
    return image


def _fill(image: np.ndarray, visible: np.ndarray, start: int, stop: int) -> bool:
    """Fill the rows ``start`` to ``stop``; False if there is no visible pixel near them."""
    top = max(0, start - _REACH)
    seen = visible[top : stop + _REACH]
    if not seen.any():
        return False
    hidden = np.flatnonzero(~visible[start:stop])
    if len(hidden):
        nearest = _nearest(seen, (start - top) * image.shape[1] + hidden)
        # Whole pixels are copied, which is faster than channel by channel, and become transparent again.
        whole = image.reshape(-1, image.shape[2]).view(np.dtype((np.void, image.strides[1])))
        whole[start * image.shape[1] + hidden] = whole[top * image.shape[1] + nearest]
        image[start:stop, :, -1][~visible[start:stop]] = 0
    return True


def _nearest(seen: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The place of the nearest pixel that is seen, for each of some places; places are indices of the flat mask."""
    _, labels = cv2.distanceTransformWithLabels(
        (~seen).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    # Every pixel has the label of the seen pixel that is nearest to it.
    labels, sources = labels.ravel(), np.flatnonzero(seen)
    place_of = np.empty(labels.max() + 1, np.int64)
    place_of[labels[sources]] = sources
    return place_of[labels[places]]


def _extend(image: np.ndarray, empty: List[Tuple[int, int]]) -> None:
    """Fill strips that are far from everything visible from the row above them, or else from the row below."""
    waiting = []
    for start, stop in empty:
        if start == 0 or (waiting and waiting[-1][1] == start):
            waiting.append((start, stop))
        else:
            image[start:stop, :, :-1] = image[start - 1, :, :-1]
    for start, stop in reversed(waiting):
        image[start:stop, :, :-1] = image[stop, :, :-1]
