"""The images of a folder, and the files that are left out."""

import os
from collections import Counter
from pathlib import Path
from typing import Iterator, List, Optional, Sequence

from quantnas_sr.errors import DataError
from quantnas_sr.images.formats import package_for

#: Files that are named one by one when they are left out; of more, the suffixes are counted.
_NAMED = 20


def files_in(folder: Path, excluded: Optional[Path] = None) -> Iterator[Path]:
    """The files under a folder; hidden files and hidden folders are ignored.

    Links to folders are followed. A folder that can be reached in several ways is visited once, and by its own path
    rather than through a link, so that a link to a parent does not loop.

    Args:
        folder: where to look.
        excluded: a folder that is not looked into.

    Raises:
        DataError: a folder cannot be read.
    """
    visited = set() if excluded is None else {os.path.realpath(excluded)}
    waiting, links = [Path(folder)], []
    while waiting or links:
        place = waiting.pop() if waiting else links.pop(0)
        real = os.path.realpath(place)
        if real in visited:
            continue
        visited.add(real)
        for path in _visible(place):
            if not os.path.isdir(path):
                yield path
            elif path.is_symlink():
                links.append(path)
            else:
                waiting.append(path)


def _visible(folder: Path) -> List[Path]:
    try:
        return [folder / name for name in sorted(os.listdir(folder)) if not name.startswith(".")]
    except OSError as error:
        raise DataError(f"{folder}: the folder cannot be read ({error.strerror or error})") from None


def left_out_line(paths: Sequence[Path], wanted: str = "an image or a video") -> str:
    """The line that counts and names the files of a folder that are not used.

    Args:
        paths: the files, at least one.
        wanted: what they cannot be read as.

    >>> left_out_line([Path("in/notes.txt")])
    'left out: 1 file that cannot be read as an image or a video: in/notes.txt'
    """
    named = ", ".join(str(path) for path in sorted(paths)[:_NAMED])
    if len(paths) > _NAMED:
        rest = Counter(path.suffix.lower() or "without a suffix" for path in sorted(paths)[_NAMED:])
        kinds = ", ".join(f"{count} {kind}" for kind, count in rest.most_common())
        named += f" and {len(paths) - _NAMED} more ({kinds})"
    hints = sorted({f"; pip install {name} to read {s}" for s in _suffixes(paths) for name in package_for(s)})
    count = f"{len(paths)} file{'s' if len(paths) > 1 else ''}"
    return f"left out: {count} that cannot be read as {wanted}: {named}{''.join(hints)}"


def _suffixes(paths: Sequence[Path]) -> List[str]:
    return sorted({path.suffix.lower() for path in paths})
