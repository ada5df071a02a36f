"""TIFF files of 8 or 16 bits with profile, resolution, XMP and EXIF."""

import struct
from typing import Any, BinaryIO, Dict, List, Tuple

import numpy as np
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from quantnas_sr.images.metadata import DIRECTORIES, XMP_TAG, ExifTags, Metadata

#: Above this size the 32-bit offsets of ordinary TIFF may be too short.
_LARGE = 3 << 30
#: Codes of TIFF's types.
_BYTE, _ASCII, _LONG = 1, 2, 4
#: Bytes of the header and of an entry of a directory.
_HEADER, _ENTRY = 8, 12
#: Number, type, count, value, and whether only the first page has it.
TiffTag = Tuple[int, int, int, Any, bool]


def write_tiff(file: BinaryIO, pixels: np.ndarray, metadata: Metadata) -> None:
    """Write an image, compressed without loss. The directories of EXIF are left out of a file of more than 3 GiB.

    Args:
        file: open for writing and reading.
        pixels: (H, W) gray, or (H, W, C) with C = 2 (gray, alpha), 3 (RGB) or 4 (RGB, alpha); uint8 or uint16.
        metadata: what else is written; of its text, what TIFF has tags for.
    """
    import tifffile  # a dependency of scikit-image, and so of BasicSR

    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    large = pixels.nbytes > _LARGE
    tags = metadata.exif_tags()
    extra = _text_tags(tags)
    if metadata.xmp:
        extra.append((XMP_TAG, _BYTE, len(metadata.xmp), metadata.xmp, True))
    tifffile.imwrite(
        file,
        pixels,
        bigtiff=large,
        photometric="rgb" if channels > 2 else "minisblack",
        planarconfig="contig" if pixels.ndim == 3 else None,
        extrasamples=["unassalpha"] if channels in (2, 4) else None,
        compression="zlib",
        iccprofile=metadata.icc,
        resolution=metadata.dpi,
        resolutionunit="INCH" if metadata.dpi else None,
        software=False,
        metadata=None,
        extratags=extra,
    )
    directories = {tag: tags[tag] for tag in DIRECTORIES if tag in tags and not large}
    if directories:
        _add_directories(file, directories)


def _text_tags(tags: ExifTags) -> List[TiffTag]:
    """The tags of text, as tifffile's ``extratags``."""
    texts = {tag: value.encode("ascii", "replace") if isinstance(value, str) else value for tag, value in tags.items()}
    return [(tag, _ASCII, 0, text, True) for tag, text in texts.items() if isinstance(text, bytes)]


def _add_directories(file: BinaryIO, directories: Dict[int, ExifTags]) -> None:
    """Append directories of EXIF to a TIFF file of one page, whose own directory is written anew to point to them.

    tifffile does not write them. Offsets are counted from the start of the file, so nothing else moves.
    """
    file.seek(0)
    header = file.read(_HEADER)
    order = "<" if header.startswith(b"II") else ">"
    (start,) = struct.unpack(f"{order}4xL", header)
    file.seek(start)
    (count,) = struct.unpack(f"{order}H", file.read(2))
    entries = [file.read(_ENTRY) for _ in range(count)]
    for tag, values in directories.items():
        directory = ImageFileDirectory_v2(header, group=tag)
        for key, value in values.items():
            directory[key] = value
        place = _end(file)
        file.write(directory.tobytes(place))
        entries.append(struct.pack(f"{order}HHLL", tag, _LONG, 1, place))
    entries.sort(key=lambda entry: struct.unpack(f"{order}H", entry[:2]))
    place = _end(file)
    file.write(struct.pack(f"{order}H", len(entries)) + b"".join(entries) + bytes(4))
    file.seek(4)
    file.write(struct.pack(f"{order}L", place))


def _end(file: BinaryIO) -> int:
    """Go to the end of a file, which is made even, as TIFF wants it."""
    place = file.seek(0, 2)
    return place + file.write(bytes(place % 2))
