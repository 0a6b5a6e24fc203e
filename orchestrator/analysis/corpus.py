"""What a corpus looks like, in numbers: shares of classes, modalities present together, principal components."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ifmmin.data.corpus import SETS, Corpus
from ifmmin.data.leaks import pooled, shows_something, standardised

POINTS = 2000
"""Utterances of a plane; more are drawn at random."""


@dataclass(frozen=True)
class Plane:
    """The utterances of one modality in the plane of the first two principal components.

    Attributes:
        letter, title: of the modality.
        points: columns utterance (index), x, y.
        explained: share of the variance of each component.
        utterances: how many have the modality; `POINTS` of them at most are among the points.
    """

    letter: str
    title: str
    points: pd.DataFrame
    explained: tuple[float, float]
    utterances: int


@dataclass(frozen=True)
class CorpusAnalysis:
    """The numbers behind the pictures of a corpus.

    Attributes:
        by_set: columns fold, set, and one for each label with its utterances.
        by_speaker: columns speaker, and one for each label; the speaker with the most utterances first, none of unknown
            speakers.
        combinations: columns letters, utterances: which modalities utterances have, the most frequent first.
        planes: one for each modality whose features vary.
    """

    corpus: Corpus
    by_set: pd.DataFrame
    by_speaker: pd.DataFrame
    combinations: pd.DataFrame
    planes: tuple[Plane, ...]


def analyse_corpus(corpus: Corpus) -> CorpusAnalysis:
    """The numbers behind the pictures of a corpus; takes seconds for its principal components."""
    return CorpusAnalysis(
        corpus=corpus,
        by_set=_by_set(corpus),
        by_speaker=_by_speaker(corpus),
        combinations=_combinations(corpus),
        planes=tuple(_planes(corpus)),
    )


def _by_set(corpus: Corpus) -> pd.DataFrame:
    labels = corpus.labels
    rows = [
        (number, name, *np.bincount(labels[fold[name]], minlength=len(corpus.classes)).tolist())
        for number, fold in sorted(corpus.folds.items())
        for name in SETS
    ]
    return pd.DataFrame(rows, columns=["fold", "set", *range(len(corpus.classes))])


def _by_speaker(corpus: Corpus) -> pd.DataFrame:
    classes = range(len(corpus.classes))
    frame = pd.DataFrame({"speaker": corpus.speakers or [None] * len(corpus), "label": corpus.labels})
    counts = pd.crosstab(frame["speaker"], frame["label"]).reindex(columns=classes, fill_value=0)
    order = counts.sum(axis=1).sort_values(ascending=False, kind="stable").index
    return counts.loc[order].rename_axis(columns=None).reset_index()


def _combinations(corpus: Corpus) -> pd.DataFrame:
    letters = np.array(corpus.letters)
    combinations = pd.Series(["".join(letters[row]) for row in corpus.present]).value_counts()
    return combinations.rename_axis("letters").rename("utterances").reset_index()


def _planes(corpus: Corpus) -> Iterator[Plane]:
    for modality in corpus.modalities:
        sequences = corpus.sequences[modality.letter]
        means = pooled(sequences)
        rows = np.flatnonzero(shows_something(sequences, means))
        features = standardised(means[rows]) if rows.size else means[:0]
        if len(rows) > 2 and features.shape[1]:
            plane, explained = _principal(features)
            chosen = np.sort(np.random.default_rng(0).permutation(len(rows))[:POINTS])
            points = pd.DataFrame({"utterance": rows[chosen], "x": plane[chosen, 0], "y": plane[chosen, 1]})
            yield Plane(modality.letter, modality.title, points, explained, len(rows))


def _principal(features: NDArray[np.float64]) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """The first two principal components, (utterances, 2), and the share of variance of each; 0 where there is one."""
    from sklearn.decomposition import PCA

    count = min(2, *features.shape)
    pca = PCA(count, random_state=0)
    plane = np.zeros((len(features), 2))
    plane[:, :count] = pca.fit_transform(features)
    explained = np.zeros(2)
    explained[:count] = pca.explained_variance_ratio_
    return plane, (float(explained[0]), float(explained[1]))
