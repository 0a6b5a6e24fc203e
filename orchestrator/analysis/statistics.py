"""Confidence intervals and tests of scores and of differences between systems.

The runs of a cross-validation share training data, so their scores are not independent and an ordinary t-test finds
differences where there are none. The corrected resampled t-test (Nadeau and Bengio, Machine Learning 52, 2003; for
repeated cross-validation Bouckaert and Frank, PAKDD 2004) widens the variance of the mean from s² / n to
s² (1 / n + n_test / n_train).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ifmmin.data.corpus import Corpus
from ifmmin.orchestrator.analysis.scores import METRICS, RUN, conditions_in

CONFIDENCE = 0.95
SIGNIFICANT = 0.05

_EQUAL = 1e-9
"""Scores that differ by less differ by rounding; one utterance more or less is a million times that."""
_PAIR = ["fold", "seed", "condition"]


@dataclass(frozen=True)
class Estimate:
    """A mean over runs, its confidence interval, and the two-sided p-value of its being zero.

    The interval of a single run is NaN; its p-value too, and that of values that are all the same. Without any run all
    are NaN.
    """

    mean: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Comparison:
    """Every other system against one of them.

    Attributes:
        frame: columns system, condition, metric, runs, difference (system minus reference, from -1 to 1), low, high,
            p, p_holm; the last four are NaN where there is nothing to test: a single run, or the same difference in
            every run.
        reference: the system that the others are compared with.
        method: in a sentence.
        cautions: what a reader must know about these numbers, in sentences.
    """

    frame: pd.DataFrame
    reference: str
    method: str
    cautions: tuple[str, ...] = ()


def share_tested(corpus: Corpus, folds: list[int]) -> float:
    """n_test / n_train, the mean over these folds."""
    return float(np.mean([len(corpus.folds[fold].test) / len(corpus.folds[fold].train) for fold in folds]))


def corrected_t(values: ArrayLike, share: float) -> Estimate:
    """The mean of values with its confidence interval and p-value by the corrected resampled t-test.

    Args:
        values: one for each run: scores, or differences of paired runs; NaN where a run has none.
        share: n_test / n_train.
    """
    from scipy.special import stdtr, stdtrit  # `scipy.stats`, which wraps them, takes a second to import

    sample = np.asarray(values, dtype=np.float64)
    sample = sample[np.isfinite(sample)]
    count = len(sample)
    mean = float(sample.mean()) if count else np.nan
    if count < 2:
        return Estimate(mean, np.nan, np.nan, np.nan)
    if np.ptp(sample) < _EQUAL:
        return Estimate(mean, mean, mean, np.nan)
    error = float(np.sqrt((1 / count + share) * sample.var(ddof=1)))
    half = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2)) * error
    return Estimate(mean, mean - half, mean + half, float(2 * stdtr(count - 1, -abs(mean) / error)))


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
    for system, part in scores[scores["system"] != reference].groupby("system", sort=False):
        paired = part.set_index(_PAIR).join(theirs, rsuffix="_reference", how="inner")
        for condition, runs in paired.groupby(level="condition", sort=False):
            both = runs.dropna(subset=[name for m in METRICS for name in (m, f"{m}_reference")])
            rows += [(system, condition, m, len(both), *_difference(both, m, share)) for m in METRICS]
    columns = ["system", "condition", "metric", "runs", "difference", "low", "high", "p"]
    frame = pd.DataFrame(rows, columns=columns)
    frame["p_holm"] = frame.groupby(["condition", "metric"])["p"].transform(lambda p: holm(p.to_numpy()))
    systems = len(frame["system"].unique())
    method = (
        f"two-sided corrected resampled t-test (Nadeau and Bengio, 2003; test to training set {share:.3f}) on runs "
        f"paired by fold and seed{f', Holm-corrected for {systems} systems' if systems > 1 else ''}"
    )
    return Comparison(frame, reference, method, tuple(_cautions(frame)))


def _difference(runs: pd.DataFrame, metric: str, share: float) -> tuple[float, float, float, float]:
    """Mean difference from the reference, its interval and p-value; no interval without variance."""
    estimate = corrected_t(runs[metric] - runs[f"{metric}_reference"], share)
    if np.isnan(estimate.p):
        return estimate.mean, np.nan, np.nan, np.nan
    return estimate.mean, estimate.low, estimate.high, estimate.p


def _cautions(differences: pd.DataFrame) -> Iterator[str]:
    few = list(dict.fromkeys(differences.loc[differences["runs"] == 2, "system"]))
    if few:
        yield (
            f"two runs of {' and '.join(few)} leave one degree of freedom, too few for a reliable test; run more "
            "folds or seeds"
        )
    if (differences["p"].isna() & (differences["runs"] > 1)).any():
        yield "a difference that is the same in every run has no variance, and so neither interval nor p"


def intervals(scores: pd.DataFrame, share: float) -> pd.DataFrame:
    """Mean and confidence interval of every score. Columns: system, condition, metric, mean, low, high."""
    rows = []
    for (system, condition), part in scores.groupby(["system", "condition"], sort=False):
        for metric in METRICS:
            estimate = corrected_t(part[metric], share)
            rows.append((system, condition, metric, estimate.mean, estimate.low, estimate.high))
    return pd.DataFrame(rows, columns=["system", "condition", "metric", "mean", "low", "high"])


def cost_of_missing(scores: pd.DataFrame, share: float) -> pd.DataFrame:
    """The full condition minus each missing condition, within every run. Columns as of `intervals`."""
    complete = scores["condition"] == conditions_in(scores)[-1]
    full = scores[complete].set_index(RUN)
    runs = pd.MultiIndex.from_frame(scores[RUN])
    lost = {metric: full[metric].reindex(runs).to_numpy() - scores[metric].to_numpy() for metric in METRICS}
    return intervals(scores.assign(**lost)[~complete], share)
