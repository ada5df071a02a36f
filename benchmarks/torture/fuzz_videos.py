"""Damages videos and upscales them as `quantnas upscale` does: into a whole file that can be played, or a line."""

import contextlib
import io
from pathlib import Path
from random import Random
from typing import Any, Callable, List, Tuple

import av
import cv2
import fuzzing
import numpy as np
from broken_bytes import mutated

from quantnas_sr.deploy.network import Network
from quantnas_sr.errors import DataError
from quantnas_sr.upscaling.batch import Upscaler
from quantnas_sr.upscaling.tasks import UpscaleTask
from quantnas_sr.upscaling.video.package import import_av

#: Format of the file, codec of the pictures, of the sound.
_KINDS = (
    *((".mp4", "libx264", "aac"), (".mp4", "libx265", "aac"), (".mov", "prores_ks", "pcm_s16le")),
    *((".mkv", "libx264", "flac"), (".mkv", "ffv1", "aac"), (".webm", "libvpx-vp9", "libopus")),
    *((".avi", "mpeg4", "mp2"), (".ts", "libx264", "aac"), (".mp4", "libsvtav1", "aac"), (".flv", "flv", "aac")),
)
#: Small, so that a case is fast.
MOST_PIXELS = 1_000_000


class Twice(Network):
    """A network that repeats pixels."""

    scale, halo = 2, 0

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """(1, 3, H, W) -> (1, 3, 2H, 2W)."""
        return x.repeat(2, 2).repeat(2, 3)


class Videos:
    """One film in many formats."""

    name = "videos"
    limits = fuzzing.Limits(megabytes=1500, batch=100)

    def prepare(self, folder: Path) -> None:
        """Write the whole files."""
        self.folder = folder
        import_av()  # which silences encoders
        self.files: List[Tuple[str, bytes]] = []
        for suffix, codec, sound in _KINDS:
            path = folder / f"whole{suffix}"
            with contextlib.suppress(av.FFmpegError, ValueError):  # this FFmpeg has no such encoder
                _write(path, codec, sound)
                self.files.append((suffix, path.read_bytes()))

    def case(self, rng: Random) -> Callable[[], Any]:
        """Damage one."""
        suffix, data = rng.choice(self.files)
        source, target = self.folder / f"x{suffix}", self.folder / rng.choice(("y.mp4", "y.mkv", "y.webm"))
        source.write_bytes(mutated(rng, data))
        return lambda: _upscale(source, target)


def _upscale(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    with contextlib.redirect_stderr(io.StringIO()):
        broken = Upscaler(Twice(), most_pixels=MOST_PIXELS).files([UpscaleTask(source, target)])
    if broken:
        assert not target.exists(), "a file, and a line"
        raise DataError(broken[0])
    with av.open(str(target)) as written:
        assert sum(1 for _ in written.decode(video=0)) > 0, "no frame"


def _write(path: Path, codec: str, sound: str) -> None:
    """Twelve frames of 64x64 and half a second of sound."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as output:
        video = output.add_stream(codec, 25, {"x265-params": "log-level=none"} if codec == "libx265" else {})
        video.width = video.height = 64
        video.pix_fmt = "yuv422p10le" if codec == "prores_ks" else "yuv420p"
        rate = 48000 if sound == "libopus" else 44100
        audio = output.add_stream(sound, rate)
        for number in range(12):
            coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(cv2.resize(coarse, (64, 64)), format="rgb24")
            frame.pts = number
            output.mux(video.encode(frame.reformat(format=video.pix_fmt)))
        size = audio.codec_context.frame_size or 1024
        kind = audio.codec_context.format
        for number in range(rate // 2 // size):
            shape = (2, size) if kind.is_planar else (1, 2 * size)
            noise = rng.normal(0, 0.1, shape)
            samples = noise.astype(np.float32) if "flt" in kind.name else (noise * 32767).astype(np.int16)
            piece = av.AudioFrame.from_ndarray(samples, format=kind.name, layout="stereo")
            piece.sample_rate, piece.pts = rate, number * size
            output.mux(audio.encode(piece))
        output.mux(video.encode(None))
        output.mux(audio.encode(None))


if __name__ == "__main__":
    cv2.setNumThreads(1)
    fuzzing.main(Videos())
