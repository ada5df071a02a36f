"""The one reader of YAML. A file of options or of a search is plain data within bounds, or one line says what it is.

Plain data: mappings, lists, text, finite and infinite numbers, true, false and null. A date is text. Tags that make
anything else of a value are refused, whoever defines them.
"""

import errno
import os
import re
import stat
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple, Union

import yaml

from quantnas_sr.errors import QuantNASError

#: Bytes of a file.
LONGEST = 2**22
#: Mappings and lists in one another.
DEEPEST = 50
#: Values, with those that aliases repeat.
MOST_VALUES = 10**5
#: Digits of a number: more than the largest float has.
MOST_DIGITS = 400

_NUMBER = re.compile(r"[-+]?[0-9a-fA-FxXobOB_:.eE+]+")
_TAGS = ("null", "bool", "int", "float", "str", "seq", "map")
_PREFIX = "tag:yaml.org,2002:"


class PlainYamlError(ValueError):
    """A text is not YAML of plain data, or beyond the bounds. The message is one line that goes behind the file.

    Args:
        problem: in words.
        line: where, from 1; None where it is not known.
    """

    def __init__(self, problem: str, line: Optional[int] = None) -> None:
        self.problem, self.line = " ".join(problem.split())[:200], line
        super().__init__(f"line {line}: {self.problem}" if line else self.problem)


class PlainLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """Makes plain data and nothing else."""


PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != f"{_PREFIX}timestamp"]
    for first, resolvers in PlainLoader.yaml_implicit_resolvers.items()
}
PlainLoader.yaml_constructors = {
    tag: PlainLoader.yaml_constructors[tag] for tag in (*(f"{_PREFIX}{name}" for name in _TAGS), None)
}


class Document(NamedTuple):
    """What a text says, and the nodes that it was made of, which know their lines."""

    data: Any
    node: Optional[yaml.Node]


def read_document(path: Union[str, Path]) -> Document:
    """The plain data of a file.

    Raises:
        OSError: the file cannot be read.
        PlainYamlError: it is not YAML of plain data.
    """
    return parse_document(text_of(path))


def read_yaml(path: Union[str, Path]) -> Any:
    """The plain data of a file. Raises as `read_document`."""
    return read_document(path).data


def parse_yaml(text: str) -> Any:
    """The plain data of a text.

    Raises:
        PlainYamlError: it is not YAML of plain data.

    >>> parse_yaml("bits: [4, 8]"), parse_yaml("2020-99-99")
    ({'bits': [4, 8]}, '2020-99-99')
    """
    return parse_document(text).data


def parse_document(text: str) -> Document:
    """As `parse_yaml`, with the nodes."""
    check_bounds(text)

    def parse() -> Document:
        loader = PlainLoader(text)
        node = loader.get_single_node()
        return Document(None if node is None else loader.construct_document(node), node)

    return in_one_line(parse)


def text_of(path: Union[str, Path]) -> str:
    """The text of a file in UTF-8.

    Raises:
        OSError: the file cannot be read.
        PlainYamlError: it is no text, too long, or a pipe or a device, which may never end.
    """
    check_file(path)
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise PlainYamlError("it is not text in UTF-8") from None


def check_file(path: Union[str, Path]) -> None:
    """Raise an OSError or a PlainYamlError unless there is a file of an allowed size; nothing is opened."""
    status = Path(path).stat()
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(status.st_mode):
        raise PlainYamlError("it is not a file but a pipe or a device")
    if status.st_size > LONGEST:
        raise PlainYamlError(f"it has {status.st_size} bytes. Allowed: at most {LONGEST}")


def in_one_line(parse: Callable[[], Any]) -> Any:
    """The result of reading YAML; whatever its reader raises becomes a `PlainYamlError`."""
    try:
        return parse()
    except (PlainYamlError, QuantNASError, OSError):
        raise
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "not YAML"
        raise PlainYamlError(str(problem), mark.line + 1 if mark else None) from None
    except Exception as error:  # constructors take for granted that a value is what its tag says
        raise PlainYamlError(f"a value is not what its tag says ({error or type(error).__name__})") from None


def check_bounds(text: Union[str, bytes]) -> None:
    """Raise a PlainYamlError unless a text is YAML within the bounds. No value is made of it."""
    if len(text) > LONGEST:
        raise PlainYamlError(f"it has {len(text)} characters. Allowed: at most {LONGEST}")
    in_one_line(lambda: _Bounds().check(text))


class _Bounds:
    """Counts values and levels on the way through a text; an alias counts as all that it repeats."""

    def __init__(self) -> None:
        self.total = 0
        self.open: List[Tuple[Optional[str], int]] = []  # of the mappings and lists around: (anchor, total before it)
        self.sizes: Dict[str, int] = {}

    def check(self, text: Union[str, bytes]) -> None:
        for event in yaml.parse(text, Loader=PlainLoader):
            line = event.start_mark.line + 1
            if isinstance(event, yaml.AliasEvent):
                self._add(self._repeated(event.anchor, line), line)
            elif isinstance(event, yaml.ScalarEvent):
                self._scalar(event, line)
            elif isinstance(event, yaml.CollectionStartEvent):
                self.open.append((event.anchor, self.total))
                self._add(1, line)
            elif isinstance(event, yaml.CollectionEndEvent):
                anchor, before = self.open.pop()
                self._note(anchor, self.total - before)
            if len(self.open) > DEEPEST:
                raise PlainYamlError(f"it is nested deeper than {DEEPEST} levels", line)

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> None:
        if event.style is None or event.style == "" or event.tag:
            value = event.value
            if len(value) > MOST_DIGITS and _NUMBER.fullmatch(value):
                raise PlainYamlError(f"a number of {len(value)} digits. Allowed: at most {MOST_DIGITS}", line)
        self._add(1, line)
        self._note(event.anchor, 1)

    def _add(self, count: int, line: int) -> None:
        self.total += count
        if self.total > MOST_VALUES:
            raise PlainYamlError(f"it has more than {MOST_VALUES} values", line)

    def _note(self, anchor: Optional[str], size: int) -> None:
        if anchor is not None:
            self.sizes[anchor] = size

    def _repeated(self, anchor: str, line: int) -> int:
        """The size of what an alias repeats."""
        if any(anchor == name for name, _ in self.open):
            raise PlainYamlError(f"*{anchor} contains itself", line)
        return self.sizes.get(anchor, 1)
