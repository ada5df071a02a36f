"""Measures the exported networks of the package, and writes what it finds into their cards.

    python benchmarks/network_cards.py [--data FOLDER] [NAME ...]

FOLDER has Set5 and Set14, each with ``GTmod<scale>`` and ``LRbicx<scale>``, as `quantnas prepare folder` writes them;
where a scale has no such folders, small images are made of those of another one. Photographs of scikit-image, which
come with BasicSR, are measured too, so that a test can do the same.
"""

import argparse
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Tuple

import cv2
import numpy as np
import yaml
from tqdm import tqdm

import quantnas_sr  # noqa: F401
from quantnas_sr.data.prepare.images import downscale, modcrop
from quantnas_sr.networks import Quality, card, file_of, names, opened
from quantnas_sr.system.files import written_aside

#: Of scikit-image.
PHOTOGRAPHS = ("chelsea.png", "coffee.png")
#: Of the squares, divisible by 2, 3 and 4.
SIDE = 192
SETS = ("Set5", "Set14")


#: A large image and the small one, (H, W, 3) BGR, uint8.
Pair = Tuple[np.ndarray, np.ndarray]


def photographs(scale: int) -> Iterator[Pair]:
    """A square from the middle of each photograph."""
    import skimage.data

    for name in PHOTOGRAPHS:
        image = cv2.imread(str(Path(skimage.data.__file__).parent / name))
        top, left = ((side - SIDE) // 2 for side in image.shape[:2])
        yield with_small(image[top : top + SIDE, left : left + SIDE], scale)


def with_small(image: np.ndarray, scale: int) -> Pair:
    """An image, cropped to sides that the scale divides, and made smaller as MATLAB's ``imresize`` does it."""
    image = modcrop(image, scale)
    return image, downscale(image, scale)


def pairs_of(folder: Path, scale: int) -> Iterator[Pair]:
    """The images of a test set."""
    paths = sorted(folder.glob(f"GTmod{scale}/*.png"))
    for path in paths or sorted(folder.glob("GTmod*/*.png")):
        given = folder / f"LRbicx{scale}" / path.name
        image = cv2.imread(str(path))
        yield (image, cv2.imread(str(given))) if paths and given.is_file() else with_small(image, scale)


def measure(name: str, pairs: Iterator[Pair]) -> Quality:
    """Quality of a network's exported file of bytes, in ONNX Runtime."""
    from basicsr.metrics import calculate_psnr, calculate_ssim

    from quantnas_sr import upscale
    from quantnas_sr.report import bicubic

    network, scale = opened(name, runtime="onnxruntime"), card(name).scale
    how = {"crop_border": scale, "test_y_channel": True}
    found: List[List[float]] = []
    for image, low in pairs:
        made = upscale(np.ascontiguousarray(low[..., ::-1]), network)[..., ::-1]
        results = (made, bicubic(low, scale))
        found.append([float(metric(x, image, **how)) for x in results for metric in (calculate_psnr, calculate_ssim)])
    psnr, ssim, bicubic_psnr, bicubic_ssim = np.mean(found, axis=0).tolist()
    return Quality(round(psnr, 3), round(ssim, 4), round(bicubic_psnr, 3), round(bicubic_ssim, 4))


def measured(name: str, data: Optional[Path]) -> Dict[str, Quality]:
    """Quality by set of images; without ``data`` of the photographs alone."""
    scale = card(name).scale
    sets = {images: pairs_of(data / images, scale) for images in SETS} if data else {}
    sets["photographs"] = photographs(scale)
    return {images: measure(name, pairs) for images, pairs in sets.items()}


def main() -> None:
    """Measure, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="networks (all)")
    parser.add_argument("--data", type=Path, help="folder of Set5 and Set14; without it, what is said of them stays")
    args = parser.parse_args()
    for name in tqdm(args.names or names()):
        path = file_of(name, "card.yml")
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        found = {images: quality._asdict() for images, quality in measured(name, args.data).items()}
        content["quality"] = {**content["quality"], **found}
        with written_aside(path) as aside:
            aside.write_text(yaml.safe_dump(content, sort_keys=False, width=118, allow_unicode=True), encoding="utf-8")


if __name__ == "__main__":
    main()
