"""How large a network may be that a file describes, and building within that: nothing larger is ever allocated."""

import math
import threading
from contextlib import ExitStack, contextmanager
from typing import Any, Callable, Iterator, Mapping, NamedTuple, Optional, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules import module as hooks
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from quantnas_sr.errors import OptionError

#: Weights and buffers of a network: 268 MB in 32 bits. The largest published ones for super-resolution have two thirds.
MOST_WEIGHTS = 2**26
#: Layers, with those that hold others.
MOST_MODULES = 2**14
#: ``num_feat`` and ``num_block`` of search spaces.
MOST_CHANNELS, MOST_BLOCKS = 2**11, 2**6
#: Values of a vector, such as one that is computed for every block.
_LONGEST_VECTOR = 2**17
#: What makes a tensor of another size than those that there are: from numbers, by repetition, by products.
_MAKES = frozenset(
    (
        *("arange", "linspace", "logspace", "range", "zeros", "ones", "full", "empty", "empty_strided", "eye", "rand"),
        *("randn", "randint", "randperm", "tensor", "repeat", "tile", "repeat_interleave", "expand", "broadcast_to"),
        *("meshgrid", "cat", "stack", "outer", "einsum", "matmul", "cdist", "kron", "unfold", "pad", "interpolate"),
        *("new_zeros", "new_ones", "new_full", "new_empty", "diag", "cartesian_prod", "combinations", "tril_indices"),
        *("triu_indices", "one_hot", "index_select", "__getitem__", "__matmul__"),
    )
)
#: What makes a tensor of those that there are, value by value: no larger than the product of their sizes.
_BROADCASTS = frozenset(
    (
        *("add", "sub", "mul", "div", "eq", "ne", "where", "masked_fill", "__eq__", "__ne__", "__lt__", "__gt__"),
        *(f"__{r}{name}__" for name in ("add", "sub", "mul", "truediv", "pow") for r in ("", "r")),
    )
)
_META = torch.device("meta")
#: Weights and buffers that a state dict need not hold.
_SPARE = 2**22
#: Layers of which a state dict need not hold anything.
_SPARE_MODULES = 2**10


class Limits(NamedTuple):
    """How large a network may be.

    Attributes:
        weights: and buffers, each counted whenever a module is given it.
        modules: each counted whenever another one is given it.
    """

    weights: int = MOST_WEIGHTS
    modules: int = MOST_MODULES


#: Of any network.
LIMITS = Limits()


class TooLargeError(OptionError):
    """What a file describes is larger than any network that this package works with."""


@contextmanager
def bounded(tensors: bool = True, most: Limits = LIMITS) -> Iterator[None]:
    """Within the block no network can be built that is larger than ``most``.

    Args:
        tensors: also look at every tensor that is computed on the way, as classes do that are not of this package.
        most: the limits.

    Raises:
        TooLargeError: the block tried to. What it would have needed was not allocated.
    """
    count = _Count(most)
    with ExitStack() as stack:
        for hook in (
            hooks.register_module_parameter_registration_hook(count.weights),
            hooks.register_module_buffer_registration_hook(count.weights),
            hooks.register_module_module_registration_hook(count.modules),
        ):
            stack.callback(hook.remove)
        if tensors:
            stack.enter_context(_Sizes())
        try:
            yield
        except RuntimeError as error:
            if "alloc" in str(error) or "overflow" in str(error):
                raise TooLargeError(f"needs more memory than there is ({' '.join(str(error).split())[:100]})") from None
            raise


class _Count:
    """What the modules that this thread builds register."""

    def __init__(self, most: Limits) -> None:
        self.thread, self.most = threading.get_ident(), most
        self.weights_so_far, self.modules_so_far = 0, 0

    def weights(self, module: nn.Module, name: str, value: Any) -> None:
        if isinstance(value, Tensor) and threading.get_ident() == self.thread:
            self.weights_so_far += value.numel()
            _check(self.weights_so_far, self.most.weights, "weights")

    def modules(self, module: nn.Module, name: str, value: Any) -> None:
        if threading.get_ident() == self.thread:
            self.modules_so_far += 1
            _check(self.modules_so_far, self.most.modules, "layers")


def _check(count: int, most: int, what: str) -> None:
    if count > most:
        raise TooLargeError(f"the network has more than {most} {what}, the most that is allowed here")


def limits_of(state: Mapping[str, Any]) -> Limits:
    """How large a network is at most that a state dict can be of, as `bounded` counts."""
    held = [value.numel() for value in state.values() if isinstance(value, Tensor)]
    weights, modules = 4 * sum(held) + _SPARE, 8 * len(held) + _SPARE_MODULES
    return Limits(min(MOST_WEIGHTS, weights), min(MOST_MODULES, modules))


def check_size(make: Callable[[], Any], most: Limits = LIMITS) -> None:
    """Make a network without values, as far as that is possible, for its size alone: no memory, and little time.

    Raises:
        TooLargeError: it is larger than ``most``.
    """
    try:
        with bounded(most=most), _META:
            make()
    except Exception as error:
        causes = (error, error.__cause__, error.__context__)
        for cause in causes:
            if isinstance(cause, TooLargeError):
                raise cause from None


class _Sizes(TorchFunctionMode):
    """Looks at the size of every result before it is computed: on the device ``meta``, where it takes no memory."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Optional[Mapping[str, Any]] = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in _MAKES or (name in _BROADCASTS and _product_of_sizes(args, kwargs) > MOST_WEIGHTS):
            for result in tree_leaves(_on_meta(func, args, kwargs)):
                if isinstance(result, Tensor):
                    most = _LONGEST_VECTOR if result.dim() == 1 else MOST_WEIGHTS
                    _check(result.numel(), most, "values in one tensor")
        elif name.endswith("_") and not name.startswith("__"):
            tensor = next(iter(args), kwargs.get("tensor"))
            if getattr(tensor, "is_meta", False):  # nothing to fill in, in the many steps of Python that it takes
                return tensor
        return func(*args, **kwargs)


def _product_of_sizes(*args: Any) -> int:
    return math.prod(value.numel() for value in tree_leaves(args) if isinstance(value, Tensor))


def _on_meta(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The result without values; None for what cannot run there."""

    def moved(value: Any) -> Any:
        if isinstance(value, Tensor):
            return torch.empty_strided(value.size(), value.stride(), dtype=value.dtype, device="meta")
        return _META if isinstance(value, torch.device) else value

    try:
        with _META, torch.no_grad():
            return func(*tree_map(moved, tuple(args)), **tree_map(moved, dict(kwargs)))
    except Exception:
        return None
