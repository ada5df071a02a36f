"""The layer of a supernet that holds all candidate operations of one slot."""

from typing import Dict, List, Optional, Sequence

import torch
from torch import Tensor, nn

from quantnas_sr.search_space.conv_spec import PAPER_STYLE, ConvStyle
from quantnas_sr.search_space.mixing.bit_mixer import BIT_MIXERS
from quantnas_sr.search_space.mixing.merged_noise import MergedNoise
from quantnas_sr.search_space.mixing.selectors import Selection
from quantnas_sr.search_space.slots import Slot


class MixedLayer(nn.Module):
    """Eq. 7: ``sum_i BitMixer(alpha_i, o_i, x)`` over the candidate operations of a slot.

    The supernet puts the slot's current weights into ``selection`` before each pass.

    Args:
        slot: the slot that the layer fills.
        operations: names of the candidates.
        bits: the bit widths.
        num_feat: C, the number of channels inside the network.
        bit_mixer: ``noise``, ``shared`` or ``separate``.
        noisy_layer: computes all candidates with noise at once; None: each candidate is computed separately.
        style: how the convolutions of the slot are made.
    """

    def __init__(
        self,
        slot: Slot,
        operations: Sequence[str],
        bits: Sequence[int],
        num_feat: int,
        bit_mixer: str,
        noisy_layer: Optional[MergedNoise] = None,
        style: ConvStyle = PAPER_STYLE,
    ) -> None:
        super().__init__()
        self.slot = slot
        self.num_feat = num_feat
        self.bits = tuple(bits)
        mixer = BIT_MIXERS[bit_mixer]
        self.operations = nn.ModuleDict(
            {name: mixer(name, slot.in_channels, slot.out_channels, num_feat, bits, style) for name in operations}
        )
        self.noisy_layer = noisy_layer
        self.selection: Optional[Selection] = None

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C_out, H, W)."""
        weights, only = self.selection
        edges = list(zip(self.operations.values(), weights.unbind()))
        if only is not None:
            edges = edges[only : only + 1]
        terms: List[Tensor] = []
        if self.noisy_layer is not None:
            together = [edge for edge in edges if edge[0].has_convolutions]
            edges = [edge for edge in edges if not edge[0].has_convolutions]
            if together:
                mixers, alphas = zip(*together)
                terms.append(self.noisy_layer(x, mixers, torch.stack(alphas)))
        if edges:
            prepared = edges[0][0].prepare(x) if self.noisy_layer is None else None
            terms.extend(mixer(x, alphas, prepared) for mixer, alphas in edges)
        return sum(terms[1:], terms[0])

    def chosen_state(self, operation: str, bits: int) -> Dict[str, Tensor]:
        """The state dict from which a derived network starts, for this operation and bit width."""
        return self.operations[operation].chosen_state(bits)

    def extra_repr(self) -> str:
        return f"slot={self.slot.name}, bits={list(self.bits)}"
