"""A layout of tables and arrays, for the user's corpora and for utterances to predict.

utterances.csv (or .parquet)    columns utterance, label (names of classes or whole numbers), and any others, such as
                                speaker, session, gender; a column set (train, validation, test) makes one fold
folds.csv (or .parquet)         columns fold (from 1), set, utterance; instead of the column set
a/UTTERANCE.npy, v/…, t/…       acoustic, visual, textual features, (time, features)
a.parquet, v.parquet, t.parquet columns utterance and frames (lists of lists of numbers); instead of such a folder
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from ifmmin.data.audit import Finding, audit
from ifmmin.data.corpus import SETS, Corpus, Features, Fold, Sequences
from ifmmin.data.errors import CorpusError
from ifmmin.data.layouts.arrays import read_array
from ifmmin.data.modalities import AVT, letters_of
from ifmmin.data.splits import split


def import_table(root: Path, name: str, *, split_by: str | None = None, seed: int = 0) -> tuple[Corpus, list[Finding]]:
    """Read a corpus from the layout, and audit it. Nothing is written.

    Args:
        split_by, seed: make folds by `data.splits.split` instead of those in the layout.

    Raises:
        CorpusError: a file is missing, damaged, or does not follow the layout.
    """
    table = read_utterances(root)
    names = table["utterance"].to_pylist()
    if "label" not in table.column_names:
        raise CorpusError(f"{root}: the table of utterances has no column label; add it.")
    classes, labels = _classes(root, table["label"].to_pylist())
    columns = {"utterance": names, "label": labels}
    others = [column for column in table.column_names if column not in ("utterance", "label", "set")]
    utterances = pa.table({**columns, **{column: table[column] for column in others}})
    features = read_features(root, names, letters_of(AVT))
    sequences: dict[str, Sequences] = {}
    for modality, parts in features.items():
        present = [part for part in parts if part is not None]
        if len(present) < len(parts):
            lacking = names[next(i for i, part in enumerate(parts) if part is None)]
            what = f"{len(parts) - len(present):,} of {len(parts):,} utterances, {lacking} first"
            raise CorpusError(f"{root} lacks modality {modality} of {what}; a corpus needs all three.")
        sequences[modality] = Sequences.of(present)
    folds = split(utterances, split_by, seed) if split_by else _folds(root, table)
    about = f"imported from the tables in {root.resolve().name}" + (f", split by {split_by}" if split_by else "")
    corpus = Corpus(name, classes, utterances, sequences, folds, AVT, about)
    return corpus, audit(corpus)


def read_utterances(root: Path) -> pa.Table:
    """The table of utterances, whose names are distinct strings.

    Raises:
        CorpusError: the table is missing or damaged, or lacks names.
    """
    table = _read_table(root, "utterances")
    if table is None:
        raise CorpusError(f"{root / 'utterances.csv'} is missing; it must list the utterances.")
    if "utterance" not in table.column_names or not table.num_rows:
        raise CorpusError(f"{root}: the table of utterances must have a column utterance and at least one row.")
    names = [str(name) for name in table["utterance"].to_pylist()]
    if len(set(names)) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise CorpusError(
            f"{root}: utterance {twice} appears twice in the table of utterances; every name must be unique."
        )
    return table.set_column(table.column_names.index("utterance"), "utterance", pa.array(names))


def read_features(root: Path, names: Sequence[str], letters: Sequence[str]) -> Features:
    """The features of these utterances in these modalities, (time, features); None where an utterance lacks one.

    Raises:
        CorpusError: a file is damaged, or the utterances of a modality differ in their number of features.
    """
    features: Features = {}
    for modality in letters:
        table = _read_table(root, modality, parquet_only=True)
        if table is not None:
            parts = _from_table(root / f"{modality}.parquet", table, names)
        else:
            parts = [_from_file(root / modality / f"{name}.npy") for name in names]
        widths = {part.shape[1] for part in parts if part is not None}
        if len(widths) > 1:
            raise CorpusError(
                f"{root}: some utterances have {min(widths)} features of modality {modality} and others {max(widths)}; "
                "export them again."
            )
        features[modality] = parts
    return features


def _read_table(root: Path, name: str, *, parquet_only: bool = False) -> pa.Table | None:
    readers = {"parquet": pa.parquet.read_table} | ({} if parquet_only else {"csv": pa.csv.read_csv})
    for kind, read in readers.items():
        file = root / f"{name}.{kind}"
        if file.is_file():
            try:
                return read(file)
            except (OSError, pa.ArrowException) as error:
                raise CorpusError(f"{file} cannot be read ({str(error).splitlines()[0]}); export it again.") from None
    return None


def _from_table(file: Path, table: pa.Table, names: Sequence[str]) -> list[NDArray[np.float32] | None]:
    if not {"utterance", "frames"} <= set(table.column_names):
        raise CorpusError(f"{file} must have the columns utterance and frames.")
    frames = dict(zip(map(str, table["utterance"].to_pylist()), table["frames"].to_pylist(), strict=True))
    try:
        return [None if frames.get(name) is None else _array(file, name, np.array(frames[name])) for name in names]
    except (ValueError, TypeError):
        raise CorpusError(f"{file}: the frames of an utterance must be lists of equally many numbers.") from None


def _from_file(file: Path) -> NDArray[np.float32] | None:
    try:
        return _array(file, file.stem, read_array(file))
    except FileNotFoundError:
        return None


def _array(file: Path, name: str, values: NDArray[np.generic]) -> NDArray[np.float32]:
    if values.ndim != 2 or values.dtype.kind not in "iuf" or 0 in values.shape:
        raise CorpusError(f"{file}: utterance {name} must hold numbers (time, features), not {values.shape}.")
    return values.astype(np.float32)


def _classes(root: Path, column: list[object]) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Names of the classes, and labels: whole numbers unchanged, or the positions of names in alphabetical order."""
    if any(value in (None, "") for value in column):
        raise CorpusError(f"{root}: an utterance has no label; add it, or leave the utterance out.")
    if all(isinstance(value, int) for value in column):
        labels = np.array(column, dtype=np.int64)
        if labels.min() < 0 or labels.max() >= 1000:
            raise CorpusError(f"{root}: labels must be whole numbers from 0 to 999, or names.")
        return tuple(map(str, range(int(labels.max()) + 1))), labels
    classes = sorted({str(value) for value in column})
    return tuple(classes), np.array([classes.index(str(value)) for value in column], dtype=np.int64)


