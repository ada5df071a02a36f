"""What each edge adds to the loss: a linear model of the losses of drawn networks, fitted to them.

In a weighted sum of candidates the strong ones make up for any weight of the weak ones: where a convolution and a skip
connection are summed, one kernel can express the sum whatever the alphas are. The gradient of the alphas then says
little about the networks that can be derived. So ``selector: sample`` computes networks with one edge in each slot, and
compares their losses:

    loss(network) / mean loss of the networks drawn for the same batch - 1  =  sum over its edges of what they add

The sum over the slots of probability times table is a loss that is differentiable in the alphas, as eq. 8 is for the
cost, and the genotype within a budget is the one of the lowest sum.

The weights are trained as in BigNAS (Yu et al., arXiv:2003.11142): the largest network first, then drawn ones and the
largest in turn. Drawn ones alone learn too little for a comparison.
"""

from typing import Any, Dict, Mapping, Sequence

import torch
from torch import Tensor

from quantnas_sr.system.distributed import average_over_processes

#: Networks that are drawn for each batch.
DRAWS = 4
#: The probability with which a slot of a drawn network is filled regardless of the alphas.
EXPLORATION = 0.5
#: The share of the steps of the weights, after the warm-up of the alphas, that train the largest network.
LARGEST = 0.4
#: The share of the search after which an observation counts half.
HALF_LIFE = 0.25
#: What is known before any observation, as variances in proportion to that of what operations add. Rounding to b bits
#: has an error in proportion to 4^-b, so few bits add to the loss by this law, times a factor: one of the network,
#: differences from it by slot and by operation; then what does not follow the law; and the losses beside the linear
#: model. Tables in which every width of every slot is by itself have more noise than there is between two widths, and
#: the genotype under a budget picks what looks best by chance.
_OF_NETWORK, _OF_SLOT, _OF_OPERATION, _OF_WIDTH, _OF_NOISE = 0.1, 0.05, 0.02, 0.001, 3.0


def trains_largest(since_warmup: int) -> bool:
    """Whether a step of the weights trains the largest network; counted from 1 after the warm-up of the alphas.

    >>> [trains_largest(step) for step in (-1, 0, 1, 2, 3, 4, 5, 6)]
    [True, True, False, False, True, False, True, False]
    """
    return since_warmup <= 0 or int(since_warmup * LARGEST) > int((since_warmup - 1) * LARGEST)


class EdgeLosses:
    """The table, and the sums from which it is computed: Gaussian regression with a prior.

    Args:
        alphas: by slot, (operations, bits): the shapes, and the device.
        bits: the bit widths, which are the columns of ``alphas``.
        half_life: number of batches after which an observation counts half.
        widthless: by slot, the operations (their numbers) that compute the same at every bit width.
    """

    def __init__(
        self,
        alphas: Mapping[str, Tensor],
        bits: Sequence[int],
        half_life: float,
        widthless: Mapping[str, Sequence[int]] = {},
    ) -> None:
        self.shapes = {slot: table.shape for slot, table in alphas.items()}
        sizes = [table.numel() for table in alphas.values()]
        self.starts = dict(zip(alphas, torch.tensor([0, *sizes]).cumsum(0).tolist()))
        self.keep = 0.5 ** (1 / max(half_life, 1))
        like = next(iter(alphas.values())).detach()
        self.products = like.new_zeros((sum(sizes), sum(sizes)), dtype=torch.float64)
        self.moments = like.new_zeros(sum(sizes), dtype=torch.float64)
        self.prior = _prior(self.shapes, bits, widthless).to(self.products)

    def observe(self, networks: Sequence[Mapping[str, int]], losses: Tensor) -> None:
        """Take in the losses (networks,) of networks, as edges by slot, on one batch. All processes must call this.

        Losses that are not finite, in any process, are left out.
        """
        rows = self.products.new_zeros(len(networks), len(self.moments))
        for row, edges in zip(rows, networks):
            row[[self.starts[slot] + edge for slot, edge in edges.items()]] = 1
        rows -= rows.mean(0)
        losses = losses.to(rows)
        relative = losses / losses.mean() - 1
        products, moments = rows.t() @ rows, rows.t() @ relative
        average_over_processes(products, moments)
        if not moments.isfinite().all():
            return
        self.products.mul_(self.keep).add_(products)
        self.moments.mul_(self.keep).add_(moments)

    def table(self) -> Dict[str, Tensor]:
        """By slot, (operations, bits): what an edge adds, as a share of the loss. Each slot has the mean 0."""
        # of (products + noise * prior^-1) added = moments, without the inverse: the prior may be singular
        noise = _OF_NOISE * torch.eye(len(self.moments)).to(self.products)
        added = self.prior @ torch.linalg.solve(self.products @ self.prior + noise, self.moments)
        tables = {}
        for slot, shape in self.shapes.items():
            table = added[self.starts[slot] : self.starts[slot] + shape.numel()].view(shape)
            tables[slot] = (table - table.mean()).float()
        return tables

    def state_dict(self) -> Dict[str, Any]:
        """Plain data, for a checkpoint."""
        return {"products": self.products.cpu(), "moments": self.moments.cpu()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.products.copy_(state["products"])
        self.moments.copy_(state["moments"])


def _prior(shapes: Mapping[str, Sequence[int]], bits: Sequence[int], widthless: Mapping[str, Sequence[int]]) -> Tensor:
    """Covariance (edges, edges) of what the edges of all slots add, as far as it is known without an observation."""
    law = 4.0 ** -torch.tensor(bits, dtype=torch.float64)
    law = (law - law.mean()) / (law.max() - law.min()).clamp_min(torch.finfo(law.dtype).tiny)
    depends = {slot: torch.ones(shape[0], 1, dtype=torch.float64) for slot, shape in shapes.items()}
    for slot, operations in widthless.items():
        depends[slot][list(operations)] = 0
    laws = [of_slot * law for of_slot in depends.values()]  # by slot (operations, bits)
    # each column is what one unknown number adds to every edge
    of_operations = torch.block_diag(*(torch.ones_like(row).view(-1, 1) for table in laws for row in table))
    of_network = torch.cat([table.view(-1, 1) for table in laws])
    of_slots = torch.block_diag(*(table.view(-1, 1) for table in laws))
    of_each = torch.block_diag(*(row.view(-1, 1) for table in laws for row in table))
    of_widths = torch.cat([of_slot.repeat(1, len(law)).flatten() for of_slot in depends.values()]).diag()
    columns = ((1.0, of_operations), (_OF_NETWORK, of_network), (_OF_SLOT, of_slots))
    columns += ((_OF_OPERATION, of_each), (_OF_WIDTH, of_widths))
    unknown = torch.cat([variance**0.5 * column for variance, column in columns], dim=1)
    return unknown @ unknown.t()
