"""A video that is decoded frame by frame, and the packets of its other streams on the way."""

import os
import re
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from quantnas_sr.errors import DataError
from quantnas_sr.images.header import read_header
from quantnas_sr.images.limits import MOST_PIXELS
from quantnas_sr.images.opening import regular_file
from quantnas_sr.images.units import FLOATS
from quantnas_sr.system.cpus import available_cpus
from quantnas_sr.upscaling.video.colour import Samples, to_rgb
from quantnas_sr.upscaling.video.frames import planes_of, samples_of, turn_of, turned
from quantnas_sr.upscaling.video.package import import_av

#: FFmpeg's formats that are read. The others are images, playlists and scripts, which name further files.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,asf,flv,live_flv,mpeg,mpegts,mpegvideo,ogg,mxf,nut,ivf,obu,h264,hevc,"
    "dv,rm,wtv,swf"
)
#: Those whose time stamps start anywhere.
_STARTING_ANYWHERE = ("mpegts", "mpeg")
#: The disposition of a cover.
_COVER = 1 << 10
#: Threads of a decoder, each of which holds a frame.
_THREADS = 4
#: Bytes of packets after which they do not wait for the next frame.
_WAITING = 1 << 20
#: A video that ends so much earlier than it says was cut off: seconds, and a share.
_SHORT, _SHORT_SHARE = 0.5, 0.05
#: What frames may carry beside their pixels, and nothing here writes.
_SIDE_DATA = {
    "A53_CC": "closed captions",
    "MASTERING_DISPLAY_METADATA": "HDR metadata",
    "CONTENT_LIGHT_LEVEL": "HDR metadata",
    "DYNAMIC_HDR_PLUS": "HDR metadata",
    "DOVI_RPU_BUFFER": "Dolby Vision",
    "DOVI_METADATA": "Dolby Vision",
}


class Picture(NamedTuple):
    """A decoded frame.

    Attributes:
        planes: (1, 3, H, W) float32 in 0..1 or uint8, RGB, upright.
        stamp: when it is shown, in units of `Film.time_base`.
        duration: in the same units; 0 if it is not known.
    """

    planes: np.ndarray
    stamp: int
    duration: int


class Step(NamedTuple):
    """Packets of other streams, and the frame that follows them; None only after the first frame."""

    picture: Optional[Picture]
    packets: List[Any]


class Look(NamedTuple):
    """What the first frame says of the whole video.

    Attributes:
        samples: bits, matrix and range.
        primaries, transfer: numbers of H.273.
        aspect: width over height of a pixel, upright.
        lost: what frames carry that is not written.
        interlaced: whether frames have two fields.
    """

    samples: Samples
    primaries: int
    transfer: int
    aspect: Optional[Fraction]
    lost: Tuple[str, ...]
    interlaced: bool


