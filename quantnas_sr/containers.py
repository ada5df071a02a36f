"""What a ``.pth`` is stored in, looked at before anything of it is loaded: sizes, and names that take memory."""

import pickle
import pickletools
import stat
import zipfile
from pathlib import Path
from typing import BinaryIO

from quantnas_sr.errors import CheckpointError, printable

#: Bytes of the part that says what there is, without the values.
_LONGEST_PICKLE = 2**26
#: Beyond the size of the file: headers that several entries share.
_SLACK = 2**20
#: Tuples of a pickle. Where 150,000 are in one another, Python's hash of them ends the process.
_MOST_TUPLES = 80_000
_TUPLES = (pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3)
#: Python's own types that torch lets a checkpoint make in any size.
_REFUSED = ("bytearray",)


def check_container(path: Path) -> None:
    """Look at the file of a checkpoint without loading it.

    Raises:
        OSError: it cannot be read.
        CheckpointError: it is not a file, unpacks to more than its own size, or would take memory by what it names.
    """
    status = path.stat()
    if stat.S_ISFIFO(status.st_mode) or stat.S_ISCHR(status.st_mode) or stat.S_ISSOCK(status.st_mode):
        raise CheckpointError("not a file but a pipe or a device")
    with path.open("rb") as stream:
        if not zipfile.is_zipfile(stream):
            stream.seek(0)
            _check_pickles(stream)
            return
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        unpacked = sum(entry.file_size for entry in entries)
        if unpacked > status.st_size + _SLACK:
            raise CheckpointError(f"unpacks to {unpacked} bytes from {status.st_size}; PyTorch compresses nothing")
        for entry in entries:
            if entry.filename.endswith("data.pkl"):
                if entry.file_size <= _LONGEST_PICKLE and _is_short(archive.read(entry)):
                    continue
                with archive.open(entry) as stream:
                    _check_pickles(stream)


def _is_short(pickled: bytes) -> bool:
    """Whether a pickle cannot be above any limit: what its bytes show at once, without following them."""
    tuples = sum(map(pickled.count, _TUPLES))
    named = any(name.encode() in pickled for name in _REFUSED)
    return tuples <= _MOST_TUPLES and not named


def _check_pickles(stream: BinaryIO) -> None:
    """One pickle after another, as far as there are some: the older format has four, and the values behind them."""
    for _ in range(4):
        if not _check_pickle(stream):
            return


def _check_pickle(stream: BinaryIO) -> bool:
    """Whether there was a pickle."""
    tuples, start = 0, stream.tell()
    try:
        for opcode, argument, position in pickletools.genops(stream):
            names = str(argument).split() if opcode.name == "GLOBAL" else []
            if any(name in _REFUSED for name in names):
                raise CheckpointError(
                    f"it holds {printable('.'.join(names))}, and only tensors and plain data are loaded"
                )
            tuples += opcode.name.startswith("TUPLE")
            if tuples > _MOST_TUPLES or (position or 0) - start > _LONGEST_PICKLE:
                raise CheckpointError("it says more of its values than a network could have")
    except CheckpointError:
        raise
    except Exception:  # not a pickle, or a damaged one: torch says so in its own words
        return False
    return True
