"""A video through a network: decoding, network and encoding each in a thread of its own."""

import os
import sys
from pathlib import Path
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from tqdm import tqdm

from quantnas_sr.errors import DataError
from quantnas_sr.images.limits import MOST_PIXELS
from quantnas_sr.images.units import BYTES
from quantnas_sr.system.files import written_aside
from quantnas_sr.upscaling.video.encoders import USUAL, Encoding
from quantnas_sr.upscaling.video.frame_upscaler import WAITING, FrameUpscaler
from quantnas_sr.upscaling.video.kept import lost_facts, sorted_streams
from quantnas_sr.upscaling.video.names import container_of
from quantnas_sr.upscaling.video.package import import_av
from quantnas_sr.upscaling.video.pipeline import ahead, at_once, behind
from quantnas_sr.upscaling.video.reading import Film, Step, open_film
from quantnas_sr.upscaling.video.writing import FilmWriter, open_writer
from quantnas_sr.upscaling.writers import OutputError

_FLICKERS = (
    "the video may flicker: every pixel of this network's output depends on the whole frame. `quantnas export --adq "
    "static` removes the dependence on ADQ's standard deviation"
)
_INTERLACED = (
    "{}: is interlaced, and each frame is upscaled with both its fields; deinterlace it first (ffmpeg -vf bwdif)"
)

#: What Matroska holds, whatever its codec.
_IN_MKV = ("sound", "subtitles", "attachment")


class _Result(NamedTuple):
    """A step behind the network, as `FilmWriter.write` takes it."""

    pixels: Optional[np.ndarray]
    stamp: int
    duration: int
    packets: List[Any]


def upscale_video(
    source: Path,
    output: Path,
    frames: FrameUpscaler,
    encoding: Encoding = USUAL,
    most_pixels: int = MOST_PIXELS,
) -> None:
    """Upscale a video with a few frames in memory at a time; the file appears when it is whole and can be read back.

    Args:
        source, output: the files.
        frames: upscales them.
        encoding: codec and quality.
        most_pixels: larger frames are refused.

    Raises:
        DataError: the video cannot be read, or its frames fail.
        MissingExtraError: PyAV is not installed.
        OptionError: a format or a codec that is not written.
        OutputError: the output cannot be written.
    """
    container = container_of(output)
    if os.path.exists(output) and output.samefile(source):
        raise DataError(f"{output}: is the input itself; name another output")
    with open_film(source, most_pixels) as film:
        if frames.network.halo is None:
            print(_FLICKERS, file=sys.stderr)
        pixels = film.video.codec_context.width * film.video.codec_context.height
        others, left_out = sorted_streams(film.container, film.video.index, container)
        try:
            with frames.ready(pixels) as count, written_aside(output) as aside:
                with open_writer(aside, output, container, film, others, encoding) as writer:
                    _run(film, writer, frames, count, [stream.index for stream in others])
                left_out += [*writer.lost, *_read_back(aside, output, film, writer.written)]
        except MemoryError:
            raise DataError(f"{source}: not enough memory; a smaller --tile or --memory takes less") from None
        except OSError as error:
            raise OutputError(f"{output}: cannot be written ({error.strerror or error})") from None
        _report(film, output, left_out)


def _run(film: Film, writer: FilmWriter, frames: FrameUpscaler, count: int, others: Sequence[int]) -> None:
    """Decode, upscale and encode all frames, ``count`` of them in the network at once."""
    with tqdm(total=film.count or None, unit="frame", disable=None) as bar:
        wanted = film.steps(others, frames.network.takes(BYTES))
        with ahead(wanted, WAITING) as steps, behind(lambda result: writer.write(*result), WAITING) as give:
            for result in at_once(lambda step: _upscaled(step, frames, film), steps, count):
                bar.update(result.pixels is not None)
                give(result)
                del result  # before the next one is made
        writer.finish()


def _upscaled(step: Step, frames: FrameUpscaler, film: Film) -> _Result:
    picture = step.picture
    if picture is None:
        return _Result(None, 0, 0, step.packets)
    pixels = frames(picture.planes, film.look.samples.bits)
    return _Result(pixels, picture.stamp, picture.duration, step.packets)


def _read_back(path: Path, output: Path, film: Film, written: int) -> List[str]:
    """Check that a file that was written has all its frames; what of the input it has not, in words.

    Raises:
        OutputError: it has not.
    """
    av = import_av()
    try:
        with av.open(f"file:{path}", metadata_errors="replace") as again:
            found = sum(packet.size > 0 for packet in again.demux(video=0))
            lost = lost_facts(film.container, again, film.look.aspect)
    except (av.FFmpegError, IndexError):
        found = -1
    if found != written:
        raise OutputError(f"{output}: cannot be written (what was written cannot be read back; is the disk full?)")
    return lost


def _report(film: Film, output: Path, left_out: Sequence[str]) -> None:
    lines: Tuple[str, ...] = ()
    if film.look.interlaced:
        lines += (_INTERLACED.format(film.path),)
    shortfall = film.shortfall()
    if shortfall:
        lines += (shortfall,)
    if left_out:
        suffix, lost = output.suffix.lower(), ", ".join(left_out)
        hint = "; .mkv holds it" if suffix != ".mkv" and any(word in lost for word in _IN_MKV) else ""
        lines += (f"{output}: not kept: {lost}{hint}",)
    for line in lines:
        print(line, file=sys.stderr)
