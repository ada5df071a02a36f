"""Turns a folder of photographs into a training set (LMDB) or a test set (folders)."""

import os
from dataclasses import replace
from pathlib import Path
from typing import List, Optional, Sequence, Union

from quantnas_sr.data.prepare.find import find_images, safe_name, unique_keys
from quantnas_sr.data.prepare.images import USUAL_SUB_IMAGES, BrokenImageError, ImageFile, SubImages
from quantnas_sr.data.prepare.pipeline import PrepareTask
from quantnas_sr.data.prepare.sets import Plan, Prepared, write_sets
from quantnas_sr.data.prepare.settings import LAYOUTS
from quantnas_sr.data.prepare.sinks import Target, refuse_existing
from quantnas_sr.errors import DataError, OptionError, unknown
from quantnas_sr.images.limits import MOST_PIXELS

SMALLEST_TRAINING_IMAGE = 128


def prepare_folder(
    folder: Union[str, os.PathLike],
    output: Union[str, os.PathLike],
    scale: int = 4,
    name: Optional[str] = None,
    layout: str = "lmdb",
    cut: Optional[SubImages] = USUAL_SUB_IMAGES,
    min_size: Optional[int] = None,
    hold_out: int = 0,
    skip_broken: bool = False,
    overwrite: bool = False,
    workers: Optional[int] = None,
    most_pixels: int = MOST_PIXELS,
) -> List[Prepared]:
    """Make GT and bicubic LR images of all photographs under ``folder``.

    ``layout`` "lmdb": sub-images (whole images if ``cut`` is None) go to OUTPUT/NAME_HR_sub.lmdb and
    OUTPUT/NAME_LRbicxS_sub.lmdb; ``hold_out`` images, evenly spread, go whole to folders in OUTPUT/NAME_val instead.
    "folders": all images go whole to OUTPUT/NAME/GTmodS and OUTPUT/NAME/LRbicxS. Images with a side below
    ``min_size`` (default for an LMDB: 128, or the sub-image size; for folders: 2*scale) are left out and counted. One
    with more than ``most_pixels`` is refused as a broken one is.

    Returns one Prepared for each set written. Raises DataError or OptionError and then leaves nothing behind.
    Workers are spawned processes: in a script, call this under ``if __name__ == "__main__"``.
    """
    folder, output = Path(folder), Path(output)
    name = safe_name(folder.resolve().name) if name is None else name
    _check_options(name, layout, scale)
    cut = cut if layout == "lmdb" else None
    if cut is not None:
        cut.check(scale)
    minimum = _minimum(min_size, scale, layout, cut)

    images = find_images(folder)
    whole = [
        PrepareTask(key, ImageFile(folder / path, most_pixels=most_pixels), scale, minimum)
        for key, path in zip(unique_keys(images), images)
    ]
    if layout == "folders":
        if hold_out:
            raise OptionError(f"--hold-out {hold_out}: only for an LMDB; --as folders keeps all images together")
        plans = [Plan("val", _folders(output, name, scale), whole)]
    else:
        plans = _training_plans(whole, output, name, cut, hold_out)

    targets = [plan.target for plan in plans]
    _check_apart(folder, targets)
    refuse_existing(targets, overwrite)
    try:
        return write_sets(plans, skip_broken, workers)
    except BrokenImageError as error:
        raise DataError(f"{error}; --skip-broken leaves such files out") from error


def _check_options(name: str, layout: str, scale: int) -> None:
    if scale < 2:
        raise OptionError(f"--scale {scale}: must be 2 or more")
    if layout not in LAYOUTS:
        raise OptionError(unknown("layout", layout, LAYOUTS, where="--as"))
    if not name or name.startswith(".") or set(name) & set("/\\\0"):
        raise OptionError(f"--name {name!r}: must be a plain name, without folders and without a dot in front")


def _minimum(given: Optional[int], scale: int, layout: str, cut: Optional[SubImages]) -> int:
    smallest = 2 * scale
    if given is not None and given < smallest:
        raise OptionError(f"--min-size {given}: must be {smallest} or more at scale {scale}")
    if given is not None or layout == "folders":
        return given or smallest
    return min(SMALLEST_TRAINING_IMAGE, cut.gt_size) if cut else SMALLEST_TRAINING_IMAGE


def _training_plans(
    whole: Sequence[PrepareTask], output: Path, name: str, cut: Optional[SubImages], hold_out: int
) -> List[Plan]:
    if not 0 <= hold_out < len(whole):
        raise OptionError(f"--hold-out {hold_out}: must be less than the number of images, {len(whole)}")
    scale = whole[0].scale
    held = {(2 * number + 1) * len(whole) // (2 * hold_out) for number in range(hold_out)}
    train = [replace(task, cut=cut) for index, task in enumerate(whole) if index not in held]
    plans = [Plan("train", _lmdbs(output, name, scale, cut), train)]
    if held:
        val = [replace(whole[index], minimum=2 * scale) for index in sorted(held)]
        plans.append(Plan("val", _folders(output, f"{name}_val", scale), val))
    return plans


def _folders(output: Path, name: str, scale: int) -> Target:
    return Target(output / name / f"GTmod{scale}", output / name / f"LRbicx{scale}", lmdb=False)


def _lmdbs(output: Path, name: str, scale: int, cut: Optional[SubImages]) -> Target:
    end = "" if cut is None else "_sub"
    return Target(output / f"{name}_HR{end}.lmdb", output / f"{name}_LRbicx{scale}{end}.lmdb", lmdb=True)


def _check_apart(folder: Path, targets: Sequence[Target]) -> None:
    """Raise DataError when an output would replace the photographs or be taken for photographs the next time."""
    source = folder.resolve()
    for target in targets:
        for path in (target.gt.resolve(), target.lq.resolve()):
            if path == source or path in source.parents or (source in path.parents and not target.lmdb):
                raise DataError(f"{path}: the output must lie outside of {folder}, the folder of photographs")
