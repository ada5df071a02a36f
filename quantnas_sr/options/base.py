"""Options files as data: in UTF-8 whatever the locale, and merged into the file that they are based on.

``base: FILE`` names a file that an options file differs from only in what it says itself. Mappings are merged key by
key, at any depth; every other value replaces that of the base. A mapping of another ``type`` is replaced as a whole,
since the base's keys are not its own.
"""

from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple, Type, Union

import yaml
from basicsr.utils import options as basicsr_options

from quantnas_sr.compat.replacing import rebind
from quantnas_sr.errors import OptionError
from quantnas_sr.options.gate import is_our_run
from quantnas_sr.options.numbers import to_numbers
from quantnas_sr.values.plain_yaml import (
    LONGEST,
    PlainLoader,
    PlainYamlError,
    check_bounds,
    check_file,
    in_one_line,
    read_yaml,
)

#: Keys without which BasicSR runs no options file.
_OF_EVERY_RUN = ("name", "model_type", "num_gpu", "datasets", "path")


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> Dict[str, Any]:
    """``base`` with ``changes``.

    >>> merged({"type": "A", "bits": [4, 8], "norm": "adq"}, {"bits": [8]})
    {'type': 'A', 'bits': [8], 'norm': 'adq'}
    >>> merged({"network": {"type": "A", "bits": 8}}, {"network": {"type": "B"}})
    {'network': {'type': 'B'}}
    """
    result = type(base)(base)
    for key, value in changes.items():
        before = result.get(key)
        both = isinstance(before, Mapping) and isinstance(value, Mapping)
        same_type = both and value.get("type", before.get("type")) == before.get("type")
        result[key] = merged(before, value) if same_type else value
    return result


def _in_utf8(stream: Any) -> Any:
    """The content of a file that was opened as text in the locale's encoding, as bytes. If they are not UTF-8, as text.

    Raises:
        PlainYamlError: it is beyond the bounds of the reader of YAML.
    """
    buffer = getattr(stream, "buffer", stream)
    if not hasattr(buffer, "read"):
        return stream
    content = buffer.read(LONGEST + 1)
    if isinstance(content, bytes):
        try:
            content.decode("utf-8")
        except UnicodeDecodeError:
            buffer.seek(0)
            content = stream.read()
    check_bounds(content)
    return content


def with_base(loader: Type[yaml.SafeLoader], numbers: bool = False) -> Type[yaml.SafeLoader]:
    """A loader like the one given that follows ``base:`` and reads UTF-8.

    Args:
        loader: of YAML.
        numbers: whether text such as ``1e-4`` becomes a number, in the options of our runs.
    """

    class LoaderWithBase(loader):
        def __init__(self, stream: Any, above: Tuple[Path, ...] = ()) -> None:
            name = getattr(stream, "name", None)
            super().__init__(_in_utf8(stream))
            self._files = (*above, Path(name).resolve()) if isinstance(name, str) else above

        def get_single_data(self) -> Any:
            data = super().get_single_data()
            if not self._files or not isinstance(data, Mapping):
                return data
            if "base" in data and not self._is_others(data):
                data = merged(self._base(data.pop("base")), data)
            if numbers and len(self._files) == 1 and is_our_run(data):
                to_numbers(data)
            return data

        def _is_others(self, data: Mapping[str, Any]) -> bool:
            """Whether ``base`` is a key of another project: the options are whole, and it names no file."""
            given = data["base"]
            is_file = isinstance(given, str) and (self._files[-1].parent / given).is_file()
            return not is_file and all(key in data for key in _OF_EVERY_RUN)

        def _base(self, given: Any) -> Any:
            here = self._files[-1]
            if not isinstance(given, str):
                raise OptionError(f"{here.name}: base: {given!r} is not the path of an options file")
            path = (here.parent / given).resolve()
            if path in self._files:
                raise OptionError(f"{here.name}: base: {given} is based on this file itself")
            try:
                check_file(path)
                with open(path, "rb") as stream:
                    data = in_one_line(lambda: type(self)(stream, self._files).get_single_data())
            except PlainYamlError as error:
                raise OptionError(f"{here.name}: base: {given}: {error}: not plain YAML") from None
            except OSError as error:
                raise OptionError(f"{here.name}: base: {given} cannot be read ({error.strerror})") from None
            if not isinstance(data, Mapping):
                raise OptionError(f"{here.name}: base: {given} is not a mapping of keys to values")
            return data

    return LoaderWithBase


_Loader = with_base(PlainLoader)


def load_options(path: Union[str, Path], loader: Optional[type] = None) -> Any:
    """The plain data of an options file, merged into the file that it is based on. Arguments as of `read_options`.

    Raises:
        OSError: the file cannot be read.
        PlainYamlError: it is not YAML of plain data.
        OptionError: the file that it is based on cannot be read.
    """
    check_file(path)
    with open(path, "rb") as stream:
        return in_one_line(lambda: yaml.load(stream, Loader=loader or _Loader))


def lineage(path: Union[str, Path]) -> List[Path]:
    """An options file, which must be readable, its base, the base of that, and so on."""
    files = [Path(path)]
    while True:
        data = read_yaml(files[-1])
        base = data.get("base") if isinstance(data, Mapping) else None
        if base is None:
            return files
        files.append(files[-1].parent / base)


def install() -> None:
    """Let BasicSR read options files in the same way."""
    original = basicsr_options.ordered_yaml
    loader, dumper = original()
    followed = with_base(loader, numbers=True)

    def ordered_yaml() -> Tuple[type, type]:
        return followed, dumper

    rebind(original, ordered_yaml)
