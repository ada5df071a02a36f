"""Frames a second of a film that is upscaled, beside what decoder, network and encoder reach alone in the same run.

The film is made here: 640x360, 30 frames a second, with sound; a camera that moves over photographs of scikit-image, or
noise that moves, which is the hardest for an encoder. Where the three overlap, the whole takes as long as its slowest
part, and no longer than the processor needs for all of them.
"""

import argparse
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Callable, Iterator, List, Optional, Tuple

import av
import cv2
import numpy as np

from quantnas_sr.deploy.network import Network
from quantnas_sr.images.units import BYTES
from quantnas_sr.networks import opened
from quantnas_sr.system.cpus import available_cpus
from quantnas_sr.upscaling.batch import Upscaler
from quantnas_sr.upscaling.pixels import run_network
from quantnas_sr.upscaling.tasks import UpscaleTask
from quantnas_sr.upscaling.video.encoders import Encoding
from quantnas_sr.upscaling.video.pipeline import at_once
from quantnas_sr.upscaling.video.reading import open_film
from quantnas_sr.upscaling.video.writing import open_writer

HEIGHT, WIDTH, RATE, SAMPLES = 360, 640, 30, 48000
#: Of scikit-image, which comes with BasicSR.
PHOTOGRAPHS = ("astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg")
#: Frames that are kept for the network and the encoder alone, which take them forwards and backwards.
_KEPT = 30


class Elsewhere(Network):
    """Doubles the size of images; the processor has nothing to do with it.

    Args:
        seconds: that it takes for each.
    """

    scale, halo = 2, 0

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """(1, 3, H, W) -> (1, 3, 2H, 2W)."""
        end = time.perf_counter() + self.seconds
        large = cv2.merge([cv2.resize(plane, None, fx=2, fy=2) for plane in x[0]])
        large = np.ascontiguousarray(large.transpose(2, 0, 1))[None]
        time.sleep(max(0, end - time.perf_counter()))
        return large


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seconds", type=int, help="of film")
    parser.add_argument("--network", default="plain_x2_2.6", help="of the package (plain_x2_2.6)")
    parser.add_argument("--runtime", default="auto")
    parser.add_argument("--threads", type=int, help="of the network (the runtime's)")
    parser.add_argument("--noise", action="store_true", help="in place of photographs")
    parser.add_argument("--codec", help="of the result (as quantnas upscale)")
    parser.add_argument("--elsewhere", type=int, metavar="MS", help="wait so long instead, as for a network on a GPU")
    args = parser.parse_args()
    network = opened(args.network, None, args.runtime, args.threads)
    if args.elsewhere:
        network, args.network = Elsewhere(args.elsewhere / 1e3), f"a network that is waited for {args.elsewhere} ms"
    encoding = Encoding(args.codec)
    with tempfile.TemporaryDirectory() as folder:
        film, output = Path(folder, "film.mp4"), Path(folder, "large.mp4")
        write_film(film, args.seconds, noise if args.noise else photographs)
        frames = args.seconds * RATE
        what = "noise" if args.noise else "photographs"
        size = f"{WIDTH}x{HEIGHT}, x{network.scale}"
        print(f"{frames} frames of {what}, {size}, {args.network}, {available_cpus()} processors")
        parts = alone(film, output, network, encoding, frames)
        whole = ("all together", *timed(lambda: upscale_file(film, output, network, encoding)))
        check(film, output, frames)
    for name, seconds, processor in (*parts, whole):
        busy = f"{1e3 * processor / frames:6.1f} ms of processor time a frame, {processor / seconds:.1f} processors"
        print(f"{name:14} {frames / seconds:7.2f} frames/s, {busy}")
    one_by_one = sum(seconds for _, seconds, _ in parts)
    print(f"one by one     {frames / one_by_one:7.2f} frames/s")


Measured = Tuple[str, float, float]


def alone(film: Path, output: Path, network: Network, encoding: Encoding, frames: int) -> List[Measured]:
    """What decoder, network and encoder take, one after the other."""
    kind = network.takes(BYTES)
    small = decode(film, kind, _KEPT)
    large = [run_network(network, planes)[0] for planes in small]
    return [
        ("decoder alone", *timed(lambda: decode(film, kind))),
        ("network alone", *timed(lambda: upscale(small, network, frames))),
        ("encoder alone", *timed(lambda: encode(film, output, large, encoding, frames))),
    ]


def timed(act: Callable[[], object]) -> Tuple[float, float]:
    """Seconds, and seconds of processor time of all threads, that a function takes."""
    start, processor = time.perf_counter(), time.process_time()
    act()
    return time.perf_counter() - start, time.process_time() - processor


