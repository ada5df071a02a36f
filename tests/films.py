"""Small videos for tests, written by PyAV itself, with all that a video may have."""

import io
from fractions import Fraction
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import av
import numpy as np

SIDE = 16
SUBTITLES = "1\n00:00:00,100 --> 00:00:00,200\nHello\n\n2\n00:00:00,300 --> 00:00:00,400\nWörld\n\n"
CHAPTERS = av.__version__.partition(".")[0] >= "16"
Planes = List[np.ndarray]


def noise(count: int, side: int = SIDE, bits: int = 8) -> List[Planes]:
    """Frames of 4:2:0 that differ, smooth enough for every codec, of colours that a screen has."""
    ramp = np.add.outer(np.arange(side), np.arange(side)) / (2 * side)
    dtype, white = (np.uint8 if bits == 8 else np.uint16), 2**bits - 1
    luma = [((0.3 + 0.3 * ramp + 0.1 * number / count) * white).astype(dtype) for number in range(count)]
    half = 2 ** (bits - 1)
    return [[y, y[::2, ::2] // 8 + half - white // 16, half + white // 16 - y[::2, ::2] // 8] for y in luma]


def write_film(
    path: Path,
    frames: Sequence[Planes],
    codec: str = "libx264",
    pixels: str = "yuv420p",
    options: Optional[Dict[str, str]] = None,
    rate: int = 10,
    stamps: Optional[Sequence[int]] = None,
    time_base: Fraction = Fraction(1, 1000),
    colours: Tuple[int, int, int, int] = (2, 2, 2, 0),
    aspect: Optional[Fraction] = None,
    sound: str = "",
    subtitles: bool = False,
    chapters: bool = False,
    metadata: Optional[Dict[str, str]] = None,
) -> Path:
    """Write a video whose frames are these planes, without loss where the codec can do that.

    ``stamps`` in units of ``time_base``; ``colours``: primaries, transfer, matrix, range.
    """
    height, width = frames[0][0].shape
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate, options or ({"crf": "0"} if codec == "libx264" else {}))
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        context = stream.codec_context
        context.time_base = stream.time_base = time_base
        context.color_primaries, context.color_trc, context.colorspace, context.color_range = colours
        if aspect:
            context.sample_aspect_ratio = aspect
        output.metadata.update(metadata or {})
        others = [_sound(output, sound)] if sound else []
        others += [_subtitles(output)] if subtitles else []
        if chapters:
            seconds = Fraction(1, 1000)
            ends = [(0, 200, "Begin"), (200, 500, "End")]
            output.set_chapters(
                [
                    {"id": i, "start": start, "end": end, "time_base": seconds, "metadata": {"title": title}}
                    for i, (start, end, title) in enumerate(ends)
                ]
            )
        output.start_encoding()
        for packet in [packet for packets in others for packet in packets()]:
            output.mux(packet)
        stamps = stamps or [round(number / rate / time_base) for number in range(len(frames))]
        for planes, stamp in zip(frames, stamps):
            output.mux(stream.encode(_frame(planes, pixels, stamp, time_base)))
        output.mux(stream.encode(None))
    return path


def _frame(planes: Planes, pixels: str, stamp: int, time_base: Fraction) -> Any:
    frame = av.VideoFrame(planes[0].shape[1], planes[0].shape[0], pixels)
    for place, plane in zip(frame.planes, planes):
        np.frombuffer(place, plane.dtype).reshape(plane.shape[0], -1)[:, : plane.shape[1]] = plane
    frame.pts, frame.time_base = stamp, time_base
    return frame


def _sound(output: Any, codec: str) -> Any:
    """Half a second of noise, in English."""
    stream = output.add_stream(codec, 16000)
    stream.metadata["language"] = "eng"

    def packets() -> List[Any]:
        found, samples = [], np.random.default_rng(0).normal(0, 0.1, (1, 1024))
        kind = stream.codec_context.format.name
        samples = samples.astype(np.float32) if "flt" in kind else (samples * 32767).astype(np.int16)
        size = stream.codec_context.frame_size or 1024
        for number in range(8192 // size):
            frame = av.AudioFrame.from_ndarray(samples[:, :size], format=kind, layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 16000, number * size, Fraction(1, 16000)
            found += stream.encode(frame)
        return found + list(stream.encode(None))

    stream.codec_context.layout = "mono"
    return packets


def _subtitles(output: Any) -> Any:
    source = av.open(io.BytesIO(SUBTITLES.encode()), format="srt")
    stream = output.add_stream_from_template(source.streams[0])

    def packets() -> List[Any]:
        found = [packet for packet in source.demux() if packet.size]
        for packet in found:
            packet.stream = stream
        return found

    return packets


def rotated(path: Path, turns: int) -> Path:
    """Give an .mp4 a matrix that turns it by quarters, clockwise: what telephones write."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 40
    a, b = [(1, 0), (0, 1), (-1, 0), (0, -1)][turns % 4]
    for offset, value in ((0, a), (4, b), (12, -b), (16, a)):
        data[place + offset : place + offset + 4] = (value << 16).to_bytes(4, "big", signed=True)
    path.write_bytes(data)
    return path


class Read:
    """All that is in a video: frames as planes, their time stamps, the packets of other streams."""

    def __init__(self, path: Path) -> None:
        with av.open(str(path)) as source:
            video = source.streams.video[0]
            self.codec, self.size = video.codec_context.name, (video.height, video.width)
            self.aspect = video.sample_aspect_ratio
            self.streams = [(stream.type, stream.metadata.get("language")) for stream in source.streams]
            self.metadata = dict(source.metadata)
            self.chapters = source.chapters() if CHAPTERS else []
            self.packets: Dict[str, List[Tuple[float, bytes]]] = {}
            self.frames: List[Planes] = []
            self.stamps: List[float] = []
            for packet in source.demux():
                if packet.stream.index != video.index:
                    if packet.size:
                        entry = float((packet.pts or 0) * packet.time_base), bytes(packet)
                        self.packets.setdefault(packet.stream.type, []).append(entry)
                    continue
                for frame in packet.decode():
                    self.frames.append(_planes(frame))
                    self.stamps.append(float(frame.pts * frame.time_base))
                    self.pixels, self.rotation = frame.format.name, frame.rotation
                    self.matrix, self.range = int(frame.colorspace), int(frame.color_range)
            context = video.codec_context
            self.primaries, self.transfer = int(context.color_primaries), int(context.color_trc)


def _planes(frame: Any) -> Planes:
    dtype = np.uint16 if frame.format.name.endswith("le") else np.uint8
    rows = [np.frombuffer(plane, dtype).reshape(plane.height, -1) for plane in frame.planes]
    return [row[:, : plane.width].copy() for row, plane in zip(rows, frame.planes)]
