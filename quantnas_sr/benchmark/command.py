"""``quantnas benchmark``: counts and measures a trained network in integers against its float baseline."""

import argparse
import datetime
import json
import shlex
import sys
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import nn
from tqdm import tqdm

from quantnas_sr.benchmark.table import Measurement, Row, Theory, markdown
from quantnas_sr.benchmark.timing import taking_turns
from quantnas_sr.checkpoints import load_network
from quantnas_sr.cost import count
from quantnas_sr.cost.measure import this_machine
from quantnas_sr.deploy.packages import (
    ALL_RUNTIMES,
    LITERT_RUNTIMES,
    RUNTIMES,
    RUNTIMES_OF,
    import_runtime,
    installed_runtimes,
    usable_runtimes,
)
from quantnas_sr.errors import DataError, MissingExtraError, OptionError
from quantnas_sr.export.choices import ADQ_FORMS, IO_KINDS, OUTPUTS
from quantnas_sr.export.exporting import export
from quantnas_sr.export.onnx_graph.onnx_file import require_export
from quantnas_sr.quantization import FULL_PRECISION
from quantnas_sr.search_space.skeletons.adq import is_dynamic
from quantnas_sr.system.files import written_aside
from quantnas_sr.values.arguments import check_word, parse_positive, parse_size

Size = Tuple[int, int]
#: Turns that the float baseline and the integer networks take alternately: a machine that slows down slows all of them.
_ROUNDS = 3
_NOTES = """\
Theory is counted: a MAC is one multiply-add, a BitOp is a MAC times the bits of its weight times the bits of its input;
the float baseline has 32 bits. The other columns are measured: ms is the median over the runs, from an image in memory
to an image in memory; peak is the memory of the runtime and the network; "times faster" compares with the float
baseline of the same form of ADQ, in the same runtime, at the same size."""


class _File(NamedTuple):
    """An exported network; ``outputs`` is empty for the float baseline."""

    path: Path
    adq: str
    outputs: str
    io: str
    bytes: int


