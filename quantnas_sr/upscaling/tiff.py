"""TIFF files of 8 or 16 bits with profile, resolution, XMP and EXIF."""

import sys
from typing import Any, BinaryIO, Dict, List, Tuple

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from quantnas_sr.images.metadata import XMP_TAG, Metadata

#: Above this size the 32-bit offsets of ordinary TIFF may be too short.
_LARGE = 3 << 30
#: The tags that point to the directories of EXIF proper and GPS.
_DIRECTORIES = (0x8769, 0x8825)
#: Codes of TIFF's types.
_BYTE, _ASCII, _LONG = 1, 2, 4


def write_tiff(file: BinaryIO, pixels: np.ndarray, metadata: Metadata) -> None:
    """Write an image, compressed without loss. EXIF is left out of a file of more than 3 GiB.

    Args:
        file: open for writing and reading.
        pixels: (H, W) gray, or (H, W, C) with C = 2 (gray, alpha), 3 (RGB) or 4 (RGB, alpha); uint8 or uint16.
        metadata: what else is written; of its text, what TIFF has tags for.
    """
    import tifffile  # a dependency of scikit-image, and so of BasicSR

    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    large = pixels.nbytes > _LARGE
    directories, tags = _split(metadata.exif_with(), large)
    if metadata.xmp:
        tags.append((XMP_TAG, _BYTE, len(metadata.xmp), metadata.xmp, True))
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
        extratags=tags,
    )
    if directories:
        _append(file, directories)


def _split(exif: Image.Exif, large: bool) -> Tuple[Dict[int, Dict[int, Any]], List[Tuple[int, int, int, Any, bool]]]:
    """The directories of EXIF, and tifffile's ``extratags`` for its other tags and for pointers to the directories."""
    directories, tags = {}, []
    for tag, value in exif.items():
        if tag in _DIRECTORIES:
            if not large and exif.get_ifd(tag):
                directories[tag] = dict(exif.get_ifd(tag))
                tags.append((tag, _LONG, 1, 0, True))
        else:
            text = value.encode("latin-1", "replace") if isinstance(value, str) else value
            if isinstance(text, bytes):
                tags.append((tag, _ASCII, 0, text, True))
    return directories, tags


def _append(file: BinaryIO, directories: Dict[int, Dict[int, Any]]) -> None:
    """Write directories at the end of a TIFF file, and their offsets into the tags that point to them."""
    import tifffile

    with tifffile.TiffFile(file) as tiff:
        pointers = {tag: tiff.pages[0].tags[tag].valueoffset for tag in directories}
    prefix = b"II*\0\0\0\0\0" if sys.byteorder == "little" else b"MM\0*\0\0\0\0"
    for tag, entries in directories.items():
        directory = ImageFileDirectory_v2(prefix, group=tag)
        for key, value in entries.items():
            directory[key] = value
        offset = file.seek(0, 2)
        offset += file.write(b"\0" * (offset % 2))  # directories begin at even offsets
        file.write(directory.tobytes(offset))
        file.seek(pointers[tag])
        file.write(offset.to_bytes(4, sys.byteorder))
