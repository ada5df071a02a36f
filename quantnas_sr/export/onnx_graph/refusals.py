"""Why a network cannot be exported, in one line: where in the network, why, and what can be done.

PyTorch's exporter answers with hundreds of lines, of which most are about itself.
"""

import re
from types import TracebackType
from typing import Any, Callable, Iterator, List, NamedTuple, Optional, Sequence, Tuple, TypeVar

import torch
from torch import Tensor, nn

from quantnas_sr.cost.dry_run import in_one_line, name_of, place_of
from quantnas_sr.errors import CheckError, NetworkError, QuantNASError
from quantnas_sr.export.onnx_graph.traced_size import depends_on_traced_size, quiet

_INSTEAD = "The .pth runs in PyTorch all the same (quantnas upscale)"
_OPERATOR = re.compile(r"No ONNX function found for .*?'([\w.]+)'|target=torch\.ops\.([\w.]+)")
_Written = TypeVar("_Written")


class _Kind(NamedTuple):
    """A kind of failure: words of PyTorch's messages, and what they mean to whoever made the network."""

    pattern: str
    meaning: str


_KINDS = (
    _Kind(
        r"data-dependent|data dependent|DataDependent",
        "decides by values of the image what it computes, and an exported graph always computes the same. Compute all "
        "branches and select with torch.where, or weight them",
    ),
    _Kind(
        r"adaptive_(avg|max)_pool",
        "pools to a size that ONNX cannot have for images of all sizes (adaptive pooling, and not to a whole share of "
        "the sides). Pool with a fixed kernel and stride",
    ),
    _Kind(
        r"fake tensor in the exported program|is on meta, different from",
        "makes weights or other tensors of its own while it runs, and keeps them. Make them once, before the network "
        "is quantized",
    ),
)
_FIXED_SIZE = _Kind(
    r"specialized|static shape|Constraints violated|ConstraintViolation|is invalid for input of size|Mod\(",
    "computes with the height or width of the image as a number that is fixed when it is traced. Take sizes from "
    "x.shape, without int() and without tables of one size",
)


def refusal(network: nn.Module, error: BaseException) -> NetworkError:
    """The error of PyTorch's exporter for a network, in one line.

    Args:
        network: what was traced.
        error: the exception; the exceptions that caused it are read too.
    """
    chain = list(_chain(error))
    # the first link is the exporter's summary, with the whole graph, in which any operator may stand
    words = "\n".join(f"{type(link).__name__} {link}" for link in chain[1:] or chain)
    return NetworkError(f"{_where(network, chain)} {_meaning(words, chain[-1])}. {_INSTEAD}")


def _meaning(words: str, cause: BaseException) -> str:
    for kind in _KINDS:
        if re.search(kind.pattern, words):
            return kind.meaning
    operator = _OPERATOR.search(words)
    if operator:
        return f"uses {operator[1] or operator[2]}, which cannot be converted to ONNX"
    if re.search(_FIXED_SIZE.pattern, words):
        return _FIXED_SIZE.meaning
    return f"cannot be traced by torch.export: {in_one_line(cause)}"


def is_about_sizes(error: BaseException) -> bool:
    """Whether an error may be due to the number of images or their size, and not to values or operators."""
    words = [f"{type(link).__name__} {link}" for link in _chain(error)]
    return not any(re.search(rf"ConversionError|{_KINDS[0].pattern}", text) for text in words)


def size_is_fixed(network: nn.Module) -> NetworkError:
    """The error for a graph that accepts only the size with which it was traced."""
    return NetworkError(f"{name_of(network)} {_FIXED_SIZE.meaning}. {_INSTEAD}")


def _chain(error: Optional[BaseException]) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _where(network: nn.Module, chain: Sequence[BaseException]) -> str:
    """The network's class, and the innermost module that was running, as far as that can be told."""
    # modules are recognised by their attributes, which the stand-ins that PyTorch runs share with them
    names = {id(vars(module)): name for name, module in network.named_modules() if name}
    places = [""]
    for error in chain:
        running = (id(vars(module)) for module in _running(error.__traceback__))
        places += [names[attributes] for attributes in running if attributes in names][-1:]
        places += [name for name in _converted(error.__traceback__) if name in names.values()]
    innermost = max(places, key=lambda name: name.count("."))
    return f"{name_of(network)}: {place_of(network, innermost)}" if "." in innermost else name_of(network)


def _frames(traceback: Optional[TracebackType]) -> Iterator[Any]:
    while traceback is not None:
        yield traceback.tb_frame.f_locals
        traceback = traceback.tb_next


def _running(traceback: Optional[TracebackType]) -> Iterator[nn.Module]:
    for values in _frames(traceback):
        if isinstance(values.get("self"), nn.Module):
            yield values["self"]


def _converted(traceback: Optional[TracebackType]) -> Iterator[str]:
    """The module of the node of the traced graph at which a converter failed."""
    for values in _frames(traceback):
        if isinstance(values.get("node"), torch.fx.Node):
            stack: List[Tuple[str, Any]] = list(values["node"].meta.get("nn_module_stack", {}).values())
            yield from (path for path, _ in stack[-1:])


def check_runs(network: nn.Module, image: Tensor) -> None:
    """Run a network once in PyTorch.

    Args:
        network: in evaluation mode.
        image: (1, 3, H, W).

    Raises:
        CalibrationError: a layer is reached that has no quantization step.
        NetworkError: it does not run for an image of this size.
    """
    try:
        with torch.no_grad():
            network(image)
    except QuantNASError:
        raise
    except Exception as error:
        height, width = image.shape[2:]
        raise NetworkError(
            f"{name_of(network)} does not run for an image of {height}x{width} pixels: {in_one_line(error)}. Exported "
            "files take all sizes: if the network takes multiples of a number only, pad the image in its forward"
        ) from error


def written_or_blamed(network: nn.Module, write: Callable[[bool], _Written]) -> _Written:
    """Write an exported file; if it fails its check, write it again, traced for one image.

    A network of another project may be traceable for any number of images, and still compute with the number with which
    it was traced. Traced for one image, it may pass.

    Args:
        network: what is exported.
        write: writes and checks the file, traced for one image if its argument says so.

    Raises:
        CheckError: a runtime computes something else.
        NetworkError: PyTorch's own graph of the network does too, at a size other than the traced one.
    """
    try:
        return write(False)
    except CheckError:
        if _all_ours(network):
            raise
    try:
        return write(True)
    except CheckError:
        if _depends_as_far_as_known(network):
            raise size_is_fixed(network) from None
        raise


def _depends_as_far_as_known(network: nn.Module) -> bool:
    try:
        with quiet():
            return depends_on_traced_size(network)
    except Exception:  # with quantizers it could be traced, so a failure without them says nothing
        return False


def _all_ours(network: nn.Module) -> bool:
    return all(type(module).__module__.startswith(("torch.nn.", "quantnas_sr.")) for module in network.modules())
