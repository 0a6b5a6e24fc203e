"""Accuracies of predictions, and their summary over the runs of a system, as data frames."""

from collections.abc import Callable, Mapping

import pandas as pd
from numpy.typing import ArrayLike

from ifmmin.data.conditions import FULL_CONDITION, MISSING_CONDITIONS
from ifmmin.model.metrics import unweighted_accuracy, weighted_accuracy

METRICS: Mapping[str, Callable[[ArrayLike, ArrayLike], float]] = {"wa": weighted_accuracy, "ua": unweighted_accuracy}
"""The metrics of all tables and figures, from labels and predictions, by the name of their column."""

AVERAGE = "average"
"""The mean over the six missing conditions, which stands beside the conditions in every table."""

COLUMNS: tuple[str, ...] = (*MISSING_CONDITIONS, AVERAGE, FULL_CONDITION)
"""The conditions in the order of the tables."""

RUN = ["system", "fold", "seed"]
"""The columns that name a run in every frame."""


def score(predictions: pd.DataFrame) -> pd.DataFrame:
    """The metrics of every run in each condition, from 0 to 1, and their mean over the six missing conditions.

    Columns: system, fold, seed, condition (of `COLUMNS`), wa, ua.

    Args:
        predictions: of `analysis.results.load_predictions`.
    """
    rows = [(*group, *measure(part)) for group, part in predictions.groupby([*RUN, "condition"], sort=False)]
    scores = pd.DataFrame(rows, columns=[*RUN, "condition", *METRICS])
    missing = scores[scores["condition"].isin(MISSING_CONDITIONS)]
    average = missing.groupby(RUN, sort=False)[list(METRICS)].mean().reset_index()
    return pd.concat([scores, average.assign(condition=AVERAGE)[scores.columns]], ignore_index=True)


def measure(predictions: pd.DataFrame) -> list[float]:
    """Each of the metrics of predictions with their labels."""
    return [metric(predictions["label"], predictions["prediction"]) for metric in METRICS.values()]


def summarise(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation (n - 1) of the metrics over the runs of a system, in table order.

    Columns: system, condition, runs, folds, seeds, wa, wa_std, ua, ua_std; deviations are NaN for a single run.
    """
    columns = {"runs": ("fold", "size"), "folds": ("fold", "nunique"), "seeds": ("seed", "nunique")}
    for metric in METRICS:
        columns |= {metric: (metric, "mean"), f"{metric}_std": (metric, "std")}
    summary = scores.groupby(["system", "condition"], sort=False).agg(**columns).reset_index()
    order = {condition: index for index, condition in enumerate(COLUMNS)}
    systems = {system: index for index, system in enumerate(dict.fromkeys(scores["system"]))}
    keys = summary["system"].map(systems) * len(order) + summary["condition"].map(order)
    return summary.iloc[keys.argsort()].reset_index(drop=True)
