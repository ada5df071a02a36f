"""Calls at the end of an import, seen from packages of every shape."""

import importlib
import sys
import textwrap

import pytest

from quantnas_sr.compat.end_of_import import call_after_import

calls = []


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Writes the files of a package ``host``, and forgets it afterwards."""
    calls.clear()
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(**files: str) -> None:
        """By name: ``archs_init`` is ``archs/__init__.py``, ``archs_first`` is ``archs/first.py``."""
        for name, text in files.items():
            path = tmp_path / "host" / f"{name.replace('_', '/').replace('init', '__init__')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))

    yield write
    for name in [name for name in sys.modules if name.partition(".")[0] == "host"]:
        del sys.modules[name]


ASK = """
    import sys
    from quantnas_sr.compat.end_of_import import call_after_import
    from test_end_of_import import calls

    call_after_import("host", lambda: calls.append(sorted(name for name in sys.modules if name.startswith("host"))))
    call_after_import("host", lambda: calls.append("second"))
    assert not calls
"""


def test_it_is_the_end_of_the_outermost_module_whatever_that_imports_last(package):
    package(init="from host import first, last", first=ASK, last="")
    importlib.import_module("host")
    assert calls == [["host", "host.first", "host.last"], "second"]


def test_a_package_that_is_ready_while_its_folder_is_scanned_waits_for_the_scan(package):
    package(init="", archs_init="from host.archs import first, last")
    package(archs_first=ASK, archs_last="")
    importlib.import_module("host.archs.last")
    assert calls == [["host", "host.archs", "host.archs.first", "host.archs.last"], "second"]


def test_a_namespace_package_without_a_file_of_its_own_works_too(package):
    package(archs_init="from host.archs import first, last", archs_first=ASK, archs_last="")
    importlib.import_module("host.archs")
    assert calls[0][-1] == "host.archs.last"


def test_afterwards_and_before_it_is_at_once(package):
    package(init="")
    call_after_import("host", lambda: calls.append("not imported"))
    importlib.import_module("host")
    call_after_import("host", lambda: calls.append("imported"))
    assert calls == ["not imported", "imported"]


def test_a_call_may_import_what_is_not_there_yet_and_ask_again(package):
    package(init="from host import first", more="")
    package(
        first="""
        import importlib
        from quantnas_sr.compat.end_of_import import call_after_import
        from test_end_of_import import calls

        def call():
            calls.append(importlib.import_module("host.more").__name__)
            call_after_import("host", lambda: calls.append("nested"))

        call_after_import("host", call)
        """
    )
    importlib.import_module("host")
    assert calls == ["host.more", "nested"]


def test_an_import_that_fails_calls_nothing_and_may_be_tried_again(package):
    package(init="from host import first; first.ask(); raise OSError")
    package(
        first="""
        from quantnas_sr.compat.end_of_import import call_after_import
        from test_end_of_import import calls

        def ask():
            call_after_import("host", lambda: calls.append("called"))
        """
    )
    with pytest.raises(OSError):
        importlib.import_module("host")
    assert not calls
    package(init="from host import first; first.ask()")
    importlib.invalidate_caches()
    sys.modules.pop("host", None)
    importlib.import_module("host")
    assert calls == ["called"]


def test_an_error_of_a_call_is_an_error_of_the_import(package):
    package(init="from host import first")
    package(
        first="""
        from quantnas_sr.compat.end_of_import import call_after_import

        def fail():
            raise OSError("broken")

        call_after_import("host", fail)
        """
    )
    with pytest.raises(OSError, match="broken"):
        importlib.import_module("host")
