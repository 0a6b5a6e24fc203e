"""A layout of tables and arrays, for the user's corpora and for utterances to predict.

utterances.csv (.tsv, .parquet) columns utterance, label (names of classes or numbers), and any others, such as speaker,
                                session, gender; a column set (train, validation or dev, test) makes one fold
folds.csv (.tsv, .parquet)      columns fold (whole numbers), set, utterance; instead of the column set
a/UTTERANCE.npy, v/…, t/…       acoustic, visual, textual features, (time, features)
a.parquet, v.parquet, t.parquet columns utterance and frames (lists of lists of numbers); instead of such a folder

Cells are text: an utterance or a label may be called 001, 10:30 or NA, and an empty cell is a missing value. CSV is
UTF-8, or UTF-16 with a byte-order mark; commas, semicolons, tabs or vertical bars separate cells.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ifmmin.data.audit import Finding, audit, by_severity
from ifmmin.data.corpus import SETS, Corpus, Features, Fold, Sequences, SetName
from ifmmin.data.errors import CorpusError, listed
from ifmmin.data.layouts import leave_out as leaving
from ifmmin.data.layouts.features import concatenate, names_in, read_modality
from ifmmin.data.layouts.naming import (
    check_names,
    encode_labels,
    look_alikes,
    match_names,
    normalise,
    whole_number,
)
from ifmmin.data.layouts.spreadsheet import check_columns, find_table, read_table
from ifmmin.data.modalities import AVT, letters_of
from ifmmin.data.splits import split

SET_NAMES: dict[SetName, tuple[str, ...]] = {
    "train": ("train", "training", "trn", "tr"),
    "validation": ("validation", "valid", "val", "dev", "devel", "development"),
    "test": ("test", "testing", "tst"),
}
"""What sets are called, in any case."""

EVALUATION = ("eval", "evaluation")
"""Names of the test set where there is a validation set, and of the validation set where there is a test set."""


def import_table(
    root: Path,
    name: str,
    *,
    classes: Sequence[str] | None = None,
    split_by: str | None = None,
    seed: int = 0,
    leave_out: Iterable[str] = (),
) -> tuple[Corpus, list[Finding]]:
    """Read a corpus from the layout, and audit it. Nothing is written.

    Args:
        classes: names in label order; by default the labels in alphabetical or numerical order.
        split_by, seed: make folds by `data.splits.split` instead of those in the layout.
        leave_out: "broken" leaves out utterances whose features are not finite numbers.

    Raises:
        CorpusError: a file is missing, damaged, or does not follow the layout.
    """
    words = leaving.check_leave_out(leave_out)
    file, table = _read_utterances(root)
    names = table["utterance"].to_pylist()
    check_columns(file, table.column_names, ["label"])
    classes, labels, findings = encode_labels(table["label"].to_pylist(), classes, str(file), names)
    others = [column for column in table.column_names if column not in ("utterance", "label", "set")]
    columns = {column: table[column] for column in others if table[column].null_count < len(names)}
    utterances = pa.table({"utterance": names, "label": labels, **columns})
    if split_by:
        folds = split(utterances, split_by, seed)
    else:
        folds, notes = _folds(root, table)
        findings += notes
    letters = letters_of(AVT)
    sequences = {modality: _sequences(root, modality, names) for modality in letters}
    findings += [finding for modality in letters for finding in _unlisted(root, modality, names)]
    about = f"imported from the tables in {root.resolve().name}" + (f", split by {split_by}" if split_by else "")
    corpus = Corpus(name, classes, utterances, sequences, folds, AVT, about)
    corpus, dropped = leaving.leave_out(corpus, words)
    return corpus, by_severity([*audit(corpus), *findings, *dropped, *_speakers(corpus)])


def read_utterances(root: Path) -> pa.Table:
    """The table of utterances, whose names are distinct strings.

    Raises:
        CorpusError: the table is missing or damaged, or lacks names.
    """
    return _read_utterances(root)[1]


def read_features(root: Path, names: Sequence[str], letters: Sequence[str]) -> Features:
    """Each modality's features of these utterances, (time, features); None where an utterance lacks the modality.

    Raises:
        CorpusError: a file is damaged, or the utterances of a modality differ in their number of features.
    """
    return {modality: read_modality(root, modality, names) for modality in letters}


def _read_utterances(root: Path) -> tuple[Path, pa.Table]:
    file = find_table(root, "utterances")
    if file is None:
        raise CorpusError(f"{root / 'utterances.csv'} is missing; it must list the utterances.")
    table = read_table(file, ["utterance"])
    if not table.num_rows:
        raise CorpusError(f"{file} has no rows; it must list the utterances.")
    names = _names(file, table["utterance"])
    columns = {column: _normalised(column, table[column]) for column in table.column_names}
    return file, pa.table({**columns, "utterance": names})


def _names(file: Path, column: pa.ChunkedArray) -> list[str]:
    names = _texts(column)
    check_names(names, str(file))
    return [name.strip() for name in names]


def _normalised(column: str, values: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    """Text such as speakers without spaces, its accents composed; labels as they are, for `encode_labels` to judge."""
    if column == "label" or not pa.types.is_string(values.type):
        return values
    return pa.array([None if text is None else normalise(text) for text in values.to_pylist()], pa.string())


def _sequences(root: Path, modality: str, names: Sequence[str]) -> Sequences:
    """The features of all utterances in one modality, none of which may lack it."""
    parts = read_modality(root, modality, names)
    lacking = [name for name, part in zip(names, parts, strict=True) if part is None]
    if lacking:
        what = f"{len(lacking):,} of {len(parts):,} utterances, {lacking[0]} first"
        raise CorpusError(f"{root} lacks modality {modality} of {what}; a corpus needs all three.")
    return concatenate([part for part in parts if part is not None])


def _unlisted(root: Path, modality: str, names: Sequence[str]) -> list[Finding]:
    """Utterances that have features and no row, perhaps because the table is damaged."""
    listed_names = set(map(normalise, names))
    others = sorted(name for name in names_in(root, modality) if normalise(name) not in listed_names)
    if not others:
        return []
    what = f"{len(others):,} {'utterance is' if len(others) == 1 else 'utterances are'} not in the table of utterances"
    return [Finding("warning", "extra features", f"{modality}: {what} ({listed(others, most=3)}); left out")]


def _speakers(corpus: Corpus) -> list[Finding]:
    """Speakers who may be one person."""
    return [
        Finding("warning", "speakers", f"{' and '.join(map(repr, group))} look alike, but count as different speakers")
        for group in look_alikes({speaker for speaker in corpus.speakers or [] if speaker is not None})
    ]


def _folds(root: Path, table: pa.Table) -> tuple[dict[int, Fold], list[Finding]]:
    """The folds of the layout, by the numbers that they have in it."""
    names = table["utterance"].to_pylist()
    file = find_table(root, "folds")
    if file is None:
        if "set" not in table.column_names:
            raise CorpusError(
                f"{root} has neither a table of folds nor a column set; add one of them, or use --split-by."
            )
        where, numbers, words, tested = str(root), ["1"] * len(names), _texts(table["set"]), names
    else:
        where, folds = str(file), read_table(file, ["fold", "set", "utterance"])
        numbers, words, tested = (_texts(folds[column]) for column in ("fold", "set", "utterance"))
    if not tested:
        raise CorpusError(f"{where} has no rows; add folds, or use --split-by.")
    set_of, findings = _sets(where, words)
    matches = match_names(list(dict.fromkeys(tested)), names, f"{where}: the table of utterances")
    places = {name: index for index, name in enumerate(names)}
    members: dict[int, dict[SetName, list[int]]] = defaultdict(lambda: {name: [] for name in SETS})
    for number, word, name in zip(numbers, words, tested, strict=True):
        members[_fold_number(where, number)][set_of[word]].append(places[matches[name]])
    return {
        number: Fold(**{name: _members(f"{where}: fold {number}", name, parts[name], names) for name in SETS})
        for number, parts in sorted(members.items())
    }, findings


def _members(where: str, set_name: SetName, indices: list[int], names: Sequence[str]) -> NDArray[np.int64]:
    if not indices:
        raise CorpusError(f"{where} has no utterances in its {set_name} set; add some.")
    if twice := [index for index, count in Counter(indices).items() if count > 1]:
        what = listed([names[index] for index in twice], most=3)
        raise CorpusError(f"{where} has utterance {what} more than once in its {set_name} set; list each once.")
    return np.sort(np.array(indices, dtype=np.int64))


def _fold_number(where: str, text: str) -> int:
    number = whole_number(text)
    if number is None or number < 0:
        raise CorpusError(f"{where} has the fold '{text}'; folds must have whole numbers, such as 1.")
    return number


def _sets(where: str, words: Sequence[str]) -> tuple[dict[str, SetName], list[Finding]]:
    """The set that each word means, and a note if any is called otherwise here."""
    known: dict[str, SetName] = {word: name for name, others in SET_NAMES.items() for word in others}
    used = dict.fromkeys(words)
    set_of = {word: known[key] for word in used if (key := word.strip().casefold()) in known}
    left = [name for name in SETS if name not in set_of.values()]
    if len(left) == 1 and left != ["train"]:
        set_of |= {word: left[0] for word in used if word.strip().casefold() in EVALUATION}
    if unknown := [word for word in used if word not in set_of]:
        what = f"'{unknown[0]}'" if unknown[0].strip() else "an empty cell"
        count = words.count(unknown[0])
        raise CorpusError(
            f"{where} has {what} as the set of {count:,} {'utterance' if count == 1 else 'utterances'}; the sets are "
            f"{', '.join(SETS)}."
        )
    renamed = [f"'{word}' is {name}" for word, name in set_of.items() if word != name]
    return set_of, [Finding("note", "sets", ", ".join(renamed))] if renamed else []


def _texts(column: pa.ChunkedArray) -> list[str]:
    return ["" if value is None else str(value) for value in column.to_pylist()]
