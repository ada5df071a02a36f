"""Convolutions that compute several bit widths at once, in place of a network's own: equations 3, 4 and 5.

The operation is given, only bit widths are searched. The weights of the bit widths of a layer sum to 1, so they are the
shares alpha^ of the equations. At 32 bits a layer computes what the network's own layer does.
"""

import copy
from typing import Dict, Optional, Sequence, Type, Union

import torch
from torch import Tensor, nn

from quantnas_sr.quantization import FULL_PRECISION, LSQActivation, QuantConv2d, draw
from quantnas_sr.search_space.mixing.multi_bit_conv import (
    NoiseConv2d,
    NoisyInput,
    SharedConv2d,
    weighted_sum,
    with_prefix,
)
from quantnas_sr.search_space.mixing.selectors import Selection

State = Dict[str, Tensor]

#: Number of input values that a `NoiseMixedConv2d` stores to initialise LSQ steps.
SAMPLE = 1024


def _sample(x: Tensor) -> Tensor:
    """`SAMPLE` values of x, drawn with replacement."""
    n, c, h, w = (torch.randint(size, (SAMPLE,), device=x.device) for size in x.shape)
    return x[n, c, h, w].float()


class SharedMixedConv2d(SharedConv2d):
    """Eq. 4, as in EdMIPS (Cai, Vasconcelos, CVPR 2020): one weight, a weight and an input quantizer for every width.

    Args:
        conv: the convolution that it replaces.
        bits: the bit widths.
        activation_quantizer: a key of `ACTIVATION_QUANTIZERS`.
    """

    def __init__(self, conv: nn.Conv2d, bits: Sequence[int], activation_quantizer: str) -> None:
        super().__init__(conv, bits, nn.Identity(), activation_quantizer, trained=True)
        self.selection: Optional[Selection] = None

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C_out, H', W')."""
        return super().forward(x, self.selection.weights[0])

    def state_from(self, plain: State) -> State:
        """The initial state dict of a search, from the weight (and bias) of the network in full precision."""
        state = dict(plain)
        for b, quantizer in self.weight_quantizers.items():
            state.update(with_prefix(f"weight_quantizers.{b}", quantizer.initial_state(plain["weight"])))
        for b, quantizer in self.input_quantizers.items():
            fresh = copy.deepcopy(quantizer)
            if isinstance(fresh, LSQActivation):
                fresh.reset()
            state.update(with_prefix(f"input_quantizers.{b}", fresh.state_dict()))
        return state


class NoiseMixedConv2d(NoiseConv2d):
    """Eq. 5: search against noise. With ``hwgq`` the input goes through ReLU first, with ``lsq`` it does not.

    Nothing is quantized, so no step is trained. A derived layer initialises its LSQ steps from the weight and from
    ``input_sample``, some input values of the last training batch (zeros before the first one).

    Args:
        conv: the convolution that it replaces.
        bits: the bit widths.
        activation_quantizer: ``lsq`` or ``hwgq``.
    """

    def __init__(self, conv: nn.Conv2d, bits: Sequence[int], activation_quantizer: str) -> None:
        rectifies = activation_quantizer == "hwgq"
        activation = nn.Identity() if rectifies and FULL_PRECISION in bits else None
        super().__init__(conv, bits, activation, activation_quantizer)
        self.register_buffer("input_sample", None if rectifies else torch.zeros(SAMPLE))
        self.selection: Optional[Selection] = None

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C_out, H', W')."""
        if self.input_sample is None:
            rectified = torch.relu(x)
        else:
            rectified = x
            if self.training:
                self.input_sample.copy_(_sample(x.detach()))
        noise = None if self.bits == (FULL_PRECISION,) else draw(x.detach())
        return super().forward(NoisyInput(x, rectified, noise), self.selection.weights[0])

    def chosen_state(self, bits: int) -> State:
        """The state dict from which a derived layer of ``bits`` bits starts."""
        state = self.float_state()
        if bits != FULL_PRECISION and self.input_sample is not None and self.input_sample.any():
            quantizer = LSQActivation(bits).to(self.weight.device)
            quantizer.observe()
            quantizer.full_precision(self.input_sample)
            quantizer.calibrate()
            state.update(with_prefix("input_quantizer", quantizer.state_dict()))
        return state

    def state_from(self, plain: State) -> State:
        """The initial state dict of a search, from the weight (and bias) of the network in full precision."""
        return plain if self.input_sample is None else {**plain, "input_sample": torch.zeros(SAMPLE)}


class SeparateMixedConv2d(nn.Module):
    """Eq. 3: a separate convolution for every bit width; all of them start from the network's weight.

    Args:
        conv: the convolution that it replaces.
        bits: the bit widths.
        activation_quantizer: a key of `ACTIVATION_QUANTIZERS`.
    """

    def __init__(self, conv: nn.Conv2d, bits: Sequence[int], activation_quantizer: str) -> None:
        super().__init__()
        self.branches = nn.ModuleDict()
        for b in bits:
            own = copy.deepcopy(conv)
            self.branches[str(b)] = own if b == FULL_PRECISION else QuantConv2d.of(own, b, activation_quantizer)
        self.selection: Optional[Selection] = None

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C_out, H', W')."""
        return weighted_sum(self.selection.weights[0], [branch(x) for branch in self.branches.values()])

    def chosen_state(self, bits: int) -> State:
        """The state dict from which a derived layer of ``bits`` bits starts."""
        return self.branches[str(bits)].state_dict()

    def state_from(self, plain: State) -> State:
        """The initial state dict of a search, from the weight (and bias) of the network in full precision."""
        state: State = {}
        for b, branch in self.branches.items():
            own = {**plain, **initial_quantizers(branch, plain["weight"])}
            state.update(with_prefix(f"branches.{b}", own))
        return state


MixedConv = Union[SharedMixedConv2d, NoiseMixedConv2d, SeparateMixedConv2d]
#: ``bit_mixer:`` of the options.
MIXED_CONVS: Dict[str, Type[nn.Module]] = {
    "shared": SharedMixedConv2d,
    "noise": NoiseMixedConv2d,
    "separate": SeparateMixedConv2d,
}


def initial_quantizers(layer: nn.Module, weight: Tensor) -> State:
    """`QuantConv2d.initial_quantizers` of a layer; empty for a layer at 32 bits, which has no quantizers."""
    return layer.initial_quantizers(weight) if isinstance(layer, QuantConv2d) else {}
