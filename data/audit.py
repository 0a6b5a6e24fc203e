"""The audit of a corpus: what could make results wrong or not comparable with published ones."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ifmmin.data.corpus import SETS, Corpus, Sequences
from ifmmin.data.errors import listed
from ifmmin.data.leaks import Leak, alike, find_leaks, repeats_texts

IEMOCAP_COUNTS = {"angry": 1103, "happy": 1636, "neutral": 1708, "sad": 1084}
"""Class counts of the four-class protocol with its 5,531 utterances; excited counts as happy."""

Severity = Literal["error", "warning", "note"]

_NAMES = 5


@dataclass(frozen=True)
class Finding:
    """One result of the audit.

    Attributes:
        severity: an error stops an import, a warning does not, a note is for information.
        check: the subject, in a word or two.
        message: the problem, in a clause without a full stop.
    """

    severity: Severity
    check: str
    message: str


def audit(corpus: Corpus) -> list[Finding]:
    """All findings on a corpus, errors first."""
    overlaps = _overlaps(corpus, find_leaks(corpus))
    return by_severity([*_classes(corpus), *_sequences(corpus), *_gaps(corpus), *overlaps, *_tested(corpus)])


def by_severity(findings: list[Finding]) -> list[Finding]:
    """Sort findings: errors first, notes last."""
    return sorted(findings, key=lambda finding: get_args(Severity).index(finding.severity))


def repeated_folds(corpus: Corpus) -> list[tuple[int, int]]:
    """Pairs of fold numbers with identical sets, such as fold 8 of the released IEMOCAP features and an earlier one."""
    return [
        (first, second)
        for first, second in combinations(sorted(corpus.folds), 2)
        if all(np.array_equal(np.sort(corpus.folds[first][s]), np.sort(corpus.folds[second][s])) for s in SETS)
    ]


def is_iemocap(names: Iterable[str]) -> bool:
    """Whether all names have the form of IEMOCAP's: Ses01F_impro01_F000."""
    return all(name.startswith("Ses0") and "_" in name for name in names)


def broken_utterances(sequences: Sequences) -> NDArray[np.bool_]:
    """Whether any feature of an utterance is NaN or infinite, (utterances,)."""
    return _any_frame(sequences, ~np.isfinite(sequences.values).all(1))


def iemocap_count(name: str) -> int | None:
    """How many utterances of a class the four-class protocol has; None if the name is not one of IEMOCAP.

    >>> [iemocap_count(name) for name in ("angry", "Anger", "ang", "exc+hap", "freude")]
    [1103, 1103, 1103, 1636, None]
    """
    counts = {known[:3]: count for known, count in IEMOCAP_COUNTS.items()} | {"exc": IEMOCAP_COUNTS["happy"]}
    return counts.get(name.strip().lower()[:3])


def _classes(corpus: Corpus) -> list[Finding]:
    findings = []
    counts = np.bincount(corpus.labels, minlength=len(corpus.classes))
    shown = ", ".join(f"{name} {count:,}" for name, count in zip(corpus.classes, counts.tolist(), strict=True))
    if (counts > 0).sum() < 2:
        findings.append(Finding("error", "classes", f"only one class has utterances: {shown}"))
    elif (counts == 0).any():
        findings.append(Finding("warning", "classes", f"a class has no utterances: {shown}"))
    if is_iemocap(corpus.names) and len(corpus.classes) == len(IEMOCAP_COUNTS):
        known = [iemocap_count(name) for name in corpus.classes]
        if known != counts.tolist():
            expected = ", ".join(f"{name} {count:,}" for name, count in IEMOCAP_COUNTS.items())
            same = None not in known and sorted(IEMOCAP_COUNTS.values()) == sorted(counts.tolist())
            advice = "so --classes is in the wrong order" if same else "so this is not the usual selection"
            if None in known:
                advice = "so the order of these class names cannot be checked"
            findings.append(
                Finding("error" if same else "warning", "classes", f"IEMOCAP has {expected}; here {shown}, {advice}")
            )
    for number, fold in sorted(corpus.folds.items()):
        present = np.bincount(corpus.labels[fold.train], minlength=len(corpus.classes)) > 0
        findings += [
            Finding("error", "classes", f"the training set of fold {number} has no '{name}'")
            for name in np.array(corpus.classes)[~present & (counts > 0)]
        ]
    return findings


def _sequences(corpus: Corpus) -> list[Finding]:
    findings = []
    for modality in corpus.letters:
        sequences = corpus.sequences[modality]
        lengths = sequences.lengths
        broken = broken_utterances(sequences)
        zero = (lengths > 0) & ~_any_frame(sequences, sequences.values.any(1))
        for severity, check, rows, what in (
            ("error", "not a number", broken, "have NaN or infinite features (--leave-out broken drops them)"),
            ("warning", "all zero", zero, "are zero throughout" + (" (no face detected)" if modality == "v" else "")),
        ):
            if rows.any():
                names = listed([name for name, affected in zip(corpus.names, rows, strict=True) if affected])
                message = f"{modality}: {rows.sum():,} of {len(corpus):,} utterances {what}: {names}"
                findings.append(Finding(severity, check, message))  # type: ignore[arg-type]
    return findings


