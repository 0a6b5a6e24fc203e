"""What each modality is worth to a system: Shapley values of its accuracy over all conditions.

A condition is a coalition of modalities, whose worth is the accuracy under it. The empty one is worth the accuracy of
always naming the most frequent class of the training set (Shapley, 1953).
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import comb

import numpy as np
import pandas as pd

from ifmmin.data.corpus import Corpus
from ifmmin.orchestrator.analysis.scores import METRICS, RUN
from ifmmin.orchestrator.analysis.statistics import corrected_t

EMPTY = ""
"""The condition in which no modality is available."""


def shapley_values(worth: Mapping[str, float]) -> dict[str, float]:
    """Of each modality the mean of what it adds to a coalition, over the orders in which modalities can be added.

    The values sum to the worth of all modalities less that of none.

    >>> shapley_values({"": 0.25, "a": 0.5, "t": 0.75, "at": 0.8})
    {'a': 0.15, 't': 0.4}

    Args:
        worth: of every coalition, by its modalities' letters in any order.
    """
    sets = {frozenset(name): value for name, value in worth.items()}
    modalities = max(worth, key=len)
    values = {}
    for modality in modalities:
        others = [letter for letter in modalities if letter != modality]
        added = 0.0
        for size in range(len(others) + 1):
            weight = 1 / (len(modalities) * comb(len(others), size))
            for coalition in map(frozenset, combinations(others, size)):
                added += weight * (sets[coalition | {modality}] - sets[coalition])
        values[modality] = round(added, 15)
    return values


def interactions(worth: Mapping[str, float]) -> dict[str, float]:
    """Of each pair of modalities the Shapley interaction index (Grabisch and Roubens, 1999).

    Above zero the two are worth more together than one by one; below, each says what the other says.

    >>> interactions({"": 0.25, "a": 0.5, "t": 0.75, "at": 0.8})
    {'at': -0.2}

    Args:
        worth: of every coalition, by its modalities' letters in any order.
    """
    sets = {frozenset(name): value for name, value in worth.items()}
    modalities = max(worth, key=len)
    values = {}
    for first, second in combinations(modalities, 2):
        others = [letter for letter in modalities if letter not in (first, second)]
        added = 0.0
        for size in range(len(others) + 1):
            weight = 1 / ((len(modalities) - 1) * comb(len(others), size))
            for coalition in map(frozenset, combinations(others, size)):
                pair = sets[coalition | {first, second}] + sets[coalition]
                added += weight * (pair - sets[coalition | {first}] - sets[coalition | {second}])
        values[first + second] = round(added, 15)
    return values


def contributions(scores: pd.DataFrame, corpus: Corpus, share: float) -> pd.DataFrame:
    """Shapley values of modalities and interactions of pairs, with confidence intervals over the runs.

    Columns: system, metric, modalities (a letter or a pair), mean, low, high.

    Args:
        scores: of `analysis.scores.score`.
        share: n_test / n_train, see `analysis.statistics`.
    """
    chance = {fold: _chance(corpus, fold) for fold in sorted(set(scores["fold"]))}
    conditions = [name for name in scores["condition"].unique() if name in _coalitions(scores)]
    rows = []
    for metric in METRICS:
        table = scores.pivot_table(index=RUN, columns="condition", values=metric)[conditions].dropna()
        values = [
            (system, _of_run({EMPTY: chance[fold][metric], **dict(runs.items())}))
            for (system, fold, _), runs in zip(table.index, table.to_dict("records"), strict=True)
        ]
        for system in dict.fromkeys(system for system, _ in values):
            of_runs = [found for name, found in values if name == system]
            for modalities in of_runs[0]:
                estimate = corrected_t([run[modalities] for run in of_runs], share)
                rows.append((system, metric, modalities, estimate.mean, estimate.low, estimate.high))
    return pd.DataFrame(rows, columns=["system", "metric", "modalities", "mean", "low", "high"])


def _of_run(worth: Mapping[str, float]) -> dict[str, float]:
    return {**shapley_values(worth), **interactions(worth)}
