"""An LMDB is checked before LMDB maps it: damage is one line, and no signal that ends the process."""

import struct
from pathlib import Path

import lmdb
import pytest

from quantnas_sr.data.folders import listed_names
from quantnas_sr.data.lmdb_file import keys_of
from quantnas_sr.data.lmdbs import meta_info
from quantnas_sr.errors import DataError

PAGE = 4096


def write(folder: Path, number: int, length: int, key: str = "{:05}_s001") -> Path:
    folder.mkdir(parents=True)
    with lmdb.open(str(folder), map_size=1 << 26) as opened, opened.begin(write=True) as transaction:
        for i in range(number):
            transaction.put(key.format(i).encode(), bytes([i % 256]) * length)
    names = (f"{key.format(i)}.png (48,48,3) 1\n" for i in range(number))
    (folder / "meta_info.txt").write_text("".join(names), encoding="utf-8")
    return folder


@pytest.mark.parametrize("number, length", [(1, 10), (60, 30), (60, 1500), (3, 9000), (2000, 30), (500, 3000)], ids=str)
def test_the_keys_are_those_that_lmdb_finds(tmp_path, number, length):
    root = write(tmp_path / "x.lmdb", number, length)
    with lmdb.open(str(root), readonly=True, lock=False) as opened, opened.begin() as reading:
        assert keys_of(root / "data.mdb", "x") == [key.decode() for key in reading.cursor().iternext(values=False)]
    assert list(meta_info(root, "x").values()) == [(48, 48)] * number


def test_keys_after_many_transactions(tmp_path):
    """Old pages are used again, and the other meta page counts after each."""
    write(tmp_path / "x.lmdb", 50, 700)
    for turn in range(5):
        with lmdb.open(str(tmp_path / "x.lmdb"), map_size=1 << 26) as opened, opened.begin(write=True) as transaction:
            for i in range(turn, 50, 3):
                transaction.delete(f"{i:05}_s001".encode())
                transaction.put(f"new{i:05}".encode(), b"x" * 3000)
        with lmdb.open(str(tmp_path / "x.lmdb"), readonly=True, lock=False) as opened, opened.begin() as reading:
            there = [key.decode() for key in reading.cursor().iternext(values=False)]
        assert keys_of(tmp_path / "x.lmdb/data.mdb", "x") == there


def complaint(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        meta_info(root, "datasets.train: dataroot_gt x.lmdb")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("datasets.train: dataroot_gt x.lmdb: ")
    return str(caught.value)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("length", [30, 9000])
def test_a_file_that_was_cut_off(tmp_path, share, length):
    """LMDB maps it, and the first value behind the end is a SIGBUS."""
    data = write(tmp_path / "x.lmdb", 200, length) / "data.mdb"
    data.write_bytes(data.read_bytes()[: int(share * data.stat().st_size)])
    assert "data.mdb is damaged: " in complaint(data.parent) and "copy it again" in complaint(data.parent)


@pytest.mark.parametrize(
    "offset, value, line",
    [
        (PAGE * 0 + 16, b"\0\0\0\0", "does not begin as an LMDB"),
        (PAGE * 1 + 16, b"\0\0\0\0", "does not begin as an LMDB"),
        (20, struct.pack("<I", 7), "version 7 with pages of 4096 bytes is not read"),
        (40, struct.pack("<I", 3), "pages of 3 bytes is not read"),
        (PAGE + 40, struct.pack("<I", 8192), "different sizes of pages"),
        (PAGE + 88, struct.pack("<I", 1 << 27), "values that no LMDB of images has"),
        (PAGE + 32, struct.pack("<Q", 1 << 62), "values that no LMDB of images has"),
        (PAGE + 44, struct.pack("<H", 0x48), "values that no LMDB of images has"),
        (PAGE + 94, struct.pack("<H", 77), "values that no LMDB of images has"),
        (PAGE + 94, struct.pack("<H", 1), "is not what it should be"),
        (PAGE + 128, struct.pack("<Q", 1 << 40), "page 1099511627776 is outside of the file"),
        (PAGE + 128, struct.pack("<Q", 1), "page 1 is outside of the file"),
        (PAGE + 120, struct.pack("<Q", 5), "it has 200 of 5 entries"),
        (PAGE + 136, struct.pack("<Q", 2), "is outside of the file"),
    ],
)
def test_a_meta_page_that_is_wrong(tmp_path, offset, value, line):
    path = write(tmp_path / "x.lmdb", 200, 700) / "data.mdb"
    data = bytearray(path.read_bytes())
    data[offset : offset + len(value)] = value
    path.write_bytes(data)
    assert line in complaint(path.parent)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x\n",
        "a.png (48,48,3) 1\n",
        "a.png (0,48,3) 1\n",
        f"a.png ({'9' * 5000},1,3) 1\n",
        f"a.{'b' * 5000}.png (4,4,3)",
    ],
)
def test_a_list_that_is_not_one(tmp_path, text):
    root = write(tmp_path / "x.lmdb", 2, 10)
    (root / "meta_info.txt").write_text(text, encoding="utf-8")
    assert len(complaint(root)) < 500


def test_a_list_of_other_images(tmp_path):
    root = write(tmp_path / "x.lmdb", 2, 10)
    (root / "meta_info.txt").write_text("00000_s001.png (4,4,3) 1\nother.png (4,4,3) 1\n", encoding="utf-8")
    assert "lacks 1 images of its meta_info.txt: other" in complaint(root)
    (root / "meta_info.txt").write_text(2 * "00000_s001.png (4,4,3) 1\n", encoding="utf-8")
    assert "line 2: '00000_s001' is listed twice" in complaint(root)


def test_a_key_that_basicsr_cannot_ask_for(tmp_path):
    assert "is not ASCII" in complaint(write(tmp_path / "x.lmdb", 2, 10, "é{}"))


@pytest.mark.parametrize(
    "name", ["../secret.png", "a/../../secret.png", "/etc/x.png", "..\\x.png", "C:x.png", "\\x.png"]
)
def test_a_list_does_not_lead_out_of_the_folder(tmp_path, name):
    (tmp_path / "list.txt").write_text(f"a.png\n{name} (4,4,3)\n", encoding="utf-8")
    with pytest.raises(DataError, match="list.txt: .* leads out of the folder of the images"):
        listed_names(str(tmp_path / "list.txt"), "datasets.val")


def test_names_in_folders_below_are_listed(tmp_path):
    (tmp_path / "list.txt").write_text("deep/er/a.png (4,4,3)\r\nb..png\n", encoding="utf-8")
    assert listed_names(str(tmp_path / "list.txt"), "datasets.val") == ["deep/er/a.png", "b..png"]
