"""A layout of tables and arrays, for the user's corpora and for utterances to predict.

utterances.csv (.tsv, .parquet) columns utterance, label (names of classes or numbers), and any others, such as speaker,
                                session, gender, dialogue and turn (a number by which a dialogue is in order); a column
                                set (train, validation or dev, test) makes one fold
folds.csv (.tsv, .parquet)      columns fold (whole numbers), set, utterance; instead of the column set
a/UTTERANCE.npy, v/…, t/…       acoustic, visual, textual features, (time, features); or other modalities, each of a
                                letter; an utterance lacks a modality whose file is missing or has no frames
a.parquet, v.parquet, t.parquet columns utterance and frames (lists of lists of numbers); instead of such a folder

Cells are text: an utterance or a label may be called 001, 10:30 or NA, and an empty cell is a missing value. CSV is
UTF-8, or UTF-16 with a byte-order mark; commas, semicolons, tabs or vertical bars separate cells.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from ifmmin.data.audit import Finding
from ifmmin.data.corpus import Corpus, Features, Fold, Sequences
from ifmmin.data.errors import CorpusError, listed
from ifmmin.data.layouts.features import concatenate, modalities_in, names_in, read_modality
from ifmmin.data.layouts.fold_files import Members, make_folds
from ifmmin.data.layouts.naming import check_names, encode_labels, look_alikes, match_names, normalise
from ifmmin.data.layouts.spreadsheet import check_columns, find_table, read_table
from ifmmin.data.modalities import AVT, Modality, check_modalities, letters_of, parse_modalities
from ifmmin.data.selection import Selection, select


def import_table(
    root: Path, name: str, *, modalities: str | Sequence[Modality] | None = None, **options: Any
) -> tuple[Corpus, list[Finding]]:
    """Read a corpus from the layout, and audit it. Nothing is written.

    Args:
        modalities: those to read, in their order, or text such as `a:acoustic:lstm,p:physiological:linear`; by default
            all that there are.
        **options: those of `data.selection.Selection`.

    Raises:
        CorpusError: a file is missing, damaged, or does not follow the layout.
    """
    selection = Selection.of(options)
    file, table = _read_utterances(root)
    names = table["utterance"].to_pylist()
    check_columns(file, table.column_names, ["label"])
    values = table["label"].to_pylist()
    classes, labels, findings = encode_labels(values, selection.classes_for(values), str(file), names)
    others = [column for column in table.column_names if column not in ("utterance", "label", "set")]
    columns = {column: table[column] for column in others if table[column].null_count < len(names)}
    folds: dict[int, Fold] = {}
    if not selection.makes_folds:
        folds, notes = _folds(root, table)
        findings += notes
    chosen, sequences, notes = _modalities_of(root, modalities, names)
    corpus = Corpus(
        name,
        classes,
        pa.table({"utterance": names, "label": labels, **columns}),
        sequences,
        folds,
        chosen,
        f"imported from the tables in {root.resolve().name}",
    )
    findings += [*notes, *(finding for letter in corpus.letters for finding in _unlisted(root, letter, names))]
    return select(corpus, selection, [*findings, *_speakers(corpus)])


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


def _modalities_of(
    root: Path, modalities: str | Sequence[Modality] | None, names: Sequence[str]
) -> tuple[tuple[Modality, ...], dict[str, Sequences], list[Finding]]:
    """The modalities, the features of all utterances in each, and what should be known about them."""
    there = modalities_in(root)
    if not there:
        raise CorpusError(
            f"{root} has no features; they belong in a folder for each modality, named by a letter, such as a/, or in "
            "files such as a.parquet."
        )
    if isinstance(modalities, str):
        wanted = parse_modalities(modalities)
    else:
        wanted = [(m.letter, m) for m in modalities] if modalities else [(letter, None) for letter in there]
    sequences = {letter: concatenate(read_modality(root, letter, names)) for letter, _ in wanted}
    chosen = tuple(modality or _usual(letter, sequences[letter]) for letter, modality in wanted)
    check_modalities(chosen)
    for letter in letters_of(chosen):
        if not sequences[letter].lengths.any():
            raise CorpusError(f"{root} has no utterance with features of modality {letter}{_others(root, letter)}.")
    if chosen == AVT:
        return chosen, sequences, []
    shown = [f"{m.letter} {m.title} ({m.encoder}{', standardised' * m.standardised})" for m in chosen]
    return chosen, sequences, [Finding("note", "modalities", ", ".join(shown))]


def _usual(letter: str, sequences: Sequences) -> Modality:
    """A modality of which only the letter is known: a, v, t are those of speech, face and transcript."""
    known = next((modality for modality in AVT if modality.letter == letter), None)
    one_vector = sequences.lengths.max() <= 1
    return known or Modality(letter, letter, "linear" if one_vector else "lstm", standardised=True)


def _others(root: Path, letter: str) -> str:
    """What else there is, for a message."""
    others = sorted(names_in(root, letter))
    if not others:
        return "; add them, or leave it out of --modalities"
    return f", but with those of {listed(others, most=3)}; name features and utterances alike"


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
        members = Members(str(root), ["1"] * len(names), _texts(table["set"]), names)
    else:
        folds = read_table(file, ["fold", "set", "utterance"])
        members = Members(str(file), *(_texts(folds[column]) for column in ("fold", "set", "utterance")))
    if not members.names:
        raise CorpusError(f"{members.where} has no rows; add folds, or use --split-by.")
    source = f"{members.where}: the table of utterances"
    matches = match_names(list(dict.fromkeys(members.names)), names, source)
    members.names = [matches[name] for name in members.names]
    return make_folds(members, names)


def _texts(column: pa.ChunkedArray) -> list[str]:
    return ["" if value is None else str(value) for value in column.to_pylist()]
