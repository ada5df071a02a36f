"""A data set that BasicSR could not use is refused before a run starts, in one line that says what is wrong."""

import os
import time
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

import numpy as np
import pytest
from PIL import Image

import quantnas_sr  # noqa: F401  (BasicSR can be imported after it)
from quantnas_sr.data.check import check_paired_dataset
from quantnas_sr.data.pairs import some
from quantnas_sr.errors import DataError

Sizes = Dict[str, Tuple[int, int]]


def save(path: Path, height: int, width: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(path)
    return path


def options(root: Path, **changes: Any) -> Dict[str, Any]:
    opt = {
        "type": "PairedImageDataset",
        "name": "x",
        "phase": "train",
        "scale": 4,
        "gt_size": 32,
        "dataroot_gt": str(root / "gt"),
        "dataroot_lq": str(root / "lq"),
        "io_backend": {"type": "disk"},
    }
    return {key: value for key, value in {**opt, **changes}.items() if value is not None}


def lmdb_options(root: Path, **changes: Any) -> Dict[str, Any]:
    roots = {"dataroot_gt": str(root / "gt.lmdb"), "dataroot_lq": str(root / "lq.lmdb")}
    return options(root, **{**roots, "io_backend": {"type": "lmdb"}, **changes})


def make_lmdb(path: Path, sizes: Sizes) -> None:
    from basicsr.utils.lmdb_util import LmdbMaker

    maker = LmdbMaker(str(path), map_size=1 << 20)
    for key, (height, width) in sizes.items():
        maker.put(b"png", key, (height, width, 3))
    maker.close()


def complaint(opt: Dict[str, Any], where: str = "datasets.train") -> Optional[str]:
    """The error's text, or None."""
    try:
        check_paired_dataset(opt, where)
    except DataError as error:
        assert "\n" not in str(error)
        return str(error)
    return None


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for name in ("a", "b", "c", "d"):
        save(tmp_path / "gt" / f"{name}.png", 48, 40)
        save(tmp_path / "lq" / f"{name}.png", 12, 10)
    return tmp_path


@pytest.fixture
def lmdbs(tmp_path: Path) -> Path:
    make_lmdb(tmp_path / "gt.lmdb", {"a": (48, 40), "b": (32, 32)})
    make_lmdb(tmp_path / "lq.lmdb", {"a": (12, 10), "b": (8, 8)})
    return tmp_path


# What passes


def test_good_folders_pass(folders: Path) -> None:
    assert complaint(options(folders)) is None
    assert complaint(options(folders, io_backend=None)) is None
    assert complaint(options(folders, phase="val", gt_size=None)) is None


def test_good_lmdbs_pass(lmdbs: Path) -> None:
    assert complaint(lmdb_options(lmdbs)) is None


def test_lmdb_that_is_open_in_this_process_passes(lmdbs: Path) -> None:
    import lmdb

    with lmdb.open(str(lmdbs / "gt.lmdb"), readonly=True, lock=False):
        assert complaint(lmdb_options(lmdbs)) is None


@pytest.mark.parametrize(
    "opt",
    [
        {"type": "SingleImageDataset", "dataroot_lq": "nowhere"},
        {"type": "VideoTestDataset", "dataroot_lq": "nowhere", "dataroot_gt": "nowhere"},
        {"type": "QuantNASSearchDataset", "dataset": "MyDataset", "dataroot_lq": "nowhere", "dataroot_gt": "nowhere"},
        {},
    ],
)
def test_other_datasets_are_left_to_themselves(opt: Dict[str, Any]) -> None:
    assert complaint(opt) is None


@pytest.mark.parametrize("wrapped", [{}, {"dataset": "PairedImageDataset"}])
def test_search_dataset_is_looked_into(tmp_path: Path, wrapped: Dict[str, str]) -> None:
    assert "no such folder" in str(complaint(options(tmp_path, type="QuantNASSearchDataset", **wrapped)))


# Options


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gt_size": 30}, "gt_size 30 must be a multiple of the scale 4"),
        ({"gt_size": None}, "gt_size must be a whole number above 0, not None"),
        ({"scale": None}, "scale must be a whole number above 0, not None"),
        ({"scale": "4x"}, "scale must be a whole number above 0, not '4x'"),
        ({"dataroot_lq": None}, "dataroot_lq must be the path of a folder or an LMDB, not None"),
        ({"io_backend": {"type": "lmbd"}}, "unknown io_backend type 'lmbd', did you mean 'lmdb'?"),
        ({"filename_tmpl": "x4"}, "filename_tmpl must have one {} for the name of the GT file, not 'x4'"),
        ({"filename_tmpl": "{}x{scale}"}, "filename_tmpl must have one {} for the name of the GT file"),
    ],
)
def test_option_that_cannot_be_used(folders: Path, changes: Dict[str, Any], message: str) -> None:
    assert str(complaint(options(folders, **changes))).startswith(f"datasets.train: {message}")


# Folders


def test_missing_folder(folders: Path) -> None:
    assert complaint(options(folders, dataroot_lq="nowhere/lq"), "datasets.val") == (
        "datasets.val: dataroot_lq nowhere/lq: no such folder"
    )


