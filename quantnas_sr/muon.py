"""Muon: steps whose matrices are orthogonal (Jordan et al., 2024, kellerjordan.github.io/posts/muon); convolutions too.

``torch.optim.Muon`` takes matrices alone, and a network of convolutions has none.
"""

from typing import Any, Callable, Iterable, Optional, Tuple

import torch
from torch import Tensor

#: Coefficients of a quintic whose iterates bring every singular value near 1 (Jordan et al., 2024).
_QUINTIC = (3.4445, -4.7750, 2.0315)
#: Scaled by this and the root of the longer side, the updates of matrices have the mean square of Adam's, so that both
#: take one learning rate (Liu et al., 2025, arXiv:2502.16982, section 2.2).
_AS_ADAM = 0.2


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised, for the weights of convolutions and linear layers; Adam for all other parameters.

    A weight (O, I, kH, kW) is a matrix of O rows. Biases, quantization steps, and the weights of depth-wise
    convolutions, whose channels have nothing to do with each other, are left to Adam, at the same learning rate.

    Args:
        params: parameters, or groups of them.
        lr: learning rate of both, as one would choose it for Adam.
        betas: of Adam.
        eps: of Adam.
        weight_decay: decoupled from the gradient, as AdamW's.
        momentum: of the matrices, Nesterov's.
        ns_steps: iterations of the orthogonalisation.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: Tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
        ns_steps: int = 5,
    ) -> None:
        shares = {"momentum": momentum, "betas[0]": betas[0], "betas[1]": betas[1]}
        for name, value in shares.items():
            if not 0 <= value < 1:
                raise ValueError(f"{name}: {value} is not from 0 to less than 1")
        for name, value in {"lr": lr, "eps": eps, "weight_decay": weight_decay}.items():
            if not value >= 0:
                raise ValueError(f"{name}: {value} is below 0")
        if ns_steps < 1:
            raise ValueError(f"ns_steps: {ns_steps} is below 1")
        own = {"betas": betas, "eps": eps, "weight_decay": weight_decay, "momentum": momentum, "ns_steps": ns_steps}
        super().__init__(params, {"lr": lr, **own})

    @torch.no_grad()
    def step(self, closure: Optional[Callable[[], float]] = None) -> Optional[float]:
        """One step of all parameters that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    update = self._of_matrix if is_matrix(parameter) else self._of_adam
                    parameter.sub_(update(parameter, parameter.grad, group), alpha=group["lr"])
        return loss

    def _of_matrix(self, parameter: Tensor, gradient: Tensor, group: Any) -> Tensor:
        state, momentum = self.state[parameter], group["momentum"]
        if not state:
            state["exp_avg"] = torch.zeros_like(parameter)
        state["exp_avg"].lerp_(gradient, 1 - momentum)
        ahead = gradient.lerp(state["exp_avg"], momentum).flatten(1)
        scale = _AS_ADAM * max(ahead.shape) ** 0.5
        return orthogonal(ahead, group["ns_steps"]).mul_(scale).view_as(parameter)

    def _of_adam(self, parameter: Tensor, gradient: Tensor, group: Any) -> Tensor:
        state, (first, second) = self.state[parameter], group["betas"]
        if not state:
            state.update(step=torch.zeros(()), exp_avg=torch.zeros_like(parameter))
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        state["step"] += 1
        done = state["step"].item()
        state["exp_avg"].lerp_(gradient, 1 - first)
        state["exp_avg_sq"].lerp_(gradient.square(), 1 - second)
        deviation = (state["exp_avg_sq"] / (1 - second**done)).sqrt_().add_(group["eps"])
        return state["exp_avg"] / (1 - first**done) / deviation


def is_matrix(parameter: Tensor) -> bool:
    """Whether the updates of a parameter are orthogonalised: more than one row, and inputs that they share.

    >>> [is_matrix(torch.zeros(shape)) for shape in ((8, 4, 3, 3), (8, 1, 3, 3), (8, 1, 1, 1), (8, 4), (8,))]
    [True, False, False, True, False]
    """
    return parameter.ndim >= 2 and len(parameter) > 1 and parameter.shape[1] > 1


def orthogonal(matrix: Tensor, steps: int = 5) -> Tensor:
    """A matrix with about the singular vectors of another one and singular values of 0.7 to 1.2, by Newton-Schulz.

    Args:
        matrix: (rows, columns). Zeros stay zeros.
        steps: iterations; the smaller a singular value is beside the others, the more it takes.
    """
    a, b, c = _QUINTIC
    x = matrix / matrix.norm().clamp_min(torch.finfo(matrix.dtype).tiny)
    x = x.T if x.shape[0] > x.shape[1] else x
    for _ in range(steps):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x
