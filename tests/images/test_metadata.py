"""Resolution, text, XMP, EXIF and profile of an image are kept wherever the output format has a place for them."""

import io
import struct
import zlib
from pathlib import Path
from typing import Dict

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, PngImagePlugin

from quantnas_sr.images.metadata import Metadata
from quantnas_sr.images.picture import read_picture
from quantnas_sr.upscaling.png import PngWriter
from quantnas_sr.upscaling.writers import Layout, image_writer

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description xmp:Rating="5"/></x:xmpmeta>'
RGB = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8))
MAKER, COPYRIGHT, EXIF_IFD, GPS_IFD, DATE = 0x010F, 0x8298, 0x8769, 0x8825, 0x9003


def exif() -> Image.Exif:
    tags = Image.Exif()
    tags[MAKER], tags[COPYRIGHT] = "maker", "© Müller".encode()
    tags.get_ifd(EXIF_IFD).update({DATE: "2024:01:01 00:00:00", 0xA002: 9, 0xA003: 6, 0x829A: 0.01})
    tags.get_ifd(GPS_IFD).update({1: "N", 2: (48.0, 8.0, 1.5)})
    return tags


def written(path: Path, metadata: Metadata) -> Path:
    pixels = np.asarray(RGB)
    with image_writer(path, Layout(*pixels.shape, pixels.dtype, metadata)) as writer:
        writer.write(pixels)
    return path


def full(folder: Path, kind: str) -> Path:
    """An image with all that its format and Pillow can hold."""
    path = folder / f"in.{kind}"
    common = {"exif": exif(), "icc_profile": SRGB}
    if kind == "png":
        text = PngImagePlugin.PngInfo()
        text.add_text("XML:com.adobe.xmp", XMP.decode())
        RGB.save(path, dpi=(300, 150), pnginfo=text, **common)
    elif kind == "jpg":
        RGB.save(path, dpi=(300, 150), xmp=XMP, **common)
    elif kind == "webp":
        common["exif"][0x011A], common["exif"][0x011B], common["exif"][0x0128] = 300.0, 150.0, 2
        RGB.save(path, xmp=XMP, **common)
    else:
        written(path, read_picture(full(folder, "jpg")).metadata)
    return path


@pytest.mark.parametrize("output", ["png", "jpg", "webp", "tif", "bmp"])
@pytest.mark.parametrize("source", ["png", "jpg", "webp", "tif"])
def test_metadata_goes_from_every_format_to_every_format(tmp_path, source, output):
    path = written(tmp_path / f"out.{output}", read_picture(full(tmp_path, source)).metadata)
    kept = read_picture(path).metadata
    assert kept.dpi == pytest.approx((300, 150), abs=0.02)
    if output == "bmp":
        return
    assert kept.icc == SRGB and kept.xmp == XMP
    with Image.open(path) as image:
        tags = image.getexif()
        assert tags[MAKER] == "maker" and tags[COPYRIGHT].encode("latin-1").decode() == "© Müller"
        assert dict(tags.get_ifd(EXIF_IFD)) == {DATE: "2024:01:01 00:00:00", 0x829A: pytest.approx(0.01)}
        assert tags.get_ifd(GPS_IFD)[2] == (48.0, 8.0, 1.5)


@pytest.mark.parametrize("output", ["jpg", "tif", "bmp", "png"])
def test_other_programs_find_the_resolution(tmp_path, output):
    with Image.open(written(tmp_path / f"out.{output}", Metadata(dpi=(300, 72)))) as image:
        assert image.info["dpi"] == pytest.approx((300, 72), abs=0.02)


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "tif", "bmp"])
def test_nothing_is_made_up(tmp_path, kind):
    RGB.save(tmp_path / "in.png")
    metadata = read_picture(written(tmp_path / f"out.{kind}", read_picture(tmp_path / "in.png").metadata)).metadata
    # A BMP always has a resolution.
    assert metadata == Metadata(dpi=metadata.dpi if kind == "bmp" else None)


def test_a_jpeg_that_says_nothing_has_no_72_dpi(tmp_path):
    """Pillow says so of one with EXIF and without a resolution."""
    tags = Image.Exif()
    tags[MAKER] = "maker"
    RGB.save(tmp_path / "x.jpg", exif=tags)
    assert read_picture(tmp_path / "x.jpg").metadata.dpi is None


def test_centimetres_become_inches(tmp_path):
    tags = Image.Exif()
    tags[0x011A], tags[0x011B], tags[0x0128] = 100.0, 50.0, 3
    RGB.save(tmp_path / "x.webp", exif=tags)
    assert read_picture(tmp_path / "x.webp").metadata.dpi == pytest.approx((254, 127))


TEXTS: Dict[str, str] = {"parameters": "a castle, Steps: 20", "Größe": "Ünï", "Title": "写真 😀", "long": "abc" * 1000}


def test_text_chunks_of_png_are_kept(tmp_path):
    text = PngImagePlugin.PngInfo()
    for key, value in TEXTS.items():
        text.add_text(key, value)
    text.add_itxt("Caption", "Bild", "de", "Bildunterschrift")
    text.add_text("packed", "x" * 50, zip=True)
    RGB.save(tmp_path / "x.png", pnginfo=text)
    with Image.open(written(tmp_path / "out.png", read_picture(tmp_path / "x.png").metadata)) as image:
        assert image.text == {**TEXTS, "Caption": "Bild", "packed": "x" * 50}
        assert (image.text["Caption"].lang, image.text["Caption"].tkey) == ("de", "Bildunterschrift")
    with Image.open(tmp_path / "out.png") as image:
        image.verify()


