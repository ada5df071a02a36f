"""The supernet: a skeleton whose every slot holds all its candidates at all bit widths."""

import math
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor, nn

from quantnas_sr.errors import OptionError
from quantnas_sr.quantization import FULL_PRECISION, check_bits
from quantnas_sr.search_space.bit_mixer import BIT_MIXERS
from quantnas_sr.search_space.derived import DerivedNetwork
from quantnas_sr.search_space.genotype import Choice, Genotype
from quantnas_sr.search_space.mixed_layer import MixedLayer
from quantnas_sr.search_space.noisy_layer import NOISE_MODES, NoisyLayer
from quantnas_sr.search_space.operations import Operation
from quantnas_sr.search_space.selectors import SELECTORS, Selection, expected, softmax
from quantnas_sr.search_space.slots import Slot
from quantnas_sr.search_space.space import check_choice, check_fits, get_search_space


class Supernet(nn.Module):
    """All networks of a search space at once, weighted by alphas (section III-H).

    ``alphas[slot]`` has the shape (operations, bits) and starts at zero, that is, uniform.

    Args:
        search_space: name of a registered space.
        scale: 2, 3 or 4.
        candidates: name of a list of the space, or operations by kind of slot.
        num_feat, num_block: as the space's own by default.
        bits: bit widths to choose from, ``[32]`` for a full-precision search.
        bit_mixer: ``noise`` (eq. 5, SAN), ``shared`` (eq. 4) or ``separate`` (eq. 3).
        noise_mode: ``exact`` or ``fast``, how ``noise`` is computed, see `noisy_layer`.
        norm: see `ADQ`.
        selector: ``softmax``, ``gumbel`` or ``hard_gumbel`` (computes only the operation it draws).
        temperature: of the gumbel selectors, at the start and at the end of the search; falls geometrically.

    Raises:
        OptionError: a value that is not allowed; one line that names the key.
    """

    def __init__(
        self,
        search_space: str,
        scale: int = 4,
        candidates: Union[str, Mapping[str, Sequence[str]]] = "default",
        num_feat: Optional[int] = None,
        num_block: Optional[int] = None,
        bits: Sequence[int] = (4, 8),
        bit_mixer: str = "noise",
        noise_mode: str = "fast",
        norm: str = "adq",
        selector: str = "softmax",
        temperature: Tuple[float, float] = (5.0, 0.5),
    ) -> None:
        super().__init__()
        space = get_search_space(search_space)
        check_choice("bit_mixer", bit_mixer, tuple(BIT_MIXERS))
        check_choice("noise_mode", noise_mode, NOISE_MODES)
        check_choice("selector", selector, tuple(SELECTORS))
        self.search_space = search_space
        self.scale, self.norm = scale, norm
        self.num_feat = space.num_feat if num_feat is None else num_feat
        self.num_block = space.num_block if num_block is None else num_block
        self.bits = check_bit_list(bits)
        self.selector = selector
        self.temperature_range = check_temperature(temperature)
        self.temperature = self.temperature_range[0]

        self.slots = space.slots(scale, self.num_feat, self.num_block)
        table = space.candidates_for(candidates, self.slots)
        self.candidates: Dict[str, List[str]] = {name: table[slot.kind] for name, slot in self.slots.items()}
        for name, slot in self.slots.items():
            for operation in self.candidates[name]:
                check_fits(operation, slot, self.num_feat)

        # the activation in front of 32 bits has a weight for each operation, so that each has its own input
        together = bit_mixer == "noise" and FULL_PRECISION not in self.bits
        noisy_layer = NoisyLayer(fast=noise_mode == "fast") if together else None

        def fill(name: str, in_channels: int, out_channels: int) -> MixedLayer:
            slot = Slot(name, in_channels, out_channels)
            return MixedLayer(slot, self.candidates[name], self.bits, self.num_feat, bit_mixer, noisy_layer)

        self.skeleton = space.build(fill, scale, self.num_feat, self.num_block, norm)
        self._layers = [module for module in self.skeleton.modules() if isinstance(module, MixedLayer)]
        self.alphas = nn.ParameterDict(
            {name: nn.Parameter(torch.zeros(len(ops), len(self.bits))) for name, ops in self.candidates.items()}
        )

    def forward(self, x: Tensor) -> Tensor:
        """RGB in 0..1, (N, 3, H, W) -> (N, 3, s*H, s*W). In evaluation mode the selector is used without chance."""
        selections = {name: self._select(self.alphas[name]) for name in self.slots}
        layers = self._layers
        for layer in layers:
            layer.selection = selections[layer.slot.name]
        try:
            return self.skeleton(x)
        finally:
            for layer in layers:
                layer.selection = None

    def _select(self, alphas: Tensor) -> Selection:
        if self.training:
            return SELECTORS[self.selector](alphas, self.temperature)
        return expected(alphas, self.selector)

    def mixed_layers(self) -> Iterator[MixedLayer]:
        """The layers of all slots, in the order of the wiring."""
        return iter(self._layers)

    def weights(self) -> List[nn.Parameter]:
        """All parameters but the alphas."""
        return [parameter for name, parameter in self.named_parameters() if not name.startswith("alphas.")]

    def set_progress(self, progress: float) -> None:
        """Tell how much of the search is done, 0 to 1, for the temperature."""
        start, end = self.temperature_range
        self.temperature = start * (end / start) ** progress

    def probabilities(self) -> Dict[str, Tensor]:
        """Softmax of the alphas by slot: (operations, bits), sum 1. Differentiable."""
        return {name: softmax(self.alphas[name], 1.0).weights for name in self.slots}

    def genotype(self, origin: Optional[Mapping[str, Any]] = None) -> Genotype:
        """Per slot the edge of the largest alpha."""
        slots = {}
        for name in self.slots:
            operation, bits = divmod(int(self.alphas[name].argmax()), len(self.bits))
            slots[name] = Choice(self.candidates[name][operation], self.bits[bits])
        sizes = self.scale, self.num_feat, self.num_block, self.norm
        return Genotype(self.search_space, *sizes, slots, dict(origin or {}))

    @torch.no_grad()
    def derive(self) -> DerivedNetwork:
        """The network of `genotype` with the weights that the supernet has for it.

        With ``bit_mixer: shared`` or ``separate`` it computes what the supernet computes at one-hot alphas. Under
        ``noise`` the LSQ steps are not trained; they start from the weights.
        """
        network = DerivedNetwork(self.genotype()).to(next(self.parameters()).device)
        layers = {path: module for path, module in self.skeleton.named_modules() if isinstance(module, MixedLayer)}
        state = self.skeleton.state_dict()
        inside = tuple(f"{path}." for path in layers)
        state = {key: value for key, value in state.items() if not key.startswith(inside)}
        for path, layer in layers.items():
            chosen = layer.chosen_state(*network.genotype.slots[layer.slot.name])
            state.update({f"{path}.{key}": value for key, value in chosen.items()})
        network.skeleton.load_state_dict(state, strict=False)
        for path in layers:
            self._init_missing_steps(network.skeleton.get_submodule(path), path, state)
        return network.train(self.training)

    @staticmethod
    def _init_missing_steps(operation: nn.Module, path: str, state: Mapping[str, Tensor]) -> None:
        if not isinstance(operation, Operation):
            return
        for index, convolution in operation.named_children():
            if f"{path}.{index}.weight_quantizer.step" not in state:
                convolution.init_steps()


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
