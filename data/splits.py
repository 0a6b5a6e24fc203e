"""Folds for corpora that have none: by groups such as speakers, by sessions, or stratified by class."""

import itertools
import re
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ifmmin.data.corpus import Fold
from ifmmin.data.errors import CorpusError, nearest

MOST = 10
"""The number of folds; with fewer groups, each is a fold."""

FORMS = ("stratified:5", "sessions-5", "speakers-10")
"""Splits that are not by a column."""

EACH = re.compile(r"(session|speaker)s-(\d+)")
"""Splits with a fold for each session or each speaker, of which there must be so many."""


def split(table: pa.Table, by: str, seed: int) -> dict[int, Fold]:
    """Folds that test every utterance once; each validates on the test set of the next, and trains on the rest.

    Args:
        table: a row for each utterance, with `label`.
        by: a column, whose groups of equal values are never split between sets, or `stratified:K`: K folds with equal
            shares of the classes, in which no speaker is split between sets if there is a column `speaker`; or
            `sessions-N`: each of N sessions is tested once; or `speakers-N`: each of N speakers is tested once, and
            the others of the session are the validation set. A missing value is a group of its own.
        seed: deals groups of the same size.

    Raises:
        CorpusError: there is no such column, or too few groups or utterances for three sets, or not so many sessions
            or speakers.
    """
    if match := EACH.fullmatch(by):
        return _split_each(table, by, match[1], int(match[2]))
    labels = np.unique(np.asarray(table["label"].to_numpy()), return_inverse=True)[1]  # without gaps
    if by.startswith("stratified:"):
        folds = _number(by)
        column = "speaker" if "speaker" in table.column_names else "utterance"
    else:
        if by not in table.column_names or by in ("utterance", "label"):
            known = [name for name in table.column_names if name not in ("utterance", "label")]
            raise CorpusError(f"--split-by {by}: {nearest(by, [*known, *FORMS])}")
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


def take_validation(table: pa.Table, folds: Mapping[int, Fold], fraction: float, seed: int) -> dict[int, Fold]:
    """Folds whose validation sets are about this part of their training sets, in which the classes have equal shares.

    If there is a column `speaker`, no speaker is in both sets.

    Args:
        table: a row for each utterance, with `label`.
        folds: without validation sets.
        fraction: of each training set, above 0 and at most 0.5.
        seed: of the choice.

    Raises:
        CorpusError: the fraction is not in these limits, or a training set is too small or has a single speaker.
    """
    if not 0 < fraction <= 0.5:
        raise CorpusError(f"--validation-from-train {fraction:g} must be above 0 and at most 0.5, such as 0.1.")
    labels = np.asarray(table["label"].to_numpy())
    groups = group_numbers(table["speaker"].to_pylist()) if "speaker" in table.column_names else np.arange(len(labels))
    taken = {}
    for number, fold in folds.items():
        parts = (
            round(1 / fraction),
            len(np.unique(groups[fold.train])),
            int(np.unique(labels[fold.train], return_counts=True)[1].max()),
        )
        if min(parts) < 2:
            raise CorpusError(
                f"--validation-from-train {fraction:g}: the training set of fold {number} has {parts[1]} "
                f"speakers and {len(fold.train)} utterances, which cannot be divided; add a validation set."
            )
        rest, chosen = _best_part(labels[fold.train], groups[fold.train], min(parts), fraction, seed + number)
        taken[number] = Fold(train=fold.train[rest], validation=fold.train[chosen], test=fold.test)
    return taken


def _best_part(
    labels: NDArray[np.int64], groups: NDArray[np.int64], parts: int, fraction: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of the parts that keep groups together, the one to validate on: no class is lost, and its size is right."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    splitter = StratifiedGroupKFold if len(np.unique(groups)) < len(groups) else StratifiedKFold
    with warnings.catch_warnings(action="ignore"):  # about classes that are rarer than parts
        choices = list(splitter(parts, shuffle=True, random_state=seed).split(labels, labels, groups))

    def cost(choice: tuple[NDArray[np.int64], NDArray[np.int64]]) -> tuple[bool, int, float]:
        rest, chosen = choice
        return not len(chosen), -len(np.unique(labels[rest])), abs(len(chosen) - fraction * len(labels))

    best: tuple[NDArray[np.int64], NDArray[np.int64]] = min(choices, key=cost)
    return best


def _split_each(table: pa.Table, by: str, column: str, count: int) -> dict[int, Fold]:
    """A fold for each session or speaker, in the order of their names."""
    values = _complete(table, by, column)
    names = sorted(set(values.tolist()))
    if len(names) != count:
        raise CorpusError(
            f"--split-by {by}: the corpus has {len(names)} {column}s; use --split-by {column}s-{len(names)}, or "
            f"--split-by {column} for at most {MOST} folds."
        )
    validated = dict(_following(names) if column == "session" else _partners(table, by, values))
    folds = {}
    for number, name in enumerate(names, 1):
        tested, validating = values == name, np.isin(values, validated[name])
        folds[number] = Fold(*map(np.flatnonzero, (~tested & ~validating, validating, tested)))
        if not len(folds[number].train):
            raise CorpusError(f"--split-by {by}: {count} {column}s are too few for three sets; use stratified:5.")
    return folds


def _complete(table: pa.Table, by: str, column: str) -> NDArray[np.str_]:
    """A column without missing values, as text."""
    if column not in table.column_names:
        raise CorpusError(f"--split-by {by}: the corpus has no column {column}; add it to the table of utterances.")
    values = table[column].to_pylist()
    if None in values:
        name = table["utterance"].to_pylist()[values.index(None)]
        raise CorpusError(
            f"--split-by {by}: the {column} of {values.count(None):,} utterances is unknown ({name} first); add it."
        )
    return np.array(list(map(str, values)))


def _following(names: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Each name with the one that follows it."""
    return ((name, [names[(index + 1) % len(names)]]) for index, name in enumerate(names))


def _partners(table: pa.Table, by: str, speakers: NDArray[np.str_]) -> Iterator[tuple[str, list[str]]]:
    """Each speaker with the others of the session."""
    sessions = _complete(table, by, "session")
    of_session: dict[str, set[str]] = defaultdict(set)
    for session, speaker in sorted(set(zip(sessions.tolist(), speakers.tolist(), strict=True))):
        of_session[session].add(speaker)
    if sum(map(len, of_session.values())) > len(set(speakers.tolist())):
        raise CorpusError(f"--split-by {by}: a speaker is in several sessions; use --split-by speaker.")
    for session, members in of_session.items():
        if len(members) < 2:
            raise CorpusError(
                f"--split-by {by}: session {session} has one speaker, so nobody validates; use --split-by speaker."
            )
        yield from ((speaker, sorted(members - {speaker})) for speaker in sorted(members))


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
