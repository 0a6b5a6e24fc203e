"""Folds for corpora that have none: by groups such as speakers, or stratified by class."""

import itertools
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ifmmin.data.corpus import Fold
from ifmmin.data.errors import CorpusError, nearest

MOST = 10
"""The number of folds; with fewer groups, each is a fold."""


def split(table: pa.Table, by: str, seed: int) -> dict[int, Fold]:
    """Folds that test every utterance once; each validates on the test set of the next, and trains on the rest.

    Args:
        table: a row for each utterance, with `label`.
        by: a column, whose groups of equal values are never split between sets, or `stratified:K`: K folds with equal
            shares of the classes, in which no speaker is split between sets if there is a column `speaker`. A missing
            value is a group of its own.
        seed: deals groups of the same size.

    Raises:
        CorpusError: there is no such column, or too few groups or utterances for three sets.
    """
    labels = np.unique(np.asarray(table["label"].to_numpy()), return_inverse=True)[1]  # without gaps
    if by.startswith("stratified:"):
        folds = _number(by)
        column = "speaker" if "speaker" in table.column_names else "utterance"
    else:
        if by not in table.column_names or by in ("utterance", "label"):
            known = [name for name in table.column_names if name not in ("utterance", "label")]
            raise CorpusError(f"--split-by {by}: {nearest(by, [*known, 'stratified:5'])}")
        folds, column = MOST, by
    groups = group_numbers(table[column].to_pylist())
    count = int(groups.max()) + 1
    folds = min(folds, count) if column != "utterance" else folds
    if folds < 3:
        raise CorpusError(
            f"--split-by {by}: {count} groups are too few for three sets; choose a column with at least 3."
        )
    if column == "utterance" and min(np.bincount(labels)) < folds:
        raise CorpusError(
            f"--split-by {by}: a class has only {min(np.bincount(labels))} utterances; use at most that many folds."
        )
    dealt = _deal(groups, labels, folds, seed)
    numbers = np.arange(folds)
    return {
        int(number) + 1: Fold(
            train=np.flatnonzero((dealt != number) & (dealt != (number + 1) % folds)),
            validation=np.flatnonzero(dealt == (number + 1) % folds),
            test=np.flatnonzero(dealt == number),
        )
        for number in numbers
    }


def group_numbers(values: Sequence[object]) -> NDArray[np.int64]:
    """A number for each group of equal values, such as speakers, in the order of their names, (values,).

    Where a value is missing nothing is known of the group, so each of these is a group of its own.

    >>> group_numbers(["s2", None, "s1", None, "s2"]).tolist()
    [1, 2, 0, 3, 1]
    """
    names = sorted({str(value) for value in values if value is not None})
    place = {name: index for index, name in enumerate(names)}
    unknown = itertools.count(len(names))
    return np.array([next(unknown) if value is None else place[str(value)] for value in values], dtype=np.int64)


def _number(by: str) -> int:
    text = by.removeprefix("stratified:")
    if not text.isdecimal() or not 3 <= int(text) <= 1000:
        raise CorpusError(f"--split-by {by}: the number of folds must be between 3 and 1000, as in stratified:5.")
    return int(text)


def _deal(groups: NDArray[np.int64], labels: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
    """The fold of each utterance: each group, largest first, goes where the classes stay most even."""
    counts = np.zeros((int(groups.max()) + 1, int(labels.max()) + 1))
    np.add.at(counts, (groups, labels), 1)
    shuffled = np.random.default_rng(seed).permutation(len(counts))
    order = shuffled[np.argsort(-counts[shuffled].sum(1), kind="stable")]
    filled = np.zeros((folds, counts.shape[1]))
    totals = counts.sum(0)
    fold_of = np.zeros(len(counts), dtype=np.int64)
    for group in order:
        # How much less even each fold's shares of the classes would get; of equals, the smallest fold is taken.
        shares = ((filled + counts[group]) / totals) ** 2 - (filled / totals) ** 2
        fold = np.lexsort((filled.sum(1), shares.sum(1).round(12)))[0]
        filled[fold] += counts[group]
        fold_of[group] = fold
    dealt: NDArray[np.int64] = fold_of[groups]
    return dealt
