"""Seeded damage to the bytes of a file: what a bad disk, a cut transfer or a hostile program make of it."""

import struct
from random import Random
from typing import Callable, Tuple

#: Numbers at which programs that read sizes and places go wrong.
_EXTREMES = (0, 1, 2, 7, 255, 4097, 32767, 65500, 65535, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, (1 << 63) - 1)
#: Bytes at the beginning, where headers are, that are changed as often as all the others.
_HEADER = 160


def mutated(rng: Random, data: bytes) -> bytes:
    """A copy with one to four places damaged."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        if data:
            data = rng.choice(_WAYS)(rng, data)
    return data


def _place(rng: Random, data: bytes) -> int:
    return rng.randrange(min(len(data), _HEADER) if rng.random() < 0.5 else len(data))


def _range(rng: Random, data: bytes) -> Tuple[int, int]:
    start = _place(rng, data)
    return start, min(len(data), start + rng.choice((1, 2, 4, 16, 100, 1000, 5000)))


def _flipped(rng: Random, data: bytes) -> bytes:
    place = _place(rng, data)
    return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]


def _replaced(rng: Random, data: bytes) -> bytes:
    start, stop = _range(rng, data)
    return data[:start] + rng.randbytes(stop - start) + data[stop:]


def _zeroed(rng: Random, data: bytes) -> bytes:
    start, stop = _range(rng, data)
    return data[:start] + bytes(stop - start) + data[stop:]


def _cut(rng: Random, data: bytes) -> bytes:
    return data[: _place(rng, data)]


def _removed(rng: Random, data: bytes) -> bytes:
    start, stop = _range(rng, data)
    return data[:start] + data[stop:]


def _repeated(rng: Random, data: bytes) -> bytes:
    start, stop = _range(rng, data)
    return data[:stop] + data[start:stop] * rng.choice((1, 1, 2, 30)) + data[stop:]


def _moved(rng: Random, data: bytes) -> bytes:
    start, stop = _range(rng, data)
    place = _place(rng, data)
    return data[:place] + data[start:stop] + data[place + stop - start :]


def _extreme(rng: Random, data: bytes) -> bytes:
    """A number of 1 to 8 bytes, in either order, with a value that is too large, too small or nearly."""
    place, size = _place(rng, data), rng.choice((1, 2, 2, 4, 4, 4, 8))
    value = rng.choice(_EXTREMES) & (1 << 8 * size) - 1
    code = rng.choice("<>") + {1: "B", 2: "H", 4: "I", 8: "Q"}[size]
    return data[:place] + struct.pack(code, value) + data[place + size :]


_Way = Callable[[Random, bytes], bytes]
_WAYS: Tuple[_Way, ...] = (
    *(_flipped, _flipped, _extreme, _extreme, _extreme, _replaced, _zeroed, _cut, _removed, _repeated, _moved),
)
