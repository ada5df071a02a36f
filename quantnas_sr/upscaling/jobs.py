"""Which image becomes which file."""

import os
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional

from quantnas_sr.errors import DataError, OptionError, unknown
from quantnas_sr.upscaling import images, writers


class Job(NamedTuple):
    """An image and the file that it is upscaled to."""

    source: Path
    target: Path


def plan(source: Path, target: Path, suffix: Optional[str] = None) -> List[Job]:
    """The jobs of ``quantnas upscale source target``, sorted.

    Args:
        source: an image, or a folder, whose sub-folders are looked through too (hidden files and folders are not).
        target: a file for an image; or a folder, which keeps names and sub-folders.
        suffix: format of the files in a folder, such as ``.png``; by default the image's own where it is lossless, and
            otherwise PNG.

    Raises:
        DataError: the input is missing or has no image; two images would become one file, or an image itself.
        OptionError: a format that is not written.
    """
    if suffix is not None and suffix not in writers.FORMATS:
        raise OptionError(f"--format {unknown('suffix', suffix, writers.FORMATS)}")
    jobs = _of_folder(source, target, suffix) if os.path.isdir(source) else [_of_image(source, target, suffix)]
    _check_targets(jobs)
    return jobs


def _of_image(source: Path, target: Path, suffix: Optional[str]) -> Job:
    if not os.path.exists(source):  # which, unlike pathlib's, has an answer for names that are too long
        raise DataError(f"{source}: no such file or folder")
    if os.path.isdir(target):
        target = target / _name(source, suffix)
    elif suffix is not None and target.suffix.lower() != suffix:
        raise OptionError(f"{target}: its suffix is not the --format {suffix}")
    writers.format_of(target)
    return Job(source, target)


def _of_folder(source: Path, target: Path, suffix: Optional[str]) -> List[Job]:
    if target.exists() and not target.is_dir():
        raise DataError(f"{target}: is a file; a folder is upscaled to a folder")
    if target.is_dir() and target.samefile(source):
        raise DataError(f"{target}: is the folder of the input; name another")
    found = sorted(_images_in(source, target))
    if not found:
        raise DataError(f"{source}: has no image. Looked for: {', '.join(images.SUFFIXES)}")
    return [Job(path, target / path.parent.relative_to(source) / _name(path, suffix)) for path in found]


def _images_in(folder: Path, target: Path) -> Iterator[Path]:
    """The images of a folder, without those that an output folder inside it has."""
    left_out = os.path.realpath(target)
    for place, folders, files in os.walk(folder):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and os.path.realpath(os.path.join(place, name)) != left_out
        ]
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() in images.SUFFIXES:
                yield Path(place) / name


def _name(source: Path, suffix: Optional[str]) -> str:
    own = source.suffix.lower()
    return source.stem + (suffix or (own if own in writers.LOSSLESS else ".png"))


def _check_targets(jobs: List[Job]) -> None:
    taken: Dict[str, Path] = {}
    for source, target in jobs:
        if os.path.exists(target) and os.path.exists(source) and target.samefile(source):
            raise DataError(f"{target}: is the input itself; name another output")
        # Some file systems do not tell A.png from a.png.
        other = taken.setdefault(str(target).lower(), source)
        if other is not source:
            raise DataError(f"{other} and {source} would both become {target}; rename one of them")
