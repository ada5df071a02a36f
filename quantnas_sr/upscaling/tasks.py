"""Which file becomes which: from the inputs and the output of the command line to a list of tasks."""

import os
import unicodedata
from pathlib import Path
from typing import Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple, Union

from quantnas_sr.errors import DataError, OptionError, unknown
from quantnas_sr.images.folders import files_in, left_out_line
from quantnas_sr.images.formats import image_suffixes, is_image
from quantnas_sr.upscaling import writers
from quantnas_sr.upscaling.video import names as video


class UpscaleTask(NamedTuple):
    """An image or video, and the file that it is upscaled to."""

    source: Path
    target: Path

    @property
    def is_video(self) -> bool:
        """Whether the input is a video."""
        return video.is_video(self.source)


class UpscalePlan(NamedTuple):
    """What a command is to do.

    Attributes:
        tasks: in order, images before videos.
        into_folder: whether the output is a folder for several inputs or for the files of a folder.
        left_out: files of the input folders that cannot be read as an image or a video.
    """

    tasks: List[UpscaleTask]
    into_folder: bool
    left_out: List[Path]

    def unfinished(self) -> List[UpscaleTask]:
        """The tasks whose output is not there yet."""
        return [task for task in self.tasks if not task.target.is_file()]


def plan(sources: Sequence[Path], output: Union[str, Path], suffix: Optional[str] = None) -> UpscalePlan:
    """What ``quantnas upscale NETWORK SOURCES... OUTPUT`` is to do.

    Args:
        sources: images, videos, and folders, whose sub-folders and linked folders are searched too. Several folders
            keep their names below the output folder; one alone does not.
        output: a file for one image or video, or a folder.
        suffix: format of the images in a folder, such as ``.png``; by default the image's own where it is lossless,
            and otherwise PNG.

    Raises:
        DataError: an input is missing or has no image, two of them would become one file, or one would replace itself.
        OptionError: a format that is not written.
    """
    if suffix is not None and suffix not in writers.FORMATS:
        raise OptionError(f"--format {unknown('suffix', suffix, writers.FORMATS)}")
    for source in sources:
        if not os.path.exists(source):  # which, unlike pathlib's, answers for names that are too long too
            raise DataError(f"{source}: no such file or folder")
    several = len(sources) > 1 or os.path.isdir(sources[0])
    left_out: List[Path] = []
    if several:
        tasks = _several(sources, Path(output), suffix, left_out)
        _check_folder(output, "several inputs are" if len(sources) > 1 else "a folder is")
    else:
        tasks = [_single(sources[0], output, suffix)]
    tasks = list(dict.fromkeys(tasks))
    _check_targets(tasks)
    return UpscalePlan(sorted(tasks, key=lambda task: task.is_video), several, left_out)


def counted(tasks: Sequence[UpscaleTask]) -> str:
    """The number of images and videos in words.

    >>> counted([UpscaleTask(Path("a.png"), Path("b.png")), UpscaleTask(Path("a.mp4"), Path("b.mp4"))])
    '1 image and 1 video'
    """
    videos = sum(task.is_video for task in tasks)
    parts = [(len(tasks) - videos, "image"), (videos, "video")]
    return " and ".join(f"{count} {word}{'s' if count > 1 else ''}" for count, word in parts if count)


def _single(source: Path, output: Union[str, Path], suffix: Optional[str]) -> UpscaleTask:
    target = Path(output)
    if os.path.isdir(target) or _says_folder(output):
        _check_folder(output, "an output with a slash at the end is")
        return UpscaleTask(source, target / _name(source, suffix))
    if video.is_video(source):
        video.container_of(target)
        return UpscaleTask(source, target)
    if suffix is not None and target.suffix.lower() != suffix:
        raise OptionError(f"{target}: its suffix is not the --format {suffix}")
    if video.is_video(target):
        allowed = ", ".join(sorted(writers.FORMATS))
        raise OptionError(f"{target}: has the suffix of a video, but {source} is not a video. Allowed: {allowed}")
    if not target.suffix:
        line = unknown("suffix", "", writers.FORMATS)
        raise OptionError(f"{target}: {line}; the name of a folder ends with a slash: {target}{os.sep}")
    writers.format_of(target)
    return UpscaleTask(source, target)


def _says_folder(output: Union[str, Path]) -> bool:
    return str(output).endswith(tuple(separator for separator in (os.sep, os.altsep) if separator))


def _check_folder(output: Union[str, Path], what: str) -> None:
    """Raise an error if an output that is to be a folder is a file, or has the name of one.

    Args:
        output: as the user wrote it.
        what: the inputs, for the message.
    """
    if os.path.isdir(output):
        return
    target = Path(output)
    if os.path.exists(target):
        raise DataError(f"{target}: is a file; {what} upscaled to a folder")
    if not _says_folder(output) and (is_image(target) or video.is_video(target)):
        raise OptionError(
            f"{target}: is the name of a file; {what} upscaled to a folder. "
            f"For a folder of that name write {target}{os.sep}"
        )


def _several(sources: Sequence[Path], output: Path, suffix: Optional[str], left_out: List[Path]) -> List[UpscaleTask]:
    tasks = []
    for source in sources:
        if os.path.isdir(source):
            below = output / Path(os.path.abspath(source)).name if len(sources) > 1 else output
            found, others = _of_folder(source, output)
            left_out += others
            tasks += [(path, below / path.parent.relative_to(source)) for path in found]
        else:
            tasks.append((source, output))
    return [UpscaleTask(path, folder / _name(path, suffix)) for path, folder in tasks]


def _of_folder(source: Path, output: Path) -> Tuple[List[Path], List[Path]]:
    """The images and videos of a folder, and its other files; without an output folder that lies inside it."""
    if os.path.isdir(output) and output.samefile(source):
        raise DataError(f"{output}: is the folder of the input; name another")
    found, others = [], []
    for path in sorted(files_in(source, excluded=output)):
        (found if is_image(path) or video.is_video(path) else others).append(path)
    if not found:
        what = f"; {left_out_line(others)}" if others else ""
        raise DataError(f"{source}: has no image. Looked for: {', '.join((*image_suffixes(), *video.SUFFIXES))}{what}")
    return found, others


def _name(source: Path, suffix: Optional[str]) -> str:
    own = source.suffix.lower()
    if video.is_video(source):
        return source.stem + (own if own in video.CONTAINERS else ".mp4")
    return source.stem + (suffix or (own if own in writers.LOSSLESS else ".png"))


def _check_targets(tasks: Iterable[UpscaleTask]) -> None:
    """Raise a DataError if two inputs would become the same file, or an input would be replaced by its output."""
    taken: Dict[str, Path] = {}
    for source, target in tasks:
        if os.path.exists(target) and target.samefile(source):
            raise DataError(f"{target}: is the input itself; name another output")
        # Some file systems do not distinguish A.png from a.png, or one way to write an accent from another.
        name = unicodedata.normalize("NFC", str(target)).lower()
        other = taken.setdefault(name, source)
        if other is not source:
            raise DataError(f"{other} and {source} would both become {target}; rename one of them")
