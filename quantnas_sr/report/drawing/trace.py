"""The wiring of a skeleton, recorded in one forward pass on the meta device.

The pass records what a skeleton computes in its ``forward``: the modules that it calls, and the functions of torch that
combine several of their results. So a search space needs no second description of its wiring to be drawn.
"""

from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from quantnas_sr.quantization import FULL_PRECISION
from quantnas_sr.search_space import ADQ, Genotype, get_search_space

NORM_LABELS = {"adq": "ADQ", "adadm": "AdaDM", "batch": "BN", "none": ""}
_SIZE = (32, 32)
_COMPUTE = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.Linear)
#: Kinds of nodes for functions that combine several results; any other function is called by its own name.
_JOINS = {
    **dict.fromkeys(("add", "__add__", "__radd__", "__iadd__", "sub", "__sub__", "__isub__", "addcmul", "lerp"), "sum"),
    **dict.fromkeys(("cat", "concat", "concatenate", "stack"), "concatenation"),
    **dict.fromkeys(("mul", "__mul__", "__rmul__", "__imul__"), "product"),
}
#: What functions of the image alone make of it.
_MADE = {"repeat": "repeated", "repeat_interleave": "repeated", "interpolate": "resized", "pad": "padded"}


class Node:
    """A result that is named in the picture: the image, the output of a module, or a combination of results.

    Attributes:
        kind: ``image``, ``box``, ``sum``, ``concatenation``, ``product``, or the name of another function.
        inputs: the nodes that it is computed from, none of them twice.
        path: the module's place in the skeleton; for what a function computes, that of the module that called it.
        words: what stands in its box; for the image, what has been made of it.
        bits: bit width of its convolutions, None if it has none.
        slot: the slot that it stands in, if any.
        channels: C of the result.
    """

    def __init__(
        self,
        kind: str,
        inputs: Sequence["Node"],
        path: Tuple[str, ...] = (),
        words: str = "",
        bits: Optional[int] = None,
        slot: str = "",
        channels: int = 3,
    ) -> None:
        self.kind, self.inputs, self.path, self.words = kind, tuple(inputs), path, words
        self.bits, self.slot, self.channels = bits, slot, channels


class _Stand(nn.Module):
    """A placeholder for a slot, which returns a tensor of the right shape."""

    def __init__(self, slot: str, out_channels: int) -> None:
        super().__init__()
        self.slot, self.out_channels = slot, out_channels

    def forward(self, x: Tensor) -> Tensor:
        return x.new_empty(x.shape[0], self.out_channels, *x.shape[2:])


