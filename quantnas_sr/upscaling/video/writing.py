"""Upscaled frames to a file: encoded, with the packets of the other streams between them."""

import errno
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence

import numpy as np

from quantnas_sr.errors import DataError, QuantNASError
from quantnas_sr.system.cpus import available_cpus
from quantnas_sr.upscaling.video.colour import FULL, LIMITED, from_rgb
from quantnas_sr.upscaling.video.encoders import Encoder, Encoding, pixels_for
from quantnas_sr.upscaling.video.frames import arrays_of
from quantnas_sr.upscaling.video.kept import copied, described
from quantnas_sr.upscaling.video.package import import_av
from quantnas_sr.upscaling.video.reading import Film
from quantnas_sr.upscaling.writers import OutputError

#: Threads of an encoder, each of which holds frames.
_THREADS = 8
#: Formats of files with one frame at every tick of a clock, in the order in which they are shown.
_CLOCKED = ("avi",)
#: Ticks of the output's clock from which a time stamp is moved noticeably.
_UNEVEN = 0.25


class FilmWriter:
    """Writes a film. Its encoder is opened when the first frame is there.

    Args:
        path: the file to write.
        output: what errors call it, and whose suffix says the format.
        container: FFmpeg's name of the format.
        film: the input.
        others: its streams whose packets are copied.
        encoding: what the user asks for.

    Attributes:
        written: the number of frames so far.
        lost: what could not be kept, in words.
    """

    def __init__(
        self, path: Path, output: Path, container: str, film: Film, others: Sequence[Any], encoding: Encoding
    ) -> None:
        self._output, self._film, self._encoding = output, film, encoding
        self._clocked = container in _CLOCKED
        self._sources = others
        self.written = 0
        self.lost: List[str] = []
        self._file = import_av().open(f"file:{path}", "w", format=container)
        self._others: Dict[int, Any] = {}
        self._video: Optional[Any] = None
        self._last, self._uneven, self._refused = -1, False, 0
        self._durations: Dict[int, int] = {}

    def write(self, pixels: Optional[np.ndarray], stamp: int, duration: int, packets: Sequence[Any]) -> None:
        """Write packets, and the frame that follows them.

        Args:
            pixels: (3, H, W) float, uint8 or uint16, RGB; None if there is no frame.
            stamp: when it is shown, in units of the film's time base.
            duration: for how long; 0 if that is not known.
            packets: of the input's other streams.

        Raises:
            DataError: the encoder does not take such frames.
            OutputError: the file cannot be written.
        """
        av = import_av()
        if self._video is None:
            self._begin(*pixels.shape[1:])
        try:
            for packet in packets:
                self._copy(packet)
            if pixels is not None:
                self._mux(self._video.encode(self._frame(pixels, stamp, duration)))
                self.written += 1
        except (av.FFmpegError, OSError) as error:
            raise self._problem(error) from None

    def finish(self) -> None:
        """Write what the encoder holds, and the end of the file.

        Raises:
            OutputError: the file cannot be written.
        """
        try:
            self._mux(self._video.encode(None))
            self._file.close()
        except (import_av().FFmpegError, OSError) as error:
            raise self._problem(error) from None
        if self._uneven:
            self.lost.append("uneven time stamps (variable frame rate)")
        if self._refused:
            self.lost.append(f"{self._refused} broken packets of other streams")

    def close(self) -> None:
        """Let go of the file, finished or not."""
        with suppress(Exception):  # it is not wanted any more
            self._file.close()

    def _problem(self, error: Any) -> QuantNASError:
        """The line for an error of FFmpeg: about the disk, or about what is to be written."""
        kind = DataError if _is_refusal(error) else OutputError
        return kind(f"{self._output}: cannot be written ({error.strerror or error})")

    def _copy(self, packet: Any) -> None:
        packet.stream = self._others[packet.stream.index]
        try:
            self._file.mux(packet)
        except import_av().FFmpegError as error:
            if not _is_refusal(error):
                raise
            self._refused += 1

    def _begin(self, height: int, width: int) -> None:
        """Open the encoder and the other streams, and write the header."""
        av, look = import_av(), self._film.look
        encoder = self._encoding.encoder(self._output, look.samples.bits)
        self._format, self._samples = pixels_for(encoder, look.samples, width, height)
        if self._samples.bits < look.samples.bits and look.samples.family != "rgb":
            self.lost.append(f"{look.samples.bits} bits ({self._samples.bits} are written)")
        self.lost += look.lost
        try:
            self._video = self._stream(encoder, height, width)
            self._others = {stream.index: copied(self._file, stream) for stream in self._sources}
            self._file.metadata.update(described(self._film.container.metadata))
            if hasattr(self._file, "set_chapters") and self._film.container.chapters():
                self._file.set_chapters(self._film.container.chapters())
            self._file.start_encoding()
        except (av.FFmpegError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            what = f"{encoder.name} and {self._output.suffix} do not take {width}x{height} pixels of {self._format}"
            raise DataError(f"{self._output}: {what} ({reason})") from None

    def _stream(self, encoder: Encoder, height: int, width: int) -> Any:
        film = self._film
        self._time_base = 1 / film.rate if self._clocked else film.time_base
        stream = self._file.add_stream(
            encoder.name, film.rate, self._encoding.options(encoder), width=width, height=height
        )
        stream.time_base = self._time_base
        stream.metadata.update(described(film.video.metadata))
        stream.disposition = film.video.disposition.value
        context = stream.codec_context
        context.time_base, context.framerate = self._time_base, film.rate
        context.pix_fmt, context.thread_count = self._format, min(available_cpus(), _THREADS)
        context.colorspace = self._samples.matrix
        context.color_range = FULL if self._samples.full else LIMITED
        context.color_primaries, context.color_trc = film.look.primaries, film.look.transfer
        if film.look.aspect:
            context.sample_aspect_ratio = film.look.aspect
        if self._clocked:
            context.max_b_frames = 0
        if encoder.name == "libx265" and self._file.format.name in ("mp4", "mov"):
            context.codec_tag = "hvc1"  # which Apple's players ask for
        return stream

    def _frame(self, pixels: np.ndarray, stamp: int, duration: int) -> Any:
        video = self._video
        frame = import_av().VideoFrame(video.width, video.height, self._format)
        from_rgb(pixels, self._samples, arrays_of(frame))
        ratio = self._film.time_base / self._time_base
        exact = stamp * ratio
        self._last = max(round(exact), self._last + 1) if self.written else round(exact)
        self._uneven = self._uneven or abs(self._last - exact) > _UNEVEN
        frame.pts, frame.time_base = self._last, self._time_base
        frame.colorspace, frame.color_range = self._samples.matrix, FULL if self._samples.full else LIMITED
        if duration:
            self._durations[self._last] = max(1, round(duration * ratio))
        return frame

    def _mux(self, packets: Sequence[Any]) -> None:
        for packet in packets:
            duration = self._durations.pop(packet.pts, 0)
            if duration:
                packet.duration = duration
            self._file.mux(packet)


def _is_refusal(error: Any) -> bool:
    """Whether FFmpeg does not take what it was given, in contrast to a file that cannot be written."""
    return isinstance(error, import_av().error.InvalidDataError) or error.errno == errno.EINVAL


@contextmanager
def open_writer(*arguments: Any) -> Iterator[FilmWriter]:
    """A `FilmWriter` that lets go of its file at the end, finished or not."""
    writer = FilmWriter(*arguments)
    try:
        yield writer
    finally:
        writer.close()
