"""Arrays of pixels through a network, tile by tile."""

from pathlib import Path
from typing import Callable, Iterator, Optional, Tuple, Union

import cv2
import numpy as np

from quantnas_sr import networks
from quantnas_sr.deploy.memory import DEFAULT_MEMORY, MemoryUse, amount
from quantnas_sr.deploy.network import Network
from quantnas_sr.deploy.runtimes import open_network
from quantnas_sr.errors import DataError, OptionError
from quantnas_sr.images.tiles import USUAL_OVERLAP, Window, check_tile, largest_tile, smallest_tile, windows
from quantnas_sr.images.units import WHITE, converted, from_unit, to_unit
from quantnas_sr.upscaling.transparency import has_alpha, spread_colours
from quantnas_sr.values.arguments import parse_memory, parse_positive

#: Memory is not measured for images of this many pixels or fewer, see `measures`.
SMALL = 128 * 128
#: Rows above and below a row that bicubic interpolation reads.
_CUBIC = 2

Progress = Callable[[int], object]


def upscale(
    image: np.ndarray,
    network: Union[str, Path, Network, None] = None,
    tile: Optional[int] = None,
    memory: int = DEFAULT_MEMORY,
    scale: Optional[int] = None,
) -> np.ndarray:
    """Upscale an image.

    The network takes RGB; gray is given to it as three equal channels. Alpha is interpolated bicubically, and fully
    transparent pixels get the colour of the nearest visible one first.

    Args:
        image: (H, W) gray, (H, W, 3) RGB or (H, W, 4) RGB and alpha; uint8, uint16, or float32 in 0..1. Gray with a
            channel axis, (H, W, 1), or with alpha, (H, W, 2), is taken too.
        network: an ``.onnx`` of ``quantnas export``, the ``.pth`` of a training, the name of a network of the package
            (`networks`), or what `open_network` gave; by default the best network of the package.
        tile: longest side of the tiles that the network runs on, overlap included; by default the largest that
            ``memory`` allows, up to the whole image.
        memory: memory limit of the network for a tile, in bytes.
        scale: of the network of the package, where none is given; 2 by default.

    Returns:
        The same kind of array, s*H high and s*W wide.

    Raises:
        DataError: the array is not such an image, or the network fails on it.
        OptionError: the tile or the memory is not a positive number, or too small for the network; there is no network
            of that scale or name.
    """
    check_image(image)
    image = spread_colours(image)
    tile = None if tile is None else parse_positive(tile, "tile")
    memory = parse_memory(memory, "memory")
    network = network if isinstance(network, Network) else _opened(network, scale)
    size = image.shape[:2]
    use = memory_use(network) if measures(network, tile, size[0] * size[1]) else None
    bands = upscaled_bands(image, network, tile_for(size, network, tile, use, memory))
    first, *others = bands
    return np.concatenate([first, *others]) if others else first


def _opened(network: Union[str, Path, None], scale: Optional[int]) -> Network:
    if network is None or network in networks.names():
        return networks.opened(network, scale)
    if scale is not None:
        raise OptionError(f"scale: {scale} chooses a network of the package, and {network} is given")
    return open_network(network)


def measures(network: Network, tile: Optional[int], pixels: int) -> bool:
    """Whether the size of the tiles of an image of so many pixels depends on the measured memory use.

    It does not where the user gives it, nor where the network has tiles of its own.
    """
    return tile is None and network.size is None and pixels > SMALL


def memory_use(network: Network) -> MemoryUse:
    """The memory that a network and the handling of its output take: measured."""

    def upscale_tile(side: int) -> None:
        for _ in upscaled_bands(np.zeros((side, side, 3), np.uint16), network, (side, side)):
            pass

    return MemoryUse.of(network, upscale_tile)


def check_image(image: np.ndarray) -> None:
    """Raise a DataError unless an array is an image that `upscale` takes."""
    channels = image.shape[2] if image.ndim == 3 else 1
    if image.ndim not in (2, 3) or not 1 <= channels <= 4 or image.size == 0:
        raise DataError(f"an array of shape {image.shape} is no image. Allowed: (H, W), (H, W, 3) or (H, W, 4)")
    if image.dtype not in WHITE:
        raise DataError(f"pixels of type {image.dtype} cannot be upscaled. Allowed: uint8, uint16, float32")


def tile_for(
    size: Tuple[int, int],
    network: Network,
    tile: Optional[int],
    use: Optional[MemoryUse],
    budget: float,
    bytes_per_line: float = 0,
) -> Tuple[int, int]:
    """Height and width of the tiles of an image.

    Args:
        size: height and width of the image.
        network: the network.
        tile: the side that the user asks for, or None.
        use: the memory use of the network; None for an image so small that it need not be measured.
        budget: bytes that are left for a tile and the output that it fills.
        bytes_per_line: bytes that each row of a tile takes beside its pixels.

    Raises:
        OptionError: the tile or the memory is too small for the network, or it has a tile of its own.
    """
    if network.size is not None:
        if tile is not None:
            raise OptionError(f"tile {tile}: this network's file is for tiles of {network.size[1]}x{network.size[0]}")
        return size
    if tile is not None:
        if tile < max(size):
            check_tile(tile, overlap(network))
        return tile, tile
    if use is None:
        return size
    pixels = use.pixels(budget)
    found = largest_tile(size, 0, pixels, bytes_per_line / use.per_pixel)
    if found != size:
        found = largest_tile(size, overlap(network), pixels, bytes_per_line / use.per_pixel)
    if found is None:
        side = smallest_tile(overlap(network))
        lacking = side * (side * use.per_pixel + bytes_per_line) - budget
        raise OptionError(f"memory: about {amount(max(lacking, 1 << 20))} more is needed for even the smallest tiles")
    return found


