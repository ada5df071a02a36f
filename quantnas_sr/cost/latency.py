"""Latency as a cost: a file with the seconds of each convolution at each bit width, measured on one machine."""

import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, NamedTuple, Tuple, Union

from quantnas_sr.cost.costs import COST_REGISTRY, Cost
from quantnas_sr.cost.count import ConvShape, LayerCost
from quantnas_sr.errors import OptionError
from quantnas_sr.system.files import written_aside

VERSION = 1
#: Keys of the file: those with two numbers, named as in `ConvShape`; and those with one, with the name in `ConvShape`.
_PAIRS = ("kernel", "stride", "dilation")
_NUMBERS = {"in": "in_channels", "out": "out_channels", "groups": "groups", "height": "height", "width": "width"}


class Machine(NamedTuple):
    """The machine and software of a measurement. Times are comparable only if all of this is equal."""

    processor: str
    threads: int
    torch: str

    def __str__(self) -> str:
        return f"{self.processor}, threads {self.threads}, torch {self.torch}"


@dataclass
class LatencyTable:
    """Seconds of one run of a convolution at a bit width, on one machine."""

    machine: Machine
    date: str
    seconds: Dict[Tuple[ConvShape, int], float] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Union[str, Path]) -> "LatencyTable":
        """Read a table.

        Raises:
            OptionError: the file cannot be read, or is not a latency table; one line.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise OptionError(f"{path}: the latency table cannot be read ({error.strerror})") from None
        except ValueError as error:
            raise OptionError(f"{path}: no latency table ({error})") from None
        if not isinstance(content, dict) or content.get("version") != VERSION:
            raise OptionError(f"{path}: no latency table of version {VERSION}, as quantnas latency writes it")
        try:
            machine = dict(content["machine"])
            table = cls(date=str(machine.pop("date")), machine=Machine(**machine))
            rows = list(content["layers"])
        except (KeyError, TypeError, ValueError):
            raise OptionError(
                f"{path}: a latency table has 'machine' and 'layers', as quantnas latency writes it"
            ) from None
        for row in rows:
            try:
                key, seconds = _from_row(row)
            except (KeyError, TypeError, ValueError):
                raise OptionError(f"{path}: {json.dumps(row)} is no time of a convolution") from None
            table.seconds[key] = seconds
        return table

    def save(self, path: Union[str, Path]) -> None:
        """Write the table as JSON, with one line for each convolution."""
        machine = json.dumps({**self.machine._asdict(), "date": self.date})
        rows = ",\n".join(json.dumps(_to_row(*key, seconds)) for key, seconds in self.seconds.items())
        with written_aside(path) as aside:
            text = f'{{"version": {VERSION},\n"machine": {machine},\n"layers": [\n{rows}\n]}}\n'
            aside.write_text(text, encoding="utf-8")


def _to_row(shape: ConvShape, bits: int, seconds: float) -> Dict[str, Any]:
    pairs = {key: list(getattr(shape, key)) for key in _PAIRS}
    numbers = {key: getattr(shape, name) for key, name in _NUMBERS.items()}
    return {**pairs, **numbers, "bits": bits, "seconds": seconds}


def _from_row(row: Dict[str, Any]) -> Tuple[Tuple[ConvShape, int], float]:
    pairs = {key: tuple(row[key]) for key in _PAIRS}
    numbers = {name: row[key] for key, name in _NUMBERS.items()}
    bits, seconds = row["bits"], float(row["seconds"])
    whole = [bits, *numbers.values(), *(side for pair in pairs.values() for side in pair)]
    if any(len(pair) != 2 for pair in pairs.values()) or not all(type(n) is int and n > 0 for n in whole):
        raise ValueError
    if not 0 < seconds < math.inf:
        raise ValueError
    return (ConvShape(**pairs, **numbers), bits), seconds


@COST_REGISTRY.register()
class Latency(Cost):
    """Seconds that a convolution took, looked up in a table; nothing is interpolated.

    Args:
        table: a file that ``quantnas latency`` wrote.

    Raises:
        OptionError: the file cannot be read. `of` raises it too, for a layer that the table does not have.
    """

    unit = "s"
    shown = "ms", 1e-3

    def __init__(self, table: Union[str, os.PathLike]) -> None:
        if not isinstance(table, (str, os.PathLike)):
            raise OptionError(f"cost: table: {table!r} is not the name of a file")
        self.path = table
        self.table = LatencyTable.load(table)

    def of(self, layer: LayerCost) -> float:
        if layer.conv is None:
            raise OptionError(f"cost: {layer.name} is no two-dimensional convolution, and only those have a latency")
        seconds = self.table.seconds.get((layer.conv, layer.bits))
        if seconds is None:
            command = f"quantnas latency SEARCH.yml --threads {self.table.machine.threads} --output {self.path}"
            raise OptionError(
                f"{self.path}: no time of a {layer.conv} at {layer.bits} bits. Add what is missing: {command}"
            )
        return seconds
