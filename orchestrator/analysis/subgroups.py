"""Whether a system serves some utterances better than others: scores by subgroup, and the gaps between subgroups.

Subgroups are the values of any column of a corpus's utterance table. Intervals are percentiles of a bootstrap over
speakers, because what one speaker says is not independent; over utterances where speakers are unknown, or where a
subgroup has one speaker only.
"""

import re
from collections.abc import Container, Iterator

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from ifmmin.data.corpus import Corpus
from ifmmin.data.splits import group_numbers
from ifmmin.orchestrator.analysis.scores import METRICS

RESAMPLES = 1000
MOST = 12
"""Values of a column that are few enough to be subgroups."""

GAPS = {
    "recall gap": "largest difference of UA between two subgroups",
    "statistical parity difference": "largest difference, of any class, in how often two subgroups are taken for it",
    "equal opportunity difference": "largest difference, of any class, in its recall between two subgroups",
}


def subgroup_columns(corpus: Corpus) -> list[str]:
    """The columns of the utterance table that hold 2 to `MOST` different words."""
    table = corpus.utterances
    words = [field.name for field in table.schema if pa.types.is_string(field.type) and field.name != "utterance"]
    return [name for name in words if 2 <= len(set(table[name].to_pylist())) <= MOST]


def score_subgroups(predictions: pd.DataFrame, corpus: Corpus) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores by subgroup, and gaps between subgroups, of every system in each condition, all runs pooled.

    Columns of the first: column, subgroup, system, condition, speakers, utterances, metric (wa, ua), value, low, high.
    Of the second: column, resampled (speakers or utterances), system, condition, gap (of `GAPS`), value, low, high.
    Values are from 0 to 1.

    Args:
        predictions: of `analysis.results.load_predictions`.
    """
    scores, gaps = [], []
    predicted = set(predictions["utterance"])
    for column in subgroup_columns(corpus):
        grouping = _Grouping(corpus, column, predicted)
        if len(grouping.subgroups) < 2:
            continue
        for (system, condition), part in predictions.groupby(["system", "condition"], sort=False):
            counts = grouping.count(part)
            resampled = np.concatenate([counts.sum(0)[None], grouping.resample(counts)])
            for metric, values in zip(METRICS, _accuracies(resampled), strict=True):
                for index, subgroup in enumerate(grouping.subgroups):
                    sizes = grouping.speakers[index], int(counts[:, index].sum())
                    scores.append((column, subgroup, system, condition, *sizes, metric, *_interval(values[:, index])))
            for gap, values in _gaps(resampled):
                gaps.append((column, grouping.resampled, system, condition, gap, *_interval(values)))
    ends = ["value", "low", "high"]
    return (
        pd.DataFrame(
            scores,
            columns=["column", "subgroup", "system", "condition", "speakers", "utterances", "metric", *ends],
        ),
        pd.DataFrame(gaps, columns=["column", "resampled", "system", "condition", "gap", *ends]),
    )


class _Grouping:
    """The subgroups of one column among the predicted utterances, and the units that are resampled."""

    def __init__(self, corpus: Corpus, column: str, predicted: Container[str]) -> None:
        values = [
            value if name in predicted else None
            for name, value in zip(corpus.names, corpus.utterances[column].to_pylist(), strict=True)
        ]
        self.subgroups = sorted({value for value in values if value is not None}, key=_in_natural_order)
        speakers = corpus.speakers
        known = [pair for pair in zip(speakers or [], values, strict=False) if pair[0] is not None]
        of_subgroup = [{speaker for speaker, value in known if value == subgroup} for subgroup in self.subgroups]
        self.speakers = [len(members) or None for members in of_subgroup]
        by_speaker = speakers is not None and min(map(len, of_subgroup), default=0) > 1
        self.resampled = "speakers" if by_speaker else "utterances"
        units = pd.factorize(group_numbers(speakers if speakers and by_speaker else corpus.names))[0]
        places = {subgroup: index for index, subgroup in enumerate(self.subgroups)}
        self._place = {
            name: (unit, places[value])
            for name, unit, value in zip(corpus.names, units, values, strict=True)
            if value is not None
        }
        self._shape = (int(units.max()) + 1, len(self.subgroups), len(corpus.classes), len(corpus.classes))

    def count(self, predictions: pd.DataFrame) -> NDArray[np.float64]:
        """Confusion matrices, true class by predicted class, (units, subgroups, classes, classes)."""
        counts = np.zeros(self._shape)
        rows = [(self._place.get(name), label, predicted) for name, label, predicted in _rows(predictions)]
        known = np.array([(*place, label, predicted) for place, label, predicted in rows if place is not None])
        np.add.at(counts, tuple(known.T), 1)
        return counts[counts.any((1, 2, 3))]

    @staticmethod
    def resample(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sums over units drawn with replacement, (`RESAMPLES`, subgroups, classes, classes)."""
        units = len(counts)
        draws = np.random.default_rng(0).multinomial(units, np.full(units, 1 / units), size=RESAMPLES)
        sums: NDArray[np.float64] = np.tensordot(draws.astype(np.float64), counts, 1)
        return sums


def _in_natural_order(value: str) -> list[str | int]:
    """Speaker 2 before speaker 10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", value)]


def _rows(predictions: pd.DataFrame) -> Iterator[tuple[str, int, int]]:
    return zip(predictions["utterance"], predictions["label"], predictions["prediction"], strict=True)


def _accuracies(counts: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """WA and UA, (samples, subgroups), NaN where a subgroup has no utterance."""
    with np.errstate(invalid="ignore"):
        wa = np.trace(counts, axis1=2, axis2=3) / counts.sum((2, 3))
    return wa, _mean(_recalls(counts))


def _recalls(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """(samples, subgroups, classes), NaN where a subgroup has no utterance of a class."""
    with np.errstate(invalid="ignore"):
        recalls: NDArray[np.float64] = np.diagonal(counts, axis1=2, axis2=3) / counts.sum(3)
    return recalls


def _gaps(counts: NDArray[np.float64]) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Each of `GAPS` with its values, (samples,)."""
    with np.errstate(invalid="ignore"):
        taken = counts.sum(2) / counts.sum((2, 3))[..., None]
    recalls = _recalls(counts)
    yield "recall gap", _spread(_mean(recalls))
    yield "statistical parity difference", _spread(taken).max(-1)
    yield "equal opportunity difference", np.nan_to_num(_spread(recalls)).max(-1)


def _spread(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Greatest minus least over the subgroups, the second dimension; what is not known does not count."""
    known = np.isfinite(values)
    spread: NDArray[np.float64] = np.where(known, values, -np.inf).max(1) - np.where(known, values, np.inf).min(1)
    return np.where(np.isfinite(spread), spread, np.nan)


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean over the last dimension, without NaN."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        mean: NDArray[np.float64] = np.where(known, values, 0).sum(-1) / known.sum(-1)
    return mean


def _interval(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """The first value, and the middle 95% of the others."""
    others = values[1:][np.isfinite(values[1:])]
    low, high = np.percentile(others, [2.5, 97.5]) if len(others) else (np.nan, np.nan)
    return float(values[0]), float(low), float(high)