def write_film(path: Path, seconds: int, pictures: Callable[[int], Iterator[np.ndarray]]) -> None:
    """A film, and a tone."""
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", RATE, {"preset": "veryfast", "crf": "20"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        sound = output.add_stream("aac", SAMPLES)
        sound.codec_context.layout = "mono"
        output.start_encoding()
        for number, picture in enumerate(pictures(seconds * RATE)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            output.mux(video.encode(frame))
        for number in range(seconds * SAMPLES // 1024):
            times = (np.arange(1024) + number * 1024) / SAMPLES
            tone = np.float32(0.2) * np.sin(2 * np.pi * 440 * times, dtype=np.float32)[None]
            packet = av.AudioFrame.from_ndarray(np.ascontiguousarray(tone, np.float32), format="fltp", layout="mono")
            packet.sample_rate, packet.pts, packet.time_base = SAMPLES, number * 1024, Fraction(1, SAMPLES)
            output.mux(sound.encode(packet))
        output.mux(video.encode(None))
        output.mux(sound.encode(None))


def photographs(count: int) -> Iterator[np.ndarray]:
    """A camera that moves over photographs and comes nearer, three seconds for each: (H, W, 3) uint8."""
    import skimage.data

    paths = [Path(skimage.data.__file__).parent / name for name in PHOTOGRAPHS]
    images = [cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in paths]
    for number in range(count):
        shot, part = divmod(number / (3 * RATE), 1)
        image = images[int(shot) % len(images)]
        height, width = image.shape[:2]
        # pixels of the photograph for one of the film
        zoom = (0.95 - 0.35 * part) * min(width / WIDTH, height / HEIGHT)
        left, top = (part * (side - zoom * own) for side, own in ((width, WIDTH), (height, HEIGHT)))
        from_here = np.float32([[zoom, 0, left], [0, zoom, top]])
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        yield cv2.warpAffine(image, from_here, (WIDTH, HEIGHT), flags=flags, borderMode=cv2.BORDER_REFLECT)


def noise(count: int) -> Iterator[np.ndarray]:
    """Textures that move over each other: (H, W, 3) uint8 each."""
    rng, size = np.random.default_rng(0), (2 * WIDTH, 2 * HEIGHT)
    layers = [rng.integers(0, 256, (HEIGHT // scale, WIDTH // scale, 3), dtype=np.uint8) for scale in (2, 12)]
    fine, coarse = (cv2.resize(layer, size, interpolation=cv2.INTER_CUBIC) for layer in layers)
    for number in range(count):
        x, y = (int(300 + 200 * wave(number / 40)) for wave in (np.cos, np.sin))
        one = coarse[y // 2 : y // 2 + HEIGHT, x : x + WIDTH]
        other = fine[number % HEIGHT :][:HEIGHT, x // 2 : x // 2 + WIDTH]
        yield cv2.addWeighted(one, 0.8, other, 0.2, 0)


def decode(film: Path, kind: np.dtype, most: Optional[int] = None) -> List[np.ndarray]:
    """Decode all frames, or the first ones, to pixels of a kind, and keep some."""
    kept: List[np.ndarray] = []
    with open_film(film) as opened:
        for number, step in enumerate(opened.steps([], kind)):
            if step.picture and len(kept) < _KEPT:
                kept.append(step.picture.planes)
            if number + 1 == most:
                break
    return kept


def turn(number: int, count: int) -> int:
    """0, 1, ..., count - 1, count - 1, ..., 0, 0, 1, ...: every frame is like the one before it."""
    number %= 2 * count
    return min(number, 2 * count - 1 - number)


def upscale(small: List[np.ndarray], network: Network, frames: int) -> None:
    """The network alone."""
    with network.at_once(available_cpus()) as count:
        pictures = (small[turn(number, len(small))] for number in range(frames))
        for _ in at_once(lambda picture: run_network(network, picture), pictures, count):
            pass


def encode(film: Path, output: Path, large: List[np.ndarray], encoding: Encoding, frames: int) -> None:
    """The encoder alone."""
    with open_film(film) as opened:
        next(opened.steps([]))
        tick = round(1 / opened.time_base / RATE)
        with open_writer(output, output, "mp4", opened, [], encoding) as writer:
            for number in range(frames):
                writer.write(large[turn(number, len(large))].copy(), number * tick, tick, [])
            writer.finish()


def upscale_file(film: Path, output: Path, network: Network, encoding: Encoding) -> None:
    """What ``quantnas upscale`` does."""
    broken = Upscaler(network, encoding=encoding).files([UpscaleTask(film, output)])
    assert not broken, broken


def check(film: Path, output: Path, frames: int) -> None:
    """Play the result frame by frame, with its sound."""
    with av.open(str(film)) as small, av.open(str(output)) as large:
        assert sum(1 for _ in large.decode(video=0)) == frames
        large.seek(0)
        sounds = [[bytes(packet) for packet in one.demux(audio=0)] for one in (small, large)]
        assert sounds[0] == sounds[1]


if __name__ == "__main__":
    main()
