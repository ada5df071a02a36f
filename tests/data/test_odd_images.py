"""Odd and broken input: each gives the right pixels or one clear line, and never half a file."""

import importlib.util
import io
import os
import pickle
import re
import struct
import zlib
from pathlib import Path
from typing import Callable, Dict, Tuple

import cv2
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageCms, ImageOps
from upscaling import checkpoint, enlarged, nearest, write_onnx

from quantnas_sr import cli
from quantnas_sr.images.picture import read_picture

Make = Callable[[], bytes]


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("network") / "nearest.pth", nearest())


def noise(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(len(shape)).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


def saved(image: Image.Image, kind: str, **options) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def by_opencv(pixels: np.ndarray, suffix: str, *options: int) -> bytes:
    return cv2.imencode(suffix, pixels, options)[1].tobytes()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(height: int, width: int, colour_type: int = 2, depth: int = 8, interlace: int = 0, data: bytes = b"") -> bytes:
    """A PNG put together by hand."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, interlace)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def orientation(number: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = number
    return exif


def tiff(pixels: np.ndarray, **options) -> bytes:
    data = io.BytesIO()
    tifffile.imwrite(data, pixels, **options)
    return data.getvalue()


RGB, RGBA, GRAY = (Image.fromarray(noise(9, 11, *c)) for c in ((3,), (4,), ()))
DEEP, DEEP_RGBA = noise(5, 6, 3, dtype=np.uint16), noise(5, 6, 4, dtype=np.uint16)
DEEP_LA = np.array([[[0x0001, 0x0203], [0x0405, 0x0607]]], np.uint16)
PALETTE = RGB.quantize(7)
ROTATED = orientation(6)
GRAY16, PLANES = noise(5, 6, dtype=np.uint16), noise(3, 5, 6)
FRAMES = {"save_all": True, "append_images": [RGB.transpose(Image.Transpose(turn)) for turn in (0, 1)]}
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def pil(data: bytes, mode: str = "RGB") -> np.ndarray:
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert(mode))


#: By name: the file and the pixels that are in it.
ODD: Dict[str, Tuple[str, bytes, np.ndarray]] = {}


def odd(name: str, file: str, data: bytes, pixels: object = "RGB") -> None:
    ODD[name] = file, data, pil(data, pixels) if isinstance(pixels, str) else pixels


odd("one pixel", "x.png", saved(RGB.crop((0, 0, 1, 1)), "PNG"))
odd("one pixel of JPEG", "x.jpg", saved(RGB.crop((0, 0, 1, 1)), "JPEG"))
odd("one pixel of gray", "x.png", saved(GRAY.crop((0, 0, 1, 1)), "PNG"), "L")
odd("one row", "x.png", saved(RGB.resize((300, 1)), "PNG"))
odd("one column", "x.png", saved(RGB.resize((1, 300)), "PNG"))
odd("one bit", "x.png", saved(GRAY.convert("1"), "PNG"), "L")
odd("gray", "x.png", saved(GRAY, "PNG"), "L")
odd("gray with a transparent value", "x.png", saved(GRAY, "PNG", transparency=7), "LA")
odd("gray and alpha", "x.png", saved(RGBA.convert("LA"), "PNG"), "LA")
odd("RGB with a transparent colour", "x.png", saved(RGB, "PNG", transparency=RGB.getpixel((2, 2))), "RGBA")
odd("RGB and alpha", "x.png", saved(RGBA, "PNG"), "RGBA")
odd("palette", "x.png", saved(PALETTE, "PNG"))
odd("palette of two colours", "x.png", saved(RGB.quantize(2), "PNG", bits=1))
odd("palette with a transparent entry", "x.png", saved(PALETTE, "PNG", transparency=3), "RGBA")
odd("palette with alpha", "x.png", saved(PALETTE, "PNG", transparency=bytes(range(0, 210, 30))), "RGBA")
odd("interlaced", "x.png", png(1, 1, interlace=1, data=b"\0\1\2\3"), np.array([[[1, 2, 3]]], np.uint8))
odd("gray of 16 bits", "x.png", by_opencv(noise(5, 6, dtype=np.uint16), ".png"), noise(5, 6, dtype=np.uint16))
odd("RGB of 16 bits", "x.png", by_opencv(DEEP[..., ::-1], ".png"), DEEP)
odd("RGBA of 16 bits", "x.png", by_opencv(DEEP_RGBA[..., [2, 1, 0, 3]], ".png"), DEEP_RGBA)
odd("gray and alpha of 16 bits", "x.png", png(1, 2, 4, 16, 0, b"\0" + bytes(range(8))), DEEP_LA)
odd("something behind the end of a PNG", "x.png", saved(RGB, "PNG") + b"more" * 100)
odd("progressive JPEG", "x.jpg", saved(RGB, "JPEG", progressive=True))
odd("gray JPEG", "x.jpg", saved(GRAY, "JPEG"), "L")
odd("CMYK JPEG", "x.jpg", saved(RGB.convert("CMYK"), "JPEG"))
odd("CMYK JPEG with the profile of another kind", "x.jpg", saved(RGB.convert("CMYK"), "JPEG", icc_profile=SRGB))
odd("JPEG lying on its side", "x.jpg", saved(RGB, "JPEG", exif=ROTATED))
odd("PNG lying on its side", "x.png", saved(RGB, "PNG", exif=ROTATED))
odd("something behind the end of a JPEG", "x.jpg", saved(RGB, "JPEG") + b"more" * 100)
odd("broken EXIF", "x.jpg", saved(RGB, "JPEG", exif=b"Exif\0\0II*\0garbage"))
odd("PNG that is called JPEG", "x.jpg", saved(RGB, "PNG"))
odd("JPEG that is called PNG", "x.png", saved(RGB, "JPEG"))
odd("no suffix", "x", saved(RGB, "PNG"))
odd("suffix in capitals", "X.PNG", saved(RGB, "PNG"))
odd("letters from everywhere, and spaces", "été 写真 😀.png", saved(RGB, "PNG"))
odd("a name that begins with a dash", "-x.png", saved(RGB, "PNG"))
odd("BMP", "x.bmp", saved(RGB, "BMP"))
odd("BMP of one bit", "x.bmp", saved(GRAY.convert("1"), "BMP"), "L")
odd("WebP with alpha", "x.webp", saved(RGBA, "WEBP", lossless=True, exact=True), "RGBA")
odd("GIF", "x.gif", saved(PALETTE, "GIF"))
odd("TIFF, LZW", "x.tif", saved(RGB, "TIFF", compression="tiff_lzw"))
odd("TIFF, JPEG inside", "x.tif", saved(RGB, "TIFF", compression="jpeg"))
odd("TIFF, fax", "x.tif", saved(GRAY.convert("1"), "TIFF", compression="group4"), "L")
odd("TIFF with alpha", "x.tif", saved(RGBA, "TIFF"), "RGBA")
odd("TIFF lying on its side", "x.tif", saved(RGB, "TIFF", exif=ROTATED))
odd("TIFF, CMYK", "x.tif", saved(RGB.convert("CMYK"), "TIFF"))
odd("TIFF of 16 bits", "x.tif", by_opencv(DEEP[..., ::-1], ".tif"), DEEP)
odd(
    "TIFF of 16 bits lying on its side",
    "x.tif",
    tiff(GRAY16, extratags=[(0x0112, "H", 1, 6, True)]),
    np.rot90(GRAY16, -1),
)
odd("TIFF of 16 bits in which 0 is white", "x.tif", tiff(GRAY16, photometric="miniswhite"), ~GRAY16)
odd("TIFF in which 0 is white", "x.tif", tiff(noise(5, 6), photometric="miniswhite"), ~noise(5, 6))
odd("TIFF of 16 bits, big-endian", "x.tif", tiff(DEEP, byteorder=">", photometric="rgb"), DEEP)
odd("TIFF with large offsets", "x.tif", tiff(noise(5, 6, 3), bigtiff=True, photometric="rgb"), noise(5, 6, 3))
odd("TIFF of tiles", "x.tif", tiff(noise(20, 30, 3), tile=(16, 16), photometric="rgb"), noise(20, 30, 3))
odd("TIFF in planes", "x.tif", tiff(PLANES, planarconfig="separate", photometric="rgb"), PLANES.transpose(1, 2, 0))
odd("gray of 2 bits", "x.png", png(1, 4, 0, 2, 0, b"\0\x1b"), np.array([[0, 85, 170, 255]], np.uint8))
odd("JPEG with an orientation that there is not", "x.jpg", saved(RGB, "JPEG", exif=orientation(9)))
odd("a long name", f"{'x' * 230}.png", saved(RGB, "PNG"))
odd("a hidden file", ".x.png", saved(RGB, "PNG"))

#: Of several images: the first is taken, and that is said.
SEVERAL = {
    "animated GIF": ("x.gif", saved(RGB, "GIF", **FRAMES), "RGB"),
    "animated PNG": ("x.png", saved(RGB, "PNG", **FRAMES), "RGB"),
    "animated WebP": ("x.webp", saved(RGB, "WEBP", lossless=True, **FRAMES), "RGB"),
    "TIFF of several pages": ("x.tif", saved(RGB, "TIFF", **FRAMES), "RGB"),
}

LONG = saved(Image.fromarray(noise(64, 64, 3)), "PNG")
#: By name: the file, and what the line says.
BROKEN: Dict[str, Tuple[str, bytes, str]] = {
    "empty": ("x.png", b"", "the file is empty"),
    "a few bytes": ("x.png", b"\x89PNG\r\n", "not an image of a format that is read"),
    "header only": ("x.png", LONG[:33], "cannot be decoded|not an image"),
    "truncated PNG": ("x.png", LONG[: len(LONG) // 2], r"cannot be decoded \(.*truncated"),
    "truncated PNG of 16 bits": (
        "x.png",
        by_opencv(noise(64, 64, dtype=np.uint16), ".png")[:5000],
        "cannot be decoded",
    ),
    "truncated JPEG": ("x.jpg", saved(RGB.resize((90, 90)), "JPEG")[:1500], "cannot be decoded"),
    "truncated WebP": (
        "x.webp",
        saved(RGB.resize((90, 90)), "WEBP", lossless=True)[:300],
        "cannot be decoded|not an image",
    ),
    "truncated TIFF": ("x.tif", by_opencv(noise(64, 64, 3), ".tif")[:5000], "cannot be decoded|not an image"),
    "truncated GIF": ("x.gif", saved(Image.fromarray(noise(64, 64, 3)), "GIF")[:1500], "cannot be decoded"),
    "damaged PNG": ("x.png", LONG[:200] + bytes(100) + LONG[300:], "cannot be decoded"),
    "PNG without size": ("x.png", png(0, 0), "cannot be decoded|not an image"),
    "PNG that promises more": ("x.png", png(50, 50, data=bytes(100)), "cannot be decoded"),
    "decompression bomb": ("x.png", png(60000, 60000, data=bytes(100)), "more than 178956970 pixels"),
    "text": (
        "x.png",
        b"this is no image\n" * 50,
        "not an image of a format that is read: PNG, JPEG, WEBP, TIFF, BMP, GIF, PPM",
    ),
    "HTML that is called JPEG": ("x.jpg", b"<!DOCTYPE html><title>404</title>", "not an image"),
    "PostScript": ("x.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    "SVG": ("x.png", b'<svg xmlns="http://www.w3.org/2000/svg"/>', "not an image"),
    "zip": ("x.png", b"PK\x03\x04" + bytes(100), "not an image"),
    "TIFF of floats": ("x.tif", by_opencv(noise(5, 6).astype(np.float32), ".tif"), "kind F cannot be upscaled"),
    "TIFF of coloured floats": (
        "x.tif",
        by_opencv(noise(5, 6, 3).astype(np.float32), ".tif"),
        "not an image|cannot be",
    ),
    "TIFF of 32 bits": (
        "x.tif",
        saved(Image.fromarray(noise(5, 6).astype(np.int32)), "TIFF"),
        "kind I cannot be upscaled",
    ),
    "TIFF of 16 bits in planes": (
        "x.tif",
        tiff(DEEP.transpose(2, 0, 1).copy(), planarconfig="separate", photometric="rgb"),
        "colours of 16 bits in separate planes are not read",
    ),
    "TIFF of signed numbers": ("x.tif", tiff(GRAY16.view(np.int16)), "cannot be decoded"),
    "TIFF that points at itself": ("x.tif", b"II*\0\x08\0\0\0\0\0\x08\0\0\0", "not an image|cannot be decoded"),
    "PNG with a damaged header": ("x.png", LONG[:29] + b"sums" + LONG[33:], "not an image"),
    "JPEG without its end": ("x.jpg", saved(RGB, "JPEG")[:-2], "cannot be decoded"),
    "JPEG 2000": ("x.jp2", saved(RGB, "JPEG2000"), "not an image of a format that is read"),
    "icon": ("x.png", saved(RGB, "ICO"), "not an image of a format that is read"),
    "TIFF in Lab": ("x.tif", saved(Image.fromarray(noise(5, 6, 3), "LAB"), "TIFF"), "kind LAB cannot be upscaled"),
}


def upscaled(network: Path, *arguments: object) -> int:
    return cli.main(["upscale", str(network), *map(str, arguments)])


def only_line(capsys) -> str:
    out, err = capsys.readouterr()
    assert not out and err.count("\n") == 1, out + err
    return err.strip()


@pytest.mark.parametrize("name", ODD)
def test_odd_image_is_upscaled_as_it_looks(tmp_path, network, name, capsys):
    file, data, pixels = ODD[name]
    (tmp_path / file).write_bytes(data)
    assert upscaled(network, "--", tmp_path / file, tmp_path / "out.png") == 0, capsys.readouterr().err
    result = read_picture(tmp_path / "out.png").pixels
    assert result.dtype.itemsize == pixels.dtype.itemsize
    expected = enlarged(pixels)
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):  # alpha is not the network's, nor is what it hides
        visible = expected[..., -1] > 0
        result, expected = result[visible][:, :-1], expected[visible][:, :-1]
    assert np.array_equal(result, expected)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", SEVERAL)
def test_of_several_images_the_first_is_taken_and_that_is_said(tmp_path, network, name, capsys):
    file, data, mode = SEVERAL[name]
    (tmp_path / file).write_bytes(data)
    assert upscaled(network, tmp_path / file, tmp_path / "out.png") == 0
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out.png").convert("RGB")), enlarged(pil(data, mode)))
    assert f"{file}: has 3 images, only the first is taken\n" in capsys.readouterr().err


@pytest.mark.parametrize("name", BROKEN)
def test_broken_image_is_one_line(tmp_path, network, name, capsys):
    file, data, line = BROKEN[name]
    (tmp_path / file).write_bytes(data)
    assert upscaled(network, tmp_path / file, tmp_path / "out.png") == 1
    said = only_line(capsys)
    assert said.startswith(f"quantnas: {tmp_path / file}: ")
    assert re.search(line, said), said
    assert [path.name for path in tmp_path.iterdir()] == [file]


# What is no file of an image


@pytest.fixture
def image(tmp_path) -> Path:
    RGB.save(tmp_path / "x.png")
    return tmp_path / "x.png"


def missing(folder: Path) -> Path:
    return folder / "absent.png"


def a_folder(folder: Path) -> Path:
    (folder / "folder.png").mkdir()
    return folder / "folder.png"


def a_pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.png")
    return folder / "pipe.png"


def a_link_to_nothing(folder: Path) -> Path:
    (folder / "link.png").symlink_to(folder / "absent.png")
    return folder / "link.png"


def a_loop(folder: Path) -> Path:
    (folder / "loop.png").symlink_to(folder / "loop.png")
    return folder / "loop.png"


def a_name_that_is_too_long(folder: Path) -> Path:
    return folder / f"{'x' * 300}.png"


@pytest.mark.parametrize(
    "make, line",
    [
        (missing, "no such file"),
        (a_folder, "has no image. Looked for: .png"),
        (a_pipe, "not a file"),
        (a_link_to_nothing, "no such file"),
        (a_loop, "no such file"),
        (a_name_that_is_too_long, "no such file"),
    ],
)
def test_input_that_is_no_file(tmp_path, network, make, line, capsys):
    assert upscaled(network, make(tmp_path), tmp_path / "out.png") == 1
    assert line in only_line(capsys)
    assert not (tmp_path / "out.png").exists()


# Outputs


@pytest.mark.parametrize(
    "output, line",
    [
        ("x.png", "is the input itself"),
        ("link.png", "is the input itself"),
        ("out.xyz", "unknown suffix '.xyz'. Allowed: .bmp, .jpeg, .jpg, .png"),
        ("out.pgn", "unknown suffix '.pgn', did you mean '.png'?"),
        ("out", "unknown suffix ''"),
        ("x.png/out.png", "cannot be written"),
        ("/sys/out.png", "cannot be written"),
        (f"{'x' * 300}.png", "cannot be written (File name too long)"),
    ],
)
def test_output_that_cannot_be(tmp_path, network, image, output, line, capsys):
    (tmp_path / "link.png").symlink_to(image)
    before = image.read_bytes()
    assert upscaled(network, image, tmp_path / output) == 1
    said = only_line(capsys)
    assert line in said and output in said
    assert image.read_bytes() == before and len(list(tmp_path.iterdir())) == 2


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(tmp_path, network, image, capsys):
    (tmp_path / "out").mkdir(mode=0o500)
    assert upscaled(network, image, tmp_path / "out" / "x.png") == 1
    assert "cannot be written (Permission denied)" in only_line(capsys)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tif"])
def test_a_disk_that_takes_no_more(tmp_path, network, suffix, capsys):
    resource = pytest.importorskip("resource")
    Image.fromarray(noise(100, 100, 3)).save(tmp_path / "x.png")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        assert upscaled(network, tmp_path / "x.png", tmp_path / f"out{suffix}") == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert f"out{suffix}: cannot be written (File too large)" in only_line(capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]


def test_a_value_that_is_transparent_stays_so_in_16_bits(tmp_path, network):
    """OpenCV reads it in colour and forgets it in gray."""
    one = np.array([[7, 9]], np.uint16)
    data = png(1, 2, 0, 16, 0, b"\0" + one.astype(">u2").tobytes())
    (tmp_path / "x.png").write_bytes(data[:33] + chunk(b"tRNS", struct.pack(">H", 7)) + data[33:])
    assert upscaled(network, tmp_path / "x.png", tmp_path / "out.png") == 0
    result = read_picture(tmp_path / "out.png").pixels
    assert np.all(result[..., 0] == 9), "what is hidden has the colour of its neighbour"
    assert result[0, 0, 1] == 0 and result[0, -1, 1] == 65535


def test_a_folder_where_the_file_should_be_is_no_finished_image(tmp_path, network, capsys):
    (tmp_path / "in").mkdir()
    RGB.save(tmp_path / "in" / "x.png")
    (tmp_path / "out" / "x.png").mkdir(parents=True)
    assert upscaled(network, tmp_path / "in", tmp_path / "out") == 1
    assert "x.png: cannot be written (Is a directory)" in only_line(capsys)


def test_transparency_is_not_lost(tmp_path, network, capsys):
    RGBA.save(tmp_path / "x.png")
    assert upscaled(network, tmp_path / "x.png", tmp_path / "out.jpg") == 1
    assert ".jpg cannot hold the image's transparency. Allowed: .png" in only_line(capsys)


def test_sides_too_long_for_the_format(tmp_path, network, capsys):
    RGB.resize((9000, 1)).save(tmp_path / "x.png")
    assert upscaled(network, tmp_path / "x.png", tmp_path / "out.webp") == 1
    assert "18000x2 pixels; a side of .webp has at most 16383" in only_line(capsys)


# Networks


class Harm:
    def __reduce__(self):
        return os.system, ("touch harm",)


def float_checkpoint(path: Path) -> None:
    torch.save({"params": torch.nn.Conv2d(3, 3, 3).state_dict()}, path)


def of_another_training(path: Path) -> None:
    torch.save([1, 2], path)


def program(path: Path) -> None:
    path.write_bytes(pickle.dumps(Harm()))


def text(path: Path) -> None:
    path.write_text("hello")


@pytest.mark.parametrize(
    "file, make, options, line",
    [
        ("net.pth", float_checkpoint, (), "carries no genotype under 'params'"),
        ("net.pth", of_another_training, (), "carries no genotype"),
        ("net.pth", program, (), "not a checkpoint"),
        ("net.pth", text, (), "not a checkpoint"),
        ("net.pth", lambda path: None, (), "no such file"),
        ("net.pth", Path.mkdir, (), "not a file"),
        ("net.pth", text, ("--runtime", "openvino"), "openvino does not run a .pth. Allowed: torch"),
        ("net.pth", text, ("--runtime", "opnvino"), "unknown runtime 'opnvino', did you mean 'openvino'?"),
        ("net.onnx", text, ("--runtime", "torch"), "torch does not run an .onnx. Allowed: openvino, onnxruntime"),
        ("net.pth", text, ("--memory", "lots"), "--memory lots: not an amount of memory"),
        ("net.pth", text, ("--format", "pgn"), "--format unknown suffix '.pgn', did you mean '.png'?"),
    ],
)
def test_a_network_or_an_option_that_cannot_be(tmp_path, image, monkeypatch, file, make, options, line, capsys):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / file)
    assert upscaled(tmp_path / file, image, tmp_path / "out.png", *options) == 1
    assert line in only_line(capsys)
    assert not (tmp_path / "out.png").exists() and not (tmp_path / "harm").exists()


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
@pytest.mark.parametrize(
    "make, line",
    [
        (text, "cannot read it ("),
        (Path.touch, "net.onnx: "),
        (lambda path: write_onnx(path, scale=2, halo=None), "was not written by quantnas export"),
        (lambda path: write_onnx(path, halo="wide"), "was not written by quantnas export"),
    ],
    ids=["text", "empty", "foreign", "broken metadata"],
)
def test_an_onnx_that_is_not_ours(tmp_path, image, runtime, make, line, capfd):
    pytest.importorskip("onnx")
    pytest.importorskip(runtime)
    make(tmp_path / "net.onnx")
    assert upscaled(tmp_path / "net.onnx", image, tmp_path / "out.png", "--runtime", runtime) == 1
    said = only_line(capfd)
    assert f"{tmp_path / 'net.onnx'}: " in said and line in said


def test_a_runtime_that_is_not_installed_names_the_extra(tmp_path, image, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    text(tmp_path / "net.onnx")
    assert upscaled(tmp_path / "net.onnx", image, tmp_path / "out.png") == 1
    assert "needs onnxruntime: pip install 'quantnas_sr[export]'" in only_line(capsys)
