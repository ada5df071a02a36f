"""The genotype: the chosen operation and bit width of every slot, and the file that stores them."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Dict, Mapping, NamedTuple, Tuple, Union

import torch
import yaml
from torch import Tensor

from quantnas_sr.errors import GenotypeError, OptionError, unknown
from quantnas_sr.pth import data_in
from quantnas_sr.quantization import check_bits
from quantnas_sr.search_space.operations import check_operation
from quantnas_sr.search_space.space import (
    SCALES,
    SLOT_QUANTIZERS,
    check_choice,
    check_fits,
    check_positive,
    get_search_space,
)
from quantnas_sr.system.files import written_aside
from quantnas_sr.values.kinds import shown
from quantnas_sr.values.plain_yaml import PlainYamlError, read_document

VERSION = 1
_REQUIRED = ("genotype_version", "search_space", "scale", "num_feat", "num_block", "norm", "slots")
#: Files without ``activation_quantizer`` describe networks with HWGQ.
_ALLOWED = (*_REQUIRED, "activation_quantizer", "origin")
#: Depth of the nested mappings in a genotype file: the file, ``slots``, one slot.
_LEVELS = 3


class Choice(NamedTuple):
    """The operation and bit width of a slot."""

    operation: str
    bits: int


@dataclass(frozen=True)
class Genotype:
    """Everything that a derived network is built from.

    Comparisons ignore ``origin``, plain data that says where the genotype comes from.
    """

    #: The file that a search writes, and the folder with one such file for each checkpoint.
    file_name: ClassVar[str] = "genotype.yml"
    folder_name: ClassVar[str] = "genotypes"

    search_space: str
    scale: int
    num_feat: int
    num_block: int
    norm: str
    slots: Mapping[str, Choice]
    origin: Mapping[str, Any] = field(default_factory=dict, compare=False)
    activation_quantizer: str = "hwgq"

    def to_dict(self) -> Dict[str, Any]:
        """Plain data, as in the file."""
        return {
            "genotype_version": VERSION,
            "search_space": self.search_space,
            "scale": self.scale,
            "num_feat": self.num_feat,
            "num_block": self.num_block,
            "norm": self.norm,
            "activation_quantizer": self.activation_quantizer,
            "slots": {name: choice._asdict() for name, choice in self.slots.items()},
            "origin": dict(self.origin),
        }

    def to_yaml(self) -> str:
        """The text of the file, with one line for each slot."""
        data = self.to_dict()
        slots, origin = data.pop("slots"), data.pop("origin")
        lines = [f"  {name}: {{operation: {s['operation']}, bits: {s['bits']}}}\n" for name, s in slots.items()]
        head = yaml.safe_dump(data, sort_keys=False)
        return head + "slots:\n" + "".join(lines) + yaml.safe_dump({"origin": origin}, sort_keys=False)

    def save(self, path: Union[str, Path]) -> None:
        """Write the file atomically."""
        with written_aside(path) as aside:
            aside.write_text(self.to_yaml(), encoding="utf-8")

    def to_tensor(self) -> Tensor:
        """The genotype as bytes (JSON, UTF-8), so that it can travel in a state dict."""
        return torch.tensor(list(json.dumps(self.to_dict()).encode()), dtype=torch.uint8)

    @classmethod
    def from_dict(cls, data: Any, where: str = "genotype") -> "Genotype":
        """Check plain data and make a genotype of it.

        Raises:
            GenotypeError: one line that starts with ``where`` and says what is wrong.
        """
        return _Reader(data, where, {}).genotype()

    @classmethod
    def from_tensor(cls, data: Tensor, where: str = "checkpoint") -> "Genotype":
        """The inverse of `to_tensor`."""
        plain = data_in(data)
        if plain is None:
            raise GenotypeError(f"{where}: the genotype that it carries cannot be read")
        return cls.from_dict(plain, where)

    @classmethod
    def load(cls, path: Union[str, Path]) -> "Genotype":
        """Read a genotype file with a safe loader.

        Raises:
            GenotypeError: the file is missing, is not YAML, or says something that cannot be built; the message names
                the file and the line.
        """
        data, lines = _parse_yaml(Path(path))
        return _Reader(data, str(path), lines).genotype()

    @classmethod
    def of(cls, source: "Union[str, Path, Mapping[str, Any], Genotype]") -> "Genotype":
        """A genotype from a file's path, plain data, or itself."""
        if isinstance(source, Genotype):
            return source
        return cls.load(source) if isinstance(source, (str, Path)) else cls.from_dict(source)


_Lines = Dict[Tuple[str, ...], int]


