"""The files of the package, for rules of the house that every one of them must keep."""

import ast
import functools
from collections import defaultdict
from pathlib import Path
from typing import Callable, Dict, List

import pytest

ROOT = Path(__file__).resolve().parents[1] / "quantnas_sr"
MODULES = sorted(ROOT.rglob("*.py"))


def part_of(path: Path) -> str:
    """The folder of the package that a file is in, or its own name."""
    first = path.relative_to(ROOT).parts[0]
    return first[: -len(".py")] if first.endswith(".py") else first


@functools.cache
def tree_of(path: Path) -> ast.AST:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


def every_module(rule: Callable[[Path], None]) -> Callable[[str], None]:
    """A test of one file, for all of the package; one test for each of its parts, since a test takes time to begin."""
    parts: Dict[str, List[Path]] = defaultdict(list)
    for path in MODULES:
        parts[part_of(path)].append(path)

    @pytest.mark.parametrize("part", parts)
    def test(part: str) -> None:
        for path in parts[part]:
            rule(path)

    test.__name__, test.__doc__ = rule.__name__, rule.__doc__
    return test
