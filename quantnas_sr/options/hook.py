"""Puts our reading and checking of options files into BasicSR's ``parse_options``.

Every way to start a run goes through it: our commands, and a project's own train.py that imports this package.
"""

import argparse
import ast
import functools
import os
import sys
from typing import Any, Callable, NoReturn, Optional, Sequence, Tuple

from basicsr.utils import options as basicsr_options

from quantnas_sr.compat.data import check_scales, take_luma_of_bgr
from quantnas_sr.compat.replacing import rebind
from quantnas_sr.compat.training import SEED_IS_DRAWN
from quantnas_sr.errors import OptionError, QuantNASError
from quantnas_sr.options import base
from quantnas_sr.options.check import check
from quantnas_sr.options.checks.network import check_weights
from quantnas_sr.options.checks.shape import check_shape
from quantnas_sr.options.gate import is_our_run, read_numbers
from quantnas_sr.options.numbers import to_numbers
from quantnas_sr.options.read import read_options
from quantnas_sr.values.kinds import MAPPING


class _Arguments(argparse.ArgumentParser):
    """The arguments of BasicSR's pipelines that matter here; what is wrong with them, BasicSR's own parser says."""

    def __init__(self) -> None:
        super().__init__(add_help=False)
        self.add_argument("-opt")
        self.add_argument("--debug", action="store_true")
        self.add_argument("--force_yml", nargs="+", default=())

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def _arguments() -> argparse.Namespace:
    try:
        return _Arguments().parse_known_args()[0]
    except ValueError:
        return argparse.Namespace(opt=None, debug=False, force_yml=())


def force(opt: Any, changes: Sequence[str]) -> None:
    """Apply the changes of ``--force_yml`` in place, as BasicSR does.

    Raises:
        OptionError: a change is not of the form ``key:sub=value``, or goes through a key that is not there.
    """
    for change in changes:
        where = f"--force_yml {change}"
        keys, _, value = change.partition("=")
        *parents, last = keys.strip().split(":")
        if change.count("=") != 1 or not last or '"' in keys or "\\" in keys:
            raise OptionError(f"{where}: not of the form train:total_iter=1000")
        options = opt
        for key in parents:
            options = options.get(key) if isinstance(options, dict) else None
            if not isinstance(options, dict):
                raise OptionError(f"{where}: the options have no mapping {key!r} there")
        options[last] = _forced_value(value.strip(), where)


def _forced_value(text: str, where: str) -> Any:
    try:
        return ast.literal_eval(text) if text.startswith("[") else basicsr_options._postprocess_yml_value(text)
    except (ValueError, SyntaxError):
        raise OptionError(f"{where}: {text} is neither a number, a word nor a list of them") from None


def _go_on_after_restart() -> None:
    """What ``torchrun --max-restarts`` starts again goes on from its last checkpoint, also without --auto_resume."""
    if os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0" and "--auto_resume" not in sys.argv:
        sys.argv.append("--auto_resume")


def _read(path: Optional[str]) -> Tuple[Any, Optional[OptionError]]:
    """The options of a file, or why they cannot be read. BasicSR may yet read them, and then they are not ours."""
    try:
        return (None if path is None else read_options(path, basicsr_options.ordered_yaml()[0])), None
    except OptionError as error:
        return None, error


def _no_mapping(raw: Any) -> Optional[OptionError]:
    """Why BasicSR cannot read options, whoever's they are: it looks for keys where there is no mapping."""
    try:
        options = MAPPING.checked(raw, "the options")
        for key in ("datasets", "path"):
            if options.get(key) is not None:
                MAPPING.checked(options[key], key)
        for phase, dataset in (options.get("datasets") or {}).items():
            MAPPING.checked(dataset, f"datasets.{phase}")
    except OptionError as error:
        return error
    return None


def checked(parse_options: Callable[..., Any]) -> Callable[..., Any]:
    """BasicSR's ``parse_options`` between two checks: of the shape of the options, and of what they say."""

    @functools.wraps(parse_options)
    def parse(root_path: str, is_train: bool = True) -> Any:
        given = _arguments()
        raw, problem = _read(given.opt)
        ours = is_our_run(raw)
        if ours:
            _go_on_after_restart()
            force(raw, given.force_yml)
            check_shape(raw, is_train)
            if given.debug and "val" in raw and raw["val"] is None:
                raise OptionError("val: null cannot be used with --debug. Allowed: the key is left out")
        try:
            opt, args = parse_options(root_path, is_train)
        except QuantNASError:
            raise
        except Exception as error:
            if problem is None and isinstance(error, KeyError):
                problem = OptionError(f"the options: the key {error} is missing")
            raise problem or _no_mapping(raw) or error from None
        ours = ours or is_our_run(opt)
        check_scales(ours)
        take_luma_of_bgr(ours)
        if ours:
            to_numbers(opt)
            check(opt)
            check_weights(opt)
            opt[SEED_IS_DRAWN] = (raw or {}).get("manual_seed") is None
        else:
            read_numbers(opt.get("train"))
        return opt, args

    return parse


def install() -> None:
    """Read and check the options of every run that BasicSR starts in this process."""
    base.install()
    original = basicsr_options.parse_options
    rebind(original, checked(original))
