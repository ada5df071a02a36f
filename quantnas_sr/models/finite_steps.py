"""Steps with a loss or gradients that are not finite: left out, counted, and the end of a run after many in a row."""

import math
from contextlib import ExitStack, contextmanager
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, Optional

import torch
from torch import Tensor, nn

from quantnas_sr.errors import TrainingError
from quantnas_sr.models.batch_statistics import batch_norms
from quantnas_sr.system.distributed import true_in_all_processes

#: Iterations in a row with a step left out, after which a run ends, by default.
MAX_SKIPPED = 10


class FiniteSteps:
    """Decides about the steps of the optimizers, and keeps count of those that are left out.

    All processes that train together decide alike.

    Args:
        limit: after so many iterations in a row with a step left out, the run ends.
        say: is told in one line about every iteration of which a step is left out.
    """

    def __init__(self, limit: int, say: Callable[[str], None]) -> None:
        self.limit, self._say = limit, say
        self.skipped, self.in_a_row = 0, 0
        self._found: Dict[str, float] = {}

    @property
    def all_allowed(self) -> bool:
        """Whether no step of this iteration has been left out so far."""
        return not self._found

    def allows(
        self, optimizer: torch.optim.Optimizer, losses: Mapping[str, Tensor], images: Tensor, scale: float = 1
    ) -> bool:
        """Whether an optimizer may step: the iteration has been finite so far, and so are images, losses and gradients.

        Args:
            losses: scalars by name.
            images: (N, C, H, W), from which the losses are. A quantizer makes finite numbers of infinite ones.
            scale: of a gradient scaler. Where it is above 1, gradients that are not finite are the scaler's business:
                it leaves the step out and goes on with a smaller scale.
        """
        gradients = _gradients(optimizer) if scale <= 1 else []
        if self.all_allowed and not _finite([images, *losses.values(), *gradients]):
            self._found = {name: float(loss.detach()) for name, loss in losses.items()}
            if not images.isfinite().all():
                self._found["images"] = math.nan
            elif all(map(math.isfinite, self._found.values())):
                self._found["gradients"] = math.nan
        return self.all_allowed

    def takes(self, images: Tensor) -> bool:
        """Whether images, (N, C, H, W), are finite, in all processes."""
        if not _finite([images]):
            self._found["images"] = math.nan
        return self.all_allowed

    def end_iteration(self, iteration: int, newest_checkpoint: Callable[[], Optional[Any]]) -> None:
        """Count what was left out in this iteration.

        Args:
            newest_checkpoint: finds the training state to go back to, if there is one.

        Raises:
            TrainingError: it was one too many in a row.
        """
        found, self._found = self._found, {}
        if not found:
            self.in_a_row = 0
            return
        self.skipped += 1
        self.in_a_row += 1
        terms = ", ".join(f"{name} {value:.4g}" for name, value in found.items())
        if self.in_a_row < self.limit:
            self._say(
                f"Iteration {iteration}: a step is left out, which is not finite ({terms}); "
                f"{self.skipped} iterations so far, {self.in_a_row} of at most {self.limit} in a row"
            )
            return
        raise TrainingError(
            f"iteration {iteration}: losses or gradients have not been finite in {self.in_a_row} iterations in a row "
            f"({terms}; train.max_skipped is {self.limit}). {_way_back(newest_checkpoint())}"
        )

    def state_dict(self) -> Dict[str, int]:
        """Plain data, for a checkpoint."""
        return {"skipped": self.skipped, "in_a_row": self.in_a_row}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """The inverse of `state_dict`."""
        self.skipped, self.in_a_row = state["skipped"], state["in_a_row"]


class StatisticsBefore:
    """The running statistics of batch normalisation before an iteration, should its step be left out.

    Args:
        networks: those that an iteration changes.
    """

    def __init__(self, networks: Iterable[nn.Module]) -> None:
        norms = [norm for network in networks for norm in batch_norms(network)]
        self._buffers = [buffer for norm in norms for buffer in norm.buffers()]
        self.keep()

    @torch.no_grad()
    def keep(self) -> None:
        """Remember them as they are."""
        self._before = [buffer.clone() for buffer in self._buffers]

    @torch.no_grad()
    def restore(self) -> None:
        """Make them what they were."""
        for buffer, before in zip(self._buffers, self._before):
            buffer.copy_(before)


@contextmanager
def watched(**losses: Optional[nn.Module]) -> Iterator[Dict[str, Tensor]]:
    """Collects what loss modules return while the block runs, by name; None stands for a loss that is not used."""
    found: Dict[str, Tensor] = {}

    def watch(name: str) -> Callable[..., None]:
        def see(module: nn.Module, args: Any, output: Any) -> None:
            parts = output if isinstance(output, (list, tuple)) else [output]
            found[name] = sum(part.detach() for part in parts if part is not None)

        return see

    with ExitStack() as stack:
        for name, module in losses.items():
            if module is not None:
                stack.callback(module.register_forward_hook(watch(name)).remove)
        yield found


def check_finite(tensors: Mapping[str, Tensor], what: str) -> None:
    """Refuse numbers that nothing can go on from.

    Args:
        tensors: by name.
        what: of the message, with what is not done with them.

    Raises:
        TrainingError: one of them is not finite.
    """
    broken = [name for name, tensor in tensors.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if broken:
        more = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
        raise TrainingError(f"{what}: {broken[0]}{more} is not finite")


def _way_back(checkpoint: Optional[Any]) -> str:
    change = "with a lower learning rate, or with other data if an image is to blame"
    if checkpoint is None:
        return f"There is no checkpoint yet: start again {change}"
    return f"The newest checkpoint is {checkpoint}: go on from it (--auto_resume) {change}"


def _gradients(optimizer: torch.optim.Optimizer) -> List[Tensor]:
    parameters = (parameter for group in optimizer.param_groups for parameter in group["params"])
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def _finite(tensors: Iterable[Tensor]) -> bool:
    """Whether all numbers are finite in all processes. A sum is finite if its numbers are, unless they are enormous."""
    sums = [tensor.detach().float().sum() for tensor in tensors]
    return true_in_all_processes(torch.stack(sums).isfinite().all() if sums else torch.tensor(True))
