"""The commands ``quantnas`` and ``basicsr``."""

import argparse
import os
import sys
from importlib import metadata
from pathlib import Path
from typing import Callable, List, Optional, Sequence, Tuple

from quantnas_sr.errors import QuantNASError, unknown


def one_line(error: QuantNASError) -> str:
    """The message of an error, without the traceback that a data loader's worker process puts around it."""
    name = f"{type(error).__name__}: "
    return str(error).rpartition(name)[2].strip().splitlines()[0]


def reported(command: str, function: Callable[[], None]) -> int:
    """Run a command; bad input becomes one line on standard error. Returns the exit code."""
    try:
        function()
    except QuantNASError as error:
        print(f"{command}: {one_line(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{command}: interrupted", file=sys.stderr)
        return 130
    return 0


def _plugins() -> List[metadata.EntryPoint]:
    found = metadata.entry_points()
    group = "basicsr.plugins"
    return list(found.select(group=group) if hasattr(found, "select") else found.get(group, ()))


def _load_plugins() -> None:
    for plugin in _plugins():
        plugin.load()


def basicsr_main(argv: Optional[Sequence[str]] = None) -> int:
    """``basicsr train|test -opt FILE ...``: BasicSR's own pipelines, with every installed plug-in.

    A plug-in is a package with an entry point in the group ``basicsr.plugins``. Runs live below the working directory.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    usage = "usage: basicsr train|test -opt OPTIONS.yml [--launcher ...] [--auto_resume] [--force_yml ...]"
    if not argv or argv[0] in ("-h", "--help"):
        print(usage)
        return 0 if argv else 2
    if argv[0] not in ("train", "test"):
        print(f"basicsr: {unknown('command', argv[0], ('train', 'test'))}", file=sys.stderr)
        return 2
    return reported(f"basicsr {argv[0]}", lambda: _run_pipeline(*argv))


def _run_pipeline(stage: str, *arguments: str) -> None:
    import quantnas_sr  # noqa: F401

    _load_plugins()
    from basicsr.test import test_pipeline
    from basicsr.train import train_pipeline

    sys.argv = [f"basicsr {stage}", *arguments]
    pipeline = train_pipeline if stage == "train" else test_pipeline
    pipeline(os.getcwd())


def _cost(args: argparse.Namespace) -> None:
    import quantnas_sr  # noqa: F401

    _load_plugins()
    from quantnas_sr.cost.report import print_cost
    from quantnas_sr.options.described import network_of_file

    print_cost(args.file, network_of_file(args.file), (args.size, args.size), args.json)


def _prepare(args: argparse.Namespace) -> None:
    from quantnas_sr.data import prepare

    prepare.run(args)


def _sample(args: argparse.Namespace) -> None:
    from quantnas_sr.cost import count, sample_genotypes
    from quantnas_sr.options.check import supernet_of
    from quantnas_sr.search_space import DerivedNetwork

    for i, genotype in enumerate(sample_genotypes(supernet_of(args.search), args.count, args.seed, args.gbitops)):
        path = Path(args.output) / f"sample_{i}.yml"
        genotype.save(path)
        print(f"{path}  {count(DerivedNetwork(genotype)).bitops / 1e9:.3f} GBitOps")


def _latency(args: argparse.Namespace) -> None:
    from quantnas_sr.cost.measure import measure_latency
    from quantnas_sr.options.check import cost_size, supernet_of

    size = args.size or cost_size(args.search)
    table = measure_latency(supernet_of(args.search), size, args.output, args.threads, args.repeats, args.again)
    print(f"wrote {args.output}: {len(table.seconds)} times, {table.machine}")


def _export(args: argparse.Namespace) -> None:
    import quantnas_sr  # noqa: F401

    _load_plugins()
    from quantnas_sr.export.command import run

    run(args)


def _benchmark(args: argparse.Namespace) -> None:
    import quantnas_sr  # noqa: F401

    _load_plugins()
    from quantnas_sr.benchmark.command import run

    run(args)


def _size(text: str) -> Tuple[int, int]:
    height, width = (_positive(side) for side in (text.split("x") if "x" in text else (text, text)))
    return height, width


def _pareto(args: argparse.Namespace) -> None:
    from quantnas_sr import report, sweep

    report.require_matplotlib()
    left_out = sweep.run(args)
    page = report.write_report(sweep.output_of(args))
    print(f"wrote {page}")
    if left_out:
        raise QuantNASError(f"no result from {'; '.join(map(str, left_out))}")


def _report(args: argparse.Namespace) -> None:
    from quantnas_sr.report import write_report

    print(f"wrote {write_report(args.folder)}")


def _upscale(args: argparse.Namespace) -> None:
    import quantnas_sr  # noqa: F401

    _load_plugins()
    from quantnas_sr.upscaling.command import run

    run(args)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _draw(args: argparse.Namespace) -> None:
    from quantnas_sr.report import draw_genotype

    draw_genotype(args.genotype, args.output)
    print(f"wrote {args.output}")


def build_parser() -> argparse.ArgumentParser:
    """The arguments of ``quantnas``."""
    parser = argparse.ArgumentParser(prog="quantnas", description="Quantized super-resolution networks with BasicSR.")
    commands = parser.add_subparsers(dest="command", required=True)

    prepare = commands.add_parser("prepare", help="images -> sub-images -> LMDB that BasicSR reads")
    from quantnas_sr.data.prepare import add_arguments

    add_arguments(prepare)
    prepare.set_defaults(function=_prepare)

    cost = commands.add_parser("cost", help="parameters, GMACs and GBitOps of a genotype, or of any network")
    cost.add_argument("file", help="genotype.yml, bits_by_layer.yml, the .pth of a trained network, or an options file")
    cost.add_argument("--size", type=int, default=32, help="height and width of the input (32)")
    cost.add_argument("--json", action="store_true", help="print JSON, layer by layer")
    cost.set_defaults(function=_cost)

    draw = commands.add_parser("draw", help="a picture of a genotype")
    draw.add_argument("genotype", help="genotype.yml, or the .pth of a trained network")
    draw.add_argument("output", help="FILE.svg or FILE.png")
    draw.set_defaults(function=_draw)

    sample = commands.add_parser("sample", help="random genotypes of a search space, within a range of cost or any")
    sample.add_argument("search", help="options file of a search: its space, candidates, bits and sizes")
    sample.add_argument("--count", type=_positive, default=1, help="how many (1)")
    sample.add_argument("--seed", type=int, default=0, help="the same seed gives the same genotypes (0)")
    sample.add_argument("--gbitops", type=float, nargs=2, metavar=("MIN", "MAX"), help="GBitOps for a 32x32 input")
    sample.add_argument("--output", default="samples", help="folder for sample_0.yml, sample_1.yml, ... (samples)")
    sample.set_defaults(function=_sample)

    latency = commands.add_parser("latency", help="measure the convolutions of a search, for cost: {type: latency}")
    latency.add_argument("search", help="options file of a search: its space, candidates, bits and sizes")
    latency.add_argument("--output", default="latency.json", help="table to write, or to add to (latency.json)")
    latency.add_argument("--size", type=_size, help="N or HEIGHTxWIDTH of the input (hardware_opt.size of the search)")
    latency.add_argument("--threads", type=_positive, help="of the processor (as torch has them)")
    latency.add_argument("--repeats", type=_positive, default=20, help="timings of which the median is taken (20)")
    latency.add_argument("--again", action="store_true", help="forget the times that the table has")
    latency.set_defaults(function=_latency)

    export = commands.add_parser("export", help="a trained network as an integer ONNX file, checked")
    from quantnas_sr.export.command import add_arguments as add_export_arguments

    add_export_arguments(export)
    export.set_defaults(function=_export)

    upscale = commands.add_parser("upscale", help="images through a trained or exported network")
    from quantnas_sr.upscaling.command import add_arguments as add_upscale_arguments

    add_upscale_arguments(upscale)
    upscale.set_defaults(function=_upscale)

    benchmark = commands.add_parser("benchmark", help="a trained network against its float baseline, in every runtime")
    from quantnas_sr.benchmark.command import add_arguments as add_benchmark_arguments

    add_benchmark_arguments(benchmark)
    benchmark.set_defaults(function=_benchmark)

    pareto = commands.add_parser("pareto", help="search, train and test for several penalties and seeds; the front")
    from quantnas_sr.sweep import add_arguments as add_pareto_arguments

    add_pareto_arguments(pareto)
    pareto.set_defaults(function=_pareto)

    report = commands.add_parser("report", help="make the report of `quantnas pareto` anew")
    report.add_argument("folder", type=Path, help="what `quantnas pareto` wrote, such as experiments/pareto_basic_x4")
    report.set_defaults(function=_report)
    return parser


def main(argv: Optional[Sequence[str]] = None) -> int:
    """``quantnas prepare|cost|draw|sample|latency|export|upscale|benchmark|pareto|report``."""
    args = build_parser().parse_args(argv)
    return reported("quantnas", lambda: args.function(args))


if __name__ == "__main__":
    sys.exit(main())
