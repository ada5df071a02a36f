"""Channels that a training has lost: 0 behind a ReLU for every image, so that nothing trains them any more."""

from contextlib import ExitStack, contextmanager
from typing import Any, Dict, Iterable, Iterator, Tuple

import torch
from torch import Tensor, nn

from quantnas_sr.quantization import QuantConv2d


class HighestInputs:
    """The highest value of every channel that a layer reads through a ReLU, (C,), by name of the layer."""

    def __init__(self) -> None:
        self._highest: Dict[str, Tensor] = {}

    @torch.no_grad()
    def see(self, name: str, x: Tensor) -> None:
        """Take the input of a layer, (N, C, H, W)."""
        highest = x.detach().amax((0, 2, 3))
        before = self._highest.get(name)
        self._highest[name] = highest if before is None else torch.maximum(before, highest)

    def lost(self) -> Dict[str, Tuple[int, int]]:
        """By name of the layer, how many of the channels that it reads were never above 0, and of how many."""
        counts = {name: (int((highest <= 0).sum()), len(highest)) for name, highest in self._highest.items()}
        return {name: count for name, count in counts.items() if count[0]}


@contextmanager
def highest_inputs(networks: Iterable[nn.Module]) -> Iterator[HighestInputs]:
    """Collects the highest inputs of the networks' layers while the block runs; the networks have the same layers."""
    found = HighestInputs()

    def watch(name: str) -> Any:
        return lambda layer, inputs: found.see(name, inputs[0])

    with ExitStack() as stack:
        for network in networks:
            for name, layer in network.named_modules():
                if isinstance(layer, QuantConv2d) and getattr(layer.input_quantizer, "rectifies", False):
                    stack.callback(layer.register_forward_pre_hook(watch(name)).remove)
        yield found


def lost_channels_line(lost: Dict[str, Tuple[int, int]]) -> str:
    """One line about what `HighestInputs.lost` returns, the layers with the largest losses first."""
    worst = sorted(lost, key=lambda name: -lost[name][0])
    layers = ", ".join(f"{lost[name][0]} of {lost[name][1]} that {name} reads" for name in worst[:3])
    more = f" and in {len(lost) - 3} more layers" if len(lost) > 3 else ""
    return (
        f"Channels that are 0 for every validation image, cost as much as others and are not trained any more: "
        f"{layers}{more}. Biases that move too far do it: try a lower train.bias_lr, or a lower learning rate"
    )
