"""What an image file says beside its pixels, as far as it is still true of the upscaled image."""

import math
import re
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Iterable, Mapping, Optional, Tuple, TypeVar

from PIL import Image

T = TypeVar("T")
#: Values by tag; those of `DIRECTORIES` are dictionaries of the same kind.
ExifTags = Dict[int, Any]

#: The tags whose values are directories: EXIF proper and GPS.
DIRECTORIES = (0x8769, 0x8825)
#: Tags of EXIF's first directory that stay true: description, make, model, software, date, artist, copyright.
_KEPT_TAGS = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298, *DIRECTORIES)
#: Of EXIF proper: width and height of the image, and the offset of a directory that is not copied.
_DROPPED_EXIF_TAGS = (0xA002, 0xA003, 0xA005)
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 0x011A, 0x011B, 0x0128
#: Inches in the unit of a resolution: EXIF and TIFF number inches 2 and centimetres 3.
_UNITS_PER_INCH = {2: 1.0, 3: 2.54}
_EXIF_HEADER = b"Exif\0\0"
#: The XMP tag of TIFF, and the keyword of XMP in PNG.
XMP_TAG = 700
XMP_KEYWORD = "XML:com.adobe.xmp"
#: Properties of XMP that are no longer true: the orientation has been applied, and the size is another.
_STALE_XMP = rb"(?:tiff:Orientation|tiff:ImageWidth|tiff:ImageLength|exif:PixelXDimension|exif:PixelYDimension)"
#: Text chunks in which ImageMagick hides whole EXIF and XMP blocks, the old orientation included.
_RAW_PROFILES = ("raw profile type exif", "raw profile type app1", "raw profile type xmp")
#: PNG's keywords for what EXIF has tags for.
_TAGS_OF_KEYWORDS = {"Description": 0x010E, "Software": 0x0131, "Author": 0x013B, "Copyright": 0x8298}
COMMENT = "Comment"


@dataclass(frozen=True)
class Metadata:
    """Metadata of an image file.

    Attributes:
        icc: the ICC profile.
        exif: EXIF data from its TIFF header on, without orientation, size, resolution and thumbnail.
        xmp: the XMP packet, without orientation and size.
        dpi: pixels per inch, horizontally and vertically.
        text: PNG's text chunks by keyword; the comment of another format is ``Comment``.
    """

    icc: Optional[bytes] = None
    exif: Optional[bytes] = None
    xmp: Optional[bytes] = None
    dpi: Optional[Tuple[float, float]] = None
    text: Mapping[str, str] = field(default_factory=dict)

    def exif_tags(self, resolution: bool = False) -> ExifTags:
        """EXIF for a format without text chunks and, if ``resolution``, without a field for the resolution.

        The author, copyright, description and software of text chunks become EXIF tags unless EXIF has them.
        """
        exif = Image.Exif()
        if self.exif:
            exif.load(_EXIF_HEADER + self.exif)
        tags = _tags(exif, exif)
        for keyword, tag in _TAGS_OF_KEYWORDS.items():
            if keyword in self.text:
                tags.setdefault(tag, self.text[keyword].encode("utf-8"))
        if resolution and self.dpi:
            tags.update({_X_RESOLUTION: self.dpi[0], _Y_RESOLUTION: self.dpi[1], _RESOLUTION_UNIT: 2})
        return tags


def read_metadata(image: Image.Image, exif: Image.Exif) -> Metadata:
    """The metadata of an image that Pillow has loaded, and whose EXIF data it has read.

    The profile of a CMYK image is left out: its pixels become RGB.
    """
    icc = None if image.mode == "CMYK" else image.info.get("icc_profile")
    kept = _or_none(lambda: exif_bytes(_tags(exif, _KEPT_TAGS)))
    xmp, dpi, text = (_or_none(part) for part in (lambda: _xmp(image), lambda: _dpi(image, exif), lambda: _text(image)))
    return Metadata(icc or None, kept, xmp, dpi, text or {})


def _or_none(read: Callable[[], T]) -> Optional[T]:
    """A part of the metadata; None if it is damaged, which is no reason to give up the image."""
    try:
        return read()
    except Exception:
        return None


def exif_bytes(tags: ExifTags) -> Optional[bytes]:
    """EXIF data from its TIFF header on; None if there are no tags."""
    exif = Image.Exif()
    for tag, value in tags.items():
        exif[tag] = value
    return exif.tobytes()[len(_EXIF_HEADER) :] if tags else None


def _tags(exif: Image.Exif, wanted: Iterable[int]) -> ExifTags:
    """Tags of EXIF with their values; directories as dictionaries, without the size of the image.

    Text that is not ASCII becomes bytes, for Pillow would write question marks. It reads any text as Latin-1.
    """
    tags: ExifTags = {}
    for tag in wanted:
        if tag in DIRECTORIES:
            tags[tag] = {key: v for key, v in exif.get_ifd(tag).items() if key not in _DROPPED_EXIF_TAGS}
        elif tag in exif:
            value = exif[tag]
            encoded = isinstance(value, str) and not value.isascii()
            tags[tag] = value.encode("latin-1", "replace") if encoded else value
    return {tag: value for tag, value in tags.items() if value != {}}


def _xmp(image: Image.Image) -> Optional[bytes]:
    found = image.info.get("xmp") or image.info.get(XMP_KEYWORD)
    if not found and image.format == "TIFF":
        found = image.tag_v2.get(XMP_TAG)
    if isinstance(found, str):
        found = found.encode("utf-8", "replace")
    if not isinstance(found, bytes):
        found = bytes(found) if isinstance(found, tuple) else b""
    found = re.sub(rb"\s" + _STALE_XMP + rb"\s*=\s*(?:\"[^\"]*\"|'[^']*')", b"", found)
    return re.sub(rb"<(" + _STALE_XMP + rb")\b[^<>]*>[^<]*</\1\s*>", b"", found) or None


def _dpi(image: Image.Image, exif: Image.Exif) -> Optional[Tuple[float, float]]:
    """Pixels per inch, of the file's own field or else of EXIF."""
    own = image.info.get("dpi")
    # Pillow says 72 of a JPEG that says nothing.
    if own and (image.format not in ("JPEG", "MPO") or image.info.get("jfif_unit")):
        return _valid(own, 1)
    unit = _UNITS_PER_INCH.get(exif.get(_RESOLUTION_UNIT, 2))
    if _X_RESOLUTION not in exif or unit is None or image.format == "TIFF":
        return None
    return _valid((exif[_X_RESOLUTION], exif.get(_Y_RESOLUTION, exif[_X_RESOLUTION])), unit)


def _valid(resolution: Tuple[object, object], factor: float) -> Optional[Tuple[float, float]]:
    try:
        x, y = (float(value) * factor for value in resolution)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (x, y) if math.isfinite(x) and math.isfinite(y) and min(x, y) > 0 else None


def _text(image: Image.Image) -> Dict[str, str]:
    if image.format == "PNG":
        chunks = image.text.items()
        return {key: text for key, text in chunks if key != XMP_KEYWORD and key.lower() not in _RAW_PROFILES}
    comment = image.info.get("comment", b"")
    if isinstance(comment, bytes):
        try:
            comment = comment.decode("utf-8")
        except UnicodeDecodeError:
            comment = comment.decode("latin-1")
    return {COMMENT: comment} if comment.strip("\0") else {}
