"""``make demo``: the whole chain on photographs that scikit-image ships, on any machine, without a download.

Every step is a command that can be typed by hand; it is printed before it runs. The results are in
``experiments/demo``.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Dict, List, NamedTuple

import cv2
import numpy as np

from quantnas_sr.cost import count
from quantnas_sr.errors import QuantNASError
from quantnas_sr.networks import card, default
from quantnas_sr.report import bicubic, draw_crops
from quantnas_sr.search_space import DerivedNetwork, Genotype
from quantnas_sr.system.files import written_aside

SCALE = 4
TRAIN = ("astronaut.png", "camera.png", "hubble_deep_field.jpg", "ihc.png")
TRAIN += ("motorcycle_left.png", "motorcycle_right.png", "rocket.jpg")
HELD_OUT = ("chelsea.png", "coffee.png")
#: The network of the package that the trained one is compared with.
SHIPPED = default(SCALE)

DATA = Path("datasets/demo")
RESULT = Path("experiments/demo")
GENOTYPE = Path("experiments/demo_search/genotype.yml")
OURS = Path("results/demo_test/visualization/held_out")
TRAINED = Path("experiments/demo_train/models/net_g_latest.pth")

_SHOWN = re.compile(r"INFO: (\[demo_.*|Current genotype.*|Cost for .*)")
_SAID = re.compile(r"^((?:wrote|openvino|onnxruntime|\|).*)")


class Score(NamedTuple):
    """PSNR in dB and SSIM, both on the Y channel, 4 border pixels left out."""

    psnr: float
    ssim: float


def copy_photographs() -> None:
    """Put scikit-image's photographs into ``datasets/demo/photos/{train,test}``."""
    import skimage.data

    shipped = Path(skimage.data.__file__).parent
    for part, names in (("train", TRAIN), ("test", HELD_OUT)):
        folder = DATA / "photos" / part
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            shutil.copyfile(shipped / name, folder / name)


def run(*command: str) -> None:
    """Print a command, run it, and show the lines of its log that tell how far it is.

    Raises:
        QuantNASError: it failed; its last lines are printed.
    """
    print(f"\n$ {' '.join(command)}", flush=True)
    script = [sys.executable, "-m", "quantnas_sr", *command[1:]]
    if command[0] == "basicsr":
        script = [sys.executable, f"quantnas_sr/{command[1]}.py", *command[2:]]
    lines: List[str] = []
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    # patches this small gain nothing from a second thread, and lose much to one that waits for a busy core
    with subprocess.Popen(script, env={"OMP_NUM_THREADS": "1", **os.environ}, **streams) as process:
        for line in process.stdout:
            lines.append(line)
            shown = _SHOWN.search(line) or _SAID.search(line)
            if shown:
                print(f"  {shown[1].strip()}", flush=True)
    if process.returncode:
        print("".join(lines[-30:]), file=sys.stderr)
        raise QuantNASError(f"{' '.join(command)} failed with exit code {process.returncode}")


def score(image: np.ndarray, reference: np.ndarray) -> Score:
    """BasicSR's metrics of an image, (H, W, 3), BGR, 0..255."""
    from basicsr.metrics import calculate_psnr, calculate_ssim

    how = {"crop_border": SCALE, "test_y_channel": True}
    return Score(float(calculate_psnr(image, reference, **how)), float(calculate_ssim(image, reference, **how)))


def compare() -> Dict[str, List[Score]]:
    """Score bicubic, the trained network and that of the package on the held-out photographs, and draw them."""
    scores: Dict[str, List[Score]] = {"bicubic": [], "ours": [], SHIPPED: []}
    rows = []
    for name in HELD_OUT:
        stem = Path(name).stem
        truth = cv2.imread(str(DATA / f"test/GTmod{SCALE}/{stem}.png"))
        small = cv2.imread(str(DATA / f"test/LRbicx{SCALE}/{stem}.png"))
        ours = cv2.imread(str(OURS / f"{stem}_demo_test.png"))
        large = bicubic(small, SCALE)
        made = {"bicubic": large, "ours": ours, SHIPPED: cv2.imread(str(RESULT / f"of_the_package/{stem}.png"))}
        for key, image in made.items():
            scores[key].append(score(image, truth))
        captioned = [(f"{key} {scores[key][-1].psnr:.2f} dB", image) for key, image in made.items()]
        rows.append([("LR", small), *captioned, ("ground truth", truth)])
    draw_crops(rows, RESULT / "comparison.png")
    return scores


