"""``quantnas benchmark``: a trained network in integers against its float baseline, counted and measured."""

import argparse
import datetime
import importlib
import json
import re
import shlex
import sys
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import nn
from tqdm import tqdm

from quantnas_sr.benchmark.table import Measurement, Row, Theory, markdown
from quantnas_sr.benchmark.timing import timed_process
from quantnas_sr.checkpoints import load_network
from quantnas_sr.cost import count
from quantnas_sr.cost.measure import this_machine
from quantnas_sr.errors import DataError, MissingExtraError, OptionError, unknown
from quantnas_sr.export.choices import ADQ_FORMS, OUTPUTS
from quantnas_sr.export.command import RUNTIMES, export, installed_runtimes, require_export
from quantnas_sr.files import written_aside
from quantnas_sr.quantization import FULL_PRECISION
from quantnas_sr.search_space.skeletons.adq import is_dynamic

Size = Tuple[int, int]
#: Float twin and integer network take turns this often, so that a machine that slows down is fair to both.
_ROUNDS = 3
_NOTES = """\
Theory is counted: a MAC is one multiply-add, a BitOp is a MAC times the bits of its weight times the bits of its input,
and the float baseline counts with 32. The rest is measured: ms is the median of the runs, image to image in memory;
peak is the memory of runtime and network; the float baseline has the same ADQ, in the same runtime at the same size."""


class _File(NamedTuple):
    """An exported network; ``outputs`` is empty for the float baseline."""

    path: Path
    adq: str
    outputs: str
    bytes: int


