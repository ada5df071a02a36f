"""Files are written aside and renamed, so that an interrupted run leaves the old file or the new one, never a half."""

import os
import re
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Iterator, List, Union

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

#: The names of the folders that `written_aside` makes: ``.<name>.<eight characters of tempfile>``.
_ASIDE = re.compile(r"\.(?P<name>.+)\.[a-z0-9_]{8}")


@contextmanager
def written_aside(path: Union[str, os.PathLike]) -> Iterator[Path]:
    """Give a path to write to; on success it becomes ``path`` in one step, on an exception it is removed.

    Works for a file and for a folder (a folder must not exist yet at ``path``). The parent folder is made if need be.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    workplace = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        with _locked(workplace):
            aside = workplace / path.name
            yield aside
            os.replace(aside, path)
    finally:
        shutil.rmtree(workplace, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Within the block, whether this process alone holds the folder; a process that ends lets go of it."""
    if fcntl is None:
        yield False
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        locked = False
        with suppress(OSError):  # held by another process, or a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            locked = True
        yield locked
    finally:
        os.close(handle)


def remove_leftovers(folder: Union[str, os.PathLike]) -> List[Path]:
    """Remove what `written_aside` has left in a folder in processes that were killed. Returns what was removed.

    A folder is taken for a leftover if it has such a name, holds nothing but the file of that name, and if no process
    that lives holds it.
    """
    removed = []
    for path in sorted(Path(folder).glob(".*")):
        found = _ASIDE.fullmatch(path.name)
        if found is None or path.is_symlink() or not path.is_dir():
            continue
        if {entry.name for entry in path.iterdir()} <= {found["name"]}:
            with _locked(path) as locked:
                if locked:
                    shutil.rmtree(path, ignore_errors=True)
                    removed.append(path)
    return removed
