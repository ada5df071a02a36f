"""Turns the archives of DIV2K (Agustsson and Timofte, NTIRE 2017) into the files that BasicSR's options name."""

import os
import re
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Dict, Iterable, List, Mapping, Optional, Sequence, Union

from quantnas_sr.data.prepare.download import download
from quantnas_sr.data.prepare.images import USUAL_SUB_IMAGES, ImageFile, SubImages
from quantnas_sr.data.prepare.pipeline import PrepareTask
from quantnas_sr.data.prepare.sets import Plan, Prepared, write_sets
from quantnas_sr.data.prepare.settings import DIV2K_COUNTS as COUNTS
from quantnas_sr.data.prepare.settings import DIV2K_SCALES as SCALES
from quantnas_sr.data.prepare.settings import DIV2K_URL
from quantnas_sr.data.prepare.sinks import Target, refuse_existing
from quantnas_sr.errors import DataError, OptionError, unknown
from quantnas_sr.images.limits import MOST_PIXELS

FIRST_NUMBER = {"train": 1, "valid": 801}
NAMED_IN_ERRORS = 5


def prepare_div2k(
    output: Union[str, os.PathLike],
    scale: int = 4,
    source: Optional[Union[str, os.PathLike]] = None,
    url: str = DIV2K_URL,
    parts: Sequence[str] = ("train", "valid"),
    cut: SubImages = USUAL_SUB_IMAGES,
    overwrite: bool = False,
    workers: Optional[int] = None,
    counts: Mapping[str, int] = COUNTS,
    most_pixels: int = MOST_PIXELS,
) -> List[Prepared]:
    """Make LMDBs of sub-images of DIV2K's training part, and folders of its validation part.

    The archives come from ``source`` (a folder that has them, packed or unpacked), or else are downloaded from
    ``url`` into OUTPUT/archives. They are read in place, not unpacked. ``counts`` is how many images each part has. One
    with more than ``most_pixels`` is refused.

    Returns one Prepared for each part. Raises DataError or OptionError; nothing but the archives is left behind then.
    Workers are spawned processes: in a script, call this under ``if __name__ == "__main__"``.
    """
    output = Path(output)
    if scale not in SCALES:
        raise OptionError(f"--scale {scale}: DIV2K has bicubic images for 2, 3 and 4")
    for part in parts:
        if part not in COUNTS:
            raise OptionError(unknown("part of DIV2K", part, COUNTS, where="--only"))
    cut.check(scale)
    targets = {part: _target(output, part, scale) for part in parts}
    refuse_existing(list(targets.values()), overwrite)

    folder = _fetch(url, output / "archives", parts, scale) if source is None else Path(source)
    if not folder.is_dir():
        raise DataError(f"--from {folder}: no such folder")
    tasks = {part: _tasks(folder, part, scale, cut, counts[part], most_pixels) for part in parts}
    phases = {"train": "train", "valid": "val"}
    return write_sets([Plan(phases[part], targets[part], tasks[part]) for part in parts], workers=workers)


def _hr_name(part: str) -> str:
    return f"DIV2K_{part}_HR"


def _lr_name(part: str, scale: int) -> str:
    return f"DIV2K_{part}_LR_bicubic_X{scale}"


def _target(output: Path, part: str, scale: int) -> Target:
    """The output paths, named as in BasicSR's own options files."""
    if part == "train":
        hr, lr = f"{_hr_name(part)}_sub.lmdb", f"{_lr_name(part, scale)}_sub.lmdb"
        return Target(output / hr, output / lr, lmdb=True)
    lr_folder = output / f"DIV2K_{part}_LR_bicubic" / f"X{scale}"
    return Target(output / _hr_name(part), lr_folder, lmdb=False, lq_template=f"{{}}x{scale}")


def _fetch(url: str, archives: Path, parts: Iterable[str], scale: int) -> Path:
    for part in parts:
        for name in (_hr_name(part), _lr_name(part, scale)):
            download(f"{url.rstrip('/')}/{name}.zip", archives / f"{name}.zip")
    return archives


def _tasks(folder: Path, part: str, scale: int, cut: SubImages, count: int, most_pixels: int) -> List[PrepareTask]:
    numbers = [f"{FIRST_NUMBER[part] + index:04d}" for index in range(count)]
    lr_name = _lr_name(part, scale)
    gt = _numbered_images(_locate(folder, [_hr_name(part)]), "", numbers)
    lq = _numbered_images(_locate(folder, [lr_name, f"DIV2K_{part}_LR_bicubic"]), f"x{scale}", numbers)
    part_cut = cut if part == "train" else None
    pairs = [[replace(images[number], most_pixels=most_pixels) for images in (gt, lq)] for number in numbers]
    return [PrepareTask(number, hr, scale, 1, part_cut, lr) for number, (hr, lr) in zip(numbers, pairs)]


def _locate(folder: Path, names: Sequence[str]) -> Path:
    """The unpacked folder, or else the archive, of one of ``names``."""
    for place in [folder / name for name in names] + [folder / f"{name}.zip" for name in names]:
        if place.is_dir() or (place.suffix == ".zip" and place.is_file()):
            return place
    raise DataError(f"{folder}: has neither {names[0]}.zip nor a folder {' or '.join(names)}")


def _numbered_images(place: Path, suffix: str, numbers: Sequence[str]) -> Dict[str, ImageFile]:
    """The images 0001<suffix>.png, ... of a folder or an archive by number; exactly ``numbers``, or DataError."""
    found: Dict[str, ImageFile] = {}
    for image in _members(place):
        match = re.fullmatch(rf"(\d{{4}}){suffix}\.png", Path(image.member or image.path).name)
        if match:
            found[match.group(1)] = image
    for what, wrong in (("missing", set(numbers) - set(found)), ("unknown", set(found) - set(numbers))):
        if wrong:
            some = ", ".join(f"{number}{suffix}.png" for number in sorted(wrong)[:NAMED_IN_ERRORS])
            more = ", ..." if len(wrong) > NAMED_IN_ERRORS else ""
            raise DataError(f"{place}: {len(found)} images instead of {len(numbers)}; {what}: {some}{more}")
    return found


def _members(place: Path) -> List[ImageFile]:
    if place.is_dir():
        return [ImageFile(path) for path in place.rglob("*.png")]
    try:
        with zipfile.ZipFile(place) as archive:
            return [ImageFile(place, member) for member in archive.namelist()]
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{place}: not a whole zip archive; remove it and get it again") from error