def _parse_yaml(path: Path) -> Tuple[Any, _Lines]:
    """The data of a YAML file, and the line of every key."""
    try:
        data, node = read_document(path)
    except OSError as error:
        raise GenotypeError(f"{path}: the genotype cannot be read ({error.strerror or error})") from None
    except PlainYamlError as error:
        line = f", line {error.line}" if error.line else ""
        raise GenotypeError(f"{path}{line}: {error.problem}. A genotype file holds plain data only") from None
    lines: _Lines = {}
    _note_lines(node, (), lines, str(path))
    return data, lines


def _note_lines(node: Any, path: Tuple[str, ...], lines: _Lines, where: str) -> None:
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        here = (*path, str(key.value))
        if here in lines:
            raise GenotypeError(f"{where}, line {key.start_mark.line + 1}: key {key.value!r} stands here twice")
        lines[here] = key.start_mark.line + 1
        if len(here) < _LEVELS:
            _note_lines(value, here, lines, where)


class _Reader:
    """Checks the data of one genotype from top to bottom and says where it is wrong."""

    def __init__(self, data: Any, where: str, lines: _Lines) -> None:
        self.data, self.where, self.lines = data, where, lines

    def fail(self, message: str, *path: str) -> GenotypeError:
        line = self.lines.get(path)
        return GenotypeError(f"{self.where}{f', line {line}' if line else ''}: {message}")

    def check(self, path: Tuple[str, ...], function, *args) -> Any:
        """Call a check of the options; its error is raised again with the place in this file."""
        try:
            return function(*args)
        except OptionError as error:
            raise self.fail(str(error), *path) from None

    def genotype(self) -> Genotype:
        self.keys(self.data, _REQUIRED, _ALLOWED)
        data = self.data
        version = data["genotype_version"]
        if version != VERSION or type(version) is not int:
            message = f"genotype version {shown(version)}, this package reads version {VERSION}"
            raise self.fail(message, "genotype_version")
        space = self.check(("search_space",), get_search_space, data["search_space"])
        self.check(("scale",), check_choice, "scale", data["scale"], SCALES)
        self.check(("norm",), check_choice, "norm", data["norm"], space.norms)
        quantizer = data.get("activation_quantizer", "hwgq")
        self.check(("activation_quantizer",), check_choice, "activation_quantizer", quantizer, tuple(SLOT_QUANTIZERS))
        for key in ("num_feat", "num_block"):
            self.check((key,), check_positive, key, data[key])
        sizes = data["scale"], data["num_feat"], data["num_block"]
        expected = self.check(("num_feat",), space.slots, *sizes)
        slots = self.slots(expected)
        return Genotype(data["search_space"], *sizes, data["norm"], slots, self.origin(), quantizer)

    def origin(self) -> Dict[str, Any]:
        origin = self.data.get("origin") or {}
        if not isinstance(origin, dict):
            raise self.fail(f"origin must be a mapping, not {shown(origin)}", "origin")
        try:
            json.dumps(origin)
        except (TypeError, ValueError, RecursionError):
            raise self.fail("origin may hold words, numbers, lists and mappings only", "origin") from None
        return origin

    def keys(self, mapping: Any, required: Tuple[str, ...], allowed: Tuple[str, ...], *path: str) -> None:
        what = " ".join(path) or "a genotype"
        if not isinstance(mapping, dict):
            raise self.fail(f"{what} must be a mapping with the keys {', '.join(required)}", *path)
        for key in mapping:
            if key not in allowed:
                raise self.fail(unknown("key", key, allowed), *path, str(key))
        for key in required:
            if key not in mapping:
                raise self.fail(f"{what} lacks the key {key!r}", *path)

    def slots(self, expected: Mapping[str, Any]) -> Dict[str, Choice]:
        given = self.data["slots"]
        if not isinstance(given, dict):
            raise self.fail(f"slots must be a mapping of {len(expected)} slots", "slots")
        for name in given:
            if name not in expected:
                raise self.fail(unknown("slot", name, expected), "slots", str(name))
        missing = [name for name in expected if name not in given]
        if missing:
            counted = f"{len(given)} of {len(expected)} slots"
            raise self.fail(f"slots: {counted}, missing: {', '.join(missing)}", "slots")
        return {name: self.choice(slot, given[name]) for name, slot in expected.items()}

    def choice(self, slot: Any, entry: Any) -> Choice:
        path = ("slots", slot.name)
        self.keys(entry, Choice._fields, Choice._fields, *path)
        operation = self.check(path, check_operation, entry["operation"])
        bits = self.check(path, check_bits, entry["bits"])
        self.check(path, check_fits, operation, slot, self.data["num_feat"])
        return Choice(operation, bits)
