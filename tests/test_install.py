"""What pip is told: versions that work, commands for every shell, BasicSR on Python 3.13."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict

import pytest
import setuptools

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def setup(monkeypatch) -> Dict[str, Any]:
    """What setup.py says."""
    said: Dict[str, Any] = {}
    monkeypatch.setattr(setuptools, "setup", lambda **arguments: said.update(arguments))
    monkeypatch.chdir(ROOT)
    exec(compile((ROOT / "setup.py").read_text(encoding="utf-8"), "setup.py", "exec"), {"__name__": "setup"})
    return said


def allowed(requirements, name: str, version: str, python: str = "3.11") -> bool:
    """Whether pip may keep or take this version of a package on this version of Python."""
    from packaging.requirements import Requirement

    found = [Requirement(text) for text in requirements]
    [requirement] = [entry for entry in found if entry.name == name]
    needed = requirement.marker is None or requirement.marker.evaluate({"python_version": python})
    return needed and requirement.specifier.contains(version)


@pytest.mark.parametrize("version", ["1.3.4.9", "1.3.5", "1.4.2"])
def test_the_basicsr_that_a_project_pins_stays(setup, version):
    assert allowed(setup["install_requires"], "basicsr", version)


def test_an_onnx_runtime_that_cannot_run_integers_is_not_taken(setup):
    export = setup["extras_require"]["export"]
    assert not allowed(export, "onnxruntime", "1.20.1") and allowed(export, "onnxruntime", "1.21.0")
    assert not allowed(export, "onnxruntime", "1.21.0", python="3.9"), "there is none for Python 3.9"
    assert allowed(export, "openvino", "2025.3.0", python="3.9")


@pytest.mark.skipif(sys.version_info < (3, 10), reason="it knows no list of its own modules")
def test_every_package_that_is_imported_at_the_top_of_a_module_is_required(setup):
    """By the names that pip knows; extras are imported where they are needed."""
    names = {"cv2": "opencv-python", "PIL": "pillow", "yaml": "pyyaml"}
    text = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "quantnas_sr").rglob("*.py"))
    imported = set(re.findall(r"^(?:from|import) (\w+)", text, flags=re.MULTILINE))
    optional = ("onnx", "onnx_ir", "onnxruntime", "openvino", "matplotlib", "jinja2", "spandrel", "submitit", "av")
    third = imported - set(sys.stdlib_module_names) - {"quantnas_sr", *optional}
    required = " ".join(setup["install_requires"])
    assert third and not {name for name in third if names.get(name, name) not in required}


def test_a_function_reads_what_exec_has_defined_while_basicsr_is_built(tmp_path):
    spec = importlib.util.spec_from_file_location("install_basicsr", ROOT / "install_basicsr.py")
    installer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(installer)
    code = "def version():\n    exec(compile('v = 7', 'v', 'exec'))\n    return locals()['v']\n"
    code += "print(version(), exec.__name__)"
    environment = installer.environment(tmp_path)
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["7", "exec_in_caller"]


def test_the_commands_of_the_readme_are_the_same_in_every_shell():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    install = readme[readme.index("## Install") : readme.index("## Read on")]
    commands = [line for line in install.splitlines() if line.startswith("    ")]
    assert len(commands) >= 5
    for command in commands:
        assert command.startswith("    python ") and not set("'$&;") & set(command.partition("#")[0]), command


def test_the_lock_file_has_a_version_that_is_admitted_of_all_that_is_required(setup):
    requirements = pytest.importorskip("packaging.requirements")
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    locked = {normal(name): version for name, version in (line.split("==") for line in lines if "#" not in line)}
    python = {"python_version": "3.11", "python_full_version": "3.11.7"}
    for line in [*setup["install_requires"], *setup["extras_require"]["test"]]:
        wanted = requirements.Requirement(line)
        if wanted.marker is None or wanted.marker.evaluate(python):
            assert wanted.specifier.contains(locked[normal(wanted.name)], prereleases=True), line


def normal(name: str) -> str:
    """A package's name as pip compares it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
