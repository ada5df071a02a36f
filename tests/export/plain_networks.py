"""A small plain network whose quantizers are calibrated and whose layers scale the channels of their inputs."""

import torch

from quantnas_sr.quantization import QuantConv2d
from quantnas_sr.search_space import Choice, DerivedNetwork, Genotype, get_search_space


def plain(scale: int = 2, body_bits: int = 4, num_feat: int = 8, num_block: int = 2) -> DerivedNetwork:
    """8 bits in the first layer, ``body_bits`` in the others; in evaluation mode."""
    from export_equality import settled

    slots = get_search_space("plain").slots(scale, num_feat, num_block)
    choices = {name: Choice("simple_3x3", 8 if name == "head" else body_bits) for name in slots}
    torch.manual_seed(0)
    network = settled(DerivedNetwork(Genotype("plain", scale, num_feat, num_block, "none", choices, {}, "lsq")))
    with torch.no_grad():
        for layer in layers(network):
            if layer.channel_scale is not None:
                layer.channel_scale.uniform_(0.5, 2.0)
            layer.bias.uniform_(-0.05, 0.05)
    return network


def layers(network: torch.nn.Module) -> list:
    """Its convolutions, in their order."""
    return [module for module in network.modules() if isinstance(module, QuantConv2d)]
