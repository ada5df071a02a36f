"""A look at a paired data set before a run starts: what BasicSR would only meet in the middle of it, or not at all."""

import os
import re
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, Optional, Tuple

from PIL import Image
from tqdm import tqdm

from quantnas_sr.errors import DataError, unknown

PAIRED = "PairedImageDataset"
WRAPPER = "QuantNASSearchDataset"
ROOTS = ("dataroot_gt", "dataroot_lq")
BACKENDS = ("disk", "lmdb", "memcached")
NAMED_IN_ERRORS = 3
SECONDS_WITHOUT_PROGRESS_BAR = 2
#: GT of a test set is often cropped to multiples of 12 before it is shrunk, and published uncropped.
LARGEST_VALIDATION_MARGIN = 11
SIDEWAYS = (5, 6, 7, 8)
ORIENTATION_TAG = 274

Size = Tuple[int, int]
SizedPair = Tuple[str, Size, Size]


def check_paired_dataset(opt: dict, where: str) -> None:
    """Raise DataError, in one line, when BasicSR's PairedImageDataset could not be trained or tested on ``opt``.

    Looked at: the folders or LMDBs, whether GT and LQ have the same images, and all sizes, which are read from file
    headers or meta_info.txt. Other types of dataset pass. ``where`` is the place of ``opt`` in the options file, such
    as ``datasets.train``.
    """
    if not _is_paired(opt):
        return
    scale = _positive(opt, "scale", where)
    patch = _patch(opt, scale, where)
    backend = (opt.get("io_backend") or {}).get("type", "disk")
    if backend not in BACKENDS:
        raise DataError(unknown("io_backend type", backend, BACKENDS, where=where))
    if backend == "memcached":
        return
    gt, lq = (_root(opt, key, where) for key in ROOTS)
    pairs = _lmdb_sizes(gt, lq, where) if backend == "lmdb" else _file_sizes(opt, gt, lq, where)
    _check_sizes(list(pairs), scale, patch, where)


def _is_paired(opt: dict) -> bool:
    kind = opt.get("type")
    return (opt.get("dataset", PAIRED) if kind == WRAPPER else kind) == PAIRED


def _positive(opt: dict, key: str, where: str) -> int:
    value = opt.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise DataError(f"{where}: {key} must be a whole number above 0, not {value!r}")
    return value


def _patch(opt: dict, scale: int, where: str) -> Optional[int]:
    """The side of a training patch; None for validation, where images stay whole."""
    if opt.get("phase", "train") != "train":
        return None
    size = _positive(opt, "gt_size", where)
    if size % scale:
        raise DataError(f"{where}: gt_size {size} must be a multiple of the scale {scale}")
    return size


def _root(opt: dict, key: str, where: str) -> Path:
    value = opt.get(key)
    if not isinstance(value, (str, os.PathLike)) or not str(value):
        raise DataError(f"{where}: {key} must be the path of a folder or an LMDB, not {value!r}")
    lmdb = (opt.get("io_backend") or {}).get("type") == "lmdb"
    if lmdb and not str(value).endswith(".lmdb"):
        raise DataError(f"{where}: {key} {value}: io_backend type lmdb needs a path that ends in .lmdb")
    root = Path(value).expanduser()
    if not root.is_dir():
        raise DataError(f"{where}: {key} {value}: {'not a folder' if root.exists() else 'no such folder'}")
    if not lmdb and (root / "data.mdb").exists():
        raise DataError(f"{where}: {key} {value}: this is an LMDB, which needs io_backend: {{type: lmdb}}")
    return root


def _some(names: Iterable[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:NAMED_IN_ERRORS]) + (", ..." if len(ordered) > NAMED_IN_ERRORS else "")


def _check_same(gt: Iterable[str], lq: Iterable[str], where: str, hint: str = "") -> None:
    """Raise DataError unless ``gt``, the names that LQ should have, are those that it has, ``lq``."""
    for key, lacking in (("dataroot_lq", set(gt) - set(lq)), ("dataroot_gt", set(lq) - set(gt))):
        if lacking:
            other = "dataroot_gt" if key == "dataroot_lq" else "dataroot_lq"
            raise DataError(f"{where}: {key} lacks {len(lacking)} images that {other} has: {_some(lacking)}{hint}")


# LMDB


def _lmdb_sizes(gt: Path, lq: Path, where: str) -> Iterator[SizedPair]:
    gt_sizes, lq_sizes = (_meta_info(root, f"{where}: {key} {root}") for root, key in zip((gt, lq), ROOTS))
    _check_same(gt_sizes, lq_sizes, where)
    return ((key, size, lq_sizes[key]) for key, size in gt_sizes.items())


def _meta_info(root: Path, where: str) -> Dict[str, Size]:
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


# Folders


