"""The folder layout in which the authors of MMIN released their features of IEMOCAP and MSP-IMPROV.

    ROOT/A/comparE.h5 (or comparE_raw.h5), ROOT/V/denseface.h5, ROOT/L/bert_large.h5    utterance -> (time, features)
    ROOT/A/comparE_mean_std.h5                                                          fold -> mean, std (optional)
    ROOT/target/FOLD/{trn,val,tst}_{label,int2name}.npy

Labels are one-hot rows or integers, names are byte strings.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ifmmin.data.audit import IEMOCAP_COUNTS, Finding, audit, by_severity, is_iemocap, repeated_folds
from ifmmin.data.corpus import SETS, Corpus, Fold, Sequences, training_statistics
from ifmmin.data.errors import CorpusError
from ifmmin.data.layouts.arrays import read_array
from ifmmin.data.modalities import AVT, letters_of

FEATURES: dict[str, tuple[str, ...]] = {
    "a": ("A/comparE.h5", "A/comparE_raw.h5"),
    "v": ("V/denseface.h5",),
    "t": ("L/bert_large.h5",),
}
STATISTICS = "A/comparE_mean_std.h5"
FILES = {"train": "trn", "validation": "val", "test": "tst"}

SPEAKERS = (
    # IEMOCAP: the first part names the session, the last part who speaks (and not whose motion is captured).
    re.compile(r"^(Ses\d\d)[FM]_\w+_([FM])\d+$"),
    re.compile(r"^MSP-IMPROV-S\w+-([FM]\d\d)-\w+-\w+$"),
    re.compile(r"^d\d_(s\d)_\d{4}$"),
)
"""Known forms of utterance names; their groups, joined, are the speaker."""

IEMOCAP_NAME = re.compile(r"^(Ses\d\d)[FM]_(impro|script)\w*_([FM])\d+$")


def import_mmin(
    root: Path,
    name: str,
    *,
    classes: Sequence[str] | None = None,
    speaker_pattern: str | None = None,
    fix_folds: bool = False,
) -> tuple[Corpus, list[Finding]]:
    """Read a corpus from the layout, and audit it. Nothing is written.

    Args:
        classes: names in label order; by default those of IEMOCAP, or numbers.
        speaker_pattern: regular expression whose groups, joined, are an utterance's speaker.
        fix_folds: swap the validation and test sets of a fold that repeats another.

    Raises:
        CorpusError: a file is missing or does not follow the layout.
    """
    labels, folds_by_name, width = _read_targets(root)
    names = sorted(labels)
    position = {utterance: index for index, utterance in enumerate(names)}
    findings: list[Finding] = []
    sequences: dict[str, Sequences] = {}
    for modality in letters_of(AVT):
        sequences[modality], extra, file = _read_features(root, modality, names)
        if extra:
            findings.append(
                Finding("warning", "extra features", f"{file}: {extra:,} utterances are in no fold; left out")
            )

    columns: dict[str, object] = {"utterance": names, "label": np.array([labels[n] for n in names], dtype=np.int64)}
    speakers = _speakers(names, speaker_pattern)
    if speakers:
        columns["speaker"] = speakers
    columns |= _iemocap_columns(names)
    corpus = Corpus(
        name=name,
        classes=_class_names(classes, width, names, findings),
        utterances=pa.table(columns),
        sequences=sequences,
        folds={
            number: Fold(*(np.sort([position[n] for n in sets[s]]).astype(np.int64) for s in SETS))
            for number, sets in folds_by_name.items()
        },
        modalities=AVT,
        about=f"imported from the MMIN layout in {root.resolve().name}",
    )
    if fix_folds:
        corpus = _swap_repeated(corpus, findings)
    return corpus, by_severity([*audit(corpus), *findings, *_compare_statistics(root, corpus)])


def _read_targets(root: Path) -> tuple[dict[str, int], dict[int, dict[str, list[str]]], int]:
    """Labels by utterance, utterances by fold and set, and the number of classes."""
    folder = root / "target"
    if not folder.is_dir():
        raise CorpusError(f"{folder} is missing; ROOT must be the folder that contains A, V, L and target.")
    numbers = sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())
    if numbers != list(range(1, len(numbers) + 1)) or not numbers:
        missing = next(n for n in range(1, len(numbers) + 2) if n not in numbers)
        raise CorpusError(f"{folder / str(missing)} is missing; folds must be numbered from 1 without gaps.")
    labels: dict[str, int] = {}
    folds: dict[int, dict[str, list[str]]] = {}
    widths: dict[Path, int] = {}
    for number in numbers:
        folds[number] = {}
        for set_name, prefix in FILES.items():
            names = _read_names(folder / str(number) / f"{prefix}_int2name.npy")
            file = folder / str(number) / f"{prefix}_label.npy"
            values, widths[file] = _read_labels(file)
            if len(values) != len(names):
                raise CorpusError(f"{file} has {len(values)} labels for {len(names)} utterances; export both again.")
            for utterance, label in zip(names, values.tolist(), strict=True):
                if labels.setdefault(utterance, label) != label:
                    raise CorpusError(
                        f"{file}: utterance {utterance} had another label in an earlier file; export both again."
                    )
            folds[number][set_name] = names
    width = max(widths.values())
    return labels, folds, width


def _load(file: Path) -> NDArray[np.generic]:
    try:
        return read_array(file)
    except FileNotFoundError:
        raise CorpusError(f"{file} is missing; every fold needs labels and names of its three sets.") from None


def _read_names(file: Path) -> list[str]:
    array = _load(file)
    if array.dtype.kind not in "SU" or array.size != len(array) or array.size == 0:
        raise CorpusError(
            f"{file} must hold utterance names, (N, 1) strings with N > 0, not {array.shape} {array.dtype}."
        )
    try:
        names = [name.decode() if isinstance(name, bytes) else str(name) for name in array.reshape(-1).tolist()]
    except UnicodeDecodeError:
        raise CorpusError(f"{file} has an utterance name that is not UTF-8 text; export it again.") from None
    if len(set(names)) < len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise CorpusError(f"{file} names utterance {twice} twice; every name must be unique.")
    return names


def _read_labels(file: Path) -> tuple[NDArray[np.int64], int]:
    """Labels (N,) and the number of classes in the file."""
    array = _load(file)
    if array.dtype.kind not in "iufb" or array.ndim not in (1, 2) or array.size == 0:
        raise CorpusError(
            f"{file} must hold labels, one-hot (N, classes) or integers (N,), not {array.shape} {array.dtype}."
        )
    numbers = array.astype(np.float64)
    if array.ndim == 2 and array.shape[1] > 1:
        if not (np.isin(numbers, (0, 1)).all() and (numbers.sum(1) == 1).all()):
            raise CorpusError(f"{file} is not one-hot: every row must have a single 1, and zeros elsewhere.")
        return numbers.argmax(1).astype(np.int64), array.shape[1]
    flat = numbers.reshape(-1)
    if not ((flat >= 0) & (flat == np.round(flat)) & (flat < 1000)).all():
        bad = flat[~((flat >= 0) & (flat == np.round(flat)) & (flat < 1000))][0]
        raise CorpusError(f"{file} has the label {bad:g}; labels must be whole numbers from 0 to 999.")
    return flat.astype(np.int64), int(flat.max()) + 1


def _read_features(root: Path, modality: str, names: list[str]) -> tuple[Sequences, int, Path]:
    """The features of these utterances, the number of others in the file, and the file."""
    candidates = [root / path for path in FEATURES[modality]]
    file = next((path for path in candidates if path.is_file()), candidates[0])
    if not file.is_file():
        raise CorpusError(f"{file} is missing; it holds the features of modality {modality}.")
    try:
        with h5py.File(file) as features:
            missing = [name for name in names if name not in features]
            if missing:
                what = f"{len(missing):,} of {len(names):,} utterances, {missing[0]} first"
                raise CorpusError(f"{file} lacks {what}; export them too.")
            parts = [_sequence(file, name, features[name]) for name in names]
            extra = len(features) - len(names)
    except (OSError, RuntimeError) as error:
        raise CorpusError(
            f"{file} is not a readable HDF5 file ({str(error).splitlines()[0]}); export it again."
        ) from None
    widths = [part.shape[1] for part in parts]
    if len(set(widths)) > 1:
        odd = next(i for i, width in enumerate(widths) if width != widths[0])
        raise CorpusError(
            f"{file}: utterance {names[odd]} has {widths[odd]} features and {names[0]} {widths[0]}; they must agree."
        )
    if widths[0] == 0:
        raise CorpusError(f"{file}: the sequences have no features; export modality {modality} again.")
    return Sequences.of(parts), extra, file


def _sequence(file: Path, name: str, entry: h5py.Dataset | h5py.Group) -> NDArray[np.float32]:
    if not isinstance(entry, h5py.Dataset) or entry.ndim != 2 or entry.dtype.kind not in "iuf":
        what = f"{entry.shape} {entry.dtype}" if isinstance(entry, h5py.Dataset) else "a group"
        raise CorpusError(f"{file}: utterance {name} must hold numbers (time, features), not {what}.")
    with np.errstate(over="ignore"):
        sequence: NDArray[np.float32] = entry[()].astype(np.float32)
    return sequence


def _class_names(
    classes: Sequence[str] | None, width: int, names: list[str], findings: list[Finding]
) -> tuple[str, ...]:
    if classes:
        if len(set(classes)) < len(classes):
            raise CorpusError(f"--classes {','.join(classes)} names a class twice; every name must be unique.")
        if len(classes) < width:
            raise CorpusError(
                f"--classes has {len(classes)} names, but the labels have {width} classes; name them all."
            )
        return tuple(classes)
    if is_iemocap(names) and width == len(IEMOCAP_COUNTS):
        return tuple(IEMOCAP_COUNTS)
    findings.append(Finding("note", "classes", f"are named 0 to {width - 1}; --classes names them, in label order"))
    return tuple(str(number) for number in range(width))


def _speakers(names: list[str], pattern: str | None) -> list[str] | None:
    try:
        patterns = (re.compile(pattern),) if pattern else SPEAKERS
    except re.error as error:
        raise CorpusError(
            f"--speaker-pattern {pattern} is not a valid regular expression ({error}); correct it."
        ) from None
    for expression in patterns:
        matches = [expression.search(name) for name in names]
        if all(match and match.groups() for match in matches):
            return ["".join(part or "" for part in match.groups()) for match in matches if match]
    if pattern:
        odd = next(n for n in names if not (m := patterns[0].search(n)) or not m.groups())
        raise CorpusError(
            f"--speaker-pattern {pattern} matches no group in the utterance name {odd}; it must match every name."
        )
    return None


def _iemocap_columns(names: list[str]) -> dict[str, object]:
    """Session, gender and scenario from names of IEMOCAP: in Ses01F_impro02_M013 a man speaks, improvised."""
    matches = [IEMOCAP_NAME.match(name) for name in names]
    if not all(matches):
        return {}
    parts = [match.groups() for match in matches if match]
    return {
        "session": [session for session, _, _ in parts],
        "gender": ["female" if sex == "F" else "male" for _, _, sex in parts],
        "scenario": ["improvised" if kind == "impro" else "scripted" for _, kind, _ in parts],
    }


def _swap_repeated(corpus: Corpus, findings: list[Finding]) -> Corpus:
    repeated = repeated_folds(corpus)
    folds = dict(corpus.folds)
    for first, second in repeated:
        folds[second] = Fold(folds[second].train, folds[second].test, folds[second].validation)
        findings.append(
            Finding(
                "note",
                "repeated fold",
                f"fold {second} repeated fold {first}; its validation and test sets were swapped",
            )
        )
    if not repeated:
        findings.append(Finding("note", "repeated fold", "no fold repeats another, so --fix-folds changed nothing"))
    return replace(corpus, folds=folds)


def _compare_statistics(root: Path, corpus: Corpus) -> list[Finding]:
    """Compare the statistics in the layout with those of the training sets."""
    file = root / STATISTICS
    if not file.is_file():
        return [Finding("note", "statistics", f"{STATISTICS} is missing, so statistics were not compared")]
    differing = []
    try:
        with h5py.File(file) as statistics:
            for number in sorted(corpus.folds):
                ours = training_statistics(corpus, number, "a")
                theirs = [np.asarray(statistics[f"{number}/{part}"][()], dtype=np.float64) for part in ("mean", "std")]
                scale = np.maximum(theirs[1], 1e-6)
                if any(
                    o.shape != t.shape or (np.abs(o - t) > 1e-3 * scale).any()
                    for o, t in zip(ours, theirs, strict=True)
                ):
                    differing.append(number)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise CorpusError(
            f"{file} is damaged or lacks a fold ({str(error).splitlines()[0]}); export it again or delete it."
        ) from None
    if not differing:
        return []
    numbers = ", ".join(map(str, differing))
    return [
        Finding(
            "warning", "statistics", f"{STATISTICS} differs from the training sets of fold {numbers}; it is not used"
        )
    ]
