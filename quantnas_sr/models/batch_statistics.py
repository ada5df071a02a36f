"""Statistics of batch normalisation that belong to the weights as they are (PreciseBN).

The running statistics of `torch.nn.BatchNorm2d` average over the last iterations, in which the weights were others.
With quantized layers and large learning rates this costs several dB in evaluation mode. Averaging over some batches
with the weights held fixed mends it (Wu and Johnson, "Rethinking 'Batch' in BatchNorm", arXiv:2105.07576, section 3.1).
"""

from collections import deque
from typing import Deque, Iterable, List, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from quantnas_sr.system.distributed import average_over_processes

#: Number of training batches by default.
PRECISE_BN = 20


def batch_norms(network: nn.Module) -> List[_BatchNorm]:
    """The modules of a network that keep statistics of batches."""
    return [module for module in network.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]


@torch.no_grad()
def recompute_statistics(network: nn.Module, batches: Sequence[Tensor]) -> None:
    """Set running means and variances to their averages over batches; those of all processes count alike.

    All other modules are in evaluation mode meanwhile: what they draw or observe in training is left alone.

    Args:
        network: in any mode, which it keeps. Without batch normalisation, or without batches, nothing changes.
        batches: inputs of the network.
    """
    norms = batch_norms(network)
    if not norms or not batches:
        return
    modes = [(module, module.training) for module in network.modules()]
    momenta = [norm.momentum for norm in norms]
    device = norms[0].running_mean.device
    try:
        network.eval()
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain average
            norm.train()
        for batch in batches:
            network(batch.to(device))
    finally:
        for norm, momentum in zip(norms, momenta):
            norm.momentum = momentum
        for module, training in modes:
            module.training = training
    for norm in norms:
        average_over_processes(norm.running_mean, norm.running_var)


class RecentBatches:
    """The last training batches, where they are: a copy to the CPU in every iteration would wait for the GPU.

    Args:
        count: how many are kept.
    """

    def __init__(self, count: int) -> None:
        self._batches: Deque[Tensor] = deque(maxlen=count)

    def add(self, batch: Tensor) -> None:
        """Keep a batch, (N, 3, H, W), in place of the oldest one."""
        self._batches.append(batch.detach())

    def recompute(self, network: nn.Module) -> None:
        """`recompute_statistics` of the batches that are kept."""
        recompute_statistics(network, list(self._batches))

    def state_dict(self) -> List[Tensor]:
        """The batches on the CPU, oldest first."""
        return [batch.cpu() for batch in self._batches]

    def load_state_dict(self, batches: Iterable[Tensor]) -> None:
        """Keep these batches instead."""
        self._batches.clear()
        self._batches.extend(batches)
