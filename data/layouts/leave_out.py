"""Leaving out utterances that an importer would otherwise refuse: what `--leave-out` names."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ifmmin.data.audit import Finding, broken_utterances
from ifmmin.data.corpus import SETS, Corpus, Fold, Sequences
from ifmmin.data.errors import CorpusError, listed, nearest

LEAVE_OUT = {
    "broken": "have NaN or infinite features",
    "empty": "lack every modality",
    "incomplete": "lack a modality",
}
"""What can be left out, and why. Of a broken utterance, features, label or lengths are not finite numbers."""


def check_leave_out(words: Iterable[str]) -> frozenset[str]:
    """The words as a set.

    Raises:
        CorpusError: one of them is unknown.
    """
    words = [words] if isinstance(words, str) else list(words)
    for word in words:
        if word not in LEAVE_OUT:
            raise CorpusError(f"--leave-out {word} is unknown; {nearest(word, LEAVE_OUT)}")
    return frozenset(words)


def leave_out(corpus: Corpus, words: Iterable[str]) -> tuple[Corpus, list[Finding]]:
    """The corpus without the utterances that the words name, and how many of each set were left out.

    Raises:
        CorpusError: a word is unknown, or a set would be empty.
    """
    out, findings = np.zeros(len(corpus), dtype=bool), []
    for word in sorted(check_leave_out(words)):
        named = _named(corpus, word) & ~out
        out |= named
        if named.any():
            most = 50 if word == "broken" else 3
            findings.append(left_out(corpus.names, corpus.folds.values(), named, LEAVE_OUT[word], most))
        else:
            message = f"no utterances {LEAVE_OUT[word]}, so --leave-out {word} dropped none"
            findings.append(Finding("note", "left out", message))
    return without(corpus, out, "--leave-out") if out.any() else corpus, findings


def _named(corpus: Corpus, word: str) -> NDArray[np.bool_]:
    """Whether a word names an utterance, (utterances,)."""
    if word == "broken":
        rows: NDArray[np.bool_] = np.any([broken_utterances(part) for part in corpus.sequences.values()], axis=0)
        return rows
    return np.asarray(~corpus.present.any(1) if word == "empty" else ~corpus.present.all(1))


def left_out(names: Sequence[str], folds: Iterable[Fold], rows: NDArray[np.bool_], why: str, most: int = 50) -> Finding:
    """How many utterances of each set are left out, which, and why.

    Args:
        folds: of the utterances; the sets are counted where there is a single fold.
        rows: whether an utterance is left out, (utterances,).
        why: a clause such as "have no label".
        most: how many names are listed.
    """
    folds = list(folds)
    parts = [f"{rows[folds[0][s]].sum():,} of {len(folds[0][s]):,} in {s}" for s in SETS] if len(folds) == 1 else []
    counts = f" ({', '.join(parts)})" if parts else ""
    which = listed([name for name, out in zip(names, rows, strict=True) if out], most)
    return Finding("warning", "left out", f"{rows.sum():,} of {len(names):,} utterances{counts} {why}: {which}")


def without(corpus: Corpus, rows: NDArray[np.bool_], what: str) -> Corpus:
    """The corpus without some utterances.

    Args:
        rows: whether an utterance is left out, (utterances,).
        what: what leaves them out, for the message.

    Raises:
        CorpusError: a set would be empty.
    """
    keep = ~rows
    places = np.cumsum(keep) - 1
    folds = {}
    for number, fold in corpus.folds.items():
        sets = {name: places[fold[name][keep[fold[name]]]].astype(np.int64) for name in SETS}
        if empty := [name for name, indices in sets.items() if len(fold[name]) and not len(indices)]:
            raise CorpusError(
                f"{what} would leave no utterance in the {empty[0]} set of fold {number}; correct the files."
            )
        folds[number] = Fold(**sets)
    return replace(
        corpus,
        utterances=corpus.utterances.filter(pa.array(keep)),
        sequences={modality: _select(sequences, keep) for modality, sequences in corpus.sequences.items()},
        folds=folds,
    )


def _select(sequences: Sequences, keep: NDArray[np.bool_]) -> Sequences:
    lengths = sequences.lengths
    offsets = np.cumsum([0, *lengths[keep]], dtype=np.int64)
    return Sequences(sequences.values[np.repeat(keep, lengths)], offsets)
