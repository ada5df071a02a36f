"""The examples in the docstrings of the package."""

import doctest
import importlib
import pkgutil

import pytest

import quantnas_sr

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(quantnas_sr.__path__, "quantnas_sr.")
    if not module.name.endswith("__main__")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_are_true(name):
    """In a module that needs an extra there is nothing to run where the extra is not installed."""
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        if (error.name or "").startswith("quantnas_sr"):
            raise
        pytest.skip(f"needs {error.name}")
    assert doctest.testmod(module).failed == 0


def test_there_are_examples_to_run():
    finder = doctest.DocTestFinder(exclude_empty=True)
    modules = [importlib.import_module(f"quantnas_sr.{name}") for name in ("errors", "quantization.lsq")]
    assert all(any(test.examples for test in finder.find(module)) for module in modules)
