"""Importing the files of a folder that register classes with BasicSR, by its own naming convention."""

import importlib
import pkgutil
from pathlib import Path


def import_registered(package: str, file: str, suffix: str) -> None:
    """Import every module of ``package`` whose name ends in ``suffix``.

    Args:
        package, file: ``__name__`` and ``__file__`` of the package.
        suffix: such as ``_arch``.
    """
    for module in pkgutil.iter_modules([str(Path(file).parent)]):
        if module.name.endswith(suffix):
            importlib.import_module(f"{package}.{module.name}")
