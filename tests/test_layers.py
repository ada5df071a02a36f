"""The house rule: imports go one way, and every registered class stands in a file that says so."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Iterator, List, Set, Tuple

import pytest
from modules import MODULES, ROOT, every_module, part_of, tree_of

#: What is on a floor may use the floors below it, and its own folder; not its neighbours, not what is above.
FLOORS: Tuple[Tuple[str, ...], ...] = (
    (
        *("errors", "version", "system", "values", "containers", "pth", "bounds", "padding", "input_shapes", "muon"),
        *("registration", "compat"),
    ),
    ("images",),
    ("quantization",),
    ("search_space",),
    ("cost", "mixed_precision"),
    ("archs", "losses", "data"),
    ("checkpoints",),
    ("options",),
    ("models",),
    ("sweep",),
    ("report",),
    ("deploy",),
    ("networks",),
    ("export",),
    ("upscaling",),
    ("benchmark",),
    ("conversion",),
    ("commands",),
    ("cli", "train", "test", "__init__", "__main__"),
)
#: Neighbours that may use each other: the ground floor, and the entrances.
OPEN_FLOORS = (0, len(FLOORS) - 1)
#: Where a rule is narrower than the floors: all that these may use.
NARROW = {
    "errors": set(),
    "version": set(),
    "system": set(),
    "values": {"errors"},
    "containers": {"errors"},
    "pth": {"errors", "containers", "system", "values"},
    "bounds": {"errors"},
    "padding": set(),
    "input_shapes": {"errors", "padding"},
    "muon": set(),
    "registration": set(),
    "images": {"errors"},
    "quantization": {"errors", "system"},
    "search_space": {"quantization", "errors", "system", "values", "pth", "bounds"},
}
#: Words of a search that nothing below it may say.
SEARCH_WORDS = ("search_space", "supernet", "genotype", "alphas", "candidate")

REGISTRIES = {
    "_arch": "ARCH_REGISTRY",
    "_model": "MODEL_REGISTRY",
    "_loss": "LOSS_REGISTRY",
    "_dataset": "DATASET_REGISTRY",
}

registered_files = pytest.mark.parametrize(
    "path", [path for path in MODULES if path.stem.endswith(tuple(REGISTRIES))], ids=lambda path: path.name
)


def floor_of(part: str) -> int:
    floors = [i for i, parts in enumerate(FLOORS) if part in parts]
    assert floors, f"{part} has no floor yet: add it to FLOORS"
    return floors[0]


def imports(tree: ast.AST) -> Iterator[Tuple[int, str]]:
    """Line and part of every import of the package itself, inside functions too."""
    for line, name in imported_names(tree):
        yield line, name.partition(".")[2].partition(".")[0] or "__init__"


def imported_names(tree: ast.AST) -> Iterator[Tuple[int, str]]:
    """Line and dotted name of whatever is imported from the package itself, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names: List[str] = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from ((node.lineno, name) for name in names if name.partition(".")[0] == "quantnas_sr")


def dotted(path: Path) -> str:
    """The name by which a file of the package is imported."""
    return ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")


def parts_of_package() -> Set[str]:
    return {part_of(path) for path in MODULES}


@every_module
def test_imports_go_down(path):
    part = part_of(path)
    floor = floor_of(part)
    for line, used in imports(tree_of(path)):
        if used == part or used == "__version__":
            continue
        place = f"{path.relative_to(ROOT.parent)}:{line}: {part} uses {used}"
        other = floor_of(used)
        assert other < floor or (other == floor and floor in OPEN_FLOORS), f"{place}, which is not below it"
        assert used in NARROW.get(part, {used}), f"{place}, but may use only {sorted(NARROW[part])}"


def test_no_files_import_each_other_in_a_circle():
    files = {dotted(path): path for path in MODULES}

    def file_of(name: str) -> str:
        return name if name in files else name.rpartition(".")[0]

    uses = {name: {file_of(used) for _, used in imported_names(tree_of(path))} - {name} for name, path in files.items()}
    TopologicalSorter(uses).prepare()  # CycleError names the circle


@every_module
def test_imports_are_absolute(path):
    for node in ast.walk(tree_of(path)):
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}:{node.lineno}: a relative import"


def test_every_part_has_its_floor():
    for part in parts_of_package():
        floor_of(part)


@pytest.mark.parametrize("path", sorted((ROOT / "quantization").glob("*.py")), ids=lambda path: path.name)
def test_quantization_knows_nothing_of_a_search(path):
    names = {
        getattr(node, key)
        for node in ast.walk(tree_of(path))
        for key in ("id", "attr", "arg", "name")
        if isinstance(getattr(node, key, None), str)
    }
    said = {name for name in names if any(word in name.lower() for word in SEARCH_WORDS)}
    assert not said


def registrations(tree: ast.AST) -> Set[str]:
    """The registries that a module registers something with."""
    return {
        node.func.value.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "register"
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in REGISTRIES.values()
    }


@every_module
def test_only_files_that_say_so_register_and_with_the_registry_that_they_name(path):
    suffix = "_" + path.stem.rpartition("_")[2]
    expected = {REGISTRIES[suffix]} if suffix in REGISTRIES else set()
    assert registrations(tree_of(path)) == expected, path


@registered_files
def test_every_class_of_such_a_file_is_registered_or_part_of_one_that_is(path):
    tree = tree_of(path)
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    registered = {node.name for node in classes if any(registrations(d) for d in node.decorator_list)}
    used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    for node in classes:
        assert node.name in registered or node.name in used, f"{path.name}: {node.name} is neither"


@pytest.mark.parametrize(
    "registry, names",
    [
        (
            "ARCH_REGISTRY",
            "QuantNASSupernet QuantNASBasic QuantNASRFDN QuantNASPlain QuantNASNetwork "
            "QuantizedArch QuantizedSupernet RFDN ESPCN ADQ",
        ),
        ("MODEL_REGISTRY", "QuantNASSearchModel QuantNASModel"),
        ("DATASET_REGISTRY", "QuantNASSearchDataset"),
        ("LOSS_REGISTRY", "EntropyLoss HardwareCostLoss"),
    ],
)
def test_importing_the_package_registers_every_name_that_an_options_file_can_say(registry, names):
    from basicsr.utils import registry as registries

    import quantnas_sr  # noqa: F401

    missing = [name for name in names.split() if name not in getattr(registries, registry)]
    assert not missing
