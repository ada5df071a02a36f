"""What the command line of ``quantnas upscale`` may name: several inputs, folders, links, and outputs of every kind."""

from fnmatch import fnmatchcase as fnmatch
from pathlib import Path

import numpy as np
import pytest
from films import noise, write_film
from PIL import Image, features
from upscaling import checkpoint, nearest

from quantnas_sr import cli


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("network") / "nearest.pth", nearest())


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(network: Path, *arguments: str) -> int:
    return cli.main(["upscale", str(network), *arguments])


def image(path: str, side: int = 4) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((side, side, 3), 90, np.uint8)).save(path)


def video(path: str) -> None:
    write_film(Path(path), noise(1))


def files(folder: str = ".") -> list:
    return sorted(path.as_posix() for path in Path(folder).rglob("*") if path.is_file())


def said(capsys) -> str:
    out, err = capsys.readouterr()
    assert not out and err.count("\n") == 1, out + err
    return err.strip()


@pytest.mark.parametrize("output", ["out", "out/", "new/er/out", "out.v2"])
def test_several_images_to_a_new_folder(network, output, capsys):
    image("a.png"), image("b.jpg"), image("deep/c.tif")
    assert run(network, "a.png", "b.jpg", "deep/c.tif", output) == 0
    folder = output.rstrip("/")
    assert files(folder) == [f"{folder}/a.png", f"{folder}/b.png", f"{folder}/c.tif"]
    assert capsys.readouterr().out == f"wrote {folder}: 3 images\n"


def test_several_images_in_one_format(network):
    image("a.png"), image("b.jpg")
    assert run(network, "a.png", "b.jpg", "out", "--format", "webp") == 0
    assert files("out") == ["out/a.webp", "out/b.webp"]


def test_files_and_folders_together_keep_the_names_of_the_folders(network):
    image("a.png"), image("one/x.png"), image("two/x.png"), image("two/deep/y.png")
    assert run(network, "a.png", "one", "two/", "out") == 0
    assert files("out") == ["out/a.png", "out/one/x.png", "out/two/deep/y.png", "out/two/x.png"]


def test_one_folder_keeps_the_names_inside(network):
    image("one/x.png")
    assert run(network, "one", "out/") == 0
    assert files("out") == ["out/x.png"]


def test_several_images_go_on_where_they_stopped(network, capsys):
    image("a.png"), image("b.png"), image("out/a.png", 1)
    assert run(network, "a.png", "b.png", "out") == 0
    assert "2 images, 1 of them were there already" in capsys.readouterr().out
    assert Image.open("out/a.png").size == (1, 1)
    assert run(network, "a.png", "b.png", "out", "--overwrite") == 0
    assert Image.open("out/a.png").size == (8, 8)


def test_the_same_input_twice_is_one(network, capsys):
    image("a.png"), image("b.png")
    assert run(network, "a.png", "a.png", "b.png", "out") == 0
    assert "2 images" in capsys.readouterr().out


@pytest.mark.parametrize("output, written", [("out/", "out/a.png"), ("out.png/", "out.png/a.png"), ("o.png", "o.png")])
def test_a_slash_at_the_end_makes_a_folder_of_a_single_image_too(network, output, written, capsys):
    image("a.png")
    assert run(network, "a.png", output) == 0
    assert files() == sorted(["a.png", written])
    assert capsys.readouterr().out == f"wrote {Path(written)}\n"