def table(scores: Dict[str, List[Score]]) -> str:
    """The results in Markdown."""
    genotype = Genotype.load(GENOTYPE)
    all_8_bits = replace(genotype, slots={name: choice._replace(bits=8) for name, choice in genotype.slots.items()})
    ours, eight = (count(DerivedNetwork(g)) for g in (genotype, all_8_bits))
    mean = {key: Score(*np.mean(values, axis=0)) for key, values in scores.items()}
    return (
        f"| {len(HELD_OUT)} held-out photographs, x{SCALE} | PSNR-Y | SSIM-Y | GBitOps (32x32) | packed |\n"
        "|---|---|---|---|---|\n"
        f"| bicubic | {mean['bicubic'].psnr:.2f} dB | {mean['bicubic'].ssim:.4f} | | |\n"
        f"| ours, searched, mixed precision | {mean['ours'].psnr:.2f} dB | {mean['ours'].ssim:.4f} "
        f"| {ours.bitops / 1e9:.3f} | {ours.packed_bytes / 1e3:.1f} kB |\n"
        f"| the same network, all 8 bits | | | {eight.bitops / 1e9:.3f} | {eight.packed_bytes / 1e3:.1f} kB |\n"
        f"| {SHIPPED}, of the package | {mean[SHIPPED].psnr:.2f} dB | {mean[SHIPPED].ssim:.4f} "
        f"| {card(SHIPPED).gbitops:.3f} | |\n"
    )


def speed_up() -> str:
    """The lines that say how much faster the integer network is than its float baseline, here and now."""
    rows = json.loads((RESULT / "benchmark/benchmark.json").read_text(encoding="utf-8"))["rows"]
    lines = []
    for row in rows:
        found = row["measured"]
        if row["network"] == "integer":
            faster = f"{found['times_faster_than_float']:.2f} times as fast as in float"
            where = f"{found['runtime']}, {row['width']}x{row['height']}, {row['outputs']} outputs"
            lines.append(f"{where}: {found['ms']:.0f} ms, {faster}\n")
    return "\n" + "".join(lines)


def prepare() -> None:
    """Make the LMDBs that are trained on, and the images that were held out, anew."""
    shutil.rmtree(DATA, ignore_errors=True)
    copy_photographs()
    photos, output = str(DATA / "photos"), str(DATA)
    sub_images = ("--gt-size", "192", "--step", "96")
    run("quantnas", "prepare", "folder", f"{photos}/train", "--output", output, "--name", "train", *sub_images)
    run("quantnas", "prepare", "folder", f"{photos}/test", "--output", output, "--name", "test", "--as", "folders")


def main() -> int:
    """Run the chain; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only-data", action="store_true", help=f"prepare {DATA}, and stop")
    only_data = parser.parse_args().only_data
    start = time.time()
    prepare()
    if only_data:
        return 0
    for folder in (RESULT, *Path().glob("*/demo_search*"), *Path().glob("*/demo_t*")):
        shutil.rmtree(folder, ignore_errors=True)
    output = str(DATA)
    run("basicsr", "train", "-opt", "options/demo/search.yml")
    run("quantnas", "draw", str(GENOTYPE), str(RESULT / "genotype.svg"))
    run("quantnas", "draw", str(GENOTYPE), str(RESULT / "genotype.png"))
    run("basicsr", "train", "-opt", "options/demo/train.yml")
    run("basicsr", "test", "-opt", "options/demo/test.yml")
    exported = str(RESULT / "net.onnx")
    run("quantnas", "export", str(TRAINED), exported, "--images", f"{output}/test/LRbicx{SCALE}")
    run("quantnas", "upscale", exported, f"{output}/test/LRbicx{SCALE}", str(RESULT / "upscaled"), "--overwrite")
    run("quantnas", "upscale", f"{output}/test/LRbicx{SCALE}", str(RESULT / "of_the_package"), "--scale", str(SCALE))
    timings = ("--sizes", "320x180", "--threads", "2", "--repeats", "9", "--output", str(RESULT / "benchmark"))
    run("quantnas", "benchmark", str(TRAINED), *timings)
    result = table(compare()) + speed_up()
    with written_aside(RESULT / "results.md") as aside:
        aside.write_text(result, encoding="utf-8")
    print(f"\n{result}\nPictures: {RESULT}/comparison.png, {RESULT}/genotype.svg. {time.time() - start:.0f} s in all.")
    return 0


if __name__ == "__main__":
    from quantnas_sr.cli import reported

    sys.exit(reported("demo", main))
