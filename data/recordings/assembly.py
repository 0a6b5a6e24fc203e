"""The corpus of recordings and their features; a modality that a clip lacks has length 0."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ifmmin.data.audit import Finding
from ifmmin.data.corpus import SETS, Corpus, Features, Fold, Provenance, Sequences
from ifmmin.data.errors import CorpusError, listed
from ifmmin.data.layouts.naming import encode_labels
from ifmmin.data.layouts.spreadsheet import NAMES
from ifmmin.data.modalities import Modality
from ifmmin.data.recordings.clip import Recordings
from ifmmin.data.recordings.extractors import Extractor
from ifmmin.data.recordings.extractors.extractor import TITLES
from ifmmin.data.selection import Selection

GROUPS = ("session", "speaker")
"""Columns by which folds are made where nothing is said of them; the first that has enough values."""

FEWEST = 3
"""Groups that make folds of three sets."""

_FRACTION = re.compile(r"[-+]?\d+\.\d+", re.ASCII)


def assemble(
    name: str,
    recordings: Recordings,
    features: Features,
    modalities: Sequence[Modality],
    extractors: Mapping[str, Provenance],
    selection: Selection,
) -> tuple[Corpus, list[Finding]]:
    """The corpus of all clips that have a label, before the selection, with the folds of the layout if it has sets.

    Args:
        features: of all clips by the letters of the modalities; a letter of which no clip has any is left out.
        extractors: by letter.

    Raises:
        CorpusError: labels are missing or not valid, or no clip has any features.
    """
    rows = [index for index, label in enumerate(_labels(recordings)) if label]
    if not rows:
        raise CorpusError(f"None of the {len(recordings.clips):,} clips has a label; add a column label.")
    names = [recordings.clips[index].utterance for index in rows]
    columns = {column: [values[index] for index in rows] for column, values in recordings.columns.items()}
    classes = selection.classes_for(columns["label"]) or (None if selection.preset else recordings.classes)
    classes, labels, findings = encode_labels(columns["label"], classes, "The recordings", names)
    chosen = {letter: [parts[index] for index in rows] for letter, parts in features.items()}
    there = [modality for modality in modalities if any(part is not None for part in chosen[modality.letter])]
    if not there:
        raise CorpusError("No clip has features of any modality; see why each of them failed.")
    corpus = Corpus(
        name,
        classes,
        _table(names, labels, columns, [recordings.clips[index].text for index in rows]),
        {modality.letter: _sequences(chosen[modality.letter]) for modality in there},
        _folds(columns.get("set", [])),
        tuple(there),
        recordings.about,
        extractors={modality.letter: extractors[modality.letter] for modality in there},
    )
    return corpus, [*recordings.findings, *findings, *_lacking(modalities, there), *_without_set(columns, names)]


def modalities_of(extractors: Mapping[str, Extractor]) -> tuple[Modality, ...]:
    """What the features of extractors are, by their letters; sound is standardised in each fold, as its scale varies.

    Raises:
        CorpusError: a letter is not valid.
    """
    reads = [extractor.reads for extractor in extractors.values()]
    return tuple(
        Modality(
            letter,
            TITLES[extractor.reads] + (f" ({extractor.name})" if reads.count(extractor.reads) > 1 else ""),
            extractor.encoder,
            standardised=extractor.reads == "audio",
        )
        for letter, extractor in extractors.items()
    )


def default_split(corpus: Corpus) -> str:
    """By what to make folds where neither the layout nor the user says it: sessions or speakers, if there are enough.

    Raises:
        CorpusError: there are not.
    """
    for column in GROUPS:
        if column in corpus.utterances.column_names:
            values = set(corpus.utterances[column].to_pylist()) - {None}
            if len(values) >= FEWEST:
                return column
    raise CorpusError(
        f"Corpus '{corpus.name}' has neither sets nor {FEWEST} sessions or speakers to make folds of; use --split-by "
        "stratified:5, or add a column set or speaker."
    )


def _labels(recordings: Recordings) -> list[str]:
    if "label" not in recordings.columns:
        raise CorpusError("The recordings have no labels; add a column label.")
    return recordings.columns["label"]


def _table(
    names: list[str], labels: NDArray[np.int64], columns: Mapping[str, list[str]], texts: list[str | None]
) -> pa.Table:
    """A row for each utterance; columns of which nothing is known are left out."""
    known = {column: values for column, values in columns.items() if column not in ("utterance", "label", "set")}
    spoken = {"text": [text or "" for text in texts]} if "text" not in known else {}
    others = {column: _column(column, values) for column, values in {**known, **spoken}.items() if any(values)}
    return pa.table({"utterance": names, "label": labels, **others})


def _column(name: str, values: list[str]) -> pa.Array:
    """Numbers if all values are fractions, which are measurements; else text."""
    if name not in NAMES and all(_FRACTION.fullmatch(value) for value in values if value):
        return pa.array([float(value) if value else None for value in values], pa.float64())
    return pa.array([value or None for value in values], pa.string())


def _sequences(parts: Sequence[NDArray[np.float32] | None]) -> Sequences:
    dimension = next(part.shape[1] for part in parts if part is not None)
    nothing = np.zeros((0, dimension), np.float32)
    return Sequences.of([nothing if part is None else part for part in parts])


def _folds(words: Sequence[str]) -> dict[int, Fold]:
    """The fold of a layout that has sets, its validation set possibly empty; none without sets.

    Raises:
        CorpusError: there is nothing to train on, or to test on.
    """
    if not any(words):
        return {}
    sets = {name: np.flatnonzero(np.array(words) == name) for name in SETS}
    for name in ("train", "test"):
        if not len(sets[name]):
            raise CorpusError(f"No utterance is in the {name} set; add some, or use --split-by.")
    return {1: Fold(**sets)}


def _lacking(wanted: Sequence[Modality], there: Sequence[Modality]) -> list[Finding]:
    return [
        Finding("warning", "modalities", f"{modality.letter}: no clip has {modality.title} features; left out")
        for modality in wanted
        if modality not in there
    ]


def _without_set(columns: Mapping[str, list[str]], names: Sequence[str]) -> list[Finding]:
    words = columns.get("set", [])
    outside = [name for name, word in zip(names, words, strict=False) if not word]
    if not any(words) or not outside:
        return []
    return [Finding("warning", "sets", f"{len(outside):,} utterances are in no set: {listed(outside, 3)}")]
