"""Folds from files: tables of utterances and sets, and the lists of names that benchmark repositories publish.

FILE.csv (.tsv, .parquet)   columns utterance, and set or fold or both
FILE.json                   {"1": {"train": [names], "validation": [names], "test": [names]}}, or a list of such folds,
                            or one of them; lists of names by fold; a fold or a set for each name; records (see below)
FILE.jsonl                  a record in each line, with utterance (or key, name, file, path), and set or fold or both
FILE.npz                    arrays of names, called train, validation and test, or fold1_train and so on
FOLDER                      a file (also .npy, .txt) for each set, such as fold_1/test.jsonl or 1/tst_int2name.npy

Everything is read as data. Without sets, a fold's utterances are its test set, and each fold validates on the test set
of the next. Names that the corpus does not have are left out and counted.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ifmmin.data.audit import Finding
from ifmmin.data.corpus import SETS, Fold, SetName
from ifmmin.data.errors import CorpusError, listed
from ifmmin.data.layouts.arrays import is_text_or_number, read_array
from ifmmin.data.layouts.files import check_file
from ifmmin.data.layouts.naming import find_names, whole_number
from ifmmin.data.layouts.spreadsheet import FORMATS, read_table

SET_NAMES: dict[SetName, tuple[str, ...]] = {
    "train": ("train", "training", "trn", "tr"),
    "validation": ("validation", "valid", "val", "dev", "devel", "development"),
    "test": ("test", "testing", "tst"),
}
"""What sets are called, in any case."""

EVALUATION = ("eval", "evaluation")
"""Names of the test set where there is a validation set, and of the validation set where there is a test set."""

NAME_KEYS = ("utterance", "key", "name", "id", "utterance_id")
FILE_KEYS = ("file", "filename", "path", "wav")
"""Under which of these keys, the first that is there, a record of JSON has the name or the file of its utterance."""

_WORDS = frozenset([*(word for words in SET_NAMES.values() for word in words), *EVALUATION])
_FORMATS = ("jsonl", "json", "npy", *FORMATS, "txt")
"""Of a list of names in several formats, which is read."""


@dataclass
class Members:
    """Which utterances are in which set of which fold, as a file says it.

    Attributes:
        where: the file.
        folds, words, names: of each line.
    """

    where: str
    folds: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    def add(self, fold: str, word: str, name: str) -> None:
        """Add a line."""
        self.folds.append(fold)
        self.words.append(word)
        self.names.append(name)


def read_folds(file: Path, names: Sequence[str]) -> tuple[dict[int, Fold], list[Finding]]:
    """The folds of a file or a folder for these utterances; those that the file lists besides are left out.

    Without sets, a fold's utterances are its test set, and each fold validates on the test set of the next.

    Raises:
        CorpusError: the file cannot be read, or has no folds of these utterances.
    """
    try:
        members = _read_folder(file) if file.is_dir() else _read_file(file)
    except RecursionError:
        raise CorpusError(f"{file} does not have folds in a known form; {_REMEDY}.") from None
    if not members.names:
        raise CorpusError(f"{file} has no names of utterances; {_REMEDY}.")
    matches = find_names(list(dict.fromkeys(members.names)), names, "The corpus")
    if not matches:
        raise CorpusError(
            f"{file} lists {members.names[0]} and others, and the corpus has {names[0]} and others; none of them agree."
        )
    others = [name for name in dict.fromkeys(members.names) if name not in matches]
    findings = []
    if others:
        what = f"{file.name} lists {len(others):,} utterances that the corpus does not have ({listed(others, most=3)})"
        findings.append(Finding("note", "folds", f"{what}; left out"))
    kept = Members(members.where)
    for fold, word, name in zip(members.folds, members.words, members.names, strict=True):
        if name in matches:
            kept.add(fold, word, matches[name])
    folds, notes = _tested_in(kept, names) if not any(kept.words) else make_folds(kept, names)
    return folds, findings + notes


_REMEDY = (
    "write a table with the columns fold, set and utterance, or JSON such as "
    '{"1": {"train": [names], "validation": [names], "test": [names]}}'
)


def make_folds(members: Members, names: Sequence[str]) -> tuple[dict[int, Fold], list[Finding]]:
    """The folds by their numbers, whose validation sets may be empty, and a note if sets are called otherwise here.

    Args:
        members: their names are among these.
        names: of all utterances.

    Raises:
        CorpusError: a set or a fold has another name than is known, or no utterances, or one of them twice.
    """
    set_of, findings = _sets(members.where, members.words)
    places = {name: index for index, name in enumerate(names)}
    parts: dict[int, dict[SetName, list[int]]] = defaultdict(lambda: {name: [] for name in SETS})
    for number, word, name in zip(members.folds, members.words, members.names, strict=True):
        parts[_fold_number(members.where, number)][set_of[word]].append(places[name])
    return {
        number: Fold(**{name: _indices(f"{members.where}: fold {number}", name, sets[name], names) for name in SETS})
        for number, sets in sorted(parts.items())
    }, findings


def check_validation(where: str, folds: dict[int, Fold]) -> None:
    """Check that every fold has a validation set.

    Raises:
        CorpusError: one has none.
    """
    for number, fold in folds.items():
        if not len(fold.validation):
            raise CorpusError(
                f"{where}: fold {number} has no utterances in its validation set; add some, or take them from the "
                "training set with --validation-from-train 0.1."
            )


def _tested_in(members: Members, names: Sequence[str]) -> tuple[dict[int, Fold], list[Finding]]:
    """Folds of which only the test sets are known."""
    dealt = np.full(len(names), -1)
    places = {name: index for index, name in enumerate(names)}
    numbers = [_fold_number(members.where, number) for number in members.folds]
    for number, name in zip(numbers, members.names, strict=True):
        if dealt[places[name]] >= 0:
            raise CorpusError(f"{members.where} has utterance {name} in several folds, and no sets; {_REMEDY}.")
        dealt[places[name]] = number
    known = sorted(set(numbers))
    if len(known) < 3:
        raise CorpusError(f"{members.where} has {len(known)} folds and no sets, which takes at least 3; {_REMEDY}.")
    following = dict(zip(known, [*known[1:], known[0]], strict=True))
    folds = {
        number: Fold(
            train=np.flatnonzero((dealt >= 0) & (dealt != number) & (dealt != following[number])),
            validation=np.flatnonzero(dealt == following[number]),
            test=np.flatnonzero(dealt == number),
        )
        for number in known
    }
    message = f"{members.where} has no sets, so each fold tests its utterances and validates on those of the next"
    return folds, [Finding("note", "folds", message)]


def _indices(where: str, set_name: SetName, indices: list[int], names: Sequence[str]) -> NDArray[np.int64]:
    if not indices and set_name != "validation":
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


# Files


def _read_file(file: Path) -> Members:
    members = Members(str(file))
    try:
        _read_into(members, file, "", "")
    except FileNotFoundError:
        raise CorpusError(f"{file} does not exist; check the path of --folds-from.") from None
    return members


def _read_folder(folder: Path) -> Members:
    """Files such as fold_1/test.jsonl or 1/tst_int2name.npy: a set in the name, a fold in the name or the folder's."""
    members = Members(str(folder))
    chosen: dict[tuple[str, str], Path] = {}
    for suffix in reversed(_FORMATS):
        for file in sorted(folder.rglob(f"*.{suffix}")):
            path = file.relative_to(folder).with_suffix("")
            word, number = _key(path.name, anywhere=True)[0], _last_number(path.parent.as_posix())
            if word and "label" not in path.name.casefold():
                chosen[number or _last_number(path.name) or "1", word] = file
    for (number, word), file in sorted(chosen.items()):
        _read_into(members, file, number, word)
    return members


