"""Our import and BasicSR's, in whatever order they come; and what is imported for a help text."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from project import run_python

import quantnas_sr
from quantnas_sr.cli import COMMANDS, build_parser

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "torchvision", "basicsr", "cv2", "numpy", "scipy", "matplotlib", "yaml")


def run(code: str, *arguments: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-c", code, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


#: Whatever a host project does first; each must end with our names registered and BasicSR repaired.
ORDERS = {
    "ours, then BasicSR": "import quantnas_sr, basicsr",
    "ours, then a part of BasicSR": "import quantnas_sr\nfrom basicsr.archs import build_network",
    "ours, then BasicSR's registry": "import quantnas_sr\nfrom basicsr.utils.registry import ARCH_REGISTRY",
    "a part of ours that imports BasicSR half-way": "from quantnas_sr.cost import count",
    "a registered file of ours": "import quantnas_sr.losses.hardware_cost_loss",
    "a name of our public face": "from quantnas_sr import Genotype",
    "ours, then what torchvision dropped": """
import sys, quantnas_sr
from torchvision.transforms.functional_tensor import rgb_to_grayscale
assert "basicsr" not in sys.modules
""",
    "an import of BasicSR that failed": """
import pathlib, sys, tempfile, quantnas_sr
with tempfile.TemporaryDirectory() as folder:
    pathlib.Path(folder, "basicsr").mkdir()
    pathlib.Path(folder, "basicsr/__init__.py").write_text("raise RuntimeError")
    sys.path.insert(0, folder)
    try:
        import basicsr
    except RuntimeError:
        del sys.path[0]
""",
    "BasicSR, then ours": """
import sys, types
from torchvision.transforms.functional import rgb_to_grayscale
name = "torchvision.transforms.functional_tensor"
sys.modules[name] = types.ModuleType(name)
sys.modules[name].rgb_to_grayscale = rgb_to_grayscale
import basicsr
import quantnas_sr
""",
}
REGISTERED = """
import basicsr
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, MODEL_REGISTRY
assert "QuantNASSupernet" in ARCH_REGISTRY and "QuantNASSearchDataset" in DATASET_REGISTRY
assert "EntropyLoss" in LOSS_REGISTRY and "QuantNASModel" in MODEL_REGISTRY
assert hasattr(basicsr.train.load_resume_state, "__wrapped__"), "BasicSR is not repaired"
assert hasattr(basicsr.train.parse_options, "__wrapped__"), "the options are not checked"
import quantnas_sr.archs.espcn_arch, quantnas_sr.cost, quantnas_sr.options.check
print("registered", flush=True)
"""


@pytest.mark.parametrize("order", ORDERS)
def test_any_order_of_imports_registers_and_repairs(order, tmp_path):
    assert run_python("-c", ORDERS[order] + REGISTERED, folder=tmp_path).splitlines()[-1] == "registered"


def test_the_public_face_offers_what_a_user_wants():
    names = ("Genotype", "count", "export_network", "load_network", "open_network", "upscale")
    assert set(names) <= set(quantnas_sr.__all__) == set(dir(quantnas_sr))
    assert all(callable(getattr(quantnas_sr, name)) for name in names)
    with pytest.raises(AttributeError, match="module 'quantnas_sr' has no attribute 'genotypes'"):
        quantnas_sr.genotypes  # noqa: B018


HELP = [["--help"], ["--version"], ["exprot"], *([command, "--help"] for command in COMMANDS)]
HELP += [["prepare", "folder", "--help"], ["cost", "--siez", "3"]]


@pytest.fixture(scope="module")
def imported():
    """By arguments, the heavy modules that are there afterwards, the exit code and what was printed."""
    code = f"""
import contextlib, io, json, os, sys
found = {{}}
for arguments in json.loads(sys.argv[1]):
    output, status = io.StringIO(), 0
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            from quantnas_sr.cli import main
            status = main(arguments)
        except SystemExit as end:
            status = end.code
    heavy = [name for name in {HEAVY} if name in sys.modules]
    found[" ".join(arguments)] = heavy, status, output.getvalue()
print(json.dumps(found))
"""
    result = run(code, json.dumps(HELP))
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize("arguments", [" ".join(arguments) for arguments in HELP])
def test_help_and_mistakes_import_nothing_heavy(arguments, imported):
    heavy, _, _ = imported[arguments]
    assert heavy == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_argument_of_every_command_is_explained_in_a_phrase(command, imported):
    _, status, text = imported[f"{command} --help"]
    assert status == 0 and text.startswith(f"usage: quantnas {command}")
    parsers = build_parser(command)._subparsers._group_actions[0].choices[command]
    for action in parsers._actions:
        assert action.help and len(action.help.split()) > 1 or action.metavar == "folder|div2k", action.dest
        assert not (action.help or "").startswith(("of ", "at ", "what ")), f"{action.dest}: begins in the middle"


def test_the_version_is_told(imported):
    assert imported["--version"][1:] == [0, f"quantnas {quantnas_sr.__version__}\n"]


def test_a_misspelt_command_is_one_line_with_the_nearest_one(imported):
    _, status, text = imported["exprot"]
    assert status == 2 and text.count("\n") == 1
    assert text.startswith("quantnas: unknown command 'exprot', did you mean 'export'? Allowed: benchmark, cost, ")


def test_a_misspelt_option_is_one_line_with_the_nearest_one(imported):
    _, status, text = imported["cost --siez 3"]
    assert (
        status == 2
        and text == "quantnas cost: unknown argument --siez, did you mean --size? (see quantnas cost --help)\n"
    )
