"""The file of an LMDB, checked without LMDB: a damaged one would end the process (SIGBUS, or an assertion).

LMDB maps ``data.mdb`` into memory and follows the page numbers in it. Here the same tree is read with ordinary reads,
and everything that LMDB would follow is compared with the size of the file. The format is that of LMDB 0.9: a page has
a header of 16 bytes; the first two pages are meta pages, of which the one with the later transaction counts; pages of
branches and leaves have a list of offsets of their nodes; a value that fits no leaf has pages of its own.
"""

import os
import struct
from pathlib import Path
from typing import BinaryIO, Iterator, List, NamedTuple, Optional, Set, Tuple

from quantnas_sr.errors import DataError

_PAGE = struct.Struct("=QHHHH")  # number, pad, flags, and the end and the start of the space between offsets and nodes
_META = struct.Struct("=IIQQ")  # magic, version, address, size of the map
_DATABASE = struct.Struct("=IHHQQQQQ")  # pad, flags, depth, pages of three kinds, entries, root
_NODE = struct.Struct("=HHHH")  # low and high half of the size, flags, size of the key
_MAGIC, _VERSION = 0xBEEFC0DE, 1
_BRANCH, _LEAF, _META_PAGE, _LARGE_VALUE = 1, 2, 8, 1
#: Flags of the list of free pages, whose keys are integers; the tree of images has none.
_FREE_PAGES = 8
_NO_PAGE = (1 << 64) - 1
_PAGE_SIZES = tuple(1 << bits for bits in range(8, 17))
#: Depth of the deepest tree that LMDB goes down.
_DEEPEST = 32
#: The largest map, that of a processor with 48 bits of addresses.
_LARGEST_MAP = 1 << 47


class _Meta(NamedTuple):
    page_size: int
    transaction: int
    depth: int
    entries: int
    root: int
    last_page: int


class _Damage(Exception):
    """What is wrong with a file."""


def keys_of(path: Path, where: str) -> List[str]:
    """The keys of an LMDB in order, from a file in which everything is where it should be.

    Args:
        path: ``data.mdb``.
        where: the start of the message of an error.

    Raises:
        DataError: it is damaged, cut off, or no LMDB; one line.
    """
    try:
        with path.open("rb") as file:
            tree = _Tree(file)
            keys = list(tree.keys())
            if len(keys) != tree.meta.entries:
                raise _Damage(f"it has {len(keys)} of {tree.meta.entries} entries")
        return [key.decode("ascii") for key in keys]
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: data.mdb: the key {error.object[:40]!r} is not ASCII") from None
    except _Damage as damage:
        raise DataError(f"{where}: data.mdb is damaged: {damage}; make it again, or copy it again") from None
    except OSError as error:
        raise DataError(f"{where}: data.mdb cannot be read ({error.strerror or error})") from None


