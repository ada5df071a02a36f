"""Images of any size for networks that take only some; for arrays of numpy and of torch, without importing either."""

from typing import Any, Callable


def run_padded(network: Callable[[Any], Any], x: Any, multiple: int, pad: Callable[[Any, int, int, bool], Any]) -> Any:
    """The output for an image that is padded, if it has to be, to sides that are multiples of a number, cropped.

    The image is continued at the right and at the bottom by its mirror image; by its last pixels where it is smaller
    than what is added.

    Args:
        network: (N, C, H, W) -> (N, C', s*H, s*W) for such sides.
        x: (N, C, H, W).
        multiple: 1 for a network that takes any size.
        pad: makes the larger image from the image, the rows and the columns to add, and whether they mirror it.

    Returns:
        (N, C', s*H, s*W).
    """
    height, width = x.shape[-2:]
    down, right = -height % multiple, -width % multiple
    if not (down or right):
        return network(x)
    output = network(pad(x, down, right, down < height and right < width))
    scale = output.shape[-1] // (width + right)
    return output[..., : scale * height, : scale * width]
