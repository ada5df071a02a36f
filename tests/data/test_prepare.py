"""``quantnas prepare``: what it writes is what BasicSR reads, and when it fails it says why and leaves nothing."""

import argparse
import http.server
import re
import threading
import zipfile
from pathlib import Path
from typing import Dict, Iterator, List, Optional

import cv2
import numpy as np
import pytest
import yaml
from project import PROCESSES

from quantnas_sr.commands import prepare as prepare_command
from quantnas_sr.data import prepare
from quantnas_sr.data.check import check_paired_dataset
from quantnas_sr.data.prepare import SubImages, find, pipeline, prepare_div2k, prepare_folder
from quantnas_sr.data.prepare.download import download
from quantnas_sr.data.prepare.images import ImageFile, decode, modcrop
from quantnas_sr.errors import DataError, OptionError
from quantnas_sr.images.formats import image_suffixes

SMALL = SubImages(gt_size=48, step=24)


def photograph(height: int, width: int, seed: int = 0, channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    """A smooth random picture."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, channels)).astype(np.uint8)
    picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).reshape(height, width, channels)
    return picture.astype(dtype) * (257 if dtype == np.uint16 else 1)


def save(path: Path, picture: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, picture)[1].tobytes())
    return path


def resized(gt: np.ndarray, scale: int = 4) -> np.ndarray:
    from basicsr.utils.matlab_functions import imresize

    return (imresize(gt.astype(np.float32) / 255.0, 1 / scale) * 255).clip(0, 255).round().astype(np.uint8)


def read_back(prepared: prepare.Prepared, scale: int = 4) -> Dict[str, Dict[str, np.ndarray]]:
    """Everything in a data set, uint8 BGR by key, through BasicSR's own dataset."""
    from basicsr.data.paired_image_dataset import PairedImageDataset

    dataset = PairedImageDataset({**prepared.options(), "scale": scale, "phase": "val", "name": "x"})
    items = {}
    for index in range(len(dataset)):
        item = dataset[index]
        pixels = {key: (item[key].numpy().transpose(1, 2, 0)[..., ::-1] * 255).round() for key in ("gt", "lq")}
        items[Path(item["gt_path"]).stem] = {key: value.astype(np.uint8) for key, value in pixels.items()}
    return items


def files_under(folder: Path) -> List[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    for number in range(3):
        save(tmp_path / "photographs" / f"{number}.png", photograph(98, 75 + number, seed=number))
    return tmp_path / "photographs"


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "output"


# Pixels


def test_lmdb_holds_the_sub_images_of_the_photographs_and_their_bicubic_lr(photographs: Path, output: Path) -> None:
    (prepared,) = prepare_folder(photographs, output, cut=SMALL)
    assert prepared.target.gt == output / "photographs_HR_sub.lmdb"
    assert prepared.target.lq == output / "photographs_LRbicx4_sub.lmdb"
    items = read_back(prepared)
    assert len(items) == 3 * (2 + 3 + 3) == prepared.tally.pairs
    for number in range(3):
        gt = modcrop(photograph(98, 75 + number, seed=number), 4)
        lq = resized(gt)
        places = [(top, left) for top in (0, 24, 48) for left in sorted({0, 24, gt.shape[1] - 48})]
        for index, (top, left) in enumerate(places, start=1):
            item = items[f"{number}_s{index:03d}"]
            assert np.array_equal(item["gt"], gt[top : top + 48, left : left + 48])
            assert np.array_equal(item["lq"], lq[top // 4 : top // 4 + 12, left // 4 : left // 4 + 12])


@pytest.mark.parametrize(
    ("length", "threshold", "starts"),
    [(480, 0, [0]), (720, 0, [0, 240]), (800, 0, [0, 240, 320]), (800, 100, [0, 240]), (100, 0, [0])],
)
def test_sub_images_cover_a_side_as_basicsr_cuts_it(length: int, threshold: int, starts: List[int]) -> None:
    windows = SubImages(threshold=threshold).windows(480, length)
    assert [columns.start for _, columns in windows] == starts


def test_image_smaller_than_a_sub_image_stays_whole(tmp_path: Path, output: Path) -> None:
    picture = photograph(131, 601)
    save(tmp_path / "in" / "wide.png", picture)
    (prepared,) = prepare_folder(tmp_path / "in", output)
    items = read_back(prepared)
    assert np.array_equal(items["wide_s001"]["gt"], picture[:128, :480])
    assert np.array_equal(items["wide_s002"]["gt"], picture[:128, 120:600])
    assert prepared.tally.shortest == 128


def test_whole_images_in_an_lmdb(photographs: Path, output: Path) -> None:
    (prepared,) = prepare_folder(photographs, output, cut=None, min_size=64)
    assert prepared.target.gt.name == "photographs_HR.lmdb"
    assert read_back(prepared)["0"]["gt"].shape == (96, 72, 3)


def test_test_set_as_folders(photographs: Path, output: Path) -> None:
    (prepared,) = prepare_folder(photographs, output, layout="folders", name="Mine")
    assert files_under(output) == [f"Mine/{kind}/{n}.png" for kind in ("GTmod4", "LRbicx4") for n in range(3)]
    gt = modcrop(photograph(98, 75), 4)
    item = read_back(prepared)["0"]
    assert np.array_equal(item["gt"], gt)
    assert np.array_equal(item["lq"], resized(gt))


@pytest.mark.parametrize("scale", [2, 3])
def test_other_scales(photographs: Path, output: Path, scale: int) -> None:
    prepare_folder(photographs, output, scale=scale, layout="folders", name="Mine")
    gt = cv2.imread(str(output / "Mine" / f"GTmod{scale}" / "0.png"))
    lq = cv2.imread(str(output / "Mine" / f"LRbicx{scale}" / "0.png"))
    assert gt.shape[:2] == (98 // scale * scale, 75 // scale * scale)
    assert np.array_equal(lq, resized(gt, scale))


def test_gray_becomes_three_equal_channels(tmp_path: Path) -> None:
    gray = photograph(40, 40, channels=1)
    pixels, _ = decode(ImageFile(save(tmp_path / "gray.png", gray)))
    assert np.array_equal(pixels, np.repeat(gray, 3, axis=2))


@pytest.mark.parametrize("extension", [".png", ".tif"])
def test_sixteen_bits_become_eight(tmp_path: Path, extension: str) -> None:
    pixels, _ = decode(ImageFile(save(tmp_path / f"deep{extension}", photograph(40, 40, dtype=np.uint16))))
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, photograph(40, 40))


def test_alpha_channel_is_dropped_and_counted(tmp_path: Path, output: Path) -> None:
    picture = photograph(64, 64, channels=4)
    save(tmp_path / "in" / "a.png", picture)
    save(tmp_path / "in" / "b.png", photograph(64, 64))
    (prepared,) = prepare_folder(tmp_path / "in", output, cut=SMALL)
    assert prepared.tally.alpha == 1
    assert "1 had an alpha channel, which was dropped" in prepared.describe()
    assert np.array_equal(read_back(prepared)["a_s001"]["gt"], picture[:48, :48, :3])


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    from PIL import Image

    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(photograph(40, 64)).save(tmp_path / "turned.jpg", exif=exif)
    pixels, _ = decode(ImageFile(tmp_path / "turned.jpg"))
    assert pixels.shape == (64, 40, 3)


# Names


def test_keys_are_ascii_without_dots_and_unique(tmp_path: Path, output: Path) -> None:
    names = ["b/1.png", "b_1.png", "B/1.JPG", "Žluťoučký kůň.png", "写真.png", "絵.png", "v1.2.final.png", "s p.png"]
    for seed, name in enumerate(names):
        save(tmp_path / "in" / name, photograph(48, 48, seed=seed))
    (prepared,) = prepare_folder(tmp_path / "in", output, cut=SMALL)
    items = read_back(prepared)
    assert len(items) == len(names)
    assert len({key.lower() for key in items}) == len(names)
    assert {"v1_2_final_s001", "Zlutoucky_kun_s001", "image_s001", "image_2_s001", "s_p_s001"} <= set(items)
    assert all(key.isascii() and "." not in key for key in items)


def test_number_given_to_one_name_is_not_taken_from_another() -> None:
    keys = find.unique_keys([Path("a!.png"), Path("a.png"), Path("a_2.png"), Path("a_2.jpg"), Path("x" * 300 + ".png")])
    assert keys == ["a", "a_2", "a_2_2", "a_2_3", "x" * 100]


def test_names_that_differ_in_case_only_are_two_names() -> None:
    assert find.unique_keys([Path("b.png"), Path("B.png")]) == ["b", "B_2"]


def test_hidden_files_and_other_files_are_left_alone(photographs: Path, output: Path) -> None:
    save(photographs / ".thumbnails" / "0.png", photograph(96, 96))
    (photographs / "._0.png").write_bytes(b"metadata")
    (photographs / "notes.txt").write_text("not an image")
    (photographs / "loop").symlink_to(photographs, target_is_directory=True)
    (prepared,) = prepare_folder(photographs, output, cut=SMALL)
    assert prepared.tally.images == 3


# Training and validation


def test_held_out_images_are_not_trained_on(tmp_path: Path, output: Path) -> None:
    for number in range(8):
        save(tmp_path / "in" / f"{number}.png", photograph(64, 64, seed=number))
    train, val = prepare_folder(tmp_path / "in", output, cut=SMALL, hold_out=2, name="Mine")
    trained = {key.split("_")[0] for key in read_back(train)}
    held_out = set(read_back(val))
    assert held_out == {"2", "6"}
    assert trained | held_out == {str(number) for number in range(8)}
    assert not trained & held_out
    assert val.target.gt == output / "Mine_val" / "GTmod4"


def test_processes_give_the_same_as_one(tmp_path: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "get_context", lambda method: PROCESSES)
    for number in range(5):
        save(tmp_path / "in" / f"{number}.png", photograph(96, 96, seed=number))
    (tmp_path / "in" / "broken.png").write_bytes(b"not a png")
    options = {"cut": SMALL, "skip_broken": True}
    (one,) = prepare_folder(tmp_path / "in", output, name="one", workers=1, **options)
    (two,) = prepare_folder(tmp_path / "in", output, name="two", workers=2, **options)
    assert one.tally == two.tally
    assert (one.target.gt / "meta_info.txt").read_text() == (two.target.gt / "meta_info.txt").read_text()
    ours, theirs = read_back(one), read_back(two)
    assert all(np.array_equal(ours[key][kind], theirs[key][kind]) for key in ours for kind in ("gt", "lq"))


def test_what_is_prepared_passes_the_check_before_a_run(photographs: Path, output: Path) -> None:
    train, val = prepare_folder(photographs, output, cut=SMALL, hold_out=1)
    common = {"type": "PairedImageDataset", "scale": 4}
    check_paired_dataset({**common, **train.options(), "phase": "train", "gt_size": 48}, "datasets.train")
    check_paired_dataset({**common, **val.options(), "phase": "val"}, "datasets.val")


# What cannot be used


def spoil(photographs: Path, how: str) -> None:
    whole = (photographs / "1.png").read_bytes()
    if how == "no image":
        (photographs / "1.png").write_bytes(b"this is not a png")
    elif how == "empty":
        (photographs / "1.png").write_bytes(b"")
    elif how == "half a png":
        (photographs / "1.png").write_bytes(whole[: len(whole) // 2])
    elif how == "half a jpeg":
        jpeg = cv2.imencode(".jpg", photograph(98, 98))[1].tobytes()
        (photographs / "1.png").write_bytes(jpeg[: len(jpeg) // 2])


SPOILT = ["no image", "empty", "half a png", "half a jpeg"]


@pytest.mark.parametrize("how", SPOILT)
def test_broken_image_is_an_error_that_names_it(photographs: Path, output: Path, how: str) -> None:
    spoil(photographs, how)
    with pytest.raises(DataError) as caught:
        prepare_folder(photographs, output, cut=SMALL)
    broken = photographs / "1.png"
    assert re.fullmatch(
        rf"{re.escape(str(broken))}: (not an image of|cannot be decoded|the file is empty).*; --skip-broken leaves .*",
        str(caught.value),
    )
    assert files_under(output) == []


@pytest.mark.parametrize("how", SPOILT)
def test_broken_image_is_skipped_on_request_and_counted(photographs: Path, output: Path, how: str) -> None:
    spoil(photographs, how)
    (prepared,) = prepare_folder(photographs, output, cut=SMALL, skip_broken=True)
    assert (prepared.tally.images, prepared.tally.broken) == (2, 1)
    assert "1 that do not decode, left out" in prepared.describe()
    assert {key.split("_")[0] for key in read_back(prepared)} == {"0", "2"}


def test_tiny_images_are_left_out_and_counted(photographs: Path, output: Path) -> None:
    save(photographs / "tiny.png", photograph(3, 200))
    save(photographs / "small.png", photograph(200, 47))
    (prepared,) = prepare_folder(photographs, output, cut=SMALL)
    assert (prepared.tally.images, prepared.tally.too_small) == (3, 2)
    assert "2 too small, left out" in prepared.describe()


def test_smallest_test_image_is_kept(tmp_path: Path, output: Path) -> None:
    save(tmp_path / "in" / "8.png", photograph(11, 8))
    (prepared,) = prepare_folder(tmp_path / "in", output, layout="folders")
    assert read_back(prepared)["8"]["lq"].shape == (2, 2, 3)


def test_nothing_but_tiny_images_is_an_error(tmp_path: Path, output: Path) -> None:
    save(tmp_path / "in" / "tiny.png", photograph(20, 20))
    with pytest.raises(DataError, match=r"none of the 1 images can be used: 1 with a side below 48 pixels"):
        prepare_folder(tmp_path / "in", output, cut=SMALL)
    assert files_under(output) == []


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such folder"),
        (lambda path: path.write_text(""), "not a folder"),
        (lambda path: path.mkdir(), f"no images in it ({', '.join(suffix[1:] for suffix in image_suffixes())})"),
    ],
)
def test_folder_without_photographs(tmp_path: Path, output: Path, make, message: str) -> None:
    folder = tmp_path / "in"
    make(folder)
    with pytest.raises(DataError) as caught:
        prepare_folder(folder, output)
    assert str(caught.value) == f"{folder}: {message}"
    assert not output.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 1}, "--scale 1: must be 2 or more"),
        ({"cut": SubImages(50, 24)}, "--gt-size 50: must be a positive multiple of the scale 4"),
        ({"cut": SubImages(48, 0)}, "--step 0: must be a positive multiple of the scale 4"),
        ({"cut": SubImages(48, 24, -1)}, "--threshold -1: must be 0 or more"),
        ({"min_size": 5}, "--min-size 5: must be 8 or more at scale 4"),
        ({"hold_out": 3}, "--hold-out 3: must be less than the number of images, 3"),
        ({"hold_out": 1, "layout": "folders"}, "--hold-out 1: only for an LMDB"),
        ({"name": "a/b"}, "--name 'a/b': must be a plain name"),
        ({"name": ""}, "--name '': must be a plain name"),
        ({"layout": "folder"}, "--as: unknown layout 'folder', did you mean 'folders'?"),
    ],
)
def test_option_that_cannot_be_used(photographs: Path, output: Path, options: dict, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        prepare_folder(photographs, output, **options)
    assert str(caught.value).startswith(message)
    assert not output.exists()


# What is there already


@pytest.mark.parametrize("layout", ["lmdb", "folders"])
def test_results_are_replaced_only_on_request(photographs: Path, output: Path, layout: str) -> None:
    options = {"layout": layout, "cut": SMALL, "name": "Mine"}
    (before,) = prepare_folder(photographs, output, **options)
    old = files_under(output)
    (photographs / "0.png").unlink()
    with pytest.raises(DataError) as caught:
        prepare_folder(photographs, output, **options)
    message = f"{before.target.gt} exists already: remove it, or replace it with --overwrite"
    assert str(caught.value) == message
    assert files_under(output) == old
    (after,) = prepare_folder(photographs, output, overwrite=True, **options)
    assert after.tally.images == 2
    assert {key.split("_")[0] for key in read_back(after)} == {"1", "2"}
    assert list(output.glob(".*")) == []


def test_photographs_are_never_overwritten(photographs: Path) -> None:
    gt = photographs.parent / "Mine" / "GTmod4"
    gt.parent.mkdir()
    photographs.rename(gt)
    before = files_under(gt)
    with pytest.raises(DataError, match="the output must lie outside of"):
        prepare_folder(gt, gt.parent.parent, layout="folders", name="Mine", overwrite=True)
    with pytest.raises(DataError, match="the output must lie outside of"):
        prepare_folder(gt, gt, layout="folders", name="Mine")
    assert files_under(gt) == before


@pytest.mark.parametrize("layout", ["lmdb", "folders"])
@pytest.mark.parametrize("failure", [KeyboardInterrupt, MemoryError])
def test_interruption_leaves_the_old_result_and_nothing_half_done(
    photographs: Path, output: Path, monkeypatch: pytest.MonkeyPatch, layout: str, failure: type
) -> None:
    (before,) = prepare_folder(photographs, output, layout=layout, cut=SMALL)
    old, items = files_under(output), read_back(before)
    original, calls = pipeline.downscale, []

    def fail_at_the_second(pixels: np.ndarray, scale: int) -> np.ndarray:
        calls.append(1)
        if len(calls) == 2:
            raise failure
        return original(pixels, scale)

    monkeypatch.setattr(pipeline, "downscale", fail_at_the_second)
    with pytest.raises(failure):
        prepare_folder(photographs, output, layout=layout, cut=SMALL, overwrite=True)
    assert files_under(output) == old
    assert list(output.rglob(".*")) == []
    assert read_back(before).keys() == items.keys()


def test_failure_in_the_validation_set_leaves_no_training_set(photographs: Path, output: Path) -> None:
    (photographs / "1.png").write_bytes(b"broken, and held out")
    with pytest.raises(DataError, match=r"1\.png: not an image"):
        prepare_folder(photographs, output, cut=SMALL, hold_out=1)
    assert files_under(output) == []


def test_output_that_cannot_be_written(photographs: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file/x: cannot be written: Not a directory"):
        prepare_folder(photographs, tmp_path / "file" / "x", cut=SMALL)


# The command line


def command(*words: str) -> None:
    parser = argparse.ArgumentParser()
    prepare_command.add_arguments(parser)
    prepare_command.run(parser.parse_args([str(word) for word in words]))


def test_command_prints_yaml_that_points_to_the_result(
    photographs: Path, output: Path, capsys: pytest.CaptureFixture
) -> None:
    command("folder", photographs, "--output", output, "--gt-size", 48, "--step", 24, "--hold-out", 1, "--name", "Mine")
    printed = capsys.readouterr().out
    summary, pasted = printed.strip().split("\n\n")
    assert "train: 2 images (0.0 megapixels), 15 sub-images, shortest side 48" in summary
    assert "val: 1 image (0.0 megapixels), shortest side 76" in summary
    assert "gt_size in the options: 48 at most" in summary
    datasets = yaml.safe_load(pasted)["datasets"]
    assert datasets["train"] == {
        "dataroot_gt": str(output / "Mine_HR_sub.lmdb"),
        "dataroot_lq": str(output / "Mine_LRbicx4_sub.lmdb"),
        "io_backend": {"type": "lmdb"},
    }
    assert datasets["val"]["io_backend"] == {"type": "disk"}
    assert Path(datasets["val"]["dataroot_gt"]).is_dir()


# Downloads


class Server:
    """Files over HTTP on 127.0.0.1, with the faults that are asked for."""

    def __init__(self) -> None:
        self.files: Dict[str, bytes] = {}
        self.breaks_off = 0
        self.knows_range = True
        self.etag: Optional[str] = '"one"'
        self.busy = 0
        self.ranges: List[Optional[str]] = []
        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._http.server_port}/"

    def _handler(server) -> type:  # noqa: B902, N805
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                server.answer(self)

        return Handler

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        wanted = request.headers.get("Range")
        self.ranges.append(wanted)
        name = request.path.lstrip("/")
        if self.busy:
            self.busy -= 1
            return request.send_error(503)
        if name not in self.files:
            return request.send_error(404)
        body, status = self.files[name], 200
        same = request.headers.get("If-Range", self.etag) == self.etag
        if wanted and self.knows_range and same:
            start = int(wanted[len("bytes=") : -1])
            status = 206 if start < len(body) else 416
        request.send_response(status)
        if self.etag:
            request.send_header("ETag", self.etag)
        if status == 206:
            request.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            body = body[start:]
        if status == 416:
            request.send_header("Content-Range", f"bytes */{len(body)}")
            body = b""
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if self.breaks_off:
            self.breaks_off -= 1
            body = body[: len(body) // 2]
            request.close_connection = True
        request.wfile.write(body)
        return None

    def __enter__(self) -> "Server":
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._http.shutdown()
        self._http.server_close()


CONTENT = np.random.default_rng(0).bytes(1 << 20)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as server:
        server.files["x.zip"] = CONTENT
        yield server


def fetch(server: Server, target: Path, name: str = "x.zip", attempts: int = 3) -> bytes:
    return download(server.url + name, target, attempts=attempts, pause=0.01).read_bytes()


def test_download_goes_on_where_the_connection_broke_off(server: Server, tmp_path: Path) -> None:
    server.breaks_off = 2
    assert fetch(server, tmp_path / "x.zip") == CONTENT
    assert server.ranges == [None, "bytes=524288-", "bytes=786432-"]
    assert files_under(tmp_path) == ["x.zip"]


def test_download_goes_on_in_the_next_run(server: Server, tmp_path: Path) -> None:
    server.breaks_off = 1
    with pytest.raises(DataError) as caught:
        fetch(server, tmp_path / "x.zip", attempts=1)
    assert str(caught.value) == (
        f"{server.url}x.zip: the connection broke off; 524288 bytes are kept in {tmp_path / 'x.zip.part'}, "
        "the same command goes on from there"
    )
    assert fetch(server, tmp_path / "x.zip") == CONTENT
    assert server.ranges == [None, "bytes=524288-"]


def test_download_starts_again_where_the_server_ignores_range(server: Server, tmp_path: Path) -> None:
    server.breaks_off, server.knows_range = 1, False
    assert fetch(server, tmp_path / "x.zip") == CONTENT


def test_download_starts_again_when_the_file_has_changed(server: Server, tmp_path: Path) -> None:
    server.breaks_off = 1
    with pytest.raises(DataError):
        fetch(server, tmp_path / "x.zip", attempts=1)
    server.etag, server.files["x.zip"] = '"two"', CONTENT[::-1]
    assert fetch(server, tmp_path / "x.zip") == CONTENT[::-1]


def test_download_without_etag_still_resumes(server: Server, tmp_path: Path) -> None:
    server.breaks_off, server.etag = 1, None
    assert fetch(server, tmp_path / "x.zip") == CONTENT
    assert server.ranges == [None, "bytes=524288-"]


def test_partial_file_that_is_whole_is_taken(server: Server, tmp_path: Path) -> None:
    (tmp_path / "x.zip.part").write_bytes(CONTENT)
    assert fetch(server, tmp_path / "x.zip") == CONTENT


def test_partial_file_that_is_too_long_is_thrown_away(server: Server, tmp_path: Path) -> None:
    (tmp_path / "x.zip.part").write_bytes(CONTENT + b"more")
    assert fetch(server, tmp_path / "x.zip") == CONTENT


def test_busy_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.busy = 2
    assert fetch(server, tmp_path / "x.zip") == CONTENT


def test_server_that_stays_busy(server: Server, tmp_path: Path) -> None:
    server.busy = 100
    with pytest.raises(DataError, match=r"x\.zip: the server says 503 Service Unavailable$"):
        fetch(server, tmp_path / "x.zip")


def test_missing_file_on_the_server_is_one_clear_line(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        fetch(server, tmp_path / "y.zip", "y.zip")
    assert str(caught.value) == f"{server.url}y.zip: the server says 404 Not Found"
    assert len(server.ranges) == 1
    assert files_under(tmp_path) == []


def test_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as closed:
        url = closed.url
    with pytest.raises(DataError) as caught:
        download(url + "x.zip", tmp_path / "x.zip", attempts=2, pause=0.01)
    assert str(caught.value) == f"{url}x.zip: no connection"


def test_address_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="^here/x.zip: cannot be downloaded: "):
        download("here/x.zip", tmp_path / "x.zip")


# DIV2K

COUNTS = {"train": 4, "valid": 2}


def div2k_files(part: str, scale: int = 4, uneven: int = 0) -> Dict[str, Dict[str, np.ndarray]]:
    """A DIV2K with few, small images: pictures by name, for each archive. GT is ``uneven`` pixels larger than LR*4."""
    first = {"train": 1, "valid": 801}[part]
    archives: Dict[str, Dict[str, np.ndarray]] = {f"DIV2K_{part}_HR": {}, f"DIV2K_{part}_LR_bicubic_X{scale}": {}}
    for number in range(first, first + COUNTS[part]):
        gt = photograph(72 + uneven, 60 + uneven, seed=number)
        archives[f"DIV2K_{part}_HR"][f"DIV2K_{part}_HR/{number:04d}.png"] = gt
        lr = resized(modcrop(gt, scale), scale)
        folder = f"DIV2K_{part}_LR_bicubic/X{scale}"
        archives[f"DIV2K_{part}_LR_bicubic_X{scale}"][f"{folder}/{number:04d}x{scale}.png"] = lr
    return archives


def div2k_archives(folder: Path, **options: int) -> Path:
    folder.mkdir()
    for part in COUNTS:
        for name, pictures in div2k_files(part, **options).items():
            with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
                for member, picture in pictures.items():
                    archive.writestr(member, cv2.imencode(".png", picture)[1].tobytes())
    return folder


def check_div2k(prepared: List[prepare.Prepared], output: Path, scale: int = 4) -> None:
    train, val = prepared
    assert train.target.gt == output / "DIV2K_train_HR_sub.lmdb"
    assert train.target.lq == output / f"DIV2K_train_LR_bicubic_X{scale}_sub.lmdb"
    assert val.options() == {
        "dataroot_gt": str(output / "DIV2K_valid_HR"),
        "dataroot_lq": str(output / "DIV2K_valid_LR_bicubic" / f"X{scale}"),
        "filename_tmpl": f"{{}}x{scale}",
        "io_backend": {"type": "disk"},
    }
    gt = photograph(72, 60, seed=3)
    items = read_back(train, scale)
    assert len(items) == 4 * 2 * 2
    assert np.array_equal(items["0003_s004"]["gt"], gt[24:, 12:])
    assert np.array_equal(items["0003_s004"]["lq"], resized(gt, scale)[24 // scale :, 12 // scale :])
    assert set(read_back(val, scale)) == {"0801", "0802"}


def test_div2k_from_archives_at_hand(tmp_path: Path, output: Path) -> None:
    source = div2k_archives(tmp_path / "archives")
    prepared = prepare_div2k(output, source=source, cut=SMALL, counts=COUNTS)
    check_div2k(prepared, output)
    assert not (output / "archives").exists()


def test_div2k_from_unpacked_folders(tmp_path: Path, output: Path) -> None:
    source = div2k_archives(tmp_path / "archives")
    for path in source.glob("*.zip"):
        with zipfile.ZipFile(path) as archive:
            archive.extractall(tmp_path / "unpacked")
    check_div2k(prepare_div2k(output, source=tmp_path / "unpacked", cut=SMALL, counts=COUNTS), output)


def test_div2k_from_a_server_that_breaks_off(server: Server, tmp_path: Path, output: Path) -> None:
    for path in div2k_archives(tmp_path / "archives").glob("*.zip"):
        server.files[path.name] = path.read_bytes()
    server.breaks_off = 1
    check_div2k(prepare_div2k(output, url=server.url, cut=SMALL, counts=COUNTS), output)
    again = prepare_div2k(output, url="http://nowhere.invalid", cut=SMALL, counts=COUNTS, overwrite=True)
    check_div2k(again, output)


def test_div2k_at_another_scale(tmp_path: Path, output: Path) -> None:
    source = div2k_archives(tmp_path / "archives", scale=2)
    check_div2k(prepare_div2k(output, scale=2, source=source, cut=SMALL, counts=COUNTS), output, scale=2)


def test_div2k_gt_is_cropped_to_its_lr(tmp_path: Path, output: Path) -> None:
    source = div2k_archives(tmp_path / "archives", uneven=3)
    _, val = prepare_div2k(output, source=source, cut=SMALL, counts=COUNTS)
    written = cv2.imread(str(val.target.gt / "0801.png"))
    assert np.array_equal(written, photograph(75, 63, seed=801)[:72, :60])


def test_div2k_one_part_only(tmp_path: Path, output: Path) -> None:
    source = div2k_archives(tmp_path / "archives")
    (val,) = prepare_div2k(output, source=source, parts=["valid"], cut=SMALL, counts=COUNTS)
    assert val.phase == "val"
    assert sorted(path.name for path in output.iterdir()) == ["DIV2K_valid_HR", "DIV2K_valid_LR_bicubic"]


def rewrite(path: Path, members: Dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def members(path: Path) -> Dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_div2k_with_a_missing_image(tmp_path: Path, output: Path) -> None:
    path = div2k_archives(tmp_path / "archives") / "DIV2K_train_LR_bicubic_X4.zip"
    kept = {name: content for name, content in members(path).items() if "0002" not in name}
    rewrite(path, kept)
    with pytest.raises(DataError) as caught:
        prepare_div2k(output, source=path.parent, cut=SMALL, counts=COUNTS)
    assert str(caught.value) == f"{path}: 3 images instead of 4; missing: 0002x4.png"
    assert files_under(output) == []


def test_div2k_with_a_strange_image(tmp_path: Path, output: Path) -> None:
    path = div2k_archives(tmp_path / "archives") / "DIV2K_train_HR.zip"
    rewrite(path, {**members(path), "DIV2K_train_HR/0900.png": b""})
    with pytest.raises(DataError, match=r"DIV2K_train_HR\.zip: 5 images instead of 4; unknown: 0900\.png$"):
        prepare_div2k(output, source=path.parent, cut=SMALL, counts=COUNTS)


def test_div2k_with_an_lr_of_another_size(tmp_path: Path, output: Path) -> None:
    path = div2k_archives(tmp_path / "archives") / "DIV2K_train_LR_bicubic_X4.zip"
    small = cv2.imencode(".png", photograph(10, 10))[1].tobytes()
    rewrite(path, {**members(path), "DIV2K_train_LR_bicubic/X4/0002x4.png": small})
    with pytest.raises(DataError) as caught:
        prepare_div2k(output, source=path.parent, cut=SMALL, counts=COUNTS)
    lr, gt = (
        f"{path}: DIV2K_train_LR_bicubic/X4/0002x4.png",
        f"{path.parent}/DIV2K_train_HR.zip: DIV2K_train_HR/0002.png",
    )
    assert str(caught.value) == f"{lr} is 10x10 and {gt} is 60x72: not 4 times its size"
    assert files_under(output) == []


def test_div2k_with_a_damaged_image(tmp_path: Path, output: Path) -> None:
    path = div2k_archives(tmp_path / "archives") / "DIV2K_train_HR.zip"
    damaged = bytearray(path.read_bytes())
    damaged[2000] ^= 255
    path.write_bytes(damaged)
    with pytest.raises(DataError, match=r"DIV2K_train_HR\.zip: DIV2K_train_HR/0001\.png: cannot be read \(Bad CRC-32"):
        prepare_div2k(output, source=path.parent, cut=SMALL, counts=COUNTS)
    assert files_under(output) == []


def test_div2k_archive_that_is_none(tmp_path: Path, output: Path) -> None:
    path = div2k_archives(tmp_path / "archives") / "DIV2K_valid_HR.zip"
    path.write_text("<html>Please log in</html>")
    with pytest.raises(DataError) as caught:
        prepare_div2k(output, source=path.parent, cut=SMALL, counts=COUNTS)
    assert str(caught.value) == f"{path}: not a whole zip archive; remove it and get it again"


def test_div2k_archive_cannot_write_outside(tmp_path: Path, output: Path) -> None:
    path = div2k_archives(tmp_path / "archives") / "DIV2K_train_HR.zip"
    outside = {f"../../../{Path(name).name}": content for name, content in members(path).items()}
    rewrite(path, outside)
    before = set(files_under(tmp_path))
    prepare_div2k(output, source=path.parent, cut=SMALL, counts=COUNTS)
    assert all(name.startswith("output/") for name in set(files_under(tmp_path)) - before)


@pytest.mark.parametrize("there", [False, True])
def test_div2k_from_a_folder_without_it(tmp_path: Path, output: Path, there: bool) -> None:
    source = tmp_path / "source"
    if there:
        source.mkdir()
    with pytest.raises(DataError) as caught:
        prepare_div2k(output, source=source, counts=COUNTS)
    expected = f"{source}: has neither DIV2K_train_HR.zip nor a folder DIV2K_train_HR"
    assert str(caught.value) == (expected if there else f"--from {source}: no such folder")


def test_div2k_scale_that_is_not_published(output: Path) -> None:
    with pytest.raises(OptionError, match="--scale 8: DIV2K has bicubic images for 2, 3 and 4"):
        prepare_div2k(output, scale=8)


def test_div2k_refuses_to_replace_before_it_downloads(output: Path) -> None:
    (output / "DIV2K_valid_HR").mkdir(parents=True)
    with pytest.raises(DataError, match="DIV2K_valid_HR exists already"):
        prepare_div2k(output, url="http://nowhere.invalid")


def test_div2k_command(tmp_path: Path, output: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(DataError, match=r"DIV2K_valid_HR\.zip: 2 images instead of 100; missing: 0803\.png"):
        source = div2k_archives(tmp_path / "archives")
        command("div2k", "--output", output, "--from", source, "--only", "valid", "--gt-size", 48, "--step", 24)
