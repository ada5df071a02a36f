"""The supernet: a skeleton whose every slot holds all its candidates at all bit widths."""

from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor, nn

from quantnas_sr.errors import OptionError
from quantnas_sr.quantization import FULL_PRECISION, NOISE_SIZES
from quantnas_sr.search_space.derived import DerivedNetwork
from quantnas_sr.search_space.genotype import Choice, Genotype
from quantnas_sr.search_space.mixing.bit_mixer import BIT_MIXERS
from quantnas_sr.search_space.mixing.merged_noise import NOISE_MODES, MergedNoise
from quantnas_sr.search_space.mixing.mixed_layer import MixedLayer
from quantnas_sr.search_space.operations import ConvSpec, Operation, convolutions
from quantnas_sr.search_space.search_network import SearchNetwork
from quantnas_sr.search_space.slots import Slot
from quantnas_sr.search_space.space import (
    SLOT_QUANTIZERS,
    SearchSpace,
    check_choice,
    check_fits,
    get_search_space,
)


class Supernet(SearchNetwork):
    """All networks of a search space at once, weighted by alphas (section III-H).

    With a ``genotype`` the operations are fixed, and only bit widths are searched: the second half of the two-fold
    procedure, whose first half is a search with ``bits: [32]``. With ``bit_mixer: shared`` it is EdMIPS on the found
    network.

    Args:
        search_space: name of a registered space.
        scale: 2, 3 or 4; 4 by default.
        candidates: name of a list of the space, or operations by kind of slot.
        num_feat, num_block: by default those of the space.
        bits: bit widths to choose from, ``[32]`` for a full-precision search.
        bit_mixer: ``noise`` (eq. 5, SAN), ``shared`` (eq. 4) or ``separate`` (eq. 3).
        noise_mode: ``exact`` or ``fast``, how ``noise`` is computed, see `merged_noise`.
        noise_size: ``range`` (eq. 6) or ``error``, how large the noise is, see `quantization.noise_size`; by default
            that of the space.
        norm: see `ADQ`; by default that of the space, which is ``adq`` for the paper's spaces.
        activation_quantizer: ``hwgq`` (fixed step) or ``lsq`` (trained step), both after a ReLU; by default that of the
            space.
        selector: ``softmax``, ``gumbel``, or one that computes only the operation it draws: ``hard_gumbel``, or
            ``sample``, whose alphas learn from the losses of drawn networks.
        temperature: of the gumbel selectors, at the start and at the end of the search; falls geometrically.
        genotype: a genotype, its file, or its plain data, to search bit widths for. It sets space, sizes and norm.

    Raises:
        OptionError: a value that is not allowed; one line that names the key.
        GenotypeError: the genotype cannot be read.
    """

    def __init__(
        self,
        search_space: Optional[str] = None,
        scale: Optional[int] = None,
        candidates: Union[str, Mapping[str, Sequence[str]]] = "default",
        num_feat: Optional[int] = None,
        num_block: Optional[int] = None,
        bits: Sequence[int] = (4, 8),
        bit_mixer: str = "noise",
        noise_mode: str = "fast",
        noise_size: Optional[str] = None,
        norm: Optional[str] = None,
        activation_quantizer: Optional[str] = None,
        selector: str = "softmax",
        temperature: Tuple[float, float] = (5.0, 0.5),
        genotype: Union[str, Path, Mapping[str, Any], Genotype, None] = None,
    ) -> None:
        super().__init__(bits, selector, temperature)
        check_choice("bit_mixer", bit_mixer, tuple(BIT_MIXERS))
        check_choice("noise_mode", noise_mode, NOISE_MODES)
        found = None
        if genotype is not None:
            found = Genotype.of(genotype)
            given = {"search_space": search_space, "scale": scale, "num_feat": num_feat, "num_block": num_block}
            given.update(norm=norm, activation_quantizer=activation_quantizer)
            _check_agrees(found, given, candidates, genotype)
            search_space, scale, norm = found.search_space, found.scale, found.norm
            num_feat, num_block = found.num_feat, found.num_block
            activation_quantizer = found.activation_quantizer
        if search_space is None:
            raise OptionError("the key 'search_space' is missing")
        space = get_search_space(search_space)
        self.search_space = search_space
        self.scale = 4 if scale is None else scale
        self.norm = space.norms[0] if norm is None else norm
        self.activation_quantizer = space.activation_quantizer if activation_quantizer is None else activation_quantizer
        check_choice("activation_quantizer", self.activation_quantizer, tuple(SLOT_QUANTIZERS))
        noise_size = space.noise_size if noise_size is None else noise_size
        check_choice("noise_size", noise_size, tuple(NOISE_SIZES))
        self.num_feat = space.num_feat if num_feat is None else num_feat
        self.num_block = space.num_block if num_block is None else num_block

        self.slots = space.slots(self.scale, self.num_feat, self.num_block)
        self.candidates = _candidates(space, candidates, self.slots) if found is None else _operations(found)
        for name, slot in self.slots.items():
            for operation in self.candidates[name]:
                check_fits(operation, slot, self.num_feat)

        # at 32 bits every operation has an activation with a trained weight, so operations do not share their input
        together = bit_mixer == "noise" and FULL_PRECISION not in self.bits
        noisy_layer = MergedNoise(fast=noise_mode == "fast") if together else None

        def fill(name: str, in_channels: int, out_channels: int) -> MixedLayer:
            slot = Slot(name, in_channels, out_channels)
            style = space.style(slot, self.activation_quantizer)._replace(noise_size=noise_size)
            return MixedLayer(slot, self.candidates[name], self.bits, self.num_feat, bit_mixer, noisy_layer, style)

        self.skeleton = space.build(fill, self.scale, self.num_feat, self.num_block, self.norm)
        self.add_alphas({name: len(operations) for name, operations in self.candidates.items()})

    def run(self, x: Tensor) -> Tensor:
        """The skeleton."""
        return self.skeleton(x)

    def places(self) -> Iterator[Tuple[str, MixedLayer]]:
        """The mixed layers with the names of their slots, in the order of the wiring."""
        # looked up each time: a replica of data parallel has its own layers, but shares any list of layers
        return ((module.slot.name, module) for module in self.skeleton.modules() if isinstance(module, MixedLayer))

    def example(self) -> Tuple[DerivedNetwork, Dict[str, str]]:
        """The derived network with the first edge in every slot."""
        paths = {layer: path for path, layer in self.named_modules()}
        slots = {paths[layer]: name for name, layer in self.places()}
        return DerivedNetwork(self.genotype(choice=dict.fromkeys(self.slots, 0))), slots

    def edge_names(self) -> Dict[str, List[str]]:
        """The names of the edges of each slot: ``operation/4bit`` and so on."""
        return {
            slot: [f"{operation}/{bits}bit" for operation in operations for bits in self.bits]
            for slot, operations in self.candidates.items()
        }

    def widthless(self) -> Dict[str, List[int]]:
        """Operations without a convolution."""
        return {
            name: [number for number, operation in enumerate(operations) if self._convolutions(name, operation) == []]
            for name, operations in self.candidates.items()
        }

    def _convolutions(self, slot: str, operation: str) -> List[ConvSpec]:
        return convolutions(operation, self.slots[slot].in_channels, self.slots[slot].out_channels, self.num_feat)

    def genotype(
        self, origin: Optional[Mapping[str, Any]] = None, choice: Optional[Mapping[str, int]] = None
    ) -> Genotype:
        """For each slot the edge of the largest alpha, or that of ``choice`` (its index into the flattened alphas)."""
        slots = {}
        for name in self.slots:
            edge = int(self.alphas[name].argmax()) if choice is None else choice[name]
            operation, bits = divmod(edge, len(self.bits))
            slots[name] = Choice(self.candidates[name][operation], self.bits[bits])
        sizes = self.scale, self.num_feat, self.num_block, self.norm
        return Genotype(self.search_space, *sizes, slots, dict(origin or {}), self.activation_quantizer)

    @torch.no_grad()
    def derive(self, genotype: Optional[Genotype] = None) -> DerivedNetwork:
        """The network of a genotype of this space (by default of `genotype`), with the weights of the supernet.

        With ``bit_mixer: shared`` or ``separate`` it computes what the supernet computes at one-hot alphas. Under
        ``noise`` the LSQ steps are not trained; they start from the weights.
        """
        network = DerivedNetwork(genotype or self.genotype()).to(next(self.parameters()).device)
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
            if f"{path}.{index}.weight_quantizer.step_exponent" not in state:
                convolution.init_steps()


def _candidates(
    space: SearchSpace, candidates: Union[str, Mapping[str, Sequence[str]]], slots: Mapping[str, Slot]
) -> Dict[str, List[str]]:
    table = space.candidates_for(candidates, slots)
    return {name: table[slot.kind] for name, slot in slots.items()}


def _operations(genotype: Genotype) -> Dict[str, List[str]]:
    return {name: [choice.operation] for name, choice in genotype.slots.items()}


def _check_agrees(genotype: Genotype, given: Mapping[str, Any], candidates: Any, source: Any) -> None:
    """Options that are given beside a genotype must agree with it."""
    where = f"the genotype {source}" if isinstance(source, (str, Path)) else "the genotype"
    for key, value in given.items():
        if value is not None and value != getattr(genotype, key):
            raise OptionError(f"{key}: {value} here, {getattr(genotype, key)} in {where}")
    if candidates != "default":
        raise OptionError(f"candidates: {where} has one operation in each slot already; leave one of the two keys out")
