"""Files are written aside and renamed, so that an interrupted run leaves the old file or the new one, never a half."""

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Union


@contextmanager
def written_aside(path: Union[str, os.PathLike]) -> Iterator[Path]:
    """Give a path to write to; on success it becomes ``path`` in one step, on an exception it is removed.

    Works for a file and for a folder (a folder must not exist yet at ``path``). The parent folder is made if need be.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    workplace = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        aside = workplace / path.name
        yield aside
        os.replace(aside, path)
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
