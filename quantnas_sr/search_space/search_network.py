"""The base class of all networks that can be searched: alphas, and the weights and probabilities of edges."""

import math
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from quantnas_sr.errors import OptionError
from quantnas_sr.quantization import check_bits
from quantnas_sr.search_space.mixing.selectors import SELECTORS, Selection, expected, one_edge, softmax
from quantnas_sr.search_space.space import check_choice


class SearchNetwork(nn.Module):
    """A network with a vector of alphas in each of its slots, one alpha for each edge.

    The keys of ``alphas`` are the slots' names, with ``/`` for every ``.`` in them. The alphas of a slot have the shape
    (operations, bits) and start at zero, so that all edges are equally probable. A subclass defines the layers in the
    slots (`places`), the forward pass (`run`), and the result of the search (`genotype`, `derive`).

    Args:
        bits: bit widths to choose from.
        selector: a key of `SELECTORS`.
        temperature: of the gumbel selectors, at the start and at the end of the search; falls geometrically.

    Raises:
        OptionError: a value that is not allowed; one line that names the key.
    """

    alphas: nn.ParameterDict

    def __init__(self, bits: Sequence[int], selector: str, temperature: Tuple[float, float]) -> None:
        super().__init__()
        check_choice("selector", selector, tuple(SELECTORS))
        self.bits = check_bit_list(bits)
        self.selector = selector
        self.temperature_range = check_temperature(temperature)
        self.temperature = self.temperature_range[0]
        self._only: Optional[Mapping[str, int]] = None

    def add_alphas(self, operations: Mapping[str, int]) -> None:
        """Create the alphas. ``operations`` is the number of operations of each slot, by name."""
        self._slot_of = {slot.replace(".", "/"): slot for slot in operations}
        shapes = ((number, len(self.bits)) for number in operations.values())
        self.alphas = nn.ParameterDict(
            {key: nn.Parameter(torch.zeros(shape)) for key, shape in zip(self._slot_of, shapes)}
        )

    def alphas_by_slot(self) -> Dict[str, nn.Parameter]:
        """The alphas by the slots' own names."""
        return {slot: self.alphas[key] for key, slot in self._slot_of.items()}

    def places(self) -> Iterator[Tuple[str, nn.Module]]:
        """The name of the slot and the layer, for every mixed layer in the order of the wiring.

        Each layer has an attribute ``selection``, which holds the weights of the slot during a forward pass.
        """
        raise NotImplementedError

    def run(self, x: Tensor) -> Tensor:
        """The forward pass. It is called while the mixed layers hold their selections."""
        raise NotImplementedError

    def example(self) -> Tuple[nn.Module, Dict[str, str]]:
        """A network that has the shapes of all derived networks outside the slots, and the slots by module path.

        The weights of the network do not matter.
        """
        raise NotImplementedError

    def edge_names(self) -> Dict[str, List[str]]:
        """The names of the edges of each slot, in the order of the flattened alphas."""
        raise NotImplementedError

    def widthless(self) -> Dict[str, List[int]]:
        """By slot, the numbers of the operations that compute the same at every bit width."""
        return {}

    def genotype(self, origin: Optional[Mapping[str, Any]] = None, choice: Optional[Mapping[str, int]] = None) -> Any:
        """The result of the search: for each slot the edge of the largest alpha, or that of ``choice``.

        It is a `Genotype`, or another class that has ``save(path)``, ``file_name`` and ``folder_name``.
        """
        raise NotImplementedError

    def derive(self, genotype: Any = None) -> nn.Module:
        """The derived network of a genotype (by default of `genotype`), with the weights that were trained here."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """RGB in 0..1, (N, 3, H, W) -> (N, 3, s*H, s*W). The selection is deterministic in evaluation mode."""
        selections = {slot: self._select(slot, alphas) for slot, alphas in self.alphas_by_slot().items()}
        places = list(self.places())
        for slot, layer in places:
            layer.selection = selections[slot]
        try:
            return self.run(x)
        finally:
            for _, layer in places:
                layer.selection = None

    def _select(self, slot: str, alphas: Tensor) -> Selection:
        if self._only is not None:
            return one_edge(alphas, self._only[slot])
        if self.training:
            return SELECTORS[self.selector](alphas, self.temperature)
        return expected(alphas, self.selector)

    @contextmanager
    def only(self, choice: Mapping[str, int]) -> Iterator[None]:
        """Compute one edge in each slot: ``choice[slot]``, an index into the flattened alphas."""
        self._only = choice
        try:
            yield
        finally:
            self._only = None

    @torch.no_grad()
    def draw(self, exploration: float) -> Dict[str, int]:
        """An edge for each slot, drawn with the probabilities of the alphas.

        Args:
            exploration: the share of uniform probabilities that is mixed with them.
        """
        drawn = {}
        for slot, probabilities in self.probabilities().items():
            mixed = torch.lerp(probabilities, torch.full_like(probabilities, 1 / probabilities.numel()), exploration)
            drawn[slot] = int(torch.multinomial(mixed.flatten(), 1))
        return drawn

    def weights(self) -> List[nn.Parameter]:
        """All parameters but the alphas."""
        return [parameter for name, parameter in self.named_parameters() if not name.startswith("alphas.")]

    def set_progress(self, progress: float) -> None:
        """Set the temperature for the share of the search that is done, 0 to 1."""
        start, end = self.temperature_range
        self.temperature = start * (end / start) ** progress

    def probabilities(self) -> Dict[str, Tensor]:
        """Softmax of the alphas by slot: (operations, bits), sum 1. Differentiable."""
        return {slot: softmax(alphas, 1.0).weights for slot, alphas in self.alphas_by_slot().items()}


def check_bit_list(bits: Any) -> Tuple[int, ...]:
    """The bit widths of a search, lowest first.

    Raises:
        OptionError: empty, not a list, repeated, or not a bit width.
    """
    if not isinstance(bits, (list, tuple)) or not bits:
        raise OptionError(f"bits: {bits!r} is not a list of at least one bit width, such as [4, 8]")
    widths = sorted(check_bits(b) for b in bits)
    if len(set(widths)) != len(widths):
        raise OptionError(f"bits: {list(bits)} names a bit width twice")
    return tuple(widths)


def check_temperature(temperature: Any) -> Tuple[float, float]:
    """The temperature at the start and at the end.

    Raises:
        OptionError: not two numbers above 0.
    """
    try:
        start, end = (float(value) for value in temperature)
    except (TypeError, ValueError):
        start = end = 0.0
    if not (0 < start < math.inf and 0 < end < math.inf):
        raise OptionError(f"temperature: {temperature!r} is not two numbers above 0, such as [5.0, 0.5]")
    return start, end
