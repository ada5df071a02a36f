"""Which files are videos by their names, and which names are written."""

import os
from pathlib import Path
from typing import Dict

from quantnas_sr.errors import OptionError, unknown

#: The suffixes of the files that are read as videos, in lower case.
SUFFIXES = (
    *(".mp4", ".m4v", ".mkv", ".mov", ".avi", ".webm", ".mpg", ".mpeg", ".wmv", ".flv"),
    *(".ts", ".mts", ".m2ts", ".3gp", ".ogv"),
)
#: The suffixes that are written, and FFmpeg's names of their formats.
CONTAINERS: Dict[str, str] = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
    ".avi": "avi",
}


def is_video(path: Path) -> bool:
    """Whether a file is read as a video: by its suffix, in any case."""
    return path.suffix.lower() in SUFFIXES and not os.path.isdir(path)


def container_of(output: Path) -> str:
    """FFmpeg's name of the format of a video to be written.

    Raises:
        OptionError: the suffix is none that is written.
    """
    container = CONTAINERS.get(output.suffix.lower())
    if container is None:
        raise OptionError(f"{output}: {unknown('suffix of a video', output.suffix, CONTAINERS)}")
    return container