class Film:
    """An open video.

    Attributes:
        path: the file.
        container: of PyAV.
        video: the stream that is decoded.
        time_base: the unit of its time stamps in seconds.
        rate: frames per second, on average.
        count: the number of frames, as far as it is known or can be guessed; 0 if not.
        look: what the first frame says; there from the first step on.
        broken: packets that could not be decoded so far.
    """

    look: Look

    def __init__(self, path: Path, container: Any, most_pixels: int) -> None:
        self.path, self.container, self._most = path, container, most_pixels
        try:
            self.video = _video_of(container)
            context = self.video.codec_context
            check_size(context.width, context.height, most_pixels)
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
        context.options = {"max_pixels": str(most_pixels)}  # of frames that become larger on the way, too
        context.thread_type = "AUTO"
        context.thread_count = min(available_cpus(), _THREADS)
        self.time_base: Fraction = self.video.time_base
        rate = self.video.average_rate or self.video.guessed_rate or Fraction(25)
        self.rate = rate if 0 < rate < 1000 else Fraction(25)
        seconds = float(self.video.duration * self.time_base) if self.video.duration else self._seconds()
        self.count = self.video.frames or round(seconds * self.rate)
        self.broken, self._end = 0, Fraction(0)
        self._last: Optional[int] = None
        self._size, self._turn = (0, 0), (0, False)

    def _seconds(self) -> float:
        return (self.container.duration or 0) / 1e6

    def shift(self, time_base: Fraction) -> int:
        """What is subtracted from time stamps, in units of ``time_base``."""
        starting_anywhere = set(self.container.format.name.split(",")) & set(_STARTING_ANYWHERE)
        return round(Fraction(self.container.start_time or 0, 10**6) / time_base) if starting_anywhere else 0

    def steps(self, others: Sequence[int], kind: np.dtype = FLOATS) -> Iterator[Step]:
        """Decode.

        Args:
            others: the indices of the streams whose packets are wanted.
            kind: of pixels that were decoded from 8 bits, float32 or uint8; others are float32.

        Raises:
            DataError: there is no frame, or one that cannot be used.
        """
        waiting: List[Any] = []
        for packet in self._packets():
            if packet.stream.index == self.video.index:
                for frame in self._decoded(packet):
                    yield Step(self._picture(frame, kind), waiting)
                    waiting = []
            elif packet.stream.index in others and packet.size:
                waiting.append(self._shifted(packet))
                if self._last is not None and sum(packet.size for packet in waiting) > _WAITING:
                    yield Step(None, waiting)
                    waiting = []
        if self._last is None:
            raise DataError(f"{self.path}: has no frame that can be decoded")
        yield Step(None, waiting)

    def shortfall(self) -> Optional[str]:
        """What could not be decoded, in one line, when the end is reached; None if that is nothing."""
        start = (self.container.start_time or 0) / 1e6
        missing = self._seconds() - (float(self._end) - start)
        if missing > max(_SHORT, _SHORT_SHARE * self._seconds()):
            return f"{self.path}: ends {missing:.1f} of {self._seconds():.1f} seconds early; was it cut off?"
        if self.broken:
            return f"{self.path}: is damaged; {self.broken} of its packets could not be decoded"
        return None

    def _packets(self) -> Iterator[Any]:
        """The packets of all streams that the header names; empty ones at the end, at which decoders give the rest."""
        try:
            for packet in self.container.demux():
                if packet.pts is not None:
                    self._end = max(self._end, (packet.pts + (packet.duration or 0)) * packet.time_base)
                yield packet
        except import_av().FFmpegError:
            self.broken += 1  # and nothing behind it can be reached
        except IndexError:
            pass  # PyAV's, at the very end, where a stream has appeared on the way

    def _shifted(self, packet: Any) -> Any:
        shift = self.shift(packet.time_base)
        if shift:
            packet.pts = None if packet.pts is None else packet.pts - shift
            packet.dts = None if packet.dts is None else packet.dts - shift
        return packet

    def _decoded(self, packet: Any) -> List[Any]:
        try:
            return packet.decode()
        except import_av().FFmpegError:
            self.broken += 1
            return []

    def _picture(self, frame: Any, kind: np.dtype) -> Picture:
        try:
            samples = samples_of(frame)
            if self._last is None:
                self._begin(frame, samples)
            planes = planes_of(frame)
        except DataError as error:
            raise DataError(f"{self.path}: {error}") from None
        if (frame.width, frame.height) != self._size:
            sizes = "{}x{} pixels, the frames before it {}x{}".format(frame.width, frame.height, *self._size)
            raise DataError(f"{self.path}: a frame has {sizes}; only a video of one size can be upscaled")
        duration = round((frame.duration or 0) * frame.time_base / self.time_base)
        rgb = to_rgb(planes, samples, kind if samples.bits == 8 else FLOATS)
        return Picture(turned(rgb, self._turn)[None], self._stamp(frame), duration)

    def _begin(self, frame: Any, samples: Samples) -> None:
        check_size(frame.width, frame.height, self._most)
        self._size, self._turn = (frame.width, frame.height), turn_of(frame)
        aspect, context = self.video.sample_aspect_ratio, self.video.codec_context
        if aspect and self._turn[0] % 2:
            aspect = 1 / aspect
        lost = [name for key, name in _SIDE_DATA.items() if frame.side_data.get(key) is not None]
        if "a" in re.sub("gray|pal", "", frame.format.name):
            lost.append("transparency")
        colours = int(context.color_primaries), int(context.color_trc)
        self.look = Look(samples, *colours, aspect or None, tuple(dict.fromkeys(lost)), bool(frame.interlaced_frame))

    def _stamp(self, frame: Any) -> int:
        """When a frame is shown; after the frame before it."""
        if frame.pts is not None:
            stamp = round(frame.pts * frame.time_base / self.time_base) - self.shift(self.time_base)
        else:
            stamp = 0 if self._last is None else self._last + max(1, round(1 / self.rate / self.time_base))
        self._last = stamp if self._last is None else max(stamp, self._last + 1)
        return self._last


@contextmanager
def open_film(path: Path, most_pixels: int = MOST_PIXELS) -> Iterator[Film]:
    """Open a video.

    Raises:
        DataError: it cannot be read, is no video, or has more pixels than are allowed.
        MissingExtraError: PyAV is not installed.
    """
    av = import_av()
    with regular_file(path):
        pass
    # Nothing but this file is opened, whatever it contains.
    options = {"format_whitelist": _FORMATS, "protocol_whitelist": "file", "max_pixels": str(most_pixels)}
    try:
        container = av.open(f"file:{os.fspath(path)}", options=options, metadata_errors="replace")
    except (av.FFmpegError, UnicodeError) as error:
        raise DataError(f"{path}: {_refusal(path, error)}") from None
    with container:
        yield Film(path, container, most_pixels)


def _refusal(path: Path, error: Exception) -> str:
    """Why a file is no video."""
    try:
        read_header(path)
    except DataError:
        return f"not a video that can be decoded, or cut off ({getattr(error, 'strerror', error)})"
    return "is an image, though its suffix is that of a video; rename it"


def check_size(width: int, height: int, most_pixels: int) -> None:
    """Raise a DataError if frames are larger than is allowed."""
    if width * height < 1:  # FFmpeg, which has the limit too, forgets sizes beyond it
        raise DataError(f"its frames have no size, or more pixels than the {most_pixels} that --max-pixels allows")
    if width * height > most_pixels:
        raise DataError(f"{width}x{height} pixels are more than the {most_pixels} that --max-pixels allows")


def _video_of(container: Any) -> Any:
    """The first stream of moving pictures; a cover is none.

    Raises:
        DataError: there is none that can be decoded.
    """
    streams = [stream for stream in container.streams.video if not is_cover(stream)]
    if not streams:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        raise DataError(f"has no video, only {kinds}")
    if streams[0].codec_context is None:
        raise DataError("its codec is unknown to this FFmpeg")
    return streams[0]


def is_cover(stream: Any) -> bool:
    """Whether a stream of video is a picture that players show for the file."""
    return bool(stream.disposition.value & _COVER)
