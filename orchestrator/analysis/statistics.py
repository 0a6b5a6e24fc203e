"""How sure one can be of scores and of differences between systems.

The runs of a cross-validation share training data, so their scores are not independent and an ordinary t-test finds
differences where there are none. The corrected resampled t-test (Nadeau and Bengio, Machine Learning 52, 2003; for
repeated cross-validation Bouckaert and Frank, PAKDD 2004) widens the variance of the mean from s² / n to
s² (1 / n + n_test / n_train).
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from ifmmin.data.corpus import Corpus

CONFIDENCE = 0.95
SIGNIFICANT = 0.05

_METRICS = ("wa", "ua")
_PAIR = ["fold", "seed", "condition"]


@dataclass(frozen=True)
class Estimate:
    """A mean over runs, its confidence interval, and the two-sided p-value of its being zero; NaN for a single run."""

    mean: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Comparison:
    """Every other system against one of them.

    Attributes:
        frame: columns system, condition, metric, runs, difference (system minus reference, from -1 to 1), low, high,
            p, p_holm.
        reference: the system that the others are compared with.
        method: in a sentence.
    """

    frame: pd.DataFrame
    reference: str
    method: str


def share_tested(corpus: Corpus, folds: list[int]) -> float:
    """n_test / n_train, the mean over these folds."""
    return float(np.mean([len(corpus.folds[fold].test) / len(corpus.folds[fold].train) for fold in folds]))


def corrected_t(values: ArrayLike, share: float) -> Estimate:
    """The corrected resampled t-test of a mean, with the interval that belongs to it.

    Args:
        values: one for each run: scores, or differences of paired runs.
        share: n_test / n_train.
    """
    sample = np.asarray(values, dtype=np.float64)
    count, mean = len(sample), float(sample.mean())
    if count < 2:
        return Estimate(mean, np.nan, np.nan, np.nan)
    error = float(np.sqrt((1 / count + share) * sample.var(ddof=1)))
    if error == 0:
        return Estimate(mean, mean, mean, float(mean == 0))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * error
    return Estimate(mean, mean - half, mean + half, float(2 * stats.t.sf(abs(mean) / error, count - 1)))


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """p-values adjusted for their number (Holm, Scandinavian Journal of Statistics 6, 1979); NaN stays NaN.

    >>> holm([0.01, 0.04, 0.03, 0.005]).round(3).tolist()
    [0.03, 0.06, 0.06, 0.02]
    """
    values = np.asarray(p, dtype=np.float64)
    adjusted = np.full_like(values, np.nan)
    order = np.argsort(values)[: np.isfinite(values).sum()]
    steps = values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def compare(scores: pd.DataFrame, reference: str, share: float) -> Comparison:
    """Every other system against one of them, in every condition, over the runs (fold and seed) that both have.

    Holm's correction is over the systems, for each condition and metric.

    Args:
        scores: of `analysis.scores.score`.
        share: n_test / n_train.
    """
    theirs = scores[scores["system"] == reference].set_index(_PAIR)
    rows = []
    for system, own in scores[scores["system"] != reference].groupby("system", sort=False):
        paired = own.set_index(_PAIR).join(theirs, rsuffix="_reference", how="inner")
        for condition, part in paired.groupby(level="condition", sort=False):
            for metric in _METRICS:
                found = corrected_t(part[metric] - part[f"{metric}_reference"], share)
                rows.append((system, condition, metric, len(part), found.mean, found.low, found.high, found.p))
    columns = ["system", "condition", "metric", "runs", "difference", "low", "high", "p"]
    frame = pd.DataFrame(rows, columns=columns)
    frame["p_holm"] = frame.groupby(["condition", "metric"])["p"].transform(lambda p: holm(p.to_numpy()))
    systems = len(frame["system"].unique())
    method = (
        f"two-sided corrected resampled t-test (Nadeau and Bengio, 2003; test to training set {share:.3f}) on runs "
        f"paired by fold and seed{f', Holm-corrected for {systems} systems' if systems > 1 else ''}"
    )
    return Comparison(frame, reference, method)


def intervals(scores: pd.DataFrame, share: float) -> pd.DataFrame:
    """Mean and confidence interval of every score. Columns: system, condition, metric, mean, low, high."""
    rows = []
    for (system, condition), part in scores.groupby(["system", "condition"], sort=False):
        for metric in _METRICS:
            found = corrected_t(part[metric], share)
            rows.append((system, condition, metric, found.mean, found.low, found.high))
    return pd.DataFrame(rows, columns=["system", "condition", "metric", "mean", "low", "high"])


def cost_of_missing(scores: pd.DataFrame, share: float) -> pd.DataFrame:
    """What each missing condition costs: {avt} minus the condition, within every run.

    Columns as of `intervals`.
    """
    run = ["system", "fold", "seed"]
    full = scores[scores["condition"] == "avt"].set_index(run)
    runs = pd.MultiIndex.from_frame(scores[run])
    lost = {metric: full[metric].reindex(runs).to_numpy() - scores[metric].to_numpy() for metric in _METRICS}
    return intervals(scores.assign(**lost).query("condition != 'avt'"), share)