class _Recorder(TorchFunctionMode):
    """Records the nodes of a forward pass, in the order of their computation."""

    def __init__(self, skeleton: nn.Module, genotype: Genotype) -> None:
        super().__init__()
        self.genotype = genotype
        self.nodes: List[Node] = []
        self._of: Dict[int, Node] = {}
        self._alive: List[Tensor] = []  # an id is used again when its tensor is gone
        self._open: List[Tuple[nn.Module, Tuple[str, ...]]] = []
        self._inside: Optional[nn.Module] = None  # the module that is drawn as a box
        for name, module in skeleton.named_modules():
            path = tuple(filter(None, name.split(".")))
            opened = isinstance(module, nn.Sequential) or any(isinstance(part, _Stand) for part in module.modules())
            boxed = isinstance(module, _Stand) or not opened
            module.register_forward_pre_hook(self._entering(path, boxed))
            module.register_forward_hook(self._leaving(path, boxed), always_call=True)

    def start(self, image: Tensor) -> None:
        self._give(image, Node("image", (), words="image"))

    def _entering(self, path: Tuple[str, ...], boxed: bool) -> Any:
        def hook(module: nn.Module, args: Any) -> None:
            if self._inside is None:
                self._open.append((module, path))
                self._inside = module if boxed else None

        return hook

    def _leaving(self, path: Tuple[str, ...], boxed: bool) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if self._inside not in (None, module):
                return
            self._open.pop()
            if boxed:
                self._inside = None
                self._module(module, path, args, output)

        return hook

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if self._inside is None:
            self._function(getattr(func, "__name__", ""), (args, kwargs or {}), output)
        return output

    def _function(self, name: str, given: Any, output: Any) -> None:
        inputs = self._nodes_of(given)
        results = list(_tensors(output))
        if not inputs or not results:
            return
        if all(node.kind == "image" for node in inputs):
            node = self._image(name, inputs, next(_tensors(given)), results[0])
        elif len(inputs) == 1:
            node = inputs[0]
        else:
            module, path = self._open[-1]
            words = NORM_LABELS[module.norm] if isinstance(module, ADQ) else ""
            node = Node(_JOINS.get(name, name), inputs, path, words, channels=_channels(results[0]))
        for result in results:
            self._give(result, node)

    def _image(self, name: str, inputs: Sequence[Node], before: Tensor, after: Tensor) -> Node:
        """What a function makes of the image; the same node where that cannot be told from it in the picture."""
        words = f"{_MADE[name]} image" if name in _MADE else inputs[0].words
        selected = after.shape[2:] == before.shape[2:] and _channels(after) != _channels(before)
        if len(inputs) == 1 and words == inputs[0].words and not selected:
            return inputs[0]
        return Node("image", inputs, words=words, channels=_channels(after))

    def _module(self, module: nn.Module, path: Tuple[str, ...], given: Any, output: Any) -> None:
        inputs = self._nodes_of(given)
        results = list(_tensors(output))
        computes = isinstance(module, _Stand) or any(isinstance(part, _COMPUTE) for part in module.modules())
        if not inputs or not results:
            return
        keeps_shape = all(result.shape == x.shape for result in results for x in _tensors(given))
        if not computes and len(inputs) == 1 and keeps_shape:
            node = inputs[0]  # a normalisation or an activation function
        elif not computes and all(node.kind == "image" for node in inputs):
            words = f"{type(module).__name__} of the image"
            node = Node("image", inputs, words=words, channels=_channels(results[0]))
        elif isinstance(module, _Stand):
            operation, bits = self.genotype.slots[module.slot]
            words = operation.replace("_", " ")
            node = Node("box", inputs, path, words, bits, module.slot, _channels(results[0]))
        else:
            node = Node("box", inputs, path, _words(module, path), _bits(module), "", _channels(results[0]))
        for result in results:
            self._give(result, node)

    def _nodes_of(self, given: Any) -> List[Node]:
        nodes = (self._of.get(id(tensor)) for tensor in _tensors(given))
        return list(dict.fromkeys(node for node in nodes if node is not None))

    def _give(self, tensor: Tensor, node: Node) -> None:
        self._alive.append(tensor)
        self._of[id(tensor)] = node
        if node not in self.nodes:
            self.nodes.append(node)


def _tensors(data: Any) -> Iterator[Tensor]:
    if isinstance(data, Tensor):
        yield data
    elif isinstance(data, (list, tuple)):
        for entry in data:
            yield from _tensors(entry)
    elif isinstance(data, dict):
        yield from _tensors(list(data.values()))


def _channels(tensor: Tensor) -> int:
    return tensor.shape[1] if tensor.dim() > 1 else 1


def _words(module: nn.Module, path: Tuple[str, ...]) -> str:
    """Its name in the skeleton and its kernel for a convolution, else its class and its factor, if it has one."""
    if isinstance(module, nn.Conv2d):
        name = next((part for part in reversed(path) if not part.isdigit()), "conv")
        return f"{name} {module.kernel_size[0]}x{module.kernel_size[1]}"
    factor = getattr(module, "upscale_factor", getattr(module, "scale_factor", None))
    return type(module).__name__ + (f" ×{factor:g}" if isinstance(factor, (int, float)) else "")


def _bits(module: nn.Module) -> Optional[int]:
    layers = [part for part in module.modules() if isinstance(part, _COMPUTE)]
    return max((getattr(layer, "bits", FULL_PRECISION) for layer in layers), default=None)


def trace(genotype: Genotype) -> List[Node]:
    """The nodes of a genotype's network in the order of their computation; the last one is its result.

    Raises:
        Exception: whatever the skeleton raises on the meta device.
    """
    g = genotype

    def fill(name: str, in_channels: int, out_channels: int) -> nn.Module:
        return _Stand(name, out_channels)

    with torch.device("meta"), torch.no_grad():
        skeleton = get_search_space(g.search_space).build(fill, g.scale, g.num_feat, g.num_block, g.norm).eval()
        image = torch.empty(1, 3, *_SIZE)
        recorder = _Recorder(skeleton, genotype)
        recorder.start(image)
        with recorder:
            result = skeleton(image)
    last = recorder._of[id(result)]
    return [node for node in recorder.nodes if node is not last] + [last]