def _gaps(corpus: Corpus) -> list[Finding]:
    """Which modalities are missing for how many utterances, in all and in each set."""
    findings = []
    for letter in corpus.letters:
        rows = corpus.sequences[letter].lengths == 0
        if rows.any():
            share = f"{rows.sum():,} of {len(corpus):,} utterances ({100 * rows.mean():.1f} %)"
            sets = ", ".join(_in_sets(corpus, rows))
            names = listed([name for name, affected in zip(corpus.names, rows, strict=True) if affected], most=3)
            findings.append(Finding("note", "missing", f"{letter} is missing for {share}: {sets} ({names})"))
    empty = np.asarray(~corpus.present.any(1))
    if empty.any():
        names = listed([name for name, affected in zip(corpus.names, empty, strict=True) if affected])
        message = f"{empty.sum():,} utterances lack every modality (--leave-out empty drops them): {names}"
        findings.append(Finding("error", "missing", message))
    return findings


def _in_sets(corpus: Corpus, rows: NDArray[np.bool_]) -> list[str]:
    """How many of these utterances are in each set, from the fewest to the most of all folds."""
    counts = {name: [int(rows[fold[name]].sum()) for fold in corpus.folds.values()] for name in SETS}
    return [
        f"{name} {min(sizes):,}" + (f" to {max(sizes):,}" if max(sizes) > min(sizes) else "")
        for name, sizes in counts.items()
    ]


def _any_frame(sequences: Sequences, frames: NDArray[np.bool_] | np.bool_) -> NDArray[np.bool_]:
    """For each utterance, whether the flag of any of its frames is set."""
    running = np.concatenate([[0], np.cumsum(frames)])
    any_set: NDArray[np.bool_] = running[sequences.offsets[1:]] > running[sequences.offsets[:-1]]
    return any_set


def _overlaps(corpus: Corpus, leaks: Iterable[Leak]) -> list[Finding]:
    texts: Severity = "note" if is_iemocap(corpus.names) or repeats_texts(corpus) else "warning"
    findings = []
    for group in alike(leaks):
        severity, check, message = _described(corpus, group[0], texts)
        if more := len(group) - 1:
            message += f"; likewise in {more} other fold{'s' if more > 1 else ''}"
        findings.append(Finding(severity, check, message))
    speakers = corpus.speakers or [None] * len(corpus)
    if unknown := speakers.count(None):
        some_of = "" if unknown == len(corpus) else f" for {unknown:,} of {len(corpus):,} utterances"
        findings.append(Finding("note", "speakers", f"unknown{some_of}, so overlaps between sets cannot be detected"))
    return findings


def _described(corpus: Corpus, leak: Leak, texts: Severity) -> tuple[Severity, str, str]:
    """Severity, check and message of a leak.

    Args:
        texts: the severity of transcripts that repeat.
    """
    one, other = leak.sets
    names, plural = listed(leak.names, _NAMES), leak.count != 1

    def some(what: str) -> str:
        return f"{leak.count:,} {what}{'s' if plural else ''} of fold {leak.fold} "

    def rows(shared: str) -> str:
        return f"{some(f'{other} utterance')}{shared} as {'those' if plural else 'one'} of {one}: {names}"

    both = f"{'are' if plural else 'is'} in both {one} and {other}: {names}"
    have = "have" if plural else "has"
    of = "" if len(leak.of) == len(corpus.letters) else f" in {leak.of}"
    tokens = any(modality.letter == leak.of and modality.encoder == "textcnn" for modality in corpus.modalities)
    few_words: Severity = "note" if tokens and len(corpus.letters) > 1 else "warning"
    match leak.kind:
        case "utterance":
            return "error", "overlap", some("utterance") + both
        case "features":
            return few_words, "same features", rows(f"{have} the same features{of}")
        case "similar features":
            return few_words, "similar features", rows(f"{have} nearly the same features{of}")
        case "transcript":
            return texts, "same transcript", rows(f"{have} the same transcript")
        case "dialogue":
            severity: Severity = "warning" if "train" in leak.sets else "note"
            return severity, "same dialogue", some("dialogue") + both
        case "speaker":
            return "warning", "speakers", some("speaker") + both + ", so results depend on the speaker"


def _tested(corpus: Corpus) -> list[Finding]:
    findings = []
    for first, second in repeated_folds(corpus):
        fold = corpus.folds[second]
        findings.append(
            Finding(
                "warning",
                "repeated fold",
                f"fold {second} repeats fold {first}: its {len(fold.test):,} test utterances are tested twice, and its "
                f"{len(fold.validation):,} validation utterances possibly never; --fix-folds swaps these two sets",
            )
        )
    times = Counter(index for fold in corpus.folds.values() for index in fold.test.tolist())
    never = len(corpus) - len(times)
    often = sum(count > 1 for count in times.values())
    if never:
        findings.append(
            Finding("warning", "never tested", f"{never:,} of {len(corpus):,} utterances are in no test set")
        )
    if often:
        findings.append(Finding("warning", "tested twice", f"{often:,} utterances are in several test sets"))
    return findings