def overlap(network: Network) -> int:
    """Pixels on each side of a tile that are computed and discarded."""
    return USUAL_OVERLAP if network.halo is None else network.halo


def upscaled_bands(
    image: np.ndarray,
    network: Network,
    tile: Tuple[int, int],
    progress: Progress = lambda pixels: None,
    dtype: Optional[np.dtype] = None,
) -> Iterator[np.ndarray]:
    """The upscaled image from top to bottom, one row of tiles at a time.

    Args:
        image: as of `upscale`.
        network: the network.
        tile: largest height and width of a tile.
        progress: is called with the number of pixels of the image that have been done since the last call.
        dtype: of the result; by default that of the image.

    Yields:
        Arrays (rows, s*W[, C]) of the image's channels.
    """
    height, width = image.shape[:2]
    dtype = np.dtype(dtype or image.dtype)
    margins = [overlap(network) if part < whole else 0 for part, whole in zip(tile, (height, width))]
    across = windows(width, tile[1], margins[1])
    for rows in windows(height, tile[0], margins[0]):
        s = network.scale
        band = np.empty(((rows.keep_stop - rows.keep_start) * s, width * s, *image.shape[2:]), dtype)
        for columns in across:
            _fill_colours(band[:, columns.keep_start * s : columns.keep_stop * s], image, network, rows, columns)
            progress((rows.keep_stop - rows.keep_start) * (columns.keep_stop - columns.keep_start))
        if has_alpha(image):
            band[..., -1] = from_unit(_alpha(image, rows, s), dtype)
        yield band
        del band  # before the next one is made


def _fill_colours(place: np.ndarray, image: np.ndarray, network: Network, rows: Window, columns: Window) -> None:
    """Upscale one tile and write the part of it that is kept, without alpha, to ``place``."""
    piece = image[rows.start : rows.stop, columns.start : columns.stop]
    colours = np.atleast_3d(piece)[..., : 3 if piece.ndim == 3 and piece.shape[2] > 2 else 1]
    given = converted(colours, network.takes(colours.dtype)).transpose(2, 0, 1)[None]
    planes = np.broadcast_to(given, (1, 3, *piece.shape[:2]))
    result = run_network(network, np.array(planes, order="C"))[0]
    large = result[:, rows.kept(network.scale), columns.kept(network.scale)]
    if colours.shape[2] == 3:
        place[..., :3] = cv2.merge(list(_as_pixels(large, place.dtype)))
    else:
        gray = _as_pixels(cv2.cvtColor(cv2.merge(list(large)), cv2.COLOR_RGB2GRAY), place.dtype)
        place[..., 0] = gray if place.ndim == 3 else 0
        if place.ndim == 2:
            place[...] = gray


def _as_pixels(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """What a network made, in floats or bytes, as pixels."""
    return from_unit(values, dtype) if values.dtype.kind == "f" else converted(values, dtype)


def run_network(network: Network, planes: np.ndarray) -> np.ndarray:
    """Run a network on a tile and check what it makes.

    Args:
        network: the network.
        planes: (1, 3, H, W), RGB, float32 in 0..1 or of the kind that the network takes.

    Returns:
        (1, 3, s*H, s*W) of the same kind; floats are not clipped.

    Raises:
        DataError: the network fails.
    """
    height, width = planes.shape[2:]
    try:
        result = network(planes)
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1].strip()
        raise DataError(f"the network fails on a tile of {width}x{height} pixels ({reason})") from None
    expected = (1, 3, height * network.scale, width * network.scale)
    if not isinstance(result, np.ndarray) or result.shape != expected or not _is_kind(result, planes):
        made = getattr(result, "shape", type(result).__name__)
        raise DataError(
            f"the network makes {made} of a tile of {width}x{height} pixels, not {expected} in {planes.dtype}"
        )
    if result.dtype.kind == "f" and not np.isfinite(result.sum()):
        raise DataError(f"the network makes numbers that are not finite of a tile of {width}x{height} pixels")
    return result


def _is_kind(result: np.ndarray, planes: np.ndarray) -> bool:
    return result.dtype == planes.dtype or result.dtype.kind == planes.dtype.kind == "f"


def _alpha(image: np.ndarray, rows: Window, scale: int) -> np.ndarray:
    """The kept rows of alpha, bicubic: (scale * rows, scale * W), float32, from 0..1 (and a little beyond)."""
    start, stop = max(0, rows.keep_start - _CUBIC), min(len(image), rows.keep_stop + _CUBIC)
    alpha = to_unit(image[start:stop, :, -1])
    size = scale * alpha.shape[1], scale * alpha.shape[0]
    large = cv2.resize(alpha, size, interpolation=cv2.INTER_CUBIC)
    return large[(rows.keep_start - start) * scale : (rows.keep_stop - start) * scale]