def test_file_for_a_folder(folders: Path) -> None:
    file = folders / "gt" / "a.png"
    assert complaint(options(folders, dataroot_gt=str(file))) == f"datasets.train: dataroot_gt {file}: not a folder"


def test_empty_folder(folders: Path) -> None:
    (folders / "empty" / "inside").mkdir(parents=True)
    assert complaint(options(folders, dataroot_gt=str(folders / "empty"))) == (
        f"datasets.train: dataroot_gt {folders / 'empty'}: no files in it (folders inside are not searched)"
    )


def test_lmdb_for_a_folder(lmdbs: Path) -> None:
    assert complaint(lmdb_options(lmdbs, io_backend={"type": "disk"})) == (
        f"datasets.train: dataroot_gt {lmdbs / 'gt.lmdb'}: this is an LMDB, which needs io_backend: {{type: lmdb}}"
    )


def test_missing_lq_images_are_named(folders: Path) -> None:
    for name in ("a", "b", "c", "d"):
        (folders / "lq" / f"{name}.png").unlink()
    save(folders / "lq" / "z.png", 12, 10)
    assert complaint(options(folders)) == (
        "datasets.train: dataroot_lq lacks 4 images that dataroot_gt has: a.png, b.png, c.png, ..."
    )


def test_missing_gt_image_is_named(folders: Path) -> None:
    (folders / "gt" / "c.png").unlink()
    assert complaint(options(folders)) == "datasets.train: dataroot_gt lacks 1 images that dataroot_lq has: c.png"


def test_other_extension_is_explained(folders: Path) -> None:
    (folders / "lq" / "c.png").rename(folders / "lq" / "c.jpg")
    assert complaint(options(folders)) == (
        "datasets.train: dataroot_lq lacks 1 images that dataroot_gt has: c.png "
        "(GT and LQ need the same extension; there is c.jpg)"
    )


def test_filename_template(folders: Path) -> None:
    for path in list((folders / "lq").iterdir()):
        path.rename(path.with_name(f"{path.stem}x4.png"))
    assert complaint(options(folders, filename_tmpl="{}x4")) is None
    assert str(complaint(options(folders))).endswith(
        "a.png, b.png, c.png, ... (there is ax4.png: filename_tmpl: '{}x4'?)"
    )


def test_hidden_files_do_not_count(folders: Path) -> None:
    (folders / "gt" / ".DS_Store").write_bytes(b"")
    assert complaint(options(folders)) is None


def test_file_that_is_no_image(folders: Path) -> None:
    (folders / "lq" / "b.png").write_bytes(b"not a png")
    path = folders / "lq" / "b.png"
    assert complaint(options(folders)).startswith(f"datasets.train: {path}: not an image of a format that is read: ")


# meta_info_file


def test_meta_info_file_chooses_images(folders: Path) -> None:
    save(folders / "gt" / "extra.png", 10, 10)
    (folders / "info.txt").write_text("a.png (48,40,3)\nb.png (48,40,3)\n")
    assert complaint(options(folders, meta_info_file=str(folders / "info.txt"))) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "meta_info_file {}: no such file"),
        ("", "meta_info_file {}: must have the name of an image on each line"),
        ("a.png (48,40,3)\n\n", "meta_info_file {}: must have the name of an image on each line"),
        ("a.png\nz.png\n", "dataroot_lq lacks 1 images that dataroot_gt has: z.png"),
    ],
)
def test_meta_info_file_that_cannot_be_used(folders: Path, text: Optional[str], message: str) -> None:
    path = folders / "info.txt"
    if text is not None:
        path.write_text(text)
    assert complaint(options(folders, meta_info_file=str(path))) == f"datasets.train: {message.format(path)}"


def test_meta_info_file_names_an_image_that_gt_lacks(folders: Path) -> None:
    (folders / "info.txt").write_text("a.png\nb.png\n")
    (folders / "gt" / "b.png").unlink()
    assert complaint(options(folders, meta_info_file=str(folders / "info.txt"))) == (
        f"datasets.train: dataroot_gt {folders / 'gt'} lacks 1 images of meta_info_file: b.png"
    )


# LMDB


def test_lmdb_needs_its_suffix(folders: Path) -> None:
    assert complaint(options(folders, io_backend={"type": "lmdb"})) == (
        f"datasets.train: dataroot_gt {folders / 'gt'}: io_backend type lmdb needs a path that ends in .lmdb"
    )


@pytest.mark.parametrize("name", ["data.mdb", "meta_info.txt"])
def test_lmdb_without_one_of_its_files(lmdbs: Path, name: str) -> None:
    (lmdbs / "lq.lmdb" / name).unlink()
    assert str(complaint(lmdb_options(lmdbs))).startswith(
        f"datasets.train: dataroot_lq {lmdbs / 'lq.lmdb'}: has no {name};"
    )


def test_lmdb_with_other_keys(tmp_path: Path) -> None:
    make_lmdb(tmp_path / "gt.lmdb", {"a": (48, 48), "b": (48, 48)})
    make_lmdb(tmp_path / "lq.lmdb", {"a": (12, 12)})
    assert complaint(lmdb_options(tmp_path)) == "datasets.train: dataroot_lq lacks 1 images that dataroot_gt has: b"


