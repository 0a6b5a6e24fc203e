"""Measurements of runs and the names of parents, as plain values. What writes them to MLflow is not here."""

from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd

from ifmmin.orchestrator.analysis.scores import AVERAGE, METRICS, columns_in, conditions_in


class Measurement(NamedTuple):
    """One value of a metric; fractions are from 0 to 1, `step` is an epoch, or 0 where there is one value only."""

    name: str
    value: float
    time_ms: int
    step: int


def name_with(system: str, changed: Mapping[str, str]) -> str:
    """The name of a parent run.

    >>> name_with("if-mmin", {"lambda2": "50"})
    'if-mmin lambda2=50'
    """
    return " ".join([system, *(f"{name}={value}" for name, value in changed.items())])


def measure_scores(scores: pd.DataFrame, time_ms: int) -> list[Measurement]:
    """`test/wa/<condition>` and so on, from the columns wa, wa_std, ua, ua_std of scores or of a summary.

    The average comes first, which is what MLflow's pages then show first, and means over groups before the rest.
    """
    first = [AVERAGE, *(name for name in columns_in(scores) if name not in (AVERAGE, *conditions_in(scores)))]
    ranks = {name: rank for rank, name in enumerate(first)}
    ordered = scores.sort_values("condition", key=lambda names: names.map(ranks).fillna(len(ranks)), kind="stable")
    return [
        Measurement(f"test/{column}/{condition}", float(value), time_ms, 0)
        for column in (*METRICS, *(f"{metric}_std" for metric in METRICS))
        if column in ordered
        for condition, value in zip(ordered["condition"], ordered[column], strict=True)
        if pd.notna(value)
    ]


def measure_history(history: pd.DataFrame, start_ms: int) -> list[Measurement]:
    """`<stage>/loss/<term>` and so on, for every epoch of one run, which started at that time."""
    times = start_ms + 1000 * history["seconds"].cumsum()
    return _curves(history, ("loss/", "validation/", "learning_rate"), times.round().astype(int))


def measure_mean_history(history: pd.DataFrame, time_ms: int) -> list[Measurement]:
    """Losses and validation scores of the stages of a system, for every epoch the mean over runs.

    Args:
        history: of the stages whose networks are evaluated. A pretraining is left to the single runs: MLflow lists
            metrics by name, and those of `pretrain` would come before the scores.
    """
    means = history.groupby(["stage", "epoch"], sort=False).mean(numeric_only=True).reset_index()
    return _curves(means, ("loss/", "validation/"), pd.Series(time_ms, means.index))


def _curves(history: pd.DataFrame, columns: tuple[str, ...], times_ms: pd.Series) -> list[Measurement]:
    return [
        Measurement(f"{stage}/{column}", float(value), int(time_ms), int(epoch))
        for column in history.columns
        if column.startswith(columns)
        for stage, epoch, value, time_ms in zip(
            history["stage"], history["epoch"], history[column], times_ms, strict=True
        )
        if pd.notna(value)
    ]
