"""A teacher: a trained network whose images a training imitates beside the ground truth (output distillation).

After Hinton et al. (arXiv:1503.02531); of images, the target is the teacher's image itself.
"""

from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TaughtLoss(nn.Module):
    """``loss(output, gt) + weight * mean |output - teacher(lq)|``.

    Args:
        loss: the pixel loss; None for the teacher alone.
        teacher: (N, C, H, W) -> (N, C, s*H, s*W); it is not trained.
        weight: of the distance from the teacher.
    """

    def __init__(self, loss: Optional[nn.Module], teacher: nn.Module, weight: float) -> None:
        super().__init__()
        self.loss, self.weight = loss, weight
        self.teacher = teacher.eval().requires_grad_(False)

    @torch.no_grad()
    def see(self, lq: Tensor) -> None:
        """Compute what the teacher makes of a batch, (N, C, H, W); the next `forward` is about this batch."""
        self.target = self.teacher(lq)

    def forward(self, output: Tensor, gt: Tensor) -> Tensor:
        """The sum, a scalar; ``taught`` is the part of the teacher in it."""
        taught = self.weight * F.l1_loss(output, self.target.to(output))
        self.taught = taught.detach()
        return taught if self.loss is None else self.loss(output, gt) + taught