def test_lmdb_with_a_dot_in_a_key(tmp_path: Path) -> None:
    for name in ("gt", "lq"):
        make_lmdb(tmp_path / f"{name}.lmdb", {"a.b": (48, 48)})
    assert complaint(lmdb_options(tmp_path)) == (
        f"datasets.train: dataroot_gt {tmp_path / 'gt.lmdb'}: meta_info.txt, line 1: the name 'a.b' has a dot, "
        "where BasicSR would cut it"
    )


def test_lmdb_with_a_strange_list(lmdbs: Path) -> None:
    with (lmdbs / "gt.lmdb" / "meta_info.txt").open("a") as file:
        file.write("c.png\n")
    assert complaint(lmdb_options(lmdbs)) == (
        f"datasets.train: dataroot_gt {lmdbs / 'gt.lmdb'}: meta_info.txt, line 3: not like 'name.png (480,480,3) 1' "
        "but 'c.png'"
    )


def test_lmdb_that_was_not_finished(lmdbs: Path) -> None:
    with (lmdbs / "gt.lmdb" / "meta_info.txt").open("a") as file:
        file.write("c.png (48,48,3) 1\n")
    assert complaint(lmdb_options(lmdbs)) == (
        f"datasets.train: dataroot_gt {lmdbs / 'gt.lmdb'}: holds 2 images and meta_info.txt lists 3"
    )


def test_empty_lmdb(tmp_path: Path) -> None:
    make_lmdb(tmp_path / "gt.lmdb", {})
    make_lmdb(tmp_path / "lq.lmdb", {})
    assert "holds 0 images" in str(complaint(lmdb_options(tmp_path)))


def test_lmdb_that_is_damaged(lmdbs: Path) -> None:
    (lmdbs / "gt.lmdb" / "data.mdb").write_bytes(b"x" * 10000)
    assert str(complaint(lmdb_options(lmdbs))).startswith(
        f"datasets.train: dataroot_gt {lmdbs / 'gt.lmdb'}: data.mdb is damaged: "
    )


# Sizes


def test_training_pair_must_match_exactly(folders: Path) -> None:
    save(folders / "gt" / "b.png", 49, 40)
    save(folders / "gt" / "d.png", 48, 44)
    assert complaint(options(folders)) == (
        "datasets.train: GT must be 4 times as large as LQ; of b.png GT is 40x49 and LQ is 10x12 "
        "(2 of 4 pairs are wrong)"
    )


@pytest.mark.parametrize(("height", "good"), [(47, False), (48, True), (51, True), (59, True), (60, False)])
def test_validation_gt_may_be_uncropped(folders: Path, height: int, good: bool) -> None:
    save(folders / "gt" / "b.png", height, 40)
    assert (complaint(options(folders, phase="val")) is None) == good


def test_validation_at_the_wrong_scale_is_noticed(folders: Path) -> None:
    for name in ("a", "b", "c", "d"):
        save(folders / "gt" / f"{name}.png", 480, 480)
        save(folders / "lq" / f"{name}.png", 120, 120)
    assert "GT must be 2 times as large as LQ" in str(complaint(options(folders, phase="val", scale=2)))


def test_lmdb_pair_must_match(tmp_path: Path) -> None:
    make_lmdb(tmp_path / "gt.lmdb", {"a": (48, 40), "b": (48, 48)})
    make_lmdb(tmp_path / "lq.lmdb", {"a": (12, 10), "b": (24, 24)})
    assert "of b GT is 48x48 and LQ is 24x24 (1 of 2" in str(complaint(lmdb_options(tmp_path)))


def test_training_images_smaller_than_a_patch_are_named(folders: Path) -> None:
    assert complaint(options(folders, gt_size=44)) == (
        "datasets.train: 4 of 4 GT images are smaller than gt_size 44: a.png (40x48), b.png (40x48), c.png (40x48); "
        "leave them out, or set gt_size to 40 or less"
    )


def test_size_is_taken_after_exif_orientation(folders: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    for name, (height, width) in {"gt": (40, 48), "lq": (12, 10)}.items():
        for path in (folders / name).iterdir():
            path.unlink()
        picture = Image.fromarray(np.zeros((height, width, 3), np.uint8))
        picture.save(folders / name / "a.jpg", **({"exif": exif} if name == "gt" else {}))
    assert complaint(options(folders)) is None


def test_many_headers_are_read_quickly(tmp_path: Path) -> None:
    gt, lq = (save(tmp_path / name / "0.png", *size) for name, size in (("gt", (32, 32)), ("lq", (8, 8))))
    for number in range(1, 2000):
        os.link(gt, gt.parent / f"{number}.png")
        os.link(lq, lq.parent / f"{number}.png")
    start = time.process_time()
    assert complaint(options(tmp_path)) is None
    assert time.process_time() - start < 5


def test_names_with_characters_that_no_terminal_shows_are_shown_by_their_codes():
    assert some(["a\0b", "line\nline", "größe"]) == "a\\x00b, größe, line\\nline"