@dataclass(frozen=True)
class _Plan:
    """What is to be measured, and how."""

    adq: Sequence[str]
    outputs: Sequence[str]
    sizes: Sequence[Size]
    runtimes: Sequence[str]
    threads: int
    repeats: int

    @property
    def turns(self) -> List[int]:
        """Runs of each turn."""
        rounds = min(_ROUNDS, self.repeats)
        return [self.repeats // rounds + (i < self.repeats % rounds) for i in range(rounds)]

    @property
    def files(self) -> List[Tuple[str, str]]:
        """ADQ and outputs of each; of every form of ADQ the float baseline, without a word about outputs, is first."""
        return [(form, outputs) for form in self.adq for outputs in ("", *self.outputs)]

    @property
    def steps(self) -> int:
        """Exports and turns."""
        return len(self.files) * (1 + len(self.sizes) * len(self.runtimes) * len(self.turns))


def run(args: argparse.Namespace) -> None:
    """``quantnas benchmark``.

    Raises:
        QuantNASError: something that was given cannot be used; or a runtime cannot run the network.
    """
    from quantnas_sr.report.drawing.pen import require_matplotlib

    require_matplotlib("the plot of a benchmark")
    require_export()
    sizes, runtimes = _sizes(args.sizes), _runtimes(args.runtimes)
    adq, outputs = _forms("--adq", args.adq, ADQ_FORMS), _forms("--outputs", args.outputs, OUTPUTS)
    threads = torch.get_num_threads() if args.threads is None else _positive("--threads", args.threads)
    repeats = _positive("--repeats", args.repeats)
    if args.output.exists() and not args.output.is_dir():
        raise OptionError(f"--output {args.output}: is a file. Allowed: a folder, or what is not there yet")
    network = load_network(args.weights)
    plan = _Plan(_applicable(adq, network, args.weights), outputs, sizes, runtimes, threads, repeats)
    with tqdm(total=plan.steps, disable=None) as bar:
        exported = [_export(args.weights, args.output, *file, bar) for file in plan.files]
        rows = list(_rows(network, plan, exported, bar))
    _write(args.output, rows, plan, Path(args.weights))


def _sizes(texts: Iterable[str]) -> List[Size]:
    sizes = []
    for text in texts:
        match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
        if not match:
            raise OptionError(f"--sizes {text}: not a size. Allowed: WIDTHxHEIGHT in pixels, such as 320x180")
        sizes.append((int(match[1]), int(match[2])))
    return list(dict.fromkeys(sizes))


def _runtimes(names: Optional[Sequence[str]]) -> List[str]:
    installed = installed_runtimes()
    for name in names or ():
        if name not in RUNTIMES:
            raise OptionError(unknown("runtime", name, RUNTIMES, where="--runtimes"))
        if name not in installed:
            raise MissingExtraError(f"--runtimes {name}", name, "export")
    return list(dict.fromkeys(names or installed))


def _forms(option: str, names: Optional[Sequence[str]], allowed: Sequence[str]) -> List[str]:
    for name in names or ():
        if name not in allowed:
            raise OptionError(unknown("form", name, allowed, where=option))
    return list(dict.fromkeys(names or allowed))


def _applicable(forms: Sequence[str], network: nn.Module, weights: str) -> Sequence[str]:
    """The forms of ADQ that the network can have; of one without ADQ that is none, the empty word."""
    if is_dynamic(network):
        return forms
    if "dynamic" not in forms:
        raise OptionError(f"--adq static: {weights} has no ADQ or AdaDM whose deviation could be constant")
    return [""]


def _positive(option: str, number: int) -> int:
    if number < 1:
        raise OptionError(f"{option} {number}: not a positive number")
    return number


def _export(weights: str, folder: Path, adq: str, outputs: str, bar: "tqdm") -> _File:
    name = "_".join(filter(None, ("integer" if outputs else "float", "int8" if outputs == "int8" else "", adq)))
    path = folder / f"{name}.onnx"
    bar.set_postfix_str(f"export {path.name}")
    command = shlex.join(["quantnas", *sys.argv[1:]])
    options = {"quantized": bool(outputs), "outputs": outputs or "float", "command": command}
    written = export(weights, str(path), adq or "dynamic", **options)
    bar.update()
    return _File(path, adq, outputs, written.bytes)


def _rows(network: nn.Module, plan: _Plan, files: Sequence[_File], bar: "tqdm") -> Iterator[Row]:
    """The float baseline and the integer networks of each form of ADQ, one after the other."""
    together = 1 + len(plan.outputs)
    for size in plan.sizes:
        cost = count(network, size[::-1])
        widths = sorted({layer.bits for layer in cost.layers})
        for runtime in plan.runtimes:
            for first in range(0, len(files), together):
                group = files[first : first + together]
                measured = _taking_turns(group, runtime, size, plan, bar)
                for file, found in zip(group, measured):
                    bits = widths if file.outputs else [FULL_PRECISION]
                    bitops = cost.bitops if file.outputs else cost.macs * FULL_PRECISION**2
                    theory = Theory(bits, cost.macs, bitops, file.bytes)
                    yield Row(size, file.adq, file.outputs, file.path.name, theory, found)


def _taking_turns(files: Sequence[_File], runtime: str, size: Size, plan: _Plan, bar: "tqdm") -> List[Measurement]:
    """Measure the float baseline, which is the first, and its integer networks; every other round goes backwards."""
    seconds: List[List[float]] = [[] for _ in files]
    peaks: List[Optional[int]] = [None for _ in files]
    with ExitStack() as stack:
        processes = [stack.enter_context(timed_process(file.path, runtime, plan.threads, size)) for file in files]
        for number, runs in enumerate(plan.turns):
            order = range(len(files))
            for i in order if number % 2 == 0 else reversed(order):
                bar.set_postfix_str(f"{files[i].path.name} in {runtime} at {size[0]}x{size[1]}")
                turn = processes[i](runs)
                seconds[i] += turn.seconds
                peaks[i] = turn.peak
                bar.update()
    twin, *others = (Measurement(runtime, times, peak) for times, peak in zip(seconds, peaks))
    return [twin, *(replace(other, times_faster=twin.median / other.median) for other in others)]


def _write(folder: Path, rows: Sequence[Row], plan: _Plan, weights: Path) -> None:
    """The table, which is printed too, everything as JSON, and the plot."""
    from quantnas_sr.benchmark.plot import draw_benchmark

    machine = this_machine()._replace(threads=plan.threads)
    versions = {name: importlib.import_module(name).__version__.split("-")[0] for name in plan.runtimes}
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
