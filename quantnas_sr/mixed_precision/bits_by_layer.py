"""The result of a bit-width search: a bit width for each layer of a network, and the file that stores them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Collection, Mapping, Union

import yaml

from quantnas_sr.errors import OptionError, unknown
from quantnas_sr.quantization import check_bits
from quantnas_sr.system.files import written_aside
from quantnas_sr.values.kinds import shown
from quantnas_sr.values.plain_yaml import PlainYamlError, read_yaml


@dataclass(frozen=True)
class BitsByLayer:
    """Bit widths by layer name. Comparisons ignore ``origin``, plain data that says where the widths come from.

    The file has a line ``layer: bits`` for each layer, and an optional mapping ``origin``. A search stores the options
    of its network there, as ``arch``, so that the cost of the network can be computed from the file alone.
    """

    #: The file that a search writes, and the folder with one such file for each checkpoint.
    file_name: ClassVar[str] = "bits_by_layer.yml"
    folder_name: ClassVar[str] = "bits_by_layer"

    bits: Mapping[str, int]
    origin: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def save(self, path: Union[str, Path]) -> None:
        """Write the file atomically (an interruption leaves the old file)."""
        data = {**self.bits, "origin": _plain(self.origin)}
        with written_aside(path) as aside:
            aside.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")

    @classmethod
    def of(cls, given: Union[str, Path, Mapping[str, Any], None], layers: Collection[str]) -> "BitsByLayer":
        """Read widths from a YAML or JSON file or from plain data, and check them. None gives no widths.

        Args:
            given: the file or the data.
            layers: names of the layers of the network.

        Raises:
            OptionError: the widths cannot be used; one line that names the file and the layer.
        """
        where = "bits_by_layer"
        if isinstance(given, (str, Path)):
            where = f"{where}: {given}"
            given = _read(given, where)
        if given is None:
            return cls({})
        if not isinstance(given, Mapping):
            raise OptionError(f"{where}: {shown(given)} is not a mapping from names of layers to bits")
        bits = dict(given)
        origin = bits.pop("origin") if isinstance(given.get("origin"), Mapping) else {}
        for name, width in bits.items():
            if name not in layers:
                raise OptionError(unknown("layer", name, layers, where=where))
            check_bits(width, f"{where}: {name}")
        return cls(bits, origin)


def _plain(value: Any) -> Any:
    """Convert mappings and sequences to dicts and lists: safe YAML cannot write the types that options may have."""
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def _read(path: Union[str, Path], where: str) -> Any:
    try:
        return read_yaml(path)
    except OSError as error:
        raise OptionError(f"{where} cannot be read ({error.strerror or error})") from None
    except PlainYamlError as error:
        raise OptionError(f"{where} is neither YAML nor JSON of plain data: {error}") from None
