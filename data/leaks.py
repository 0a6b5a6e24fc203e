"""Leaks: what two sets of a fold share, so that one tells about the other. Findings on them are in `data.audit`."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from ifmmin.data.corpus import SETS, Corpus, Fold, Sequences, SetName
from ifmmin.data.errors import listed

LeakKind = Literal["utterance", "features", "similar features", "transcript", "dialogue", "speaker"]
LEAK_KINDS: tuple[LeakKind, ...] = get_args(LeakKind)

TRANSCRIPT_COLUMNS = ("transcript", "transcription", "text")
"""Columns of the utterance table that hold what is said; the first of them is used."""

NEAR = 0.999
"""Cosine of two utterances' standardised features, averaged over time, above which they are similar."""

_CHANCE = 0.001
"""How many pairs of a corpus may be expected to be as similar by chance."""

_NEIGHBOURS = 3
_BLOCK = 256
_AT_ONCE = 64
_FEW_VALUES = 8
"""With fewer different values, such as a handful of ratings, two utterances have the same ones by chance."""
_SAMPLE = 2000
_DIFFERENT = 0.1

Row: TypeAlias = tuple[str, str, str, str, str]
"""Of a table of leaks: what is shared, by which sets, how much, in which folds, and the first names."""

Groups: TypeAlias = NDArray[np.int64]
"""For each utterance the number of what it shares with others, -1 where it shares nothing, (utterances,)."""


@dataclass(frozen=True)
class Leak:
    """What two sets of a fold share in one respect.

    Attributes:
        kind: in which respect.
        of: the letters of the modalities whose features are shared, otherwise empty; one letter where only features
            of that modality are.
        fold: its number.
        sets: the two sets.
        count: how many dialogues or speakers are in both; otherwise how many utterances of the second set share it
            with one of the first.
        names: of what is shared; of features and transcripts as `u7 = u3`, the utterance of the second set first.
    """

    kind: LeakKind
    of: str
    fold: int
    sets: tuple[SetName, SetName]
    count: int
    names: tuple[str, ...]


def find_leaks(corpus: Corpus) -> list[Leak]:
    """All leaks between the sets of each fold, those of a kind together.

    Utterances that are in both sets are one leak; nothing else that they share counts.
    """
    names = corpus.names
    leaks = list(_repeated(corpus, names))
    known: dict[tuple[int, SetName, SetName], set[int]] = defaultdict(set)
    for kind, of, groups in _shared(corpus):
        for number, fold, sets in _pairs_of_sets(corpus):
            one, other = (_without_repeated(fold, sets, index, groups) for index in (0, 1))
            partner = {int(group): int(row) for group, row in zip(groups[one][::-1], one[::-1], strict=True)}
            rows = [int(row) for row in other if int(groups[row]) in partner]
            if kind in ("features", "similar features"):
                rows = [row for row in rows if row not in known[number, *sets]]
                known[number, *sets].update(rows)
            if kind in ("dialogue", "speaker"):
                values = corpus.utterances[kind].to_pylist()
                shown = list(dict.fromkeys(str(values[row]) for row in rows))
            else:
                shown = [f"{names[row]} = {names[partner[int(groups[row])]]}" for row in rows]
            if shown:
                leaks.append(Leak(kind, of, number, sets, len(shown), tuple(shown)))
    return leaks


def alike(leaks: Iterable[Leak]) -> list[list[Leak]]:
    """The leaks that differ in their fold alone, together."""
    groups: dict[object, list[Leak]] = defaultdict(list)
    for leak in leaks:
        groups[leak.kind, leak.of, leak.sets].append(leak)
    return list(groups.values())


def leak_table(corpus: Corpus, leaks: Sequence[Leak]) -> list[Row]:
    """A row for each group of `alike`."""
    rows = []
    for group in alike(leaks):
        first, counts = group[0], [leak.count for leak in group]
        what = first.kind if first.kind.startswith("similar") else f"same {first.kind}"
        of = f" ({first.of} alone)" if len(first.of) < len(corpus.letters) and first.of else ""
        count = f"{min(counts):,}" + (f" to {max(counts):,}" if max(counts) > min(counts) else "")
        folds = "all" if len(group) == len(corpus.folds) else listed([str(leak.fold) for leak in group], 3)
        rows.append((f"{what}{of}", ", ".join(first.sets), count, folds, listed(first.names, 2)))
    return rows


def repeats_texts(corpus: Corpus) -> bool:
    """Whether most utterances of a corpus say what another says too, as where actors speak the same sentences."""
    groups = _same_text(corpus)
    return groups is not None and bool((groups >= 0).sum() > len(corpus) / 2)


def pooled(sequences: Sequences) -> NDArray[np.float64]:
    """Mean of each utterance's frames, (utterances, features); zero where it has none."""
    means = np.zeros((len(sequences), sequences.dimension))
    present = np.flatnonzero(sequences.lengths)
    for first in range(0, len(present), _AT_ONCE):
        part = present[first : first + _AT_ONCE]
        start, end = sequences.offsets[part[0]], sequences.offsets[part[-1] + 1]
        sums = np.add.reduceat(sequences.values[start:end], sequences.offsets[part] - start, dtype=np.float64)
        means[part] = sums / sequences.lengths[part][:, None]
    return means


