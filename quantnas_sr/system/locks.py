"""Locks between processes; one that ends, by SIGKILL too, lets go of its own."""

from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

from filelock import FileLock, Timeout


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Within the block, whether this process alone holds the lock of this file, which is made if need be."""
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
