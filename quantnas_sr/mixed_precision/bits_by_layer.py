"""Bit widths of the layers of a network, and the file that holds them: what a search of bit widths finds."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Collection, Mapping, Union

import yaml

from quantnas_sr.errors import OptionError, unknown
from quantnas_sr.quantization import check_bits
from quantnas_sr.system.files import written_aside


@dataclass(frozen=True)
class BitsByLayer:
    """Bit widths by name of layer. ``origin`` (where they came from, plain data) does not count in a comparison.

    The file has a line ``layer: bits`` for each layer, and may have a mapping ``origin`` beside them. A search writes
    the options of its network there, as ``arch``, so that the file alone says what the network costs.
    """

    #: What a search calls the file, and the folder of those of its checkpoints.
    file_name: ClassVar[str] = "bits_by_layer.yml"
    folder_name: ClassVar[str] = "bits_by_layer"

    bits: Mapping[str, int]
    origin: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def save(self, path: Union[str, Path]) -> None:
        """Write the file, in one step (an interruption leaves the old file)."""
        data = {**self.bits, "origin": _plain(self.origin)}
        with written_aside(path) as aside:
            aside.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")

    @classmethod
    def of(cls, given: Union[str, Path, Mapping[str, Any], None], layers: Collection[str]) -> "BitsByLayer":
        """Widths from a YAML or JSON file, from plain data, or none at all, for a network that has these layers.

        Raises:
            OptionError: one line that names the file, and the layer that it is about.
        """
        where = "bits_by_layer"
        if isinstance(given, (str, Path)):
            where = f"{where}: {given}"
            given = _read(given, where)
        if given is None:
            return cls({})
        if not isinstance(given, Mapping):
            raise OptionError(f"{where}: {given!r} is not a mapping from names of layers to bits")
        bits = dict(given)
        origin = bits.pop("origin") if isinstance(given.get("origin"), Mapping) else {}
        for name, width in bits.items():
            if name not in layers:
                raise OptionError(unknown("layer", name, layers, where=where))
            check_bits(width, f"{where}: {name}")
        return cls(bits, origin)


def _plain(value: Any) -> Any:
    """Without the mapping and sequence types of whoever read the options, which a safe YAML file does not hold."""
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def _read(path: Union[str, Path], where: str) -> Any:
    try:
        return yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionError(f"{where} cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, yaml.YAMLError):
        raise OptionError(f"{where} is neither YAML nor JSON of plain data") from None
