"""The one door for image files: regular files, of the formats that are read, and no larger than a limit of pixels."""

import os
import stat
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Iterator, Union

from PIL import Image

from quantnas_sr.errors import DataError
from quantnas_sr.images.formats import readable_formats
from quantnas_sr.images.limits import MOST_PIXELS


@contextmanager
def regular_file(path: Union[str, Path]) -> Iterator[BinaryIO]:
    """A file to read from. Pipes and devices, which may block or never end, are not even waited for.

    Raises:
        DataError: it is missing, no file, empty, or cannot be read; one line.
    """
    path = Path(path)
    try:
        # A look before the opening, which can have effects of its own on a device; the second look is the safe one.
        if not path.is_file():
            raise DataError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
        file = os.fdopen(os.open(path, flags), "rb")
    except (OSError, ValueError) as error:  # a null character in a name is a ValueError
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    with file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"{path}: not a file")
        if status.st_size == 0:
            raise DataError(f"{path}: the file is empty")
        yield file


@contextmanager
def opened(file: BinaryIO, name: object, most_pixels: int = MOST_PIXELS) -> Iterator[Image.Image]:
    """An image opened by Pillow: its header has been read and is within the limit, its pixels are not decoded.

    Args:
        file: the encoded image, seekable.
        name: what errors call it.
        most_pixels: the largest number of pixels.

    Raises:
        DataError: one line, whatever a decoder raises while it is open.
    """
    formats = tuple(readable_formats())
    try:
        with warnings.catch_warnings(), _pillow_allowing(most_pixels):
            # Users can do nothing about doubtful metadata; too many pixels are an error below.
            warnings.simplefilter("ignore")
            file.seek(0)
            with Image.open(file, formats=formats) as image:
                if image.width * image.height > most_pixels:
                    raise Image.DecompressionBombError
                yield image
    except DataError:
        raise
    except Image.UnidentifiedImageError:
        raise DataError(f"{name}: not an image of a format that is read: {', '.join(formats)}") from None
    except Image.DecompressionBombError:
        raise DataError(
            f"{name}: more than {most_pixels} pixels, which prepare and upscale allow with --max-pixels"
        ) from None
    except MemoryError:
        raise DataError(f"{name}: not enough memory to decode it") from None
    except PermissionError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror})") from None
    except Exception as error:  # decoders raise whatever a broken file leads them to
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{name}: cannot be decoded ({reason})") from None


@contextmanager
def _pillow_allowing(pixels: int) -> Iterator[None]:
    """Lift Pillow's own limit, which is one for the whole process, where a user allows more than that."""
    before = Image.MAX_IMAGE_PIXELS
    if before is None or pixels <= 2 * before:
        yield
        return
    Image.MAX_IMAGE_PIXELS = pixels
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before
