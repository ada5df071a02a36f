"""The commands ``quantnas`` and ``basicsr``. Nothing heavy is imported before a command runs."""

import argparse
import errno
import importlib
import os
import sys
from typing import Any, Callable, Dict, List, NoReturn, Optional, Sequence, Tuple

from quantnas_sr.errors import QuantNASError, nearest, unknown
from quantnas_sr.version import __version__

#: By name: what it does, and the module with its ``add_arguments`` and ``run``.
COMMANDS: Dict[str, Tuple[str, str]] = {
    "prepare": ("cut images and make LMDBs of them to train on, or folders to test on", "quantnas_sr.commands.prepare"),
    "cost": ("count parameters, GMACs and GBitOps of a genotype or of any network", "quantnas_sr.commands.cost"),
    "draw": ("draw a genotype", "quantnas_sr.commands.draw"),
    "sample": ("draw random genotypes of a search space, within a range of cost", "quantnas_sr.commands.sample"),
    "latency": (
        "measure the convolutions of a search on this machine, for cost: {type: latency}",
        "quantnas_sr.commands.latency",
    ),
    "quantize": (
        "turn any trained network into an integer file, calibrated on images",
        "quantnas_sr.commands.quantize",
    ),
    "export": ("export a trained network as an integer ONNX file, and check it", "quantnas_sr.commands.export"),
    "networks": ("list the networks that come with the package", "quantnas_sr.commands.networks"),
    "upscale": (
        "upscale images and videos with a network of the package, or a trained or exported one",
        "quantnas_sr.commands.upscale",
    ),
    "benchmark": (
        "compare a trained network with its float baseline in every runtime",
        "quantnas_sr.commands.benchmark",
    ),
    "pareto": (
        "search, train and test for several penalties and seeds, and report the Pareto front",
        "quantnas_sr.commands.pareto",
    ),
    "report": ("write the report of `quantnas pareto` again", "quantnas_sr.commands.report"),
}


#: Errors of a disk or a quota that is full, and of a file that grows above its limit.
_NO_ROOM = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))


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
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        print(f"{command}: {error.filename or 'a file'} cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{command}: interrupted", file=sys.stderr)
        return 130
    return 0


def load_plugins() -> None:
    """Import every installed package that has an entry point in the group ``basicsr.plugins``.

    Raises:
        QuantNASError: one of them cannot be imported.
    """
    from importlib import metadata

    found, group = metadata.entry_points(), "basicsr.plugins"
    for plugin in found.select(group=group) if hasattr(found, "select") else found.get(group, ()):
        try:
            plugin.load()
        except (ImportError, AttributeError) as error:
            raise QuantNASError(f"the plug-in {plugin.name} of BasicSR ({plugin.value}) fails: {error}") from error


def basicsr_main(argv: Optional[Sequence[str]] = None) -> int:
    """``basicsr train|test -opt FILE ...``: BasicSR's own pipelines, with every installed plug-in.

    Runs live below the working directory.
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
    load_plugins()
    from basicsr.test import test_pipeline
    from basicsr.train import train_pipeline

    sys.argv = [f"basicsr {stage}", *arguments]
    pipeline = train_pipeline if stage == "train" else test_pipeline
    pipeline(os.getcwd())


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, with the option that an unknown one was probably meant to be."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Tuple[argparse.Namespace, List[str]]:
        found, rest = super().parse_known_args(args, namespace)
        if rest:
            options = [option for action in self._actions for option in action.option_strings]
            guess = nearest(rest[0].partition("=")[0], options) if rest[0].startswith("-") else None
            self.error(f"unknown argument {rest[0]}" + (f", did you mean {guess}?" if guess else ""))
        return found, rest


def build_parser(command: str = "") -> argparse.ArgumentParser:
    """The arguments of ``quantnas``, and of the one ``command`` that is to be parsed."""
    parser = _Parser(prog="quantnas", description="Quantized super-resolution networks with BasicSR.")
    parser.add_argument("--version", action="version", version=f"quantnas {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", title="commands")
    for name, (purpose, module) in COMMANDS.items():
        subparser = commands.add_parser(name, help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.")
        if name == command:
            importlib.import_module(module).add_arguments(subparser)
    return parser


def main(argv: Optional[Sequence[str]] = None) -> int:
    """``quantnas COMMAND ...``; returns the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    command = argv[0] if argv else ""
    if command and not command.startswith("-") and command not in COMMANDS:
        print(f"quantnas: {unknown('command', command, COMMANDS)}", file=sys.stderr)
        return 2
    args = build_parser(command).parse_args(argv)
    return reported("quantnas", lambda: _run(args))


def _run(args: argparse.Namespace) -> None:
    load_plugins()
    importlib.import_module(COMMANDS[args.command][1]).run(args)


if __name__ == "__main__":
    sys.exit(main())
