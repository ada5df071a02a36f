"""The image formats that can be read: one list for every command."""

import functools
import importlib
from contextlib import suppress
from pathlib import PurePath
from typing import Dict, Tuple, Union

from PIL import Image, features

#: Pillow's name of each format and the suffixes of its files. Pillow is allowed to open no other format: some of its
#: readers start other programs.
_SUFFIXES: Dict[str, Tuple[str, ...]] = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "AVIF": (".avif",),
    "HEIF": (".heic", ".heif", ".hif"),
}
#: Formats that not every Pillow can decode: the module of Pillow itself, if it has one, and a plug-in.
_OPTIONAL = {"WEBP": ("webp", None), "AVIF": ("avif", "pillow_avif"), "HEIF": (None, "pillow_heif")}
_PACKAGES = {"AVIF": "pillow-avif-plugin", "HEIF": "pillow-heif"}


def readable_formats() -> Dict[str, Tuple[str, ...]]:
    """The formats that the installed Pillow decodes, with their suffixes in lower case."""
    return {name: suffixes for name, suffixes in _SUFFIXES.items() if _can_decode(name)}


def image_suffixes() -> Tuple[str, ...]:
    """The suffixes, in lower case, of the files that can be read."""
    return tuple(suffix for suffixes in readable_formats().values() for suffix in suffixes)


def is_image(path: Union[str, PurePath]) -> bool:
    """Whether the suffix of a file, in any case, is that of an image that can be read."""
    return PurePath(path).suffix.lower() in image_suffixes()


def package_for(suffix: str) -> Tuple[str, ...]:
    """The packages that would make files of a suffix readable here: one, or none.

    >>> package_for(".png")
    ()
    """
    missing = set(_PACKAGES) - set(readable_formats())
    return tuple(_PACKAGES[name] for name in sorted(missing) if suffix.lower() in _SUFFIXES[name])


def _can_decode(name: str) -> bool:
    if name not in _OPTIONAL:
        return True
    module, plug_in = _OPTIONAL[name]
    if module in features.modules and features.check_module(module):
        return True
    return plug_in is not None and _registered(name, plug_in)


@functools.cache
def _registered(name: str, plug_in: str) -> bool:
    """Whether a plug-in of Pillow is installed; it is registered on the way."""
    with suppress(ImportError):
        module = importlib.import_module(plug_in)
        # pillow_avif registers itself when it is imported.
        getattr(module, "register_heif_opener", lambda: None)()
        return name in Image.OPEN
    return False
