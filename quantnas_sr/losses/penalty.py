"""A penalty that finds itself: what a search does to land at a budget."""

from typing import Any, Dict, Mapping, Optional

#: What the genotype of the largest alphas is to cost, as shares of the budget: a little more than is allowed.
LOWEST, HIGHEST = 1.0, 1.1
#: The penalty stays within the start times this number, and the start divided by it.
LARGEST_FACTOR = 2.0**14


class AdaptivePenalty:
    """Doubles and halves the weight of the hardware cost (as AutoGAN-Distiller does, Fu et al. 2020).

    It is held where the genotype of the largest alphas costs a little more than the budget: then it is the budget that
    decides, and the best genotype under it lies closely below. While that cost is on its way to where it should be, the
    penalty stays: the alphas are slower than the checks.

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
        """The next penalty, where the genotype of the largest alphas costs ``share`` of the budget now."""
        last, self.last = self.last, share
        if share > HIGHEST and (last is None or share >= last):
            self.value = min(2 * self.value, self.start * LARGEST_FACTOR)
        elif share < LOWEST and (last is None or share <= last):
            self.value = max(self.value / 2, self.start / LARGEST_FACTOR)
        return self.value

    def state_dict(self) -> Dict[str, Any]:
        """Plain data, for a checkpoint."""
        return {"value": self.value, "last": self.last}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.value, self.last = state["value"], state["last"]
