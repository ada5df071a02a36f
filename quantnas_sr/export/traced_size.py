"""Whether the graph of a network is right for images of other sizes than the one that it was traced with."""

import inspect
import io
import logging
import warnings
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Iterator, Tuple

import torch
from torch import Tensor, nn

from quantnas_sr.cost.dry_run import copied
from quantnas_sr.quantization import QuantConv2d, arguments_of

#: Height and width of the image that graphs are traced with.
TRACED = (33, 41)
#: Heights and widths at which a graph is compared with the network that it was traced from.
_SIZES = ((40, 40), (52, 36))


@contextmanager
def quiet() -> Iterator[None]:
    """PyTorch's exporter reports progress and its own deprecations, and prints whole graphs when it fails."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def depends_on_traced_size(network: nn.Module) -> bool:
    """Whether PyTorch's own graph of a network, traced at one size, computes something else at another one.

    Args:
        network: in evaluation mode; its quantizers are left out.
    """
    network = _in_full_precision(copied(network).eval())
    free = torch.export.Dim.DYNAMIC
    shapes = ({2: free, 3: free},)
    with torch.no_grad():
        program = torch.export.export(network, (_image(TRACED),), dynamic_shapes=shapes, strict=False)
        guards = "check_guards" in inspect.signature(program.module).parameters
        graph = program.module(check_guards=False) if guards else program.module()
        return any(not _same(network, graph, _image(size)) for size in _SIZES)


def _image(size: Tuple[int, int]) -> Tensor:
    return torch.rand((1, 3, *size), generator=torch.Generator().manual_seed(0))


def _same(network: nn.Module, graph: nn.Module, x: Tensor) -> bool:
    expected = network(x)
    try:
        found = graph(x)
    except Exception:
        return False
    return found.shape == expected.shape and torch.allclose(found, expected, rtol=1e-3, atol=1e-4)


def _in_full_precision(module: nn.Module) -> nn.Module:
    for name, child in list(module.named_children()):
        setattr(module, name, _in_full_precision(child))
    if not isinstance(module, QuantConv2d):
        return module
    conv = nn.Conv2d(**arguments_of(module))
    conv.weight, conv.bias = module.weight, module.bias
    return conv