class _Tree:
    """The pages of an LMDB."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._size = file, os.fstat(file.fileno()).st_size
        first = self._meta(0)
        self.page_size = first.page_size
        self.meta = max(first, self._meta(self.page_size), key=lambda meta: meta.transaction)
        if self.meta.page_size != self.page_size:
            raise _Damage("its two meta pages have different sizes of pages")
        self._seen: Set[int] = set()

    def _read(self, start: int, count: int) -> bytes:
        self._file.seek(start)
        data = self._file.read(count)
        if len(data) != count:
            raise _Damage(f"it ends after {self._size} bytes, within a page that it needs")
        return data

    def _meta(self, start: int) -> _Meta:
        page_flags = _PAGE.unpack(self._read(start, _PAGE.size))[2]
        data = self._read(start + _PAGE.size, _META.size + 2 * _DATABASE.size + 16)
        magic, version, _, map_size = _META.unpack_from(data)
        if magic != _MAGIC or not page_flags & _META_PAGE:
            raise _Damage("it does not begin as an LMDB")
        free, main = (_DATABASE.unpack_from(data, _META.size + i * _DATABASE.size) for i in (0, 1))
        page_size, (pad, flags, depth, *_, entries, root) = free[0], main
        if version != _VERSION or page_size not in _PAGE_SIZES:
            raise _Damage(f"version {version} with pages of {page_size} bytes is not read")
        last_page, transaction = struct.unpack_from("=QQ", data, _META.size + 2 * _DATABASE.size)
        larger_than_any = depth > _DEEPEST or max(map_size, last_page * page_size) > _LARGEST_MAP
        if free[1] != _FREE_PAGES or flags or pad or larger_than_any:
            raise _Damage("a meta page has values that no LMDB of images has")
        return _Meta(page_size, transaction, depth, entries, root, last_page)

    def keys(self) -> Iterator[bytes]:
        """All keys in their order."""
        if self.meta.root != _NO_PAGE:
            yield from self._below(self.meta.root, self.meta.depth, b"", None)

    def _below(self, number: int, depth: int, low: bytes, high: Optional[bytes]) -> Iterator[bytes]:
        """The keys of a page and of those below it, which lie in ``low <= key < high``."""
        page, nodes = self._page(number, _LEAF if depth == 1 else _BRANCH)
        if depth == 1:
            for key, start in nodes:
                self._check_value(page, start, len(key))
        # The first key of a branch is not looked at, as everything before the second one is below it.
        keys = [low, *(key for key, _ in nodes[1:])] if depth > 1 else [key for key, _ in nodes]
        if any(a >= b for a, b in zip(keys, keys[1:])) or keys[0] < low or (high is not None and keys[-1] >= high):
            raise _Damage(f"page {number} has keys out of order")
        if depth == 1:
            yield from keys
            return
        for (_, start), first, end in zip(nodes, keys, [*keys[1:], high]):
            lower, middle, upper, _ = _NODE.unpack_from(page, start)
            yield from self._below(lower | middle << 16 | upper << 32, depth - 1, first, end)

    def _page(self, number: int, kind: int) -> Tuple[bytes, List[Tuple[bytes, int]]]:
        """A page, and the keys and places of its nodes."""
        self._check_number(number)
        if number in self._seen:
            raise _Damage(f"page {number} is used twice")
        self._seen.add(number)
        page = self._read(number * self.page_size, self.page_size)
        own, _, flags, lower, _ = _PAGE.unpack_from(page)
        count = (lower - _PAGE.size) // 2
        least = 2 if kind == _BRANCH else 1
        if own != number or flags & 0xFF != kind or count < least or lower > self.page_size:
            raise _Damage(f"page {number} is not what it should be")
        starts = struct.unpack_from(f"={count}H", page, _PAGE.size)
        return page, [(self._key(page, number, start), start) for start in starts]

    def _check_number(self, number: int) -> None:
        if not 2 <= number <= self.meta.last_page or (number + 1) * self.page_size > self._size:
            raise _Damage(f"page {number} is outside of the file")

    def _key(self, page: bytes, number: int, start: int) -> bytes:
        if start + _NODE.size > self.page_size:
            raise _Damage(f"a node of page {number} is outside of it")
        length = _NODE.unpack_from(page, start)[3]
        begin = start + _NODE.size
        if begin + length > self.page_size:
            raise _Damage(f"a key of page {number} is outside of it")
        return page[begin : begin + length]

    def _check_value(self, page: bytes, start: int, key_length: int) -> None:
        low, high, flags, _ = _NODE.unpack_from(page, start)
        size, begin = low | high << 16, start + _NODE.size + key_length
        if flags == 0:
            end, limit = begin + size, self.page_size
        elif flags == _LARGE_VALUE and begin + 8 <= self.page_size:
            (number,) = struct.unpack_from("=Q", page, begin)
            end, limit = number * self.page_size + _PAGE.size + size, self._size
            self._check_number(number)
        else:
            raise _Damage("an entry is no plain value")
        if end > limit:
            raise _Damage("a value goes beyond the end of the file")