def _read_into(members: Members, file: Path, number: str, word: str) -> None:
    """The lines of a file, of a known fold and set if these are not empty."""
    suffix = file.suffix.lstrip(".").casefold()
    if suffix in FORMATS:
        _from_table(members, read_table(file, ["utterance"]), number, word)
    elif suffix in ("json", "jsonl"):
        _from_json(members, _parse(file, lines=suffix == "jsonl"), number, word)
    elif suffix == "npz":
        for key, values in _arrays(file):
            _from_json(members, {key: _texts_of(file, values)}, number, word)
    elif suffix == "npy":
        _from_json(members, _texts_of(file, read_array(file)), number, word)
    elif suffix == "txt":
        _from_json(members, [line.strip() for line in _decoded(file).splitlines() if line.strip()], number, word)
    else:
        raise CorpusError(f"{file} is not a file of folds; it must be CSV, Parquet, JSON or NumPy, or a folder.")


def _from_table(members: Members, table: pa.Table, number: str, word: str) -> None:
    columns = {}
    for name, value in (("fold", number), ("set", word)):
        column = table[name].to_pylist() if name in table.column_names else [value] * table.num_rows
        columns[name] = ["" if cell is None else str(cell) for cell in column]
    if not (number or word or {"fold", "set"} & set(table.column_names)):
        raise CorpusError(f"{members.where} must have a column set or fold; {_REMEDY}.")
    for fold, set_word, name in zip(columns["fold"], columns["set"], table["utterance"].to_pylist(), strict=True):
        members.add(fold or "1", set_word, "" if name is None else str(name).strip())


