"""The images of a folder, and names for them that BasicSR can use."""

import re
import unicodedata
from collections import Counter
from pathlib import Path, PurePath
from typing import Iterable, List, Set

from quantnas_sr.errors import DataError
from quantnas_sr.images.folders import files_in
from quantnas_sr.images.formats import image_suffixes, is_image

LONGEST_NAME = 100


def find_images(folder: Path) -> List[Path]:
    """The images under ``folder``, relative to it and sorted; hidden files and folders are left out.

    Raises DataError when there is no folder or no image.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: {'not a folder' if folder.exists() else 'no such folder'}")
    found = sorted(path.relative_to(folder) for path in files_in(folder) if is_image(path))
    if not found:
        raise DataError(f"{folder}: no images in it ({', '.join(suffix[1:] for suffix in image_suffixes())})")
    return found


def find_others(folder: Path) -> List[Path]:
    """The files under ``folder`` that `find_images` leaves out, hidden ones aside; with ``folder`` in their paths."""
    return [path for path in files_in(folder) if not is_image(path)]


def safe_name(text: str) -> str:
    """``text`` in ASCII letters, digits, ``_`` and ``-``; ``image`` when nothing of it can be kept.

    >>> safe_name("Café de Köln (2)")
    'Cafe_de_Koln_2'
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii")
    return re.sub(r"[^A-Za-z0-9_-]+", "_", plain).strip("_")[:LONGEST_NAME] or "image"


def unique_keys(paths: Iterable[PurePath]) -> List[str]:
    """A key for each relative path, made of its folders and its stem; equal ones (in any case) are numbered.

    An LMDB key must be ASCII, without dots (BasicSR's reader cuts there), and unique.

    >>> unique_keys([PurePath("a/1.png"), PurePath("a_1.png"), PurePath("b.c.jpg")])
    ['a_1', 'a_1_2', 'b_c']
    """
    keys: List[str] = []
    taken: Set[str] = set()
    repeats: Counter[str] = Counter()
    for path in paths:
        stem = key = safe_name("_".join([*path.parent.parts, path.stem]))
        while key.lower() in taken:
            repeats[stem.lower()] += 1
            key = f"{stem}_{repeats[stem.lower()] + 1}"
        taken.add(key.lower())
        keys.append(key)
    return keys
