"""Accuracies of predictions, and their summary over the runs of a system, as data frames."""

from collections.abc import Callable, Mapping, Sequence
from math import nan

import pandas as pd
from numpy.typing import ArrayLike

from ifmmin.data.conditions import all_conditions
from ifmmin.model.metrics import unweighted_accuracy, weighted_accuracy

METRICS: Mapping[str, Callable[[ArrayLike, ArrayLike], float]] = {"wa": weighted_accuracy, "ua": unweighted_accuracy}
"""The metrics of all tables and figures, from labels and predictions, by the name of their column."""

AVERAGE = "average"
"""The mean over the missing conditions, which stands beside the conditions in every table."""

RUN = ["system", "fold", "seed"]
"""The columns that name a run in every frame."""


def columns_of(letters: Sequence[str]) -> tuple[str, ...]:
    """The conditions of a corpus of these modalities in the order of the tables, with the average.

    >>> columns_of("at"), columns_of("a")
    (('a', 't', 'average', 'at'), ('a',))
    """
    *missing, full = all_conditions(letters)
    return (*missing, AVERAGE, full) if missing else (full,)


def columns_in(frame: pd.DataFrame) -> tuple[str, ...]:
    """The conditions of a frame in the order of the tables, with the average.

    Args:
        frame: with a column `condition`, such as of `score` or `summarise`.
    """
    *missing, full = conditions_in(frame)
    return (*missing, AVERAGE, full) if missing else (full,)


def conditions_in(frame: pd.DataFrame) -> tuple[str, ...]:
    """The conditions of a frame, the full one last.

    Args:
        frame: with a column `condition`, such as of `score` or `summarise`.
    """
    return tuple(sorted((name for name in dict.fromkeys(frame["condition"]) if name != AVERAGE), key=len))


def score(predictions: pd.DataFrame, letters: Sequence[str]) -> pd.DataFrame:
    """The metrics of every run in each condition, from 0 to 1, and their mean over the missing conditions.

    Columns: system, fold, seed, condition (of `columns_of`), utterances (that are evaluated; beside the average, all
    that are tested), wa, ua. Where a test set has no utterance with the modalities of a condition, the metrics are NaN,
    and the average is over the others.

    Args:
        predictions: of `analysis.results.load_predictions`.
        letters: of the modalities of the corpus.
    """
    *missing, full = all_conditions(letters)
    rows = []
    for run, of_run in predictions.groupby(RUN, sort=False):
        parts = dict(iter(of_run.groupby("condition", sort=False)))
        for condition in (*missing, full):
            measured = measure(parts[condition]) if condition in parts else [nan] * len(METRICS)
            rows.append((*run, str(condition), len(parts.get(condition, ())), *measured))
    scores = pd.DataFrame(rows, columns=[*RUN, "condition", "utterances", *METRICS])
    if not missing:
        return scores
    average = scores[scores["condition"] != full].groupby(RUN, sort=False)[list(METRICS)].mean()
    tested = predictions.groupby(RUN, sort=False)["utterance"].nunique()
    average = average.assign(condition=AVERAGE, utterances=tested).reset_index()
    return pd.concat([scores, average[scores.columns]], ignore_index=True)


def measure(predictions: pd.DataFrame) -> list[float]:
    """Each of the metrics of predictions with their labels."""
    return [metric(predictions["label"], predictions["prediction"]) for metric in METRICS.values()]


def summarise(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation (n - 1) of the metrics over the runs of a system, in table order.

    Columns: system, condition, runs, folds, seeds, utterances (the sum over the runs), wa, wa_std, ua, ua_std;
    deviations are NaN for a single run.
    """
    columns = {"runs": ("fold", "size"), "folds": ("fold", "nunique"), "seeds": ("seed", "nunique")}
    columns |= {"utterances": ("utterances", "sum")}
    for metric in METRICS:
        columns |= {metric: (metric, "mean"), f"{metric}_std": (metric, "std")}
    summary = scores.groupby(["system", "condition"], sort=False).agg(**columns).reset_index()
    order = {condition: index for index, condition in enumerate(columns_in(scores))}
    systems = {system: index for index, system in enumerate(dict.fromkeys(scores["system"]))}
    keys = summary["system"].map(systems) * len(order) + summary["condition"].map(order)
    return summary.iloc[keys.argsort()].reset_index(drop=True)
