"""The folder layout in which the authors of MMIN released their features of IEMOCAP and MSP-IMPROV.

    ROOT/A/comparE.h5 (or comparE_raw.h5), ROOT/V/denseface.h5, ROOT/L/bert_large.h5    utterance -> (time, features)
    ROOT/A/comparE_mean_std.h5                                                          fold -> mean, std (optional)
    ROOT/target/FOLD/{trn,val,tst}_{label,int2name}.npy

Labels are one-hot rows or integers, names are strings of bytes or text; a name with "/" is a path into groups. A
corpus may lack one of the folders A, V and L, and an utterance may be missing in some of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ifmmin.data.audit import IEMOCAP_COUNTS, Finding, by_severity, is_iemocap, repeated_folds
from ifmmin.data.corpus import SETS, Corpus, Fold, Sequences, training_statistics
from ifmmin.data.errors import CorpusError, listed
from ifmmin.data.layouts.arrays import check_widths, concatenate, read_array
from ifmmin.data.layouts.hdf5 import Entry, contents, open_hdf5, read
from ifmmin.data.layouts.naming import check_names, encode_labels, find_names
from ifmmin.data.modalities import AVT
from ifmmin.data.selection import Selection, select

FEATURES: dict[str, tuple[str, ...]] = {
    "a": ("A/comparE.h5", "A/comparE_raw.h5"),
    "v": ("V/denseface.h5",),
    "t": ("L/bert_large.h5",),
}
STATISTICS = "A/comparE_mean_std.h5"
FILES = {"train": "trn", "validation": "val", "test": "tst"}


def import_mmin(root: Path, name: str, *, fix_folds: bool = False, **options: Any) -> tuple[Corpus, list[Finding]]:
    """Read a corpus from the layout, and audit it. Nothing is written.

    A folder of features that is missing is a modality that the corpus does not have.

    Args:
        fix_folds: swap the validation and test sets of a fold that repeats another.
        **options: those of `data.selection.Selection`; without `classes` they are those of IEMOCAP, or numbers.

    Raises:
        CorpusError: a file is missing or does not follow the layout.
    """
    selection = Selection.of(options)
    targets = _read_targets(root, validated=selection.validation_from_train is None)
    names = sorted(targets.labels)
    check_names(names, str(root / "target"))
    position = {utterance: index for index, utterance in enumerate(names)}
    class_names, labels, findings = _encode(root, targets, names, selection)
    sequences: dict[str, Sequences] = {}
    files = _feature_files(root)
    for letter, paths in FEATURES.items():
        if letter not in files:
            message = f"{paths[0]} is missing, so the corpus does not have modality {letter}"
            findings.append(Finding("warning", "modalities", message))
    for letter, file in files.items():
        sequences[letter], extra = _read_features(file, names)
        if extra:
            findings.append(
                Finding("warning", "extra features", f"{file}: {extra:,} utterances are in no fold; left out")
            )
    corpus = Corpus(
        name=name,
        classes=class_names,
        utterances=pa.table({"utterance": names, "label": labels}),
        sequences=sequences,
        folds={
            number: Fold(*(np.sort([position[n] for n in sets[s]]).astype(np.int64) for s in SETS))
            for number, sets in targets.folds.items()
        },
        modalities=tuple(modality for modality in AVT if modality.letter in sequences),
        about=f"imported from the MMIN layout in {root.resolve().name}",
    )
    if fix_folds:
        corpus = _swap_repeated(corpus, findings)
    corpus, findings = select(corpus, selection, findings)
    if not selection.makes_folds and "a" in corpus.letters:
        findings = by_severity([*findings, *_compare_statistics(root, corpus)])
    return corpus, findings


@dataclass(frozen=True)
class _Targets:
    """What the folder `target` holds.

    Attributes:
        labels: by utterance.
        folds: utterances by fold and set.
        width: number of classes of one-hot labels; 0 where the labels are integers.
    """

    labels: dict[str, int]
    folds: dict[int, dict[str, list[str]]]
    width: int


def _read_targets(root: Path, *, validated: bool) -> _Targets:
    labels: dict[str, int] = {}
    folds: dict[int, dict[str, list[str]]] = {}
    width = 0
    for number in _fold_numbers(root / "target"):
        folds[number] = {}
        for set_name, prefix in FILES.items():
            if set_name == "validation" and not validated and not _has_set(root, number, prefix):
                folds[number][set_name] = []
                continue
            names = _read_names(root / "target" / str(number) / f"{prefix}_int2name.npy")
            file = root / "target" / str(number) / f"{prefix}_label.npy"
            values, columns = _read_labels(file)
            width = max(width, columns)
            if len(values) != len(names):
                raise CorpusError(f"{file} has {len(values)} labels for {len(names)} utterances; export both again.")
            for utterance, label in zip(names, values.tolist(), strict=True):
                if labels.setdefault(utterance, label) != label:
                    raise CorpusError(
                        f"{file}: utterance {utterance} had another label in an earlier file; export both again."
                    )
            folds[number][set_name] = names
    return _Targets(labels, folds, width)


def _has_set(root: Path, number: int, prefix: str) -> bool:
    return any((root / "target" / str(number)).glob(f"{prefix}_*.npy"))


def _fold_numbers(folder: Path) -> list[int]:
    if not folder.is_dir():
        raise CorpusError(f"{folder} is missing; ROOT must be the folder that contains A, V, L and target.")
    numbers = sorted(int(path.name) for path in folder.iterdir() if path.name.isascii() and path.name.isdecimal())
    if not numbers or numbers != list(range(1, len(numbers) + 1)):
        missing = next(n for n in range(1, len(numbers) + 2) if n not in numbers)
        present = f", and there are {', '.join(map(str, numbers))}" if numbers else ""
        raise CorpusError(f"{folder / str(missing)} is missing; folds must be numbered from 1 without gaps{present}.")
    return numbers


def _load(file: Path) -> NDArray[np.generic]:
    try:
        return read_array(file)
    except FileNotFoundError:
        raise CorpusError(f"{file} is missing; every fold needs labels and names of its three sets.") from None


def _read_names(file: Path) -> list[str]:
    array = _load(file)
    if array.dtype.kind not in "SU" or array.ndim not in (1, 2) or array.size != len(array) or array.size == 0:
        raise CorpusError(
            f"{file} must hold utterance names, (N, 1) strings with N > 0, not {array.shape} {array.dtype}."
        )
    try:
        names = [name.decode() if isinstance(name, bytes) else str(name) for name in array.reshape(-1).tolist()]
    except UnicodeDecodeError:
        raise CorpusError(
            f"{file} has an utterance name that is not UTF-8 text; save the names as text, as in "
            'np.save(file, np.char.decode(names, "latin1")).'
        ) from None
    check_names(names, str(file))
    return names


def _read_labels(file: Path) -> tuple[NDArray[np.int64], int]:
    """Labels (N,), and the number of classes if they are one-hot, otherwise 0."""
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
    usable = (flat >= 0) & (flat == np.round(flat)) & (flat < 1000)
    if not usable.all():
        raise CorpusError(f"{file} has the label {flat[~usable][0]:g}; labels must be whole numbers from 0 to 999.")
    return flat.astype(np.int64), 0


def _encode(
    root: Path, targets: _Targets, names: list[str], selection: Selection
) -> tuple[tuple[str, ...], NDArray[np.int64], list[Finding]]:
    """Names of the classes, labels that are positions among them, and what should be known about them."""
    values = [targets.labels[name] for name in names]
    classes = selection.classes_for(())
    width = targets.width or len(set(values))
    if classes and len(classes) < width:
        raise CorpusError(f"--classes has {len(classes)} names, but the labels have {width} classes; name them all.")
    columns = (classes or [str(number) for number in range(width)]) if targets.width else None
    texts: Sequence[object] = values if columns is None else [columns[value] for value in values]
    encoded, labels, findings = encode_labels(texts, classes or columns, str(root / "target"), names)
    if classes:
        return encoded, labels, findings
    if is_iemocap(names) and width == len(IEMOCAP_COUNTS):
        return tuple(IEMOCAP_COUNTS), labels, findings
    named = f"are named {listed(encoded)}; --classes names them, in label order"
    return encoded, labels, [*findings, Finding("note", "classes", named)]


def _feature_files(root: Path) -> dict[str, Path]:
    """The file of each modality that there is."""
    files = {
        letter: file for letter, paths in FEATURES.items() for path in reversed(paths) if (file := root / path).exists()
    }
    if not files:
        first = root / FEATURES["a"][0]
        raise CorpusError(f"{first} is missing, and so are the files of the other modalities; the layout needs one.")
    return files


def _read_features(file: Path, names: list[str]) -> tuple[Sequences, int]:
    """The features of these utterances, some of which may lack the modality, and the number of others in the file."""
    with open_hdf5(file) as features:
        available = contents(features)
        _refuse_grouped(file, names, available)
        paths = find_names(names, available, str(file))
        if not paths:
            raise CorpusError(f"{file} has no features of {names[0]} or another utterance of target; leave it out.")
        present = [name for name in names if name in paths]
        shapes = {name: _shape(file, name, available[paths[name]]) for name in present}
        check_widths(str(file), present, [width for _, width in shapes.values()])
        others = available.keys() - set(paths.values())
        extra = sum(available[path].dtype is not None for path in others)
        parts = (read(features, paths[name]) for name in present)
        sequences = concatenate(parts, [length for length, _ in shapes.values()], shapes[present[0]][1])
        lengths = [shapes[name][0] if name in shapes else 0 for name in names]
        return Sequences(sequences.values, np.cumsum([0, *lengths], dtype=np.int64)), extra


def _refuse_grouped(file: Path, names: list[str], available: Mapping[str, object]) -> None:
    """Say so if the utterances lie in groups of which their names know nothing."""
    lower = {path.rpartition("/")[2]: path for path in available if "/" in path}
    if all(name in lower and name not in available for name in names):
        raise CorpusError(
            f"{file} has utterance {names[0]} as {lower[names[0]]}, in a group; move the utterances out of their "
            "groups, or name them in target as they are named here."
        )


def _shape(file: Path, name: str, entry: Entry) -> tuple[int, int]:
    if entry.dtype is None or len(entry.shape or ()) != 2 or entry.dtype.kind not in "iuf":
        what = "a group" if entry.dtype is None else f"{entry.shape} {entry.dtype}"
        raise CorpusError(f"{file}: utterance {name} must hold numbers (time, features), not {what}.")
    length, width = entry.shape or (0, 0)
    return length, width


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
    with open_hdf5(file) as statistics:
        for number in sorted(corpus.folds):
            ours = training_statistics(corpus, number, "a")
            theirs = [_read_statistic(file, statistics, f"{number}/{part}") for part in ("mean", "std")]
            scale = np.maximum(theirs[1], 1e-6)
            if any(
                o.shape != t.shape or (np.abs(o - t) > 1e-3 * scale).any() for o, t in zip(ours, theirs, strict=True)
            ):
                differing.append(number)
    if not differing:
        return []
    numbers = ", ".join(map(str, differing))
    return [
        Finding(
            "warning", "statistics", f"{STATISTICS} differs from the training sets of fold {numbers}; it is not used"
        )
    ]


def _read_statistic(file: Path, statistics: h5py.File, path: str) -> NDArray[np.float64]:
    entry = statistics.get(path)
    if not isinstance(entry, h5py.Dataset) or entry.shape is None or entry.dtype.kind not in "iuf":
        raise CorpusError(f"{file} lacks the numbers {path}; export it again or delete it.")
    values: NDArray[np.float64] = entry[()].astype(np.float64)
    return values
