"""Images of LMDBs, by the meta_info.txt that BasicSR's tools write beside the data."""

import re
from pathlib import Path
from typing import Dict, Iterator, Optional, Tuple

from quantnas_sr.data.pairs import ROOTS, Size, SizedPair, check_same
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
    with (root / "meta_info.txt").open(encoding="utf-8", errors="replace") as lines:
        sizes = dict(_meta_line(line.rstrip(), f"{where}: meta_info.txt, line {n}") for n, line in enumerate(lines, 1))
    stored = _entries(root, where)
    if stored == 0 or stored not in (None, len(sizes)):
        raise DataError(f"{where}: holds {stored} images and meta_info.txt lists {len(sizes)}")
    return sizes


def _meta_line(line: str, where: str) -> Tuple[str, Size]:
    match = re.fullmatch(r"(.+)\.\w+ \((\d+),(\d+),\d+\)( \d+)?", line)
    if match is None:
        raise DataError(f"{where}: not like 'name.png (480,480,3) 1' but {line!r}")
    key, height, width, _ = match.groups()
    if "." in key:
        raise DataError(f"{where}: the name {key!r} has a dot, where BasicSR would cut it")
    return key, (int(height), int(width))


def _entries(root: Path, where: str) -> Optional[int]:
    """How many images data.mdb holds; None when this process has it open, so that it cannot be opened again."""
    import lmdb

    try:
        with lmdb.open(str(root), readonly=True, lock=False) as env:
            return env.stat()["entries"]
    except lmdb.Error as error:
        if "already open" in str(error):
            return None
        raise DataError(f"{where}: data.mdb cannot be opened: {error}") from error
