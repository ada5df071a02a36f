"""Pixels as numbers of 0 to 1, and back."""

import numpy as np

#: Kinds of pixels.
BYTES, FLOATS = np.dtype(np.uint8), np.dtype(np.float32)
#: The largest value of each kind of pixel.
WHITE = {BYTES: 255.0, np.dtype(np.uint16): 65535.0, FLOATS: 1.0}


def to_unit(pixels: np.ndarray) -> np.ndarray:
    """uint8, uint16 or float32 -> float32 in 0..1; any shape."""
    return pixels.astype(np.float32) / np.float32(WHITE[pixels.dtype])


def from_unit(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """float32 -> ``dtype``, clipped to 0..1 and rounded half to even, as BasicSR's ``tensor2img``; any shape."""
    dtype = np.dtype(dtype)
    clipped = np.clip(values, 0, 1)
    if dtype.kind == "f":
        return clipped
    clipped *= np.float32(WHITE[dtype])
    return np.rint(clipped, out=clipped).astype(dtype)


def converted(pixels: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Pixels of one kind as those of another; any shape."""
    return pixels if pixels.dtype == dtype else from_unit(to_unit(pixels), dtype)
