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


MOST = 7
"""As many conditions as stand side by side; of more, tables and figures show groups."""


def groups_of(letters: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The missing conditions of a corpus by how many modalities they leave, where it has more than `MOST` conditions.

    >>> list(groups_of("abcd")), groups_of("abc")
    (['1 of 4', '2 of 4', '3 of 4'], {})
    """
    missing = all_conditions(letters)[:-1]
    if len(missing) < MOST:
        return {}
    sizes = range(1, len(letters))
    return {group_name(n, len(letters)): tuple(c for c in missing if len(c) == n) for n in sizes}


def group_name(available: int, modalities: int) -> str:
    """The name of the conditions in which so many of the modalities are available."""
    return f"{available} of {modalities}"


def columns_of(letters: Sequence[str]) -> tuple[str, ...]:
    """The columns of tables: the conditions of a corpus, or their groups where there are many, with the average.

    >>> columns_of("at"), columns_of("a"), columns_of("abcd")
    (('a', 't', 'average', 'at'), ('a',), ('1 of 4', '2 of 4', '3 of 4', 'average', 'abcd'))
    """
    *missing, full = all_conditions(letters)
    return (*(groups_of(letters) or missing), AVERAGE, full) if missing else (full,)


def columns_in(frame: pd.DataFrame) -> tuple[str, ...]:
    """The columns of tables of a frame: its conditions, or their groups where it has these, with the average.

    Args:
        frame: with a column `condition`, such as of `score` or `summarise`.
    """
    *missing, full = conditions_in(frame)
    shown = tuple(name for name in dict.fromkeys(frame["condition"]) if _is_group(name)) or tuple(missing)
    return (*shown, AVERAGE, full) if shown else (full,)


def panels_in(frame: pd.DataFrame) -> tuple[str, ...]:
    """The columns without the average, as of `pool`."""
    return tuple(name for name in columns_in(frame) if name != AVERAGE)


def conditions_in(frame: pd.DataFrame) -> tuple[str, ...]:
    """The conditions of a frame, the full one last; none of their groups.

    Args:
        frame: with a column `condition`, such as of `score` or `summarise`.
    """
    names = (name for name in dict.fromkeys(frame["condition"]) if name != AVERAGE and not _is_group(name))
    return tuple(sorted(names, key=len))


def pool(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame whose conditions are named by their groups where it has more than `MOST` conditions."""
    conditions = conditions_in(frame)
    if len(conditions) <= MOST:
        return frame
    full = conditions[-1]
    names = {name: full if name == full else group_name(len(name), len(full)) for name in conditions}
    return frame.assign(condition=frame["condition"].map(names))


def _is_group(name: str) -> bool:
    return " " in name


def score(predictions: pd.DataFrame, letters: Sequence[str]) -> pd.DataFrame:
    """The metrics of every run in each condition, from 0 to 1, and their mean over the missing conditions.

    Where there are many conditions, the mean over each of `groups_of` too. Where a test set has no utterance with the
    modalities of a condition, the metrics are NaN, and means are over the others. Columns: system, fold, seed,
    condition, utterances (that are evaluated; beside a mean over conditions, all that are tested), wa, ua.

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
    tested = predictions.groupby(RUN, sort=False)["utterance"].nunique()
    means = [
        scores[scores["condition"].isin(conditions)]
        .groupby(RUN, sort=False)[list(METRICS)]
        .mean()
        .assign(condition=name, utterances=tested)
        .reset_index()[scores.columns]
        for name, conditions in {**groups_of(letters), AVERAGE: missing}.items()
    ]
    return pd.concat([scores, *means], ignore_index=True)


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
    *missing, _ = conditions_in(scores)
    order = {name: index for index, name in enumerate(dict.fromkeys((*missing, *columns_in(scores))))}
    systems = {system: index for index, system in enumerate(dict.fromkeys(scores["system"]))}
    keys = summary["system"].map(systems) * len(order) + summary["condition"].map(order)
    return summary.iloc[keys.argsort()].reset_index(drop=True)
