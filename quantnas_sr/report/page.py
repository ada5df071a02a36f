"""Writes a web page to one file that holds its pictures."""

import base64
import re
from pathlib import Path
from typing import Any, NamedTuple, Sequence, Set

from quantnas_sr.errors import MissingExtraError
from quantnas_sr.system.files import written_aside

TEMPLATE = Path(__file__).with_name("page.html.jinja")
_KINDS = {".png": "image/png", ".svg": "image/svg+xml"}
#: Characters that are replaced in the names of files, because some systems do not allow them.
_SAFE = re.compile(r"[^\w.+-]+")
_LONGEST_NAME = 150


class Figure(NamedTuple):
    """A picture.

    Attributes:
        path: its file.
        text: the alternative text.
        caption: the line below it, if any.
        wide: it scrolls in a box of its own where the page is narrow.
    """

    path: Path
    text: str
    caption: str = ""
    wide: bool = False

    @property
    def uri(self) -> str:
        """A URI that holds the whole PNG or SVG file."""
        return f"data:{_KINDS[self.path.suffix]};base64,{base64.b64encode(self.path.read_bytes()).decode()}"


class Table(NamedTuple):
    """A table in a box that scrolls by itself.

    Attributes:
        head: titles of the columns.
        rows: their cells.
        marked: indices of rows that stand out.
        text: indices of columns that hold sentences, not numbers.
        narrow: no wider than its cells need.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    marked: Sequence[int] = ()
    text: Sequence[int] = ()
    narrow: bool = False


class PictureFolder:
    """Names for the pictures of a page, all of them inside one folder and no two the same.

    The names contain words from options (jobs, test sets, metrics), which may have ``../`` in them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._taken: Set[str] = set()

    def path(self, *words: str, suffix: str = ".png") -> Path:
        """A file in the folder whose name has these words in it.

        >>> str(PictureFolder(Path("sweep")).path("front", "../Set14", "psnr").as_posix())
        'sweep/front_.._Set14_psnr.png'
        """
        stem = _SAFE.sub("_", "_".join(words)).lstrip(".")[:_LONGEST_NAME] or "picture"
        name, number = stem + suffix, 1
        while name.lower() in self._taken:  # on Windows and macOS large and small letters are the same
            number += 1
            name = f"{stem}_{number}{suffix}"
        self._taken.add(name.lower())
        return self.folder / name


def require_jinja2() -> None:
    """Raise a MissingExtraError unless Jinja2, which fills in the page, can be imported."""
    try:
        import jinja2  # noqa: F401
    except ImportError:
        raise MissingExtraError("the report of a sweep", "jinja2", "report") from None


def write_page(path: Path, **content: Any) -> None:
    """Write the page ``page.html.jinja``; every text in ``content`` is escaped."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined)
    text = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(**content)
    with written_aside(path) as aside:
        aside.write_text(text + "\n", encoding="utf-8")
