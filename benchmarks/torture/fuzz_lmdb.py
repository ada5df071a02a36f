"""Damages LMDBs and their meta_info.txt, checks them as a run does, and reads from those that pass as BasicSR does."""

import shutil
from pathlib import Path
from random import Random
from typing import Any, Callable

import fuzzing
import lmdb
from broken_bytes import mutated

from quantnas_sr.data.lmdbs import meta_info
from quantnas_sr.errors import DataError

#: Keys, and bytes of values: some in leaves, some on pages of their own; enough for branches above the leaves.
KEYS, LENGTHS = 60, (30, 700, 1500, 3000, 9000)


class Lmdbs:
    """An LMDB of images."""

    name = "LMDBs"
    limits = fuzzing.Limits()

    def prepare(self, folder: Path) -> None:
        """Write the whole one."""
        rng = Random(0)
        with lmdb.open(str(folder / "whole"), map_size=1 << 24) as whole, whole.begin(write=True) as transaction:
            for number in range(KEYS):
                transaction.put(f"{number:04}_s001".encode("ascii"), rng.randbytes(rng.choice(LENGTHS)))
        self.data = (folder / "whole/data.mdb").read_bytes()
        self.listed = "".join(f"{number:04}_s001.png (480,480,3) 1\n" for number in range(KEYS)).encode("ascii")
        shutil.rmtree(folder / "whole")
        self.root = folder / "x.lmdb"
        self.root.mkdir()

    def case(self, rng: Random) -> Callable[[], Any]:
        """Damage one of its two files."""
        in_list = rng.random() < 0.2
        data = self.data
        if not in_list:
            data = mutated(rng, data) if rng.random() < 0.5 else _page_damaged(rng, data)
        (self.root / "data.mdb").write_bytes(data)
        (self.root / "meta_info.txt").write_bytes(mutated(rng, self.listed) if in_list else self.listed)
        return self._read

    def _read(self) -> None:
        keys = meta_info(self.root, "an LMDB")
        with lmdb.open(str(self.root), readonly=True, lock=False, readahead=False) as opened, opened.begin() as reading:
            for key in keys:
                try:
                    assert reading.get(key.encode("ascii")) is not None, f"{key} is not found"
                except lmdb.CorruptedError as error:  # a page of a value, which is not looked at before it is read
                    raise DataError(f"{key}: the image cannot be read from the LMDB ({error})") from None


def _page_damaged(rng: Random, data: bytes) -> bytes:
    """Damage to one page, near its beginning as often as elsewhere."""
    start = rng.randrange(len(data) // 4096) * 4096
    return data[:start] + mutated(rng, data[start : start + 4096])[:4096].ljust(4096, b"\0") + data[start + 4096 :]


if __name__ == "__main__":
    fuzzing.main(Lmdbs())