def _folds(root: Path, table: pa.Table) -> dict[int, Fold]:
    names = table["utterance"].to_pylist()
    folds = _read_table(root, "folds")
    if folds is None:
        if "set" not in table.column_names:
            raise CorpusError(
                f"{root} has neither a table of folds nor a column set; add one of them, or use --split-by."
            )
        folds = pa.table({"fold": [1] * len(names), "set": table["set"], "utterance": names})
    if not {"fold", "set", "utterance"} <= set(folds.column_names):
        raise CorpusError(f"{root}: the table of folds must have the columns fold, set and utterance.")
    places = {name: index for index, name in enumerate(names)}
    sets: dict[int, dict[str, list[int]]] = {}
    for row in folds.select(["fold", "set", "utterance"]).to_pylist():
        if row["set"] not in SETS or not isinstance(row["fold"], int) or str(row["utterance"]) not in places:
            raise CorpusError(
                f"{root}: fold {row['fold']} has {row['utterance']} in {row['set']}; it needs a whole number, an "
                f"utterance of the table, and one of the sets {', '.join(SETS)}."
            )
        sets.setdefault(row["fold"], {name: [] for name in SETS})[row["set"]].append(places[str(row["utterance"])])
    for number, parts in sets.items():
        if empty := [name for name, part in parts.items() if not part]:
            raise CorpusError(f"{root}: fold {number} has no utterances in its {empty[0]} set; add some.")
    return {
        number: Fold(*(np.sort(np.array(parts[name], dtype=np.int64)) for name in SETS))
        for number, parts in sorted(sets.items())
    }
