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
from ifmmin.data.splits import group_numbers

IEMOCAP_COUNTS = {"angry": 1103, "happy": 1636, "neutral": 1708, "sad": 1084}
"""Class counts of the four-class protocol with its 5,531 utterances; excited counts as happy."""

Severity = Literal["error", "warning", "note"]


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
    return by_severity([*_classes(corpus), *_sequences(corpus), *_overlaps(corpus), *_tested(corpus)])


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
            ("note", "missing", lengths == 0, "lack it"),
            ("warning", "all zero", zero, "are zero throughout" + (" (no face detected)" if modality == "v" else "")),
        ):
            if rows.any():
                names = listed([name for name, affected in zip(corpus.names, rows, strict=True) if affected])
                message = f"{modality}: {rows.sum():,} of {len(corpus):,} utterances {what}: {names}"
                findings.append(Finding(severity, check, message))  # type: ignore[arg-type]
    return findings


def _any_frame(sequences: Sequences, frames: NDArray[np.bool_] | np.bool_) -> NDArray[np.bool_]:
    """For each utterance, whether the flag of any of its frames is set."""
    running = np.concatenate([[0], np.cumsum(frames)])
    any_set: NDArray[np.bool_] = running[sequences.offsets[1:]] > running[sequences.offsets[:-1]]
    return any_set


def _overlaps(corpus: Corpus) -> list[Finding]:
    findings = []
    speakers = corpus.speakers or [None] * len(corpus)
    groups = group_numbers(speakers)
    for number, fold in sorted(corpus.folds.items()):
        for one, other in combinations(SETS, 2):
            where = f"of fold {number} are in both {one} and {other}"
            if shared := np.intersect1d(fold[one], fold[other]).size:
                findings.append(Finding("error", "overlap", f"{shared:,} utterances {where}"))
            elif (common := np.intersect1d(groups[fold[one]], groups[fold[other]])).size:
                first = speakers[int((groups == common[0]).argmax())]
                message = f"{common.size} speakers {where} ({first} first), so results depend on the speaker"
                findings.append(Finding("warning", "speakers", message))
    if unknown := speakers.count(None):
        some_of = "" if unknown == len(corpus) else f" for {unknown:,} of {len(corpus):,} utterances"
        findings.append(Finding("note", "speakers", f"unknown{some_of}, so overlaps between sets cannot be detected"))
    return findings


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
