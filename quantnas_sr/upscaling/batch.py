"""Files through a network, one after the other, within a limit of memory."""

import sys
from functools import cached_property
from pathlib import Path
from typing import List, Optional, Sequence, Tuple

import numpy as np
from tqdm import tqdm

from quantnas_sr.deploy.memory import DEFAULT_MEMORY, MemoryUse, amount
from quantnas_sr.deploy.network import Network
from quantnas_sr.errors import DataError, QuantNASError
from quantnas_sr.images.header import Header, read_header
from quantnas_sr.images.limits import MOST_PIXELS
from quantnas_sr.images.metadata import Metadata
from quantnas_sr.images.picture import read_picture
from quantnas_sr.upscaling.pixels import SMALL, measures, memory_use, tile_for, upscaled_bands
from quantnas_sr.upscaling.tasks import UpscaleTask
from quantnas_sr.upscaling.transparency import spread_colours
from quantnas_sr.upscaling.video.encoders import USUAL, Encoding
from quantnas_sr.upscaling.video.frame_upscaler import FrameUpscaler
from quantnas_sr.upscaling.video.upscale import upscale_video
from quantnas_sr.upscaling.writers import Layout, OutputError, fitting, format_of, image_writer

_TILES_SHOW = (
    "tiles change the result a little: every pixel of this network's output depends on the whole image (ADQ's standard "
    "deviation, or ESA). A larger --memory needs fewer tiles; `quantnas export --adq static` removes the dependence "
    "on ADQ's standard deviation"
)


class Upscaler:
    """Upscales files.

    Args:
        network: the network.
        tile: longest side of a tile; by default what ``memory`` allows.
        memory: memory limit of the process in bytes.
        most_pixels: larger images are refused.
        encoding: codec and quality of videos.
    """

    def __init__(
        self,
        network: Network,
        tile: Optional[int] = None,
        memory: int = DEFAULT_MEMORY,
        most_pixels: int = MOST_PIXELS,
        encoding: Encoding = USUAL,
    ) -> None:
        self.network, self.tile, self.memory, self.most_pixels = network, tile, memory, most_pixels
        self.encoding = encoding
        self._warned = False

    @cached_property
    def _use(self) -> MemoryUse:
        return memory_use(self.network)

    def files(self, tasks: Sequence[UpscaleTask]) -> List[str]:
        """Upscale the images, then the videos, and go on after one that is broken.

        Returns:
            One line for each file that could not be upscaled.

        Raises:
            OutputError: the output cannot be written, and that of the next file could not be either.
        """
        images = [task for task in tasks if not task.is_video]
        broken = self._images(images) if images else []
        frames = FrameUpscaler(self.network, lambda: self._use, self.tile, self.memory, _TILES_SHOW)
        for source, target in (task for task in tasks if task.is_video):
            try:
                upscale_video(source, target, frames, self.encoding, self.most_pixels)
            except OutputError:
                raise
            except QuantNASError as error:
                broken.append(_naming(source, error))
        return broken

    def _images(self, tasks: Sequence[UpscaleTask]) -> List[str]:
        sizes = [header.height * header.width if header else 0 for header in map(self._header, tasks)]
        if measures(self.network, self.tile, max(sizes)):
            _ = self._use  # measured before an image takes memory
        broken = []
        with tqdm(total=sum(sizes), unit="px", unit_scale=True, disable=None) as bar:
            for task in tasks:
                bar.set_postfix_str(task.source.name, refresh=False)
                try:
                    self._image(task, bar)
                except OutputError:
                    raise
                except QuantNASError as error:
                    broken.append(_naming(task.source, error))
        return broken

    def _image(self, task: UpscaleTask, bar: "tqdm") -> None:
        header = self._header(task)
        if header and self.tile is None:
            self._make_room(header)
        picture = read_picture(task.source, self.most_pixels)
        if picture.frames > 1:
            self._say(bar, f"{task.source}: has {picture.frames} images, only the first is taken")
        metadata = picture.metadata
        pixels = fitting(picture.pixels, task.target, self.network.scale)
        del picture  # the pixels are held once
        try:
            pixels = spread_colours(pixels)
            layout = self._layout(pixels, task.target, metadata)
            tile = self._tile_for(pixels, layout, task.target)
            if any(part < whole for part, whole in zip(tile, pixels.shape)) and self.network.halo is None:
                self._warn(bar)
            with image_writer(task.target, layout) as writer:
                for band in upscaled_bands(pixels, self.network, tile, bar.update, layout.dtype):
                    writer.write(band)
                    del band  # before the next one is made
        except MemoryError:
            raise DataError("not enough memory; a smaller --tile or --memory, or --format png takes less") from None
        except OSError as error:
            raise OutputError(f"{task.target}: cannot be written ({error.strerror or error})") from None

    def _header(self, task: UpscaleTask) -> Optional[Header]:
        """The header of an image; None if it is broken, which decoding will say."""
        try:
            return read_header(task.source, self.most_pixels)
        except DataError:
            return None

    def _make_room(self, header: Header) -> None:
        """Raise a DataError unless an image can be decoded within the limit of memory beside what is there."""
        if header.height * header.width <= SMALL:
            return
        if self.network.held_memory() + header.decoding_bytes > self.memory:
            self.network.free_memory()  # of the tiles of the images before
        held = self.network.held_memory()
        if held + header.decoding_bytes > self.memory:
            what = f"{header.width}x{header.height} pixels take about {amount(header.decoding_bytes)} to decode"
            raise DataError(f"{what}, beside {amount(held)} of the program; a larger --memory allows that")

    def _layout(self, pixels: np.ndarray, target: Path, metadata: Metadata) -> Layout:
        height, width = (self.network.scale * side for side in pixels.shape[:2])
        channels = pixels.shape[2] if pixels.ndim == 3 else 1
        dtype = pixels.dtype if format_of(target).deep else np.dtype(np.uint8)
        return Layout(height, width, channels, dtype, metadata)

    def _tile_for(self, pixels: np.ndarray, layout: Layout, target: Path) -> Tuple[int, int]:
        size = pixels.shape[:2]
        if not measures(self.network, self.tile, size[0] * size[1]):
            return tile_for(size, self.network, self.tile, None, self.memory)
        held = format_of(target).writer.held(layout) * layout.height * layout.width
        whole = pixels if pixels.base is None else pixels.base  # of an image without its alpha
        budget = self.memory - self._use.fixed - whole.nbytes - held
        # A row of tiles becomes a band of the upscaled image.
        line = layout.width * self.network.scale * layout.channels * layout.dtype.itemsize
        return tile_for(size, self.network, None, self._use, budget, line)

    def _warn(self, bar: "tqdm") -> None:
        if not self._warned:
            self._warned = True
            self._say(bar, _TILES_SHOW)

    @staticmethod
    def _say(bar: "tqdm", line: str) -> None:
        bar.clear()
        print(line, file=sys.stderr)


def _naming(source: Path, error: QuantNASError) -> str:
    return str(error) if str(source) in str(error) else f"{source}: {error}"
