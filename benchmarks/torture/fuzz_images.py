"""Damages image files and reads them as `quantnas prepare` and `quantnas upscale` do, which must agree on each."""

import io
from pathlib import Path
from random import Random
from typing import Any, Callable, List

import cv2
import fuzzing
import numpy as np
from broken_bytes import mutated
from PIL import Image, features

from quantnas_sr.data.prepare.images import ImageFile, decode
from quantnas_sr.deploy.memory import forget_peak, process_memory, process_peak
from quantnas_sr.errors import DataError
from quantnas_sr.images.header import read_header
from quantnas_sr.images.picture import read_picture

#: Small, so that a case that is accepted is fast: the same code refuses larger ones.
MOST_PIXELS = 16_000_000
#: What memory may grow beside what the header says.
RESERVE = 48 << 20


class Images:
    """One image in many formats."""

    name = "images"
    limits = fuzzing.Limits()

    def prepare(self, folder: Path) -> None:
        """Write the whole files."""
        self.folder = folder
        self.files = _files()

    def case(self, rng: Random) -> Callable[[], Any]:
        """Damage one."""
        path = self.folder / "x.img"
        path.write_bytes(mutated(rng, rng.choice(self.files)))
        return lambda: _read(path)


def _read(path: Path) -> None:
    """Read by both, and raise what both raise; an AssertionError if they differ."""
    forget_peak()
    before = process_memory()
    problems, shapes = [], []
    for read in (_upscale, _prepare):
        try:
            shapes.append(read(path))
        except DataError as error:
            problems.append(error)
    assert len(problems) in (0, 2), f"only one of them refuses: {problems[0]}"
    try:
        header = read_header(path, MOST_PIXELS)
    except DataError:
        assert problems, "the header is refused and the image is not"
    else:
        assert problems or shapes == 2 * [(header.height, header.width)], f"{shapes} and {header}"
        grown = process_peak() - before
        assert grown <= header.decoding_bytes + RESERVE, f"took {grown >> 20} MiB, and by its header {header}"
    if problems:
        raise problems[0]


def _upscale(path: Path) -> Any:
    return read_picture(path, MOST_PIXELS).pixels.shape[:2]


def _prepare(path: Path) -> Any:
    return decode(ImageFile(path, most_pixels=MOST_PIXELS))[0].shape[:2]


def _files() -> List[bytes]:
    rng = np.random.default_rng(0)
    pixels = cv2.resize(rng.integers(0, 256, (5, 6, 4), dtype=np.uint8), (40, 30))
    rgba = Image.fromarray(pixels)
    rgb, gray = rgba.convert("RGB"), rgba.convert("L")
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    frames = {"save_all": True, "append_images": [rgb.rotate(90)]}
    made = [
        *(_saved(image, "PNG", exif=exif) for image in (rgb, rgba, gray, rgb.quantize(20), gray.convert("1"))),
        *(_saved(image, "JPEG", exif=exif, dpi=(72, 72)) for image in (rgb, gray, rgb.convert("CMYK"))),
        *(_saved(rgb, "JPEG", progressive=progressive, quality=90) for progressive in (True, False)),
        *(
            _saved(image, "TIFF", compression=c)
            for image in (rgb, rgba)
            for c in (None, "tiff_lzw", "tiff_adobe_deflate")
        ),
        *(_saved(rgb, "TIFF", compression="jpeg"), _saved(gray.convert("1"), "TIFF", compression="group4")),
        *(_saved(rgb, kind) for kind in ("BMP", "PPM")),
        *(_saved(rgb, kind, **frames) for kind in ("GIF", "PNG", "TIFF")),
        *(cv2.imencode(suffix, pixels.astype(np.uint16)[..., :3] * 257)[1].tobytes() for suffix in (".png", ".tif")),
        cv2.imencode(".png", pixels.astype(np.uint16) * 257)[1].tobytes(),
        b"P6\n40 30\n1023\n" + (pixels[..., :3].astype(">u2") * 4).tobytes(),
        b"P2\n3 2\n900\n1 200 3 899 5 6\n",
    ]
    if features.check("webp"):
        made += [_saved(rgba, "WEBP", lossless=lossless, exif=exif) for lossless in (True, False)]
    if features.check("avif"):
        made.append(_saved(rgb, "AVIF", speed=10))
    return made


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **{key: value for key, value in options.items() if value is not None})
    return data.getvalue()


if __name__ == "__main__":
    cv2.setNumThreads(1)
    fuzzing.main(Images())
