"""Images of folders, paired as BasicSR pairs them; their sizes are read from the headers of the files."""

import os
import re
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

from tqdm import tqdm

from quantnas_sr.data.pairs import Size, SizedPair, check_same, shortened, some
from quantnas_sr.errors import DataError
from quantnas_sr.images.header import read_header
from quantnas_sr.images.limits import MOST_PIXELS, OPENCV_PIXELS

SECONDS_WITHOUT_PROGRESS_BAR = 2
#: Bytes of the longest list of images that is read.
LONGEST_LIST = 256 << 20


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
    named = f"{where}: meta_info_file {meta_info_file}"
    path = Path(meta_info_file).expanduser()
    if not path.is_file():
        raise DataError(f"{named}: no such file")
    names = [line.strip().split(" ")[0] for line in read_list(path, named)]
    if not names or not all(names):
        raise DataError(f"{named}: must have the name of an image on each line")
    outside = [name for name in names if leaves_folder(name)]
    if outside:
        raise DataError(f"{named}: {shortened(outside[0])!r} leads out of the folder of the images")
    return names


def read_list(path: Path, named: str) -> List[str]:
    """The lines of a list of images; raises DataError if it cannot be read, or is too long to be one."""
    try:
        with path.open("rb") as file:
            data = file.read(LONGEST_LIST + 1)
    except OSError as error:
        raise DataError(f"{named}: cannot be read ({error.strerror or error})") from None
    if len(data) > LONGEST_LIST:
        raise DataError(f"{named}: more than {LONGEST_LIST >> 20} MiB, too long for a list of images")
    text = re.sub(r"\r\n?", "\n", data.decode("utf-8", errors="replace"))
    return text[: -1 if text.endswith("\n") else None].split("\n") if text else []


def leaves_folder(name: str) -> bool:
    """Whether a relative name of a file, written for any system, is outside of the folder that it is relative to.

    >>> leaves_folder("deep/0001.png"), leaves_folder("../secret.png"), leaves_folder("C:secret.png")
    (False, True, True)
    """
    parts = re.split(r"[/\\]", name)
    return parts[0] == "" or ".." in parts or ":" in parts[0] or "\0" in name


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
        header = read_header(path, OPENCV_PIXELS)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None
    if header.height * header.width > MOST_PIXELS:
        raise DataError(f"{where}: {path}: too large, cut it into sub-images (`quantnas prepare folder`)")
    return header.height, header.width
