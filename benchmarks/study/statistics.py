"""What is said of several networks, of two rows, of two rankings. The formulas are those of `scipy.stats`."""

from typing import Dict, Mapping, NamedTuple, Optional, Sequence

import numpy as np
from scipy import stats

#: Of all intervals.
CONFIDENCE = 0.95


class Estimate(NamedTuple):
    """A mean; of at least two values the sample standard deviation and the 95 % interval of the mean (Student's t).

    >>> Estimate.of([1.0, 2.0, 3.0])
    Estimate(mean=2.0, sd=1.0, low=-0.484, high=4.484, count=3)
    >>> Estimate.of([1.0])
    Estimate(mean=1.0, sd=None, low=None, high=None, count=1)
    """

    mean: float
    sd: Optional[float]
    low: Optional[float]
    high: Optional[float]
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Estimate":
        """Of independent values, in their unit; rounded to thousandths."""
        mean = round(float(np.mean(values)), 3)
        if len(values) < 2:
            return cls(mean, None, None, None, len(values))
        sd = float(np.std(values, ddof=1))
        half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * sd / len(values) ** 0.5
        centre = float(np.mean(values))
        return cls(mean, round(sd, 3), round(centre - half, 3), round(centre + half, 3), len(values))


#: PSNR of a network by training seed.
Trained = Mapping[int, float]


def of_row(networks: Sequence[Trained]) -> Estimate:
    """Of a row: its networks are the sample, each with its mean; of a single network, its trainings are."""
    if len(networks) == 1:
        return Estimate.of(list(networks[0].values()))
    return Estimate.of([float(np.mean(list(network.values()))) for network in networks])


def paired(first: Sequence[Trained], second: Sequence[Trained]) -> Optional[Estimate]:
    """``first`` less ``second`` by training seed, over the seeds that all of their networks were trained with."""
    seeds = sorted(set.intersection(*(set(network) for network in (*first, *second))))
    if not seeds:
        return None
    return Estimate.of([_mean_at(first, seed) - _mean_at(second, seed) for seed in seeds])


def _mean_at(networks: Sequence[Trained], seed: int) -> float:
    return float(np.mean([network[seed] for network in networks]))


class Improvement(NamedTuple):
    """Of one row over another, as Yang et al. (arXiv:1912.12522) report it.

    Attributes:
        decibel: difference of the means.
        low, high: its 95 % interval (Welch), where both rows have two networks; the networks are the samples.
        percent: difference in percent of the mean of the other row.
        beaten: number of the other row's networks below the mean of this row; ``others``: of all of them.
    """

    decibel: float
    low: Optional[float]
    high: Optional[float]
    percent: float
    beaten: int
    others: int


def improvement(first: Sequence[Trained], second: Sequence[Trained]) -> Improvement:
    """Of the networks of a row over those of another."""
    a, b = ([float(np.mean(list(network.values()))) for network in networks] for networks in (first, second))
    difference = float(np.mean(a) - np.mean(b))
    low = high = None
    if min(len(a), len(b)) > 1 and np.var(a) + np.var(b) > 0:
        interval = stats.ttest_ind(a, b, equal_var=False).confidence_interval(CONFIDENCE)
        low, high = round(float(interval.low), 3), round(float(interval.high), 3)
    percent = round(100 * difference / float(np.mean(b)), 3)
    return Improvement(round(difference, 3), low, high, percent, sum(value < float(np.mean(a)) for value in b), len(b))


def kendall(first: Sequence[float], second: Sequence[float]) -> Dict[str, float]:
    """Kendall's tau-b of two rankings, and the probability of one as far from 0 without any correlation."""
    found = stats.kendalltau(first, second)
    return {"tau": round(float(found.statistic), 3), "p": round(float(found.pvalue), 4)}
