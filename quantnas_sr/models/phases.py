"""The phases of a training that options give as shares of ``total_iter``, and what a resumed run keeps of them.

A phase that is over stays over, whatever the options of the resumed run say. One that is not over ends where the new
options say, but not before the iteration that the run resumes from. All iterations here count from 1.
"""

from dataclasses import asdict, dataclass
from typing import Any, Dict, Mapping, Optional


@dataclass
class TrainingPhases:
    """Iterations 1 .. ``full_precision`` compute in full precision, those up to ``calibrated_at`` only calibrate.

    ``calibrated_at`` is 0 where nothing has to be calibrated.
    """

    full_precision: int
    calibrated_at: int

    @classmethod
    def of(cls, train: Mapping[str, Any], calibrates: bool, default_calibration: int) -> "TrainingPhases":
        """The phases of the options under ``train:``.

        Args:
            calibrates: whether the network has steps of activations that are not set yet.
            default_calibration: number of iterations, at most a tenth of those after full precision.
        """
        total = int(train["total_iter"])
        full_precision = int((train.get("fp_warmup") or 0) * train["total_iter"])
        given = train.get("calibration_iter")
        iterations = int(min(default_calibration, (total - full_precision) // 10) if given is None else given)
        return cls(full_precision, full_precision + iterations if calibrates and iterations else 0)

    def calibrates(self, iteration: int) -> bool:
        """Whether this iteration looks at activations and trains nothing."""
        return self.full_precision < iteration <= self.calibrated_at

    def resumed(self, done: int, saved: Mapping[str, int]) -> "TrainingPhases":
        """The phases of a run with these options that goes on after ``done`` iterations of a run with others."""
        before = TrainingPhases(**saved)
        calibration = self.calibrated_at - self.full_precision if self.calibrated_at else 0
        end = max(done, self.full_precision) if done < before.full_precision else before.full_precision
        if done <= end:  # the switch to quantized passes is still to come
            return TrainingPhases(end, end + calibration if calibration else 0)
        if done >= before.calibrated_at:
            return before
        return TrainingPhases(end, max(end + calibration, done + 1))

    def state_dict(self) -> Dict[str, int]:
        """Plain data, for a checkpoint."""
        return asdict(self)


class Progress:
    """The share of a search that is done: a line from 0 to 1 over the iterations.

    Where a resumed run has another ``total_iter``, the line goes on from where it was and still ends at 1, so that
    what depends on it (temperature, entropy schedule) never goes back.

    Args:
        total_iter: number of iterations.

    >>> progress = Progress(10)
    >>> progress.at(1), progress.at(6)
    (0.0, 0.5)
    >>> longer = Progress(25)
    >>> longer.resume(5, progress.state_dict())
    >>> longer.at(6), longer.at(16), longer.at(26)
    (0.5, 0.75, 1.0)
    """

    def __init__(self, total_iter: int) -> None:
        self.total = total_iter
        self.start = 0
        self.done = 0.0

    def at(self, iteration: int) -> float:
        """The share that is done when ``iteration`` begins, 0 to 1."""
        if self.start >= self.total:
            return self.done
        return min(1.0, self.done + (1 - self.done) * ((iteration - 1 - self.start) / (self.total - self.start)))

    def resume(self, done: int, saved: Mapping[str, Any]) -> None:
        """Go on after ``done`` iterations of a run whose `state_dict` is ``saved``."""
        before = Progress(saved["total"])
        before.start, before.done = saved["start"], saved["done"]
        if before.total == self.total:
            self.start, self.done = before.start, before.done
        else:
            self.start, self.done = done, before.at(done + 1)

    def state_dict(self) -> Dict[str, Any]:
        """Plain data, for a checkpoint."""
        return {"total": self.total, "start": self.start, "done": self.done}


def iterations_before(share: float, total_iter: int) -> int:
    """How many iterations i = 1, 2, ... begin with less than ``share`` of ``total_iter`` done, (i - 1) / total_iter.

    >>> iterations_before(0.1, 20), iterations_before(0.1, 25), iterations_before(0, 20)
    (2, 3, 0)
    """
    count = int(share * total_iter)
    while count / total_iter < share:
        count += 1
    while count and (count - 1) / total_iter >= share:
        count -= 1
    return count


class SearchSchedule:
    """Where a search is: its progress, and the warm-up of the alphas.

    ``alpha_warmup`` is the share of the search before the first alpha step, ``warmup_iterations`` the number of
    iterations.

    Args:
        total_iter: number of iterations.
        alpha_warmup: share of them; None for the default.
    """

    DEFAULT_ALPHA_WARMUP = 0.1

    def __init__(self, total_iter: int, alpha_warmup: Optional[float]) -> None:
        self.progress = Progress(total_iter)
        self.alpha_warmup = self.DEFAULT_ALPHA_WARMUP if alpha_warmup is None else alpha_warmup
        self.warmup_iterations = iterations_before(self.alpha_warmup, total_iter)

    def resume(self, done: int, saved: Mapping[str, Any]) -> None:
        """Go on after ``done`` iterations of a search whose `state_dict` is ``saved``."""
        self.progress.resume(done, saved["progress"])
        if done >= saved["warmup_iterations"]:
            self.alpha_warmup, self.warmup_iterations = saved["alpha_warmup"], saved["warmup_iterations"]
            return
        self.warmup_iterations = max(done, self.warmup_iterations)
        if self.progress.start:
            self.alpha_warmup = self.progress.at(self.warmup_iterations + 1)

    def state_dict(self) -> Dict[str, Any]:
        """Plain data, for a checkpoint."""
        return {
            "progress": self.progress.state_dict(),
            "alpha_warmup": self.alpha_warmup,
            "warmup_iterations": self.warmup_iterations,
        }
