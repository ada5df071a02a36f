"""Videos, frame by frame through OpenCV; the sound is not copied."""

import os
import sys
from pathlib import Path
from typing import Callable, Iterator, Tuple

import cv2
import numpy as np
from tqdm import tqdm

from quantnas_sr.deploy.network import Network
from quantnas_sr.errors import DataError, OptionError, unknown
from quantnas_sr.system.files import written_aside
from quantnas_sr.upscaling.writers import OutputError

#: The suffixes of the files that are read as videos, in lower case.
SUFFIXES = (
    *(".mp4", ".m4v", ".mkv", ".mov", ".avi", ".webm", ".mpg", ".mpeg", ".wmv", ".flv"),
    *(".ts", ".mts", ".m2ts", ".3gp", ".ogv"),
)
#: The suffixes that are written, and their codecs: those that every OpenCV encodes.
CODECS = {".mp4": "mp4v", ".avi": "MJPG"}

_NO_SOUND = "{output}: has no sound; ffmpeg -i {output} -i {source} -map 0:v -map 1:a? -c copy ... puts it back"
_FLICKERS = (
    "the video may flicker: every pixel of this network's output depends on the whole frame. `quantnas export --adq "
    "static` removes the dependence on ADQ's standard deviation"
)


def is_video(path: Path) -> bool:
    """Whether a file is read as a video: by its suffix, in any case."""
    return path.suffix.lower() in SUFFIXES and not os.path.isdir(path)


def codec_of(output: Path) -> str:
    """The codec of a video to be written.

    Raises:
        OptionError: the suffix is none that is written.
    """
    codec = CODECS.get(output.suffix.lower())
    if codec is None:
        raise OptionError(f"{output}: {unknown('suffix of a video', output.suffix, CODECS)}")
    return codec


def upscale_video(
    source: Path, output: Path, network: Network, upscale_frame: Callable[[np.ndarray], np.ndarray]
) -> None:
    """Upscale a video with a few frames in memory at a time; the file appears when it is whole and can be read back.

    Args:
        source, output: the files.
        network: the network that ``upscale_frame`` runs.
        upscale_frame: (H, W, 3) uint8, RGB -> (s*H, s*W, 3).

    Raises:
        DataError: the video cannot be read, or its frames fail.
        OptionError: a format that is not written.
        OutputError: the output cannot be written.
    """
    codec = codec_of(output)
    if os.path.exists(output) and output.samefile(source):
        raise DataError(f"{output}: is the input itself; name another output")
    video, rate, count = _opened(source)
    if network.halo is None:
        print(_FLICKERS, file=sys.stderr)
    try:
        with written_aside(output) as aside, tqdm(total=count or None, unit="frame", disable=None) as bar:
            written = _write(aside, codec, rate, (upscale_frame(frame) for frame in _frames(video)), bar)
            if not written:
                raise DataError(f"{source}: has no frame that can be decoded")
            if _count(aside) != written:
                reason = "what was written cannot be read back; is the disk full?"
                raise OutputError(f"{output}: cannot be written ({reason})")
    except OSError as error:
        raise OutputError(f"{output}: cannot be written ({error.strerror or error})") from None
    finally:
        video.release()
    if written < count:
        print(f"{source}: {written} of {count} frames could be decoded", file=sys.stderr)
    print(_NO_SOUND.format(output=output, source=source), file=sys.stderr)


def _opened(source: Path) -> Tuple["cv2.VideoCapture", float, int]:
    """A video, its frames per second, and its number of frames (0 if the file does not say)."""
    if not os.path.isfile(source):
        raise DataError(f"{source}: {'not a file' if os.path.exists(source) else 'no such file'}")
    _silence_opencv()
    video = cv2.VideoCapture(str(source), cv2.CAP_FFMPEG)
    rate = video.get(cv2.CAP_PROP_FPS)
    if not video.isOpened() or not 0 < rate < 1000:
        raise DataError(f"{source}: not a video that can be decoded")
    return video, rate, max(0, int(video.get(cv2.CAP_PROP_FRAME_COUNT)))


def _silence_opencv() -> None:
    """Keep OpenCV and its ffmpeg from printing: errors are reported as exceptions of our own."""
    # ffmpeg's part of OpenCV reads the variable when the first video is opened.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def _frames(video: "cv2.VideoCapture") -> Iterator[np.ndarray]:
    """(H, W, 3) uint8 each, RGB, upright."""
    while True:
        there, frame = video.read()
        if not there:
            return
        yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def _write(path: Path, codec: str, rate: float, frames: Iterator[np.ndarray], bar: "tqdm") -> int:
    """Write frames of one size; their number."""
    writer, count = None, 0
    try:
        for frame in frames:
            if writer is None:
                size = frame.shape[1], frame.shape[0]
                writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*codec), rate, size)
                if not writer.isOpened():
                    raise OSError(f"OpenCV does not encode {size[0]}x{size[1]} pixels in {codec}")
            writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
            count += 1
            bar.update()
    finally:
        if writer is not None:
            writer.release()
    return count


def _count(path: Path) -> int:
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
        return int(video.get(cv2.CAP_PROP_FRAME_COUNT)) if video.isOpened() else 0
    finally:
        video.release()
