"""What an experiment can see: the power of the corrected resampled t-test, and Bayesian comparison.

"Not significant" does not mean "equal". How large a difference these runs could have shown, and how many runs another
would need, follows from the spread of the differences between paired runs.
"""

from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import ArrayLike

from ifmmin.orchestrator.analysis.statistics import SIGNIFICANT

POWER = 0.8
"""The wanted probability of seeing a difference that exists."""

MOST_RUNS = 10_000

ROPE = 0.01
"""Half the region of practical equivalence: systems within a point of each other count as equal."""


@dataclass(frozen=True)
class Posterior:
    """The probabilities that a difference is below, within and above the region of practical equivalence."""

    worse: float
    equal: float
    better: float


def power(difference: float, deviation: float, runs: int, share: float) -> float:
    """The probability that the two-sided corrected resampled t-test of paired runs is significant.

    Args:
        difference: the true mean difference.
        deviation: standard deviation of the differences of paired runs.
        runs: their number, at least 2.
        share: n_test / n_train.
    """
    from scipy.special import nctdtr, stdtrit

    critical = float(stdtrit(runs - 1, 1 - SIGNIFICANT / 2))
    shift = difference / (deviation * np.sqrt(1 / runs + share))
    return float(1 - nctdtr(runs - 1, shift, critical) + nctdtr(runs - 1, shift, -critical))


def detectable_difference(deviation: float, runs: int, share: float) -> float:
    """The smallest true difference that these runs show with a probability of 0.8.

    Args:
        deviation: standard deviation of the differences of paired runs.
        runs: their number, at least 2.
        share: n_test / n_train.
    """
    low, high = 0.0, deviation
    while power(high, deviation, runs, share) < POWER:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if power(middle, deviation, runs, share) < POWER else (low, middle)
    return high


def runs_needed(difference: float, deviation: float, share: float) -> int | None:
    """How many runs show a difference with a probability of 0.8; None if more runs on these folds never do.

    The runs of a cross-validation share their data, so that the variance of their mean does not go below
    share x deviation².
    """
    if power(difference, deviation, MOST_RUNS, share) < POWER:
        return None
    step = next(exponent for exponent in count(1) if power(difference, deviation, 2**exponent, share) >= POWER)
    low, high = max(1, 2 ** (step - 1)), 2**step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if power(difference, deviation, middle, share) < POWER else (low, middle)
    return high


def correlated_t(differences: ArrayLike, share: float, rope: float = ROPE) -> Posterior:
    """The Bayesian correlated t-test of Corani and Benavoli (Machine Learning 100, 2015).

    The posterior of the mean difference is Student's t with n - 1 degrees of freedom around the sample's mean, with the
    variance of the corrected resampled t-test.

    Args:
        differences: of paired runs, at least 2.
        share: n_test / n_train.
        rope: half the width of the region of practical equivalence.
    """
    from scipy.special import stdtr

    sample = np.asarray(differences, dtype=np.float64)
    mean, runs = float(sample.mean()), len(sample)
    scale = float(np.sqrt((1 / runs + share) * sample.var(ddof=1)))
    if scale == 0:
        return Posterior(float(mean < -rope), float(abs(mean) <= rope), float(mean > rope))
    below, up_to = (float(stdtr(runs - 1, (bound - mean) / scale)) for bound in (-rope, rope))
    return Posterior(below, up_to - below, 1 - up_to)
