"""The penalty of a search with a budget, adapted during the search so that the genotype uses the budget."""

from typing import Any, Dict, Mapping, Optional

#: Target range for the cost of the genotype with the largest alphas, as shares of the budget.
LOWEST, HIGHEST = 1.0, 1.1
#: The penalty stays between its start divided by this number and its start times this number.
LARGEST_FACTOR = 2.0**14


class AdaptivePenalty:
    """Doubles and halves the weight of the hardware cost (as AutoGAN-Distiller does, Fu et al. 2020).

    The target is a penalty at which the genotype of the largest alphas costs a little more than the budget: the best
    genotype within the budget then costs almost as much as is allowed. The penalty is not changed while that cost moves
    towards the target, because the alphas need many iterations to follow a change.

    Args:
        start: the first penalty.

    >>> penalty = AdaptivePenalty(1e-4)
    >>> [penalty.update(share) for share in (2.0, 1.5, 1.5, 1.05, 0.9, 0.95)]
    [0.0002, 0.0002, 0.0004, 0.0004, 0.0002, 0.0002]
    """

    def __init__(self, start: float) -> None:
        self.start = self.value = start
        self.last: Optional[float] = None

    def update(self, share: float) -> float:
        """Return the next penalty.

        Args:
            share: cost of the genotype of the largest alphas, divided by the budget.
        """
        last, self.last = self.last, share
        if share > HIGHEST and (last is None or share >= last):
            self.value = min(2 * self.value, self.start * LARGEST_FACTOR)
        elif share < LOWEST and (last is None or share <= last):
            self.value = max(self.value / 2, self.start / LARGEST_FACTOR)
        return self.value

    def state_dict(self) -> Dict[str, Any]:
        """Plain data, for a checkpoint."""
        return {"value": self.value, "last": self.last, "start": self.start}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state_dict`; a state whose penalty started at another value is not used."""
        if state.get("start", self.start) == self.start:
            self.value, self.last = state["value"], state["last"]
