"""Measures the convolutions of a search on this machine's processor, for the cost `Latency`."""

import datetime
import os
import platform
import re
import statistics
import subprocess
import sys
import warnings
from collections import defaultdict
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Tuple, Union

import torch
from torch import Tensor, nn
from torch.utils.benchmark import Timer
from tqdm import tqdm

from quantnas_sr.cost.count import ConvShape
from quantnas_sr.cost.latency import LatencyTable, Machine
from quantnas_sr.cost.slots import edge_layers
from quantnas_sr.errors import OptionError
from quantnas_sr.quantization import FULL_PRECISION

#: Duration of one timing (several runs) in seconds, long enough for the resolution of the clock.
_BLOCK = 1e-3
#: Warm-up runs, from which the duration of one run is estimated.
_WARM_UP = 3
#: Bit width of torch's integer convolution.
_INTEGER = 8


def computed_at(bits: int) -> int:
    """The bit width of the kernel that computes a layer of ``bits``: 8 (integers) up to 8 bits, 32 (floats) above.

    torch has no other kernels, so 4 bits take as long as 8 here, and 16 as long as 32.
    """
    return _INTEGER if bits <= _INTEGER else FULL_PRECISION


def seconds_of(shape: ConvShape, bits: int, repeats: int = 20) -> float:
    """Seconds that a convolution takes for one image: the median of ``repeats`` timings, after some runs to warm up.

    Up to 8 bits torch's integer convolution is measured, from 8-bit integers to 8-bit integers, as between two
    quantized layers. Above 8 bits the float convolution is measured. Both run in channels-last memory order.

    Raises:
        OptionError: this torch has no integer convolution for this shape and processor.
    """
    run = _integer_run(shape) if computed_at(bits) == _INTEGER else _float_run(shape)
    timer = Timer("run()", globals={"run": run}, num_threads=torch.get_num_threads())
    with torch.inference_mode():
        runs = max(1, round(_BLOCK / timer.timeit(_WARM_UP).mean))
        return statistics.median(timer.timeit(runs).mean for _ in range(repeats))


def _tensors(shape: ConvShape) -> Tuple[Tensor, Tensor, Tuple[int, int]]:
    """An input from which the convolution makes an output of the right size, a weight, and the padding."""
    reach = [d * (k - 1) for d, k in zip(shape.dilation, shape.kernel)]
    padding = reach[0] // 2, reach[1] // 2
    outputs = shape.height, shape.width
    sides = [(n - 1) * s + r + 1 - 2 * p for n, s, r, p in zip(outputs, shape.stride, reach, padding)]
    x = torch.rand(1, shape.in_channels, *sides).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(shape.out_channels, shape.in_channels // shape.groups, *shape.kernel)
    return x, weight.contiguous(memory_format=torch.channels_last), padding


def _float_run(shape: ConvShape) -> Callable[[], Tensor]:
    x, weight, padding = _tensors(shape)
    return lambda: nn.functional.conv2d(x, weight, None, shape.stride, padding, shape.dilation, shape.groups)


def _integer_run(shape: ConvShape) -> Callable[[], Tensor]:
    x, weight, padding = _tensors(shape)
    steps, zeros = torch.full((shape.out_channels,), 0.02), torch.zeros(shape.out_channels, dtype=torch.long)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns that quantized tensors are deprecated
            x = torch.quantize_per_tensor(x, 1 / 255, 0, torch.quint8)
            weight = torch.quantize_per_channel(weight, steps, zeros, 0, torch.qint8)
            how = shape.stride, padding, shape.dilation, shape.groups
            packed = torch.ops.quantized.conv2d_prepack(weight, None, *how)
            torch.ops.quantized.conv2d(x, packed, 0.1, 0)
    except (AttributeError, RuntimeError):
        raise OptionError(
            f"torch {torch.__version__} has no integer kernel (torch.ops.quantized.conv2d) on this processor "
            f"for a {shape}: widths up to {_INTEGER} bits cannot be measured here"
        ) from None
    return lambda: torch.ops.quantized.conv2d(x, packed, 0.1, 0)


def this_machine() -> Machine:
    """The machine and the settings that a measurement made now belongs to."""
    return Machine(_processor(), torch.get_num_threads(), torch.__version__)


def _processor() -> str:
    """The model of the processor. `platform` returns only the architecture, except on Windows."""
    with suppress(OSError):
        if sys.platform == "darwin":
            command = ["sysctl", "-n", "machdep.cpu.brand_string"]
            name = subprocess.run(command, capture_output=True, encoding="utf-8", check=False).stdout.strip()
        else:
            text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
            name = "".join(re.findall(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)[:1]).strip()
        if name:
            return name
    return platform.processor() or platform.machine()


@contextmanager
def _threads(number: Optional[int]) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def measure_latency(
    net: nn.Module,
    size: Tuple[int, int],
    path: Union[str, os.PathLike],
    threads: Optional[int] = None,
    repeats: int = 20,
    again: bool = False,
) -> LatencyTable:
    """Measure those convolutions of a search that a latency table lacks. The table is saved after every measurement.

    Args:
        net: the searched network.
        size: height and width of its input.
        path: of the table; an existing table is completed.
        threads: CPU threads; torch's own number by default.
        repeats: number of timings of which the median is taken.
        again: measure everything, including what the file already has.

    Raises:
        OptionError: the file is not a latency table, or is of another machine; or this torch has no integer kernel.
    """
    with _threads(threads):
        table = LatencyTable(this_machine(), "")
        if Path(path).exists() and not again:
            table = _same_machine(LatencyTable.load(path), path)
        times = {(shape, computed_at(bits)): seconds for (shape, bits), seconds in table.seconds.items()}
        for (shape, width), missing in tqdm(_missing(net, size, table).items(), unit="convolution"):
            if (shape, width) not in times:
                times[shape, width] = seconds_of(shape, width, repeats)
            table.seconds.update({(shape, bits): times[shape, width] for bits in missing})
            table.date = datetime.date.today().isoformat()
            table.save(path)
    return table


def _same_machine(table: LatencyTable, path: Union[str, os.PathLike]) -> LatencyTable:
    if table.machine != this_machine():
        raise OptionError(
            f"{path} was measured on: {table.machine}; this is: {this_machine()}. "
            "Give another --output, or --again to measure everything anew"
        )
    return table


def _missing(net: nn.Module, size: Tuple[int, int], table: LatencyTable) -> Dict[Tuple[ConvShape, int], List[int]]:
    """The bit widths without a time in the table, by shape and by the kernel that computes them (`computed_at`)."""
    layers = [layer for slot in edge_layers(net, size).values() for operation in slot for layer in operation]
    missing: Dict[Tuple[ConvShape, int], List[int]] = defaultdict(list)
    for shape in dict.fromkeys(layer.conv for layer in layers if layer.conv is not None):
        for bits in net.bits:
            if (shape, bits) not in table.seconds:
                missing[shape, computed_at(bits)].append(bits)
    return missing
