"""Checks that the graph of a network is correct for other image sizes than the one with which it was traced."""

import inspect
import io
import logging
import warnings
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Iterator, Tuple

import torch
from torch import Tensor, nn

from quantnas_sr.input_shapes import copied, size_multiple
from quantnas_sr.quantization import QuantConv2d, arguments_of

#: Least height and width of the image that graphs are traced with.
_TRACED = (33, 41)
#: Heights and widths at which a graph is compared with the network that it was traced from, at least.
_SIZES = ((40, 40), (52, 36))


def traced_size(multiple: int, least: Tuple[int, int] = _TRACED) -> Tuple[int, int]:
    """Height and width of the image with which graphs are traced: different multiples of ``multiple``."""
    height, width = (-(-side // multiple) * multiple for side in least)
    return height, width + multiple if width == height else width


@contextmanager
def quiet() -> Iterator[None]:
    """Silence PyTorch's exporter, which reports progress and deprecations, and prints whole graphs when it fails."""
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
    multiple = size_multiple(network)
    network = _in_full_precision(copied(network).eval())
    free = torch.export.Dim.DYNAMIC
    shapes = ({2: free, 3: free},)
    with torch.no_grad():
        program = torch.export.export(network, (_image(traced_size(multiple)),), dynamic_shapes=shapes, strict=False)
        guards = "check_guards" in inspect.signature(program.module).parameters
        graph = program.module(check_guards=False) if guards else program.module()
        return any(not _same(network, graph, _image(traced_size(multiple, size))) for size in _SIZES)


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
