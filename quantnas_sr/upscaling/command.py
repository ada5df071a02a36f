"""``quantnas upscale``: images, folders and films through a trained or exported network."""

import argparse
import os
import signal
import sys
from functools import cached_property
from pathlib import Path
from typing import List, Optional, Tuple

import numpy as np
from tqdm import tqdm

from quantnas_sr.arguments import parse_memory
from quantnas_sr.deploy.memory import DEFAULT_MEMORY, MemoryUse
from quantnas_sr.deploy.runtimes import Network, open_network
from quantnas_sr.errors import DataError, QuantNASError
from quantnas_sr.upscaling.images import read_picture, read_size
from quantnas_sr.upscaling.jobs import Job, plan
from quantnas_sr.upscaling.pixels import SMALL, memory_use, tile_for, upscale, upscaled_bands
from quantnas_sr.upscaling.video import is_video, upscale_video
from quantnas_sr.upscaling.writers import Layout, fitting, format_of, image_writer

__all__ = ["add_arguments", "run", "upscale"]


_TILES_SHOW = (
    "tiles change the result a little: what this network makes of a pixel depends on the whole image (ADQ's standard "
    "deviation, or ESA). A larger --memory needs fewer tiles; `quantnas export --adq static` removes the dependence "
    "where it is ADQ's"
)


class OutputError(QuantNASError):
    """The output cannot be written, and that of the next image could not either."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("network", help="an .onnx of `quantnas export`, or the .pth of a training")
    parser.add_argument("input", type=Path, help="an image, a film, or a folder of images with its sub-folders")
    parser.add_argument("output", type=Path, help="a file, or a folder")
    parser.add_argument("--runtime", default="auto", help="auto, openvino, onnxruntime or torch (auto)")
    parser.add_argument("--threads", type=_positive, help="of the processor (as the runtime has them)")
    parser.add_argument("--tile", type=_positive, metavar="N", help="longest side of a tile (as --memory allows)")
    parser.add_argument("--memory", default="2G", metavar="SIZE", help="what all of it may take (2G)")
    parser.add_argument("--format", help="of the files in a folder: png, tif, jpg, webp or bmp (the input's, or png)")
    parser.add_argument("--overwrite", action="store_true", help="upscale again what a folder has already")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def run(args: argparse.Namespace) -> None:
    """Do what the command line says.

    Raises:
        QuantNASError: nothing, or not everything, was upscaled.
    """
    # A polite kill cleans up as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    memory = parse_memory(args.memory)
    if is_video(args.input):
        network = open_network(args.network, args.runtime, args.threads)
        upscale_video(args.input, args.output, network, lambda frame: upscale(frame, network, args.tile, memory))
        print(f"wrote {args.output}")
        return
    jobs = plan(args.input, args.output, args.format and f".{args.format.lower().lstrip('.')}")
    todo = jobs
    if os.path.isdir(args.input) and not args.overwrite:
        todo = [job for job in jobs if not job.target.is_file()]
    if todo:
        network = open_network(args.network, args.runtime, args.threads)
        broken = Upscaler(network, args.tile, memory).images(todo)
        if broken and len(jobs) == 1:
            raise DataError(broken[0])
        for line in broken:
            print(line, file=sys.stderr)
        if broken:
            raise DataError(f"{len(broken)} of {len(jobs)} images were not upscaled")
    _tell(args.output, len(jobs), len(jobs) - len(todo))


def _tell(output: Path, count: int, skipped: int) -> None:
    there = f", {skipped} of them were there already (--overwrite does them again)" if skipped else ""
    print(f"wrote {output}" + (f": {count} images{there}" if count > 1 or skipped else ""))


class Upscaler:
    """Upscales files.

    Args:
        network: the network.
        tile: longest side of a tile; by default what ``memory`` allows.
        memory: bytes that the process may take in all.
    """

    def __init__(self, network: Network, tile: Optional[int] = None, memory: int = DEFAULT_MEMORY) -> None:
        self.network, self.tile, self.memory = network, tile, memory
        self._warned = False

    @cached_property
    def _use(self) -> MemoryUse:
        return memory_use(self.network)

    def images(self, jobs: List[Job]) -> List[str]:
        """Upscale one image after the other and go on after one that is broken.

        Returns:
            One line for each image that could not be upscaled.

        Raises:
            OutputError: the output cannot be written.
        """
        sizes = [_pixels(job.source) for job in jobs]
        if self.tile is None and max(sizes) > SMALL:
            _ = self._use  # before an image takes memory
        broken = []
        with tqdm(total=sum(sizes), unit="px", unit_scale=True, disable=None) as bar:
            for job in jobs:
                bar.set_postfix_str(job.source.name, refresh=False)
                try:
                    self._image(job, bar)
                except OutputError:
                    raise
                except QuantNASError as error:
                    broken.append(_naming(job.source, error))
        return broken

    def _image(self, job: Job, bar: "tqdm") -> None:
        picture = read_picture(job.source)
        if picture.frames > 1:
            self._say(bar, f"{job.source}: has {picture.frames} images, only the first is taken")
        pixels = fitting(picture.pixels, job.target, self.network.scale)
        layout = self._layout(pixels, job.target, picture.icc, picture.exif)
        tile = self._tile_for(pixels, layout, job.target)
        if any(part < whole for part, whole in zip(tile, pixels.shape)) and self.network.halo is None:
            self._warn(bar)
        try:
            with image_writer(job.target, layout) as writer:
                for band in upscaled_bands(pixels, self.network, tile, bar.update, layout.dtype):
                    writer.write(band)
        except MemoryError:
            raise DataError("not enough memory; a smaller --tile or --memory, or --format png takes less") from None
        except OSError as error:
            raise OutputError(f"{job.target}: cannot be written ({error.strerror or error})") from None

    def _layout(self, pixels: np.ndarray, target: Path, icc: Optional[bytes], exif: Optional[bytes]) -> Layout:
        height, width = (self.network.scale * side for side in pixels.shape[:2])
        channels = pixels.shape[2] if pixels.ndim == 3 else 1
        dtype = pixels.dtype if format_of(target).deep else np.dtype(np.uint8)
        return Layout(height, width, channels, dtype, icc, exif)

    def _tile_for(self, pixels: np.ndarray, layout: Layout, target: Path) -> Tuple[int, int]:
        size = pixels.shape[:2]
        if self.tile is not None or size[0] * size[1] <= SMALL:
            return tile_for(size, self.network, self.tile, None, self.memory)
        held = format_of(target).writer.held(layout) * layout.height * layout.width
        budget = self.memory - self._use.fixed - pixels.nbytes - held
        # A line of tiles becomes a band of the upscaled image.
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


def _pixels(path: Path) -> int:
    """How much there is to do for an image; 0 for one that turns out to be broken."""
    try:
        width, height = read_size(path)
    except DataError:
        return 0
    return width * height