def _from_json(members: Members, node: object, number: str, word: str) -> None:
    """The lines below a node, of a known fold and set if these are not empty."""
    if isinstance(node, dict) and node:
        _from_object(members, node, number, word)
    elif isinstance(node, list) and all(isinstance(name, str) for name in node):
        if not (number or word):
            raise CorpusError(f"{members.where} lists names without a fold or a set; {_REMEDY}.")
        for name in node:
            members.add(number or "1", word, name)
    elif isinstance(node, list) and all(isinstance(row, dict) and _name_key(row) for row in node):
        for row in node:
            fold, set_word = row.get("fold", number or "1"), row.get("set", row.get("split", word))
            members.add(str(fold), str(set_word), _name_in(row))
    elif isinstance(node, list) and all(isinstance(part, list | dict) for part in node):
        for place, part in enumerate(node, 1):
            _from_json(members, part, str(place), word)
    else:
        raise CorpusError(f"{members.where} does not have folds in a known form; {_REMEDY}.")


def _from_object(members: Members, node: dict[str, object], number: str, word: str) -> None:
    values = list(node.values())
    if not any(isinstance(value, list | dict) for value in values):
        for name, value in node.items():  # an assignment of utterances to folds or sets
            is_set = isinstance(value, str) and value.casefold() in _WORDS
            members.add(number or "1" if is_set else str(value), str(value) if is_set else word, name)
    elif len(node) == 1 and next(iter(node)).casefold() in ("folds", "splits"):
        _from_json(members, values[0], number, word)
    elif all(any(_key(key)) for key in node):
        for key, value in node.items():
            set_word, fold = _key(key)
            _from_json(members, value, fold or number, set_word or word)
    elif (number or word) and all(isinstance(value, dict) for value in values):
        for name, record in node.items():  # what else is known of each utterance
            members.add(number or "1", word, _without_dataset(name, record))
    else:
        raise CorpusError(f"{members.where} does not have folds in a known form; {_REMEDY}.")


def _without_dataset(name: str, record: object) -> str:
    """The name of an utterance without that of its corpus before it, which EmoBox writes."""
    known = record.get("dataset") if isinstance(record, dict) else None
    return name if known is None else name.removeprefix(f"{known}-")


def _name_key(record: dict[str, object]) -> str:
    return next((key for key in (*NAME_KEYS, *FILE_KEYS) if key in record), "")


def _name_in(record: dict[str, object]) -> str:
    key = _name_key(record)
    text = str(record[key])
    return _without_dataset(text, record) if key in NAME_KEYS else PurePosixPath(text).stem


def _key(key: str, *, anywhere: bool = False) -> tuple[str, str]:
    """The word for a set and the number of a fold in a key such as fold1_train or 3; empty where there is none.

    Args:
        key: in which there is nothing else.
        anywhere: whether there may be more in it, as in the name of a file.
    """
    parts = re.findall(r"[^\W\d_]+|\d+", key.casefold())
    words = [part for part in parts if part in _WORDS]
    others = [part for part in parts if part not in _WORDS and not part.isdecimal()]
    numbers = [part for part in parts if part.isdecimal()]
    if len(words) > 1 or len(numbers) > 1 or (set(others) - {"fold", "split", "cv", "set", "session"}):
        return (words[0], "") if anywhere and len(set(words)) == 1 else ("", "")
    return (words[0] if words else "", numbers[0] if numbers else "")


def _last_number(text: str) -> str:
    numbers = re.findall(r"\d+", text)
    return numbers[-1] if numbers else ""


def _decoded(file: Path) -> str:
    check_file(file)
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorpusError(f"{file} is not UTF-8 text ({error.reason}); save it as UTF-8.") from None


def _parse(file: Path, *, lines: bool) -> object:
    text = _decoded(file)
    try:
        return [json.loads(line) for line in text.splitlines() if line.strip()] if lines else json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{file} is not JSON ({str(error).splitlines()[0]}); export it again.") from None


def _arrays(file: Path) -> Iterator[tuple[str, NDArray[np.generic]]]:
    check_file(file, "ZIP")
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as content:
            for key in content.files:
                yield key, content[key]
    except Exception as error:  # a damaged archive or header can raise almost anything
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CorpusError(
            f"{file} cannot be read ({reason}); save names as text, as in np.savez(file, train=np.array(names))."
        ) from None


def _texts_of(file: Path, values: NDArray[np.generic]) -> list[str]:
    if values.dtype.kind not in "SU" or not is_text_or_number(values):
        raise CorpusError(f"{file} must hold names of utterances as text, not {values.dtype}; save them as text.")
    try:
        return [name.decode() if isinstance(name, bytes) else str(name) for name in values.reshape(-1).tolist()]
    except UnicodeDecodeError:
        raise CorpusError(f"{file} has a name that is not UTF-8 text; save the names as text.") from None
