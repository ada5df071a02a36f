"""The layer of a supernet that holds all candidate operations of one slot."""

from typing import Dict, Optional, Sequence

from torch import Tensor, nn

from quantnas_sr.search_space.bit_mixer import BIT_MIXERS
from quantnas_sr.search_space.selectors import Selection
from quantnas_sr.search_space.slots import Slot


class MixedLayer(nn.Module):
    """Eq. 7: ``sum_i BitMixer(alpha_i, o_i, x)`` over the candidate operations of a slot.

    The supernet puts the slot's current weights into ``selection`` before each pass.

    Args:
        slot: what is to be filled.
        operations: names of the candidates.
        bits: the bit widths.
        num_feat: C, the number of channels inside the network.
        bit_mixer: ``noise``, ``shared`` or ``separate``.
    """

    def __init__(
        self, slot: Slot, operations: Sequence[str], bits: Sequence[int], num_feat: int, bit_mixer: str
    ) -> None:
        super().__init__()
        self.slot = slot
        self.num_feat = num_feat
        self.bits = tuple(bits)
        mixer = BIT_MIXERS[bit_mixer]
        self.operations = nn.ModuleDict(
            {name: mixer(name, slot.in_channels, slot.out_channels, num_feat, bits) for name in operations}
        )
        self.selection: Optional[Selection] = None

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C_out, H, W)."""
        weights, only = self.selection
        edges = list(zip(self.operations.values(), weights))
        if only is not None:
            edges = edges[only : only + 1]
        mixer, alphas = edges[0]
        prepared = mixer.prepare(x)
        total = mixer(x, alphas, prepared)
        for mixer, alphas in edges[1:]:
            total = total + mixer(x, alphas, prepared)
        return total

    def chosen_state(self, operation: str, bits: int) -> Dict[str, Tensor]:
        """The weights that a derived network takes over for this operation and bit width."""
        return self.operations[operation].chosen_state(bits)

    def extra_repr(self) -> str:
        return f"slot={self.slot.name}, bits={list(self.bits)}"