@pytest.mark.parametrize(
    "arguments, line",
    [
        (
            ("a.png", "newfolder"),
            "newfolder: unknown suffix ''. *; the name of a folder ends with a slash: newfolder/",
        ),
        (("a.png", "b.jgp"), "b.jgp: unknown suffix '.jgp', did you mean '.jpg'"),
        (("a.png", "absent.png", "out"), "absent.png: no such file or folder"),
        (("absent", "out"), "absent: no such file or folder"),
        (("a.png", "b.png", "c.png"), "c.png: is the name of a file; several inputs are * a folder. * write c.png/"),
        (("in", "c.png"), "c.png: is the name of a file; a folder is upscaled to a folder"),
        (("a.png", "in", "b.png", "file.txt"), "file.txt: is a file; several inputs are upscaled to a folder"),
        (("a.png", "file.txt/"), "file.txt: is a file; an output with a slash"),
        (("a.png", "in/a.png", "out"), "a.png and in/a.png would both become out/a.png; rename one"),
        (("a.png", "a.jpg", "out", "--format", "png"), "a.png and a.jpg would both become out/a.png; rename one"),
        (("a.png", "A.png", "out"), "a.png and A.png would both become"),
        (("a.png", "b.png", "."), "a.png: is the input itself"),
        (("in", "in"), "in: is the folder of the input"),
        (("in", "b.png", "in"), "in: is the folder of the input"),
        (("a.png", "a.mp4"), "a.mp4: has the suffix of a video, but a.png is not a video. Allowed: .bmp, .jpeg"),
        (("video.m4v", "x.m4b"), "x.m4b: unknown suffix of a video '.m4b', did you mean '.mp4'? Allowed: .avi, .m4v"),
        (("video.m4v", "x.png"), "x.png: unknown suffix of a video '.png'. Allowed: .avi, .m4v"),
        (("video.m4v", "in", "out", "--format", "jpeg2"), "--format unknown suffix '.jpeg2', did you mean '.jpeg'"),
    ],
)
def test_what_cannot_be_is_one_line_before_anything_is_written(network, arguments, line, capsys):
    for name in ("a.png", "A.png", "b.png", "a.jpg", "in/a.png"):
        image(name)
    Path("file.txt").touch(), Path("video.m4v").touch()
    before = files()
    assert run(Path("not opened.onnx"), *arguments) == 1
    assert fnmatch(message := said(capsys), f"quantnas: {line}*"), message
    assert files() == before


# What a folder has


@pytest.fixture
def mixed() -> None:
    for name in ("a.png", "b.JPG", "d.jpe", "e.ppm", "photo.jfif", "deep/f.pgm"):
        image("in/x.png")
        kind = {".JPG": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".png": "PNG"}.get(Path(name).suffix, "PPM")
        Path("in/deep").mkdir(exist_ok=True)
        with Image.open("in/x.png") as picture:
            picture.save(f"in/{name}", kind)
    Path("in/x.png").unlink()
    Path("in/IMG_0001.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    Path("in/deep/notes.txt").touch(), Path("in/.DS_Store").touch()
    video("in/film.mp4")


def test_a_folder_is_read_as_far_as_it_can_be_and_the_rest_is_counted_and_named(network, mixed, capsys, monkeypatch):
    from quantnas_sr.images import formats

    monkeypatch.setattr(formats, "_registered", lambda name, plug_in: False)
    assert run(network, "in", "out") == 0
    names = ["a.png", "b.png", "d.png", "deep/f.png", "e.png", "film.mp4", "photo.png"]
    assert files("out") == [f"out/{name}" for name in names]
    out, err = capsys.readouterr()
    assert out == "wrote out: 6 images and 1 video\n"
    left_out = "left out: 2 files that cannot be read as an image or a video: in/IMG_0001.HEIC, in/deep/notes.txt"
    assert err.splitlines()[0] == f"{left_out}; pip install pillow-heif to read .heic"
    assert err.count("\n") == 1


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif_is_read(network):
    Image.new("RGB", (8, 8), "red").save("a.avif")
    assert run(network, "a.avif", "out.png") == 0
    assert np.abs(np.asarray(Image.open("out.png"))[5, 5].astype(int) - (255, 0, 0)).max() < 10


def test_a_folder_without_an_image_names_what_it_has(network, capsys):
    Path("in").mkdir()
    Path("in/notes.txt").touch()
    assert run(network, "in", "out") == 1
    assert "in: has no image. Looked for: .png" in (line := said(capsys)) and "left out: 1 file" in line
    assert "in/notes.txt" in line and not Path("out").exists()


def test_a_linked_folder_is_followed_and_a_loop_is_not(network, capsys):
    image("in/a.png"), image("elsewhere/b.png")
    Path("in/linked").symlink_to(Path("elsewhere").resolve())
    Path("in/loop").symlink_to(Path("in").resolve())
    assert run(network, "in", "out") == 0
    assert files("out") == ["out/a.png", "out/linked/b.png"]


def test_a_broken_video_stops_nothing_else(network, capfd):
    image("in/b.png")
    Path("in/a.mp4").write_bytes(b"no video")
    assert run(network, "in", "out") == 1
    err = capfd.readouterr().err.splitlines()
    assert any(line.startswith("in/a.mp4: not a video that can be decoded") for line in err)
    assert err[-1] == "quantnas: 1 of 1 image and 1 video were not upscaled"
    assert files("out") == ["out/b.png"]


def test_options_may_come_first(network):
    image("a.png"), image("b.png")
    assert cli.main(["upscale", "--tile", "9", str(network), "a.png", "b.png", "out"]) == 0
    assert files("out") == ["out/a.png", "out/b.png"]