@dataclass(frozen=True)
class _Plan:
    """What is to be measured, and how."""

    adq: Sequence[str]
    outputs: Sequence[str]
    io: Sequence[str]
    sizes: Sequence[Size]
    runtimes: Sequence[str]
    threads: int
    repeats: int

    @property
    def turns(self) -> List[int]:
        """The number of runs in each turn."""
        rounds = min(_ROUNDS, self.repeats)
        return [self.repeats // rounds + (i < self.repeats % rounds) for i in range(rounds)]

    @property
    def groups(self) -> List[List[Tuple[str, str, str, str]]]:
        """Suffix, ADQ, outputs and images of the files that take turns: the float baseline, then the integer networks.

        The outputs of the float baseline are empty. A ``.tflite`` has one form, in which all is bytes.
        """
        onnx = [
            [(".onnx", adq, *form) for form in [("", "float"), *product(self.outputs, self.io)]] for adq in self.adq
        ]
        tflite = [[(".tflite", "", "", "float"), (".tflite", "", "int8", "uint8")]]
        return (onnx if self.runtimes_of(".onnx") else []) + (tflite if self.runtimes_of(".tflite") else [])

    def runtimes_of(self, suffix: str) -> List[str]:
        """Those that run such files."""
        return [runtime for runtime in self.runtimes if runtime in RUNTIMES_OF[suffix]]

    @property
    def steps(self) -> int:
        """The number of exports and turns, for the progress bar."""
        turns = len(self.sizes) * len(self.turns)
        return sum(1 + turns * len(self.runtimes_of(suffix)) for group in self.groups for suffix, *_ in group)


def run(args: argparse.Namespace) -> None:
    """``quantnas benchmark``.

    Raises:
        QuantNASError: an argument or the checkpoint cannot be used; or a runtime cannot run the network.
    """
    from quantnas_sr.report.drawing.pen import require_matplotlib

    require_matplotlib("the plot of a benchmark")
    if not args.runtimes or set(args.runtimes) - set(LITERT_RUNTIMES):
        require_export()
    sizes = list(dict.fromkeys(parse_size(text, "--sizes") for text in args.sizes))
    runtimes = _runtimes(args.runtimes)
    adq, outputs = _forms("--adq", args.adq, ADQ_FORMS), _forms("--outputs", args.outputs, OUTPUTS)
    io = _forms("--io", args.io, IO_KINDS)
    threads = torch.get_num_threads() if args.threads is None else parse_positive(args.threads, "--threads")
    repeats = parse_positive(args.repeats, "--repeats")
    if args.output.exists() and not args.output.is_dir():
        raise OptionError(f"--output {args.output}: is a file. Allowed: a folder, which is made if need be")
    network = load_network(args.weights)
    plan = _Plan(_applicable(adq, network, args.weights), outputs, io, sizes, runtimes, threads, repeats)
    with tqdm(total=plan.steps, disable=None) as bar:
        exported = [[_export(args.weights, args.output, *file, bar) for file in group] for group in plan.groups]
        rows = list(_rows(network, plan, exported, bar))
    _write(args.output, rows, plan, Path(args.weights))


def _runtimes(names: Optional[Sequence[str]]) -> List[str]:
    """The runtimes to measure: the given ones, or all that can be used."""
    if not names:
        usable, left_out = usable_runtimes("the benchmark")
        for line in left_out:
            print(f"not measured: {line}", file=sys.stderr)
        return usable
    for name in names:
        check_word(name, ALL_RUNTIMES, "runtime", "--runtimes")
        if name in RUNTIMES and name not in installed_runtimes():
            raise MissingExtraError(f"--runtimes {name}", name, "export")
        import_runtime(name, f"--runtimes {name}")
    return list(dict.fromkeys(names))


def _forms(option: str, names: Optional[Sequence[str]], allowed: Sequence[str]) -> List[str]:
    for name in names or ():
        check_word(name, allowed, "form", option)
    return list(dict.fromkeys(names or allowed))


def _applicable(forms: Sequence[str], network: nn.Module, weights: str) -> Sequence[str]:
    """The forms of ADQ to measure; one empty word for a network without ADQ."""
    if is_dynamic(network):
        return forms
    if "dynamic" not in forms:
        raise OptionError(f"--adq static: {weights} has no ADQ or AdaDM whose deviation could be constant")
    return [""]


def _export(weights: str, folder: Path, suffix: str, adq: str, outputs: str, io: str, bar: "tqdm") -> _File:
    parts = ("integer" if outputs else "float", *(word for word in (outputs, io) if word != "float"), adq)
    path = folder / f"{'_'.join(filter(None, parts))}{suffix}"
    bar.set_postfix_str(f"export {path.name}")
    command = shlex.join(["quantnas", *sys.argv[1:]])
    options = {"quantized": bool(outputs), "command": command}
    if suffix == ".onnx":
        options.update(adq=adq or "dynamic", outputs=outputs or "float", io=io)
    written = export(weights, str(path), **options)
    bar.update()
    return _File(path, adq, outputs, io, written.bytes)


def _rows(network: nn.Module, plan: _Plan, groups: Sequence[Sequence[_File]], bar: "tqdm") -> Iterator[Row]:
    """The float baseline and the integer networks of each form of ADQ, one after the other."""
    for size in plan.sizes:
        cost = count(network, size[::-1])
        widths = sorted({layer.bits for layer in cost.layers})
        for runtime in plan.runtimes:
            for group in (group for group in groups if runtime in RUNTIMES_OF[group[0].path.suffix]):
                measured = _taking_turns(group, runtime, size, plan, bar)
                for file, found in zip(group, measured):
                    bits = widths if file.outputs else [FULL_PRECISION]
                    bitops = cost.bitops if file.outputs else cost.macs * FULL_PRECISION**2
                    theory = Theory(bits, cost.macs, bitops, file.bytes)
                    yield Row(size, file.adq, file.outputs, file.path.name, theory, found, file.io)


def _taking_turns(files: Sequence[_File], runtime: str, size: Size, plan: _Plan, bar: "tqdm") -> List[Measurement]:
    """Measure the float baseline, which comes first, and its integer networks."""

    @contextmanager
    def shown(path: Path) -> Iterator[None]:
        bar.set_postfix_str(f"{path.name} in {runtime} at {size[0]}x{size[1]}")
        yield
        bar.update()

    measured = taking_turns([file.path for file in files], runtime, plan.threads, size, plan.turns, shown)
    baseline, *others = (Measurement(runtime, turn.seconds, turn.peak) for turn in measured)
    return [baseline, *(replace(other, times_faster=baseline.median / other.median) for other in others)]


def _write(folder: Path, rows: Sequence[Row], plan: _Plan, weights: Path) -> None:
    """Write the table, which is printed too, all results as JSON, and the plot."""
    from quantnas_sr.benchmark.plot import draw_benchmark

    machine = this_machine()._replace(threads=plan.threads)
    versions = {name: import_runtime(name, "the benchmark").__version__.split("-")[0] for name in plan.runtimes}
    where = ", ".join([str(machine), *(f"{name} {version}" for name, version in versions.items())])
    today = datetime.date.today().isoformat()
    text = f"# {weights}\n\n{where}; {plan.repeats} runs each, {today}\n\n{markdown(rows)}\n\n{_NOTES}\n"
    content: Dict[str, Any] = {
        "weights": str(weights),
        "machine": {**machine._asdict(), **versions},
        "date": today,
        "rows": [row.as_dict() for row in rows],
    }
    try:
        _save(folder / "benchmark.md", text)
        _save(folder / "benchmark.json", json.dumps(content, indent=1) + "\n")
        draw_benchmark(rows, where, folder / "benchmark.png")
    except OSError as error:
        raise DataError(f"{folder}: cannot be written ({error.strerror or error})") from None
    print(text)
    print(f"wrote {folder}")


def _save(path: Path, text: str) -> None:
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")
