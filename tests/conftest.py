"""One thread and a fixed seed for every test, and networks small enough to build in an instant."""

import sys
from contextlib import suppress
from functools import cache
from typing import Any, Callable, Dict, Iterator

import pytest
import torch

from quantnas_sr.deploy import opening
from quantnas_sr.export import sample_images
from quantnas_sr.search_space import Genotype, Supernet, get_search_space

torch.set_num_threads(1)
with suppress(ImportError):
    # Its import shuts down all log handlers that there are, and absl's closes the stream that pytest captures.
    import submitit  # noqa: F401


@pytest.fixture(autouse=True)
def fixed_seed() -> None:
    torch.default_generator.manual_seed(0)  # torch.manual_seed also keeps a traceback for CUDA, in 3 ms


@pytest.fixture(autouse=True)
def exporter_does_nothing_twice() -> Iterator[None]:
    """PyTorch's: from the second export on, it reads its two thousand operators no more, which takes seconds.

    Nor does it trace a network anew to decompose its operators where there is none to decompose: a third of the time,
    for the same graph with other names in it.
    """
    yield
    exporter = "torch.onnx._internal.exporter."
    registry = getattr(sys.modules.get(f"{exporter}_registration"), "ONNXRegistry", None)
    original = getattr(registry, "from_torchlib", None)
    if original is None or hasattr(original, "cache_info"):
        return
    registry.from_torchlib = staticmethod(cache(original))
    passes = sys.modules.get(f"{exporter}_fx_passes")
    if hasattr(passes, "decompose_with_registry"):
        passes.decompose_with_registry = _decomposing_where_it_is_due(passes.decompose_with_registry)


def _decomposing_where_it_is_due(decompose: Callable[..., Any]) -> Callable[..., Any]:
    from torch.onnx._internal.exporter import _decomp

    @cache
    def kept(registry: Any) -> Any:
        return set(_decomp.get_onnx_implemented_overloads(registry))

    @cache
    def decomposed(registry: Any) -> Any:
        return _decomp.create_onnx_friendly_decomposition_table(kept(registry))

    def is_due(operator: Any, registry: Any) -> bool:
        is_torchs = getattr(operator, "namespace", "") == "aten"  # those without a table of theirs too, as batch_norm
        mutates = getattr(getattr(operator, "_schema", None), "is_mutable", False)
        return operator in decomposed(registry) or mutates or (is_torchs and operator not in kept(registry))

    def decompose_if_due(program: Any, registry: Any) -> Any:
        operators = [node.target for node in program.graph.nodes if node.op == "call_function"]
        return decompose(program, registry) if any(is_due(one, registry) for one in operators) else program

    return decompose_if_due


@pytest.fixture(autouse=True, scope="session")
def exports_are_checked_on_small_images() -> Iterator[None]:
    """On two synthetic ones of 40x40 in place of four of 96x96; the check of a layer is the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sample_images, "CROP", 40)
        patch.setattr(sample_images.arrays, "__defaults__", (sample_images.CROP, 2))
        yield


@pytest.fixture(autouse=True, scope="session")
def runtimes_have_one_thread() -> Iterator[None]:
    """Unless a test asks for more: their threads wait busily, for cores that other tests use."""

    def alone(opened: Callable[..., Any]) -> Callable[..., Any]:
        return lambda path, threads, *rest: opened(path, threads or 1, *rest)

    with pytest.MonkeyPatch.context() as patch:
        for name, opened in opening._SESSIONS.items():
            patch.setitem(opening._SESSIONS, name, alone(opened))
        yield


@pytest.fixture
def supernet() -> Callable[..., Supernet]:
    """Makes a supernet of 12 channels and one block."""

    def make(search_space: str = "basic", **options: Any) -> Supernet:
        return Supernet(search_space, **{"num_feat": 12, "num_block": 1, "scale": 2, **options})

    return make


@pytest.fixture
def genotype() -> Callable[..., Genotype]:
    """Makes a genotype of 12 channels and one block with one choice in every slot, but for the ones given by name."""

    def make(search_space: str = "basic", operation: str = "simple_3x3", bits: int = 8, **chosen: Any) -> Genotype:
        slots: Dict[str, Any] = dict.fromkeys(get_search_space(search_space).slots(2, 12, 1), (operation, bits))
        slots.update(chosen)
        sizes = {"scale": 2, "num_feat": 12, "num_block": 1, "norm": "adq"}
        entries = {name: {"operation": op, "bits": b} for name, (op, b) in slots.items()}
        return Genotype.from_dict({"genotype_version": 1, "search_space": search_space, **sizes, "slots": entries})

    return make


@pytest.fixture
def randomize() -> Callable[[torch.nn.Module], None]:
    """Moves every parameter and statistic of a network away from where it started, so that no two of them agree."""

    def move(network: torch.nn.Module) -> None:
        with torch.no_grad():
            for tensor in network.state_dict().values():
                if tensor.is_floating_point():
                    tensor.mul_(torch.rand_like(tensor) + 0.5).add_(0.01 * torch.rand_like(tensor))

    return move
