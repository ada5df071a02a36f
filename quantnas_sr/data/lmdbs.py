"""Images of LMDBs, by the meta_info.txt that BasicSR's tools write beside the data."""

import re
from pathlib import Path
from typing import Dict, Iterator, Tuple

from quantnas_sr.data.folders import read_list
from quantnas_sr.data.lmdb_file import keys_of
from quantnas_sr.data.pairs import ROOTS, Size, SizedPair, check_same, shortened, some
from quantnas_sr.errors import DataError


def paired_sizes(gt: Path, lq: Path, where: str) -> Iterator[SizedPair]:
    """The sizes of all pairs of two LMDBs; raises DataError where images lack a partner."""
    gt_sizes, lq_sizes = (meta_info(root, f"{where}: {key} {root}") for root, key in zip((gt, lq), ROOTS))
    check_same(gt_sizes, lq_sizes, where)
    return ((key, size, lq_sizes[key]) for key, size in gt_sizes.items())


def meta_info(root: Path, where: str) -> Dict[str, Size]:
    """The (height, width) of every key of an LMDB, from the meta_info.txt that BasicSR's tools write."""
    for name in ("data.mdb", "meta_info.txt"):
        if not (root / name).is_file():
            raise DataError(f"{where}: has no {name}; make it with BasicSR's tools or `quantnas prepare`")
    sizes = _listed(root / "meta_info.txt", where)
    stored = keys_of(root / "data.mdb", where)
    if not stored or len(stored) != len(sizes):
        raise DataError(f"{where}: holds {len(stored)} images and meta_info.txt lists {len(sizes)}")
    lacking = sizes.keys() - set(stored)
    if lacking:
        raise DataError(f"{where}: lacks {len(lacking)} images of its meta_info.txt: {some(lacking)}")
    return sizes


def _listed(path: Path, where: str) -> Dict[str, Size]:
    sizes: Dict[str, Size] = {}
    for number, line in enumerate(read_list(path, f"{where}: meta_info.txt"), 1):
        key, size = _meta_line(line.rstrip(), f"{where}: meta_info.txt, line {number}")
        if key in sizes:
            raise DataError(f"{where}: meta_info.txt, line {number}: {shortened(key)!r} is listed twice")
        sizes[key] = size
    return sizes


def _meta_line(line: str, where: str) -> Tuple[str, Size]:
    match = re.fullmatch(r"(.+)\.\w+ \(([1-9]\d{0,8}),([1-9]\d{0,8}),\d{1,3}\)( \d{1,3})?", line, re.ASCII)
    if match is None:
        raise DataError(f"{where}: not like 'name.png (480,480,3) 1' but {shortened(line)!r}")
    key, height, width, _ = match.groups()
    if "." in key:
        raise DataError(f"{where}: the name {shortened(key)!r} has a dot, where BasicSR would cut it")
    return key, (int(height), int(width))
