"""Films, frame by frame through OpenCV, which is there anyway; it knows no sound."""

import os
import sys
from pathlib import Path
from typing import Callable, Iterator, Tuple

import cv2
import numpy as np
from tqdm import tqdm

from quantnas_sr.deploy.runtimes import Network
from quantnas_sr.errors import DataError, OptionError, unknown
from quantnas_sr.files import written_aside

# What is wrong is said in our words.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

#: What is taken for a film.
SUFFIXES = (".mp4", ".mkv", ".mov", ".avi", ".webm")
#: What is written, and its codec: those that OpenCV has everywhere.
CODECS = {".mp4": "mp4v", ".avi": "MJPG"}

_NO_SOUND = "{output}: has no sound; ffmpeg -i {output} -i {source} -map 0:v -map 1:a? -c copy ... puts it back"
_FLICKERS = (
    "the film may flicker: what this network makes of a pixel depends on the whole frame. `quantnas export --adq "
    "static` removes the dependence where it is ADQ's"
)


def is_video(path: Path) -> bool:
    """Whether a file is to be read as a film, by its suffix."""
    return path.suffix.lower() in SUFFIXES and not os.path.isdir(path)


def upscale_video(
    source: Path, output: Path, network: Network, upscale_frame: Callable[[np.ndarray], np.ndarray]
) -> None:
    """Upscale a film; only a few frames are ever in memory. It is written aside and renamed when it can be read back.

    Args:
        source, output: the files.
        network: what ``upscale_frame`` runs.
        upscale_frame: (H, W, 3) uint8, RGB -> (s*H, s*W, 3).

    Raises:
        DataError: the film cannot be read, or its frames fail; or the output cannot be written.
        OptionError: a format that is not written.
    """
    codec = CODECS.get(output.suffix.lower())
    if codec is None:
        raise OptionError(f"{output}: {unknown('suffix of a film', output.suffix, CODECS)}")
    if os.path.exists(output) and output.samefile(source):
        raise DataError(f"{output}: is the input itself; name another output")
    if network.halo is None:
        print(_FLICKERS, file=sys.stderr)
    film, rate, count = _opened(source)
    try:
        with written_aside(output) as aside, tqdm(total=count or None, unit="frame", disable=None) as bar:
            written = _write(aside, codec, rate, (upscale_frame(frame) for frame in _frames(film)), bar)
            if not written:
                raise DataError(f"{source}: has no frame that can be decoded")
            if _count(aside) != written:
                raise DataError(
                    f"{output}: cannot be written (what was written cannot be read back; is the disk full?)"
                )
    except OSError as error:
        raise DataError(f"{output}: cannot be written ({error.strerror or error})") from None
    finally:
        film.release()
    if written < count:
        print(f"{source}: {written} of {count} frames could be decoded", file=sys.stderr)
    print(_NO_SOUND.format(output=output, source=source), file=sys.stderr)


def _opened(source: Path) -> Tuple["cv2.VideoCapture", float, int]:
    """A film, its frames per second, and how many it says it has (0: it does not say)."""
    if not os.path.isfile(source):
        raise DataError(f"{source}: {'not a file' if os.path.exists(source) else 'no such file'}")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    film = cv2.VideoCapture(str(source), cv2.CAP_FFMPEG)
    rate = film.get(cv2.CAP_PROP_FPS)
    if not film.isOpened() or not 0 < rate < 1000:
        raise DataError(f"{source}: not a film that can be decoded")
    return film, rate, max(0, int(film.get(cv2.CAP_PROP_FRAME_COUNT)))


def _frames(film: "cv2.VideoCapture") -> Iterator[np.ndarray]:
    """(H, W, 3) uint8 each, RGB, upright."""
    while True:
        there, frame = film.read()
        if not there:
            return
        yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def _write(path: Path, codec: str, rate: float, frames: Iterator[np.ndarray], bar: "tqdm") -> int:
    """Write frames of one size; how many they were."""
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
    film = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
        return int(film.get(cv2.CAP_PROP_FRAME_COUNT)) if film.isOpened() else 0
    finally:
        film.release()