def standardised(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Features with mean 0 and deviation 1 over the utterances, without those that do not vary, (utterances, varying).

    What is more than three deviations from the mean is moved there, so that no single feature decides.
    """
    deviations = means.std(0)
    varying = deviations > np.maximum(np.finfo(np.float32).eps * np.abs(means).max(0), np.finfo(np.float32).tiny)
    features: NDArray[np.float64] = (means[:, varying] - means[:, varying].mean(0)) / deviations[varying]
    return features.clip(-3, 3)


def shows_something(sequences: Sequences, means: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether an utterance has a modality that is not zero throughout, (utterances,).

    Args:
        means: of `pooled`.
    """
    shows: NDArray[np.bool_] = (sequences.lengths > 0) & np.isfinite(means).all(1) & means.any(1)
    return shows


def _pairs_of_sets(corpus: Corpus) -> Iterator[tuple[int, Fold, tuple[SetName, SetName]]]:
    for number, fold in sorted(corpus.folds.items()):
        for one, other in combinations(SETS, 2):
            yield number, fold, (one, other)


def _repeated(corpus: Corpus, names: Sequence[str]) -> Iterator[Leak]:
    """The utterances that are in both sets."""
    for number, fold, (one, other) in _pairs_of_sets(corpus):
        shared = np.intersect1d(fold[one], fold[other])
        if shared.size:
            yield Leak("utterance", "", number, (one, other), shared.size, tuple(names[row] for row in shared))


def _without_repeated(fold: Fold, sets: tuple[SetName, SetName], index: int, groups: Groups) -> NDArray[np.int64]:
    """The utterances of one of two sets that share something, without those that are in both."""
    rows = np.setdiff1d(fold[sets[index]], fold[sets[1 - index]])
    return rows[groups[rows] >= 0]


def _shared(corpus: Corpus) -> Iterator[tuple[LeakKind, str, Groups]]:
    """The groups of each kind, those of all modalities together before those of one."""
    yield from _shared_features(corpus)
    texts = _same_text(corpus)
    if texts is not None:
        yield "transcript", "", texts
    for kind in ("dialogue", "speaker"):
        if kind in corpus.utterances.column_names:
            yield kind, "", _same(corpus.utterances[kind].to_pylist())


def _shared_features(corpus: Corpus) -> Iterator[tuple[LeakKind, str, Groups]]:
    means = {letter: pooled(corpus.sequences[letter]) for letter in corpus.letters}
    shows = {letter: shows_something(corpus.sequences[letter], means[letter]) for letter in corpus.letters}
    features = {letter: _weighted(means[letter], shows[letter]) for letter in corpus.letters}
    continuous = [letter for letter in corpus.letters if _is_continuous(corpus.sequences[letter])]
    for letters in filter(None, dict.fromkeys(["".join(corpus.letters), "".join(continuous), *continuous])):
        some, every = (judge([shows[letter] for letter in letters], axis=0) for judge in (np.any, np.all))
        sequences = [corpus.sequences[letter] for letter in letters]
        values = 1 if set(letters) & set(continuous) else _FEW_VALUES
        same = _same_features(sequences, [means[letter] for letter in letters], some, values)
        yield "features", letters, same
        if set(letters) <= set(continuous):
            rows = np.flatnonzero(every & _are_first(same))
            similar = _similar_features(np.concatenate([features[letter][rows] for letter in letters], 1))
            yield "similar features", letters, _grouped(len(corpus), [rows[group].tolist() for group in similar])


def _same(values: Iterable[object]) -> Groups:
    """Groups of equal values; those that are None belong to none, nor do those that occur once."""
    rows: dict[object, list[int]] = defaultdict(list)
    length = 0
    for row, value in enumerate(values):
        length += 1
        if value is not None:
            rows[value].append(row)
    return _grouped(length, rows.values())


def _grouped(length: int, members: Iterable[Sequence[int]]) -> Groups:
    groups = np.full(length, -1, dtype=np.int64)
    for number, rows in enumerate(group for group in members if len(group) > 1):
        groups[list(rows)] = number
    return groups


def _same_text(corpus: Corpus) -> Groups | None:
    """Groups of transcripts with the same words; None if the corpus has no transcripts."""
    by_name = {name.lower(): name for name in reversed(corpus.utterances.column_names)}
    column = next((by_name[name] for name in TRANSCRIPT_COLUMNS if name in by_name), None)
    if column is None:
        return None
    texts = (None if text is None else str(text) for text in corpus.utterances[column].to_pylist())
    return _same(None if text is None else _words(text) or None for text in texts)


def _words(text: str) -> str:
    """The words of a transcript, whatever their case and punctuation.

    >>> _words("Oh,  NO! Don't."), _words("不是。"), _words("...")
    ('oh no don t', '不是', '')
    """
    return " ".join(re.findall(r"\w+", text.casefold()))


def _same_features(
    sequences: Sequence[Sequences], means: Sequence[NDArray[np.float64]], some: NDArray[np.bool_], values: int
) -> Groups:
    """Groups of utterances that have some features, and equal ones in every frame and modality.

    Args:
        values: how many different ones their features must have.
    """
    alike = _same(b"".join(mean[row].tobytes() for mean in means) if shows else None for row, shows in enumerate(some))
    return _same(
        tuple(part[row].tobytes() for part in sequences)
        if group >= 0 and np.unique(np.concatenate([part[row].ravel() for part in sequences])).size >= values
        else None
        for row, group in enumerate(alike)
    )


def _is_continuous(sequences: Sequences) -> bool:
    """Whether features have so many different values that no two utterances have the same ones by chance.

    Measurements have, and ratings, counts and the grey levels of small pictures have not.
    """
    frames = np.random.default_rng(0).permutation(len(sequences.values))[:_SAMPLE]
    values = sequences.values[np.sort(frames)]
    values = values[values != 0]
    return bool(np.unique(values).size > _DIFFERENT * values.size)


def _are_first(groups: Groups) -> NDArray[np.bool_]:
    """Whether an utterance is the first of its group or in none, (utterances,)."""
    first = groups < 0
    grouped = np.flatnonzero(groups >= 0)
    first[grouped[np.unique(groups[grouped], return_index=True)[1]]] = True
    return first


def _weighted(means: NDArray[np.float64], shows: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Standardised features, zero where an utterance has none, of equal weight for each modality."""
    present = standardised(means[shows]) if shows.any() else means[:0]
    features = np.zeros((len(means), present.shape[1]), dtype=np.float32)
    features[shows] = present / max(present.shape[1], 1) ** 0.5
    return features


def _similar_features(features: NDArray[np.float32]) -> list[list[int]]:
    """Groups of utterances whose features are nearly equal.

    Two are similar if the cosine is above `NEAR` and if they are closer to each other than chance brings two of the
    corpus, which matters where features are few or utterances lie in clusters. Within the distance r of an utterance
    there are by chance k (r / r_k)^d others, r_k being the distance of its k-th neighbour and d the dimension in which
    the number of neighbours grows.
    """
    neighbours = min(_NEIGHBOURS, (len(features) - 1) // 2)
    if neighbours < 1 or features.shape[1] < 2:
        return []
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    directions = np.divide(features, lengths, out=np.zeros_like(features), where=lengths > 0)
    reach = (_CHANCE / (neighbours * len(features))) ** (1 / _dimension(directions, neighbours))
    return _connected(_close_pairs(directions, neighbours, reach))


def _dimension(directions: NDArray[np.float32], neighbours: int) -> float:
    """The dimension in which the number of neighbours grows, by the distances of the k-th and the 2k-th.

    In d dimensions the ratio of the two, to the power d, has the median 2.
    """
    sample = np.random.default_rng(0).permutation(len(directions))[:_BLOCK]
    distances = np.sort(_distances(directions[sample] @ directions.T), axis=1)
    near, far = distances[:, neighbours], distances[:, 2 * neighbours]
    ratios = np.log(far[near > 0] / near[near > 0])
    ratio = float(np.median(ratios)) if ratios.size else 0.0
    return float(np.log(2) / ratio) if ratio > 0 else 1.0


def _close_pairs(directions: NDArray[np.float32], neighbours: int, reach: float) -> Iterator[tuple[int, int]]:
    """The pairs that are nearer than `reach` times the k-th neighbour of the first.

    Only a block of the product of all with all is in memory at a time.
    """
    for start in range(0, len(directions), _BLOCK):
        block = directions[start : start + _BLOCK]
        cosines = np.triu(block @ directions[start:].T, 1)
        similar = np.flatnonzero((cosines > NEAR).any(1))
        if not similar.size:
            continue
        distances = _distances(block[similar] @ directions.T)
        distances[np.arange(len(similar)), start + similar] = np.inf
        reached = reach * np.partition(distances, neighbours - 1, axis=1)[:, neighbours - 1]
        for row, distance in zip(similar, reached, strict=True):
            others = start + np.flatnonzero(cosines[row] > NEAR)
            # Cosines near 1 are too coarse for this.
            exact = np.linalg.norm(directions[others] - block[row], axis=1)
            yield from ((start + int(row), int(other)) for other in others[exact < distance])


def _distances(cosines: NDArray[np.floating]) -> NDArray[np.floating]:
    """Between points of the unit sphere."""
    distances: NDArray[np.floating] = np.sqrt(np.maximum(2 - 2 * cosines, 0))
    return distances


def _connected(pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """The groups that pairs connect."""
    group_of: dict[int, list[int]] = {}
    for one, other in pairs:
        merged = group_of.get(one, [one])
        if other not in merged:
            merged = merged + group_of.get(other, [other])
            group_of.update(dict.fromkeys(merged, merged))
    return list({id(group): group for group in group_of.values()}.values())