def test_text_behind_the_pixels_is_kept(tmp_path):
    data = io.BytesIO()
    RGB.save(data, "PNG")
    content = b"Comment\0late"
    chunk = struct.pack(">I", len(content)) + b"tEXt" + content + struct.pack(">I", zlib.crc32(b"tEXt" + content))
    (tmp_path / "x.png").write_bytes(data.getvalue()[:-12] + chunk + data.getvalue()[-12:])
    assert read_picture(tmp_path / "x.png").metadata.text == {"Comment": "late"}


def test_text_becomes_what_the_other_format_has_for_it(tmp_path):
    metadata = Metadata(text={"Author": "Möller", "Description": "a castle", "Comment": "hello", "parameters": "x"})
    for kind in ("jpg", "webp", "tif"):
        with Image.open(written(tmp_path / f"out.{kind}", metadata)) as image:
            tags = image.getexif()
            assert tags[0x013B].encode("latin-1").decode() == "Möller" and tags[0x010E] == "a castle"
    assert read_picture(tmp_path / "out.jpg").metadata.text == {"Comment": "hello"}
    back = read_picture(written(tmp_path / "back.png", read_picture(tmp_path / "out.jpg").metadata))
    assert back.metadata.text == {"Comment": "hello"}


STALE = (
    '<rdf:Description tiff:Orientation="6" tiff:ImageWidth=\'9\' dc:title="6"><tiff:Orientation>6</tiff:Orientation>'
    "<exif:PixelXDimension>9</exif:PixelXDimension></rdf:Description>"
)


def test_the_orientation_that_was_applied_is_said_nowhere(tmp_path):
    tags = Image.Exif()
    tags[0x0112] = 6
    raw = f"\nexif\n{len(tags.tobytes())}\n{tags.tobytes().hex()}\n"
    text = PngImagePlugin.PngInfo()
    text.add_text("Raw profile type exif", raw)
    text.add_text("XML:com.adobe.xmp", STALE)
    RGB.save(tmp_path / "x.png", pnginfo=text)
    picture = read_picture(tmp_path / "x.png")
    assert picture.pixels.shape == (9, 6, 3)
    assert picture.metadata == Metadata(xmp=b'<rdf:Description dc:title="6"></rdf:Description>')


@pytest.mark.parametrize("field", ["exif", "xmp", "text"])
def test_what_is_too_long_for_a_jpeg_is_left_out(tmp_path, field):
    tags = Image.Exif()
    tags[0x010E] = "x" * 70000
    long = {"exif": tags.tobytes()[6:], "xmp": XMP + b" " * 70000, "text": {"Comment": "x" * 70000}}
    path = written(tmp_path / "out.jpg", Metadata(**{field: long[field]}, dpi=(300, 300)))
    assert read_picture(path).metadata == Metadata(dpi=(300, 300))
    kept = read_picture(written(tmp_path / "out.png", Metadata(**{field: long[field]}))).metadata
    assert getattr(kept, field) == long[field]


@pytest.mark.parametrize("dpi", [(0, 0), (-1, 5), (float("inf"), 1), (float("nan"), 1)])
def test_a_resolution_that_is_none_is_none(tmp_path, dpi):
    tags = Image.Exif()
    tags[0x0128] = 2
    image = RGB.copy()
    image.info["dpi"] = dpi
    from quantnas_sr.images.metadata import read_metadata

    assert read_metadata(image, tags).dpi is None


def test_damaged_metadata_costs_no_image(tmp_path):
    data = io.BytesIO()
    RGB.save(data, "PNG")
    bad = bytes(range(200, 250))
    chunk = struct.pack(">I", len(bad)) + b"eXIf" + bad + struct.pack(">I", zlib.crc32(b"eXIf" + bad))
    (tmp_path / "x.png").write_bytes(data.getvalue()[:33] + chunk + data.getvalue()[33:])
    assert np.array_equal(read_picture(tmp_path / "x.png").pixels, np.asarray(RGB))


def test_a_tiff_with_exif_is_one_that_others_read(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 65536, (5, 7, 3)).astype(np.uint16)
    metadata = read_picture(full(tmp_path, "jpg")).metadata
    with image_writer(tmp_path / "x.tif", Layout(5, 7, 3, pixels.dtype, metadata)) as writer:
        writer.write(pixels)
    with tifffile.TiffFile(tmp_path / "x.tif") as tiff:
        (page,) = tiff.pages
        assert np.array_equal(page.asarray(), pixels)
        assert page.tags["ExifTag"].value["DateTimeOriginal"] == "2024:01:01 00:00:00"
        assert page.tags["GPSTag"].value["GPSLatitudeRef"] == "N"
        codes = [tag.code for tag in page.tags]
        assert codes == sorted(codes)


def test_png_is_still_written_row_by_row(tmp_path):
    """The metadata come first, and then every band as it arrives."""
    data = io.BytesIO()
    writer = PngWriter(data, 256, 300, 3, np.uint8, Metadata(icc=SRGB, xmp=XMP, dpi=(300, 300), text={"a": "b"}))
    sizes = []
    for seed in range(4):
        writer.write(np.random.default_rng(seed).integers(0, 256, (64, 300, 3), dtype=np.uint8))
        sizes.append(data.tell())
    assert min(np.diff(sizes)) > 40000
