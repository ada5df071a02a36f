"""Images of folders, paired as BasicSR pairs them; their sizes are read from the headers of the files."""

import os
import re
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

from PIL import Image
from tqdm import tqdm

from quantnas_sr.data.pairs import Size, SizedPair, check_same, some
from quantnas_sr.errors import DataError

SECONDS_WITHOUT_PROGRESS_BAR = 2
#: Orientations of EXIF that exchange height and width.
SIDEWAYS = (5, 6, 7, 8)
ORIENTATION_TAG = 274


def pairs_of_files(opt: Dict[str, Any], gt: Path, lq: Path, where: str) -> List[Tuple[Path, Path]]:
    """(GT, LQ) files, paired as BasicSR pairs them: LQ's name is ``filename_tmpl`` of GT's, extension and all."""
    template = opt.get("filename_tmpl", "{}")
    if not isinstance(template, str) or template.count("{}") != 1 or re.search("[{}]", template.replace("{}", "")):
        raise DataError(f"{where}: filename_tmpl must have one {{}} for the name of the GT file, not {template!r}")
    listed = opt.get("meta_info_file")
    gt_names = files_in(gt, "dataroot_gt", where) if listed is None else listed_names(listed, where)
    lq_names = files_in(lq, "dataroot_lq", where)
    partners = {name: _partner(name, template) for name in gt_names}
    expected = set(partners.values())
    present = set(lq_names) if listed is None else expected.intersection(lq_names)
    check_same(expected, present, where, _hint(partners, lq_names))
    if listed is not None:
        absent = [name for name in gt_names if not (gt / name).is_file()]
        if absent:
            raise DataError(f"{where}: dataroot_gt {gt} lacks {len(absent)} images of meta_info_file: {some(absent)}")
    return [(gt / name, lq / partner) for name, partner in partners.items()]


def files_in(root: Path, key: str, where: str) -> List[str]:
    """The names of all files in a folder that are not hidden; raises DataError if there are none."""
    names = sorted(entry.name for entry in os.scandir(root) if entry.is_file() and not entry.name.startswith("."))
    if not names:
        raise DataError(f"{where}: {key} {root}: no files in it (folders inside are not searched)")
    return names


def listed_names(meta_info_file: Any, where: str) -> List[str]:
    """The names of images in a ``meta_info_file``, one on each line; raises DataError if they cannot be read."""
    if not isinstance(meta_info_file, str):
        raise DataError(f"{where}: meta_info_file must be the path of a file, not {meta_info_file!r}")
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


def paired_sizes(opt: Dict[str, Any], gt: Path, lq: Path, where: str) -> Iterator[SizedPair]:
    """The sizes of all pairs of two folders; raises DataError where images lack a partner or cannot be read."""
    pairs = pairs_of_files(opt, gt, lq, where)
    delay = SECONDS_WITHOUT_PROGRESS_BAR
    for gt_file, lq_file in tqdm(pairs, desc=f"checking {where}", unit="pair", delay=delay, leave=False):
        yield gt_file.name, image_size(gt_file, where), image_size(lq_file, where)


def image_size(path: Path, where: str) -> Size:
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