def _pairs_of_files(opt: dict, gt: Path, lq: Path, where: str) -> List[Tuple[Path, Path]]:
    """(GT, LQ) files, paired as BasicSR pairs them: LQ's name is ``filename_tmpl`` of GT's, extension and all."""
    template = opt.get("filename_tmpl", "{}")
    if not isinstance(template, str) or template.count("{}") != 1 or re.search("[{}]", template.replace("{}", "")):
        raise DataError(f"{where}: filename_tmpl must have one {{}} for the name of the GT file, not {template!r}")
    listed = opt.get("meta_info_file")
    gt_names = _files(gt, "dataroot_gt", where) if listed is None else _listed(listed, where)
    lq_names = _files(lq, "dataroot_lq", where)
    partners = {name: _partner(name, template) for name in gt_names}
    expected = set(partners.values())
    present = set(lq_names) if listed is None else expected.intersection(lq_names)
    _check_same(expected, present, where, _hint(partners, lq_names))
    if listed is not None:
        absent = [name for name in gt_names if not (gt / name).is_file()]
        if absent:
            raise DataError(f"{where}: dataroot_gt {gt} lacks {len(absent)} images of meta_info_file: {_some(absent)}")
    return [(gt / name, lq / partner) for name, partner in partners.items()]


def _files(root: Path, key: str, where: str) -> List[str]:
    names = sorted(entry.name for entry in os.scandir(root) if entry.is_file() and not entry.name.startswith("."))
    if not names:
        raise DataError(f"{where}: {key} {root}: no files in it (folders inside are not searched)")
    return names


def _listed(meta_info_file: str, where: str) -> List[str]:
    path = Path(meta_info_file).expanduser()
    if not path.is_file():
        raise DataError(f"{where}: meta_info_file {meta_info_file}: no such file")
    names = [line.strip().split(" ")[0] for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    if not names or not all(names):
        raise DataError(f"{where}: meta_info_file {meta_info_file}: must have the name of an image on each line")
    return names


def _partner(name: str, template: str) -> str:
    stem, extension = os.path.splitext(os.path.basename(name))
    return f"{template.format(stem)}{extension}"


def _hint(partners: Dict[str, str], lq_names: List[str]) -> str:
    """What may be wrong when LQ lacks the partner of the first GT image."""
    present = set(lq_names)
    lacking = [name for name, partner in partners.items() if partner not in present]
    if not lacking:
        return ""
    stem, extension = os.path.splitext(os.path.basename(lacking[0]))
    for name in lq_names:
        lq_stem, lq_extension = os.path.splitext(name)
        if lq_stem == stem and lq_extension != extension:
            return f" (GT and LQ need the same extension; there is {name})"
        if lq_stem != stem and lq_stem.startswith(stem) and lq_extension == extension:
            return f" (there is {name}: filename_tmpl: '{{}}{lq_stem[len(stem) :]}'?)"
    return ""


def _file_sizes(opt: dict, gt: Path, lq: Path, where: str) -> Iterator[SizedPair]:
    pairs = _pairs_of_files(opt, gt, lq, where)
    delay = SECONDS_WITHOUT_PROGRESS_BAR
    for gt_file, lq_file in tqdm(pairs, desc=f"checking {where}", unit="pair", delay=delay, leave=False):
        yield gt_file.name, _image_size(gt_file, where), _image_size(lq_file, where)


def _image_size(path: Path, where: str) -> Size:
    """(height, width) as decoded, that is after EXIF orientation, read from the header."""
    try:
        with Image.open(path) as header:
            width, height = header.size
            sideways = "exif" in header.info and header.getexif().get(ORIENTATION_TAG) in SIDEWAYS
    except Image.DecompressionBombError:
        raise DataError(f"{where}: {path}: too large, cut it into sub-images (`quantnas prepare folder`)") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{where}: {path}: does not decode as an image") from error
    return (width, height) if sideways else (height, width)


# Sizes


def _check_sizes(pairs: List[SizedPair], scale: int, patch: Optional[int], where: str) -> None:
    margin = LARGEST_VALIDATION_MARGIN if patch is None else 0
    wrong = [pair for pair in pairs if not _fits(pair, scale, margin)]
    if wrong:
        name, gt, lq = wrong[0]
        raise DataError(
            f"{where}: GT must be {scale} times as large as LQ; of {name} GT is {_text(gt)} and LQ is {_text(lq)} "
            f"({len(wrong)} of {len(pairs)} pairs are wrong)"
        )
    small = [(name, gt) for name, gt, _ in pairs if patch is not None and min(gt) < patch]
    if small:
        named = ", ".join(f"{name} ({_text(size)})" for name, size in small[:NAMED_IN_ERRORS])
        largest = min(min(size) for _, size in small)
        raise DataError(
            f"{where}: {len(small)} of {len(pairs)} GT images are smaller than gt_size {patch}: {named}; "
            f"leave them out, or set gt_size to {largest} or less"
        )


def _fits(pair: SizedPair, scale: int, margin: int) -> bool:
    _, gt, lq = pair
    return all(0 <= gt_side - scale * lq_side <= margin for gt_side, lq_side in zip(gt, lq))


def _text(size: Size) -> str:
    return f"{size[1]}x{size[0]}"
