"""Tables with damage of ordinary kinds: what is imported is what was meant, and what is refused is refused in words.

`IFMMIN_FUZZ=2000` tries that many tables.
"""

import csv
import io
import os
import tempfile
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ifmmin.data.corpus import SETS, Corpus, open_corpus, write_corpus
from ifmmin.data.errors import CorpusError
from ifmmin.data.layouts.table import import_table

EXAMPLES = int(os.environ.get("IFMMIN_FUZZ", "60"))
NAMES = (
    *("001", "1", "-1", "10:30", "12e5", "0x1A", "1.10", "1.1", "2021-03-05 10:00", "1e400", "#1", "=1+1"),
    *("TRUE", "NA", "null", "None", "nan", "[b]", "{}", "é", "über", "生气", "Ünï"),
    *("u u", "a,b", "a;b", 'say "hi"', "u001", "v1"),
)
LABELS = (
    *("ang", "hap", "neu", "sad", "Wut", "生气", "Ärger", "é"),
    *("10:30", "0x1A", "TRUE", "exc/hap", "a,b", "x;y", "[/]"),
)
SPEAKERS = ("1.1", "1.2", "001", "Ses01F", "ü", "NA", "10:30")
WIDTHS: dict[str, int] = {"a": 2, "v": 3, "t": 1}


@dataclass(frozen=True)
class Meant:
    """What the author of some tables means."""

    names: tuple[str, ...]
    labels: tuple[str, ...]
    speakers: tuple[str | None, ...] | None
    folds: Mapping[int, Mapping[str, tuple[str, ...]]]
    features: Mapping[str, Sequence[NDArray[np.float32]]]


@dataclass(frozen=True)
class Written:
    """The tables as they are written down, before or after damage.

    Attributes:
        rows: of the table of utterances, under its heading.
        folds: the same of the table of folds; None for a column set.
        files: the name of each utterance's file.
        parquet, parquet_features: whether the tables, or the features, are stored so.
        numbers: whether labels and folds are floats there, as in a pandas column with a gap.
    """

    heading: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    folds: tuple[tuple[str, ...], ...] | None
    files: tuple[str, ...]
    parquet: bool = False
    numbers: bool = False
    parquet_features: bool = False
    kind: pa.DataType = field(default_factory=pa.string)
    separator: str = ","
    encoding: str = "utf-8"
    end: str = "\n"
    tail: tuple[str, ...] = ()
    both: bool = False
    tsv: bool = False


@st.composite
def meanings(draw: st.DrawFn) -> Meant:
    count = draw(st.integers(6, 10))
    names = draw(st.lists(st.sampled_from(NAMES), min_size=count, max_size=count, unique=True))
    texts = [str(number) for number in range(-1, 12)] if draw(st.booleans()) else LABELS
    labels = draw(st.lists(st.sampled_from(texts), min_size=2, max_size=3, unique=True))
    of_rows = [labels[index % len(labels)] for index in range(count)]
    speakers = draw(st.none() | st.lists(st.none() | st.sampled_from(SPEAKERS), min_size=count, max_size=count))
    if speakers is not None and not any(speakers):
        speakers = None
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    features: dict[str, list[NDArray[np.float32]]] = {
        modality: [rng.normal(size=(rng.integers(1, 4), WIDTHS[modality])).astype(np.float32) for _ in names]
        for modality in WIDTHS
    }
    first = draw(st.integers(0, 1))
    folds: dict[int, dict[str, tuple[str, ...]]] = {}
    for number in range(first, first + draw(st.integers(1, 3))):
        order = rng.permutation(count)
        parts = (order[: count - 2], order[count - 2 : count - 1], order[count - 1 :])
        folds[number] = {name: tuple(names[i] for i in sorted(part)) for name, part in zip(SETS, parts, strict=True)}
    return Meant(tuple(names), tuple(of_rows), None if speakers is None else tuple(speakers), folds, features)


def write_down(meant: Meant, *, in_column: bool) -> Written:
    """The tables without damage, with the only fold in a column where that is asked for."""
    columns: dict[str, Sequence[str]] = {"utterance": meant.names, "label": meant.labels}
    if meant.speakers is not None:
        columns["speaker"] = [speaker or "" for speaker in meant.speakers]
    folds = None
    if in_column and list(meant.folds) == [1]:
        set_of = {name: word for word, members in meant.folds[1].items() for name in members}
        columns["set"] = [set_of[name] for name in meant.names]
    else:
        folds = tuple(
            (str(number), word, name) for number, sets in meant.folds.items() for word in SETS for name in sets[word]
        )
    return Written(tuple(columns), tuple(zip(*columns.values(), strict=True)), folds, meant.names)


# Damage that a reader should see through: the corpus is as it was meant, or the tables are refused.

Damage = Callable[[Written, int], Written]


def _change_column(written: Written, column: str, change: Callable[[str], str], every: int = 1) -> Written:
    heading = [name.strip() for name in written.heading]
    if column not in heading:
        return written
    place = heading.index(column)
    rows = tuple(
        (*row[:place], change(row[place]) if index % every == 0 else row[place], *row[place + 1 :])
        for index, row in enumerate(written.rows)
    )
    return replace(written, rows=rows)


def _change_folds(written: Written, place: int, change: Callable[[str], str]) -> Written:
    if written.folds is None:
        return written
    rows = tuple((*row[:place], change(row[place]), *row[place + 1 :]) for row in written.folds)
    return replace(written, folds=rows)


def _rename_sets(written: Written, pick: int) -> Written:
    others = (
        ("Train", "dev", "Test"),
        ("training", "valid", "eval"),
        ("TRAIN", "val", "test "),
        ("train", "devel", "tst"),
    )[pick % 4]
    words: dict[str, str] = dict(zip(SETS, others, strict=True))
    written = _change_folds(written, 1, lambda word: words.get(word, word))
    return _change_column(written, "set", lambda word: words.get(word, word))


def _as_decimals(written: Written, pick: int) -> Written:
    """What pandas makes of a column of whole numbers with a gap."""
    point = ".0" if pick % 2 else ",0"
    written = _change_folds(written, 0, lambda text: text + point)
    place = [name.strip() for name in written.heading].index("label")
    labels = [row[place] for row in written.rows]
    if all(label.lstrip("-").isdigit() for label in labels):
        written = _change_column(written, "label", lambda text: text + point)
    return written


def _blank(written: Written, pick: int) -> Written:
    column = written.heading[pick % len(written.heading)].strip()
    return _change_column(written, column, lambda _: "", every=len(written.rows)) if column != "speaker" else written


def _repeat_heading(written: Written, pick: int) -> Written:
    place = pick % len(written.heading)
    return replace(
        written,
        heading=(*written.heading, written.heading[place]),
        rows=tuple((*row, row[place]) for row in written.rows),
    )


def _row_twice(written: Written, pick: int) -> Written:
    return replace(written, rows=(*written.rows, written.rows[pick % len(written.rows)]))


def _fold_row_twice(written: Written, pick: int) -> Written:
    return replace(written, folds=written.folds and (*written.folds, written.folds[pick % len(written.folds)]))


def _index_column(written: Written, _: int) -> Written:
    rows = tuple((str(index), *row) for index, row in enumerate(written.rows))
    return replace(written, heading=("", *written.heading), rows=rows)


def _transcripts(written: Written, pick: int) -> Written:
    text = ("one\ntwo", 'he said "no"', "a, b; c\td", "x" * 2000, '"', "\r\n")[pick % 6]
    rows = tuple((row[0], f"{text} {index}", *row[1:]) for index, row in enumerate(written.rows))
    return replace(written, heading=(written.heading[0], "transcript", *written.heading[1:]), rows=rows)


def _measurements(written: Written, pick: int) -> Written:
    rows = tuple((*row, f"{index}{',.'[pick % 2]}5") for index, row in enumerate(written.rows))
    return replace(written, heading=(*written.heading, "valence"), rows=rows)


KINDS = (pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string()), pa.binary())

DAMAGES: Mapping[str, Damage] = {
    "files decomposed": lambda w, _: replace(w, files=tuple(unicodedata.normalize("NFD", name) for name in w.files)),
    "names decomposed": lambda w, _: _change_column(w, "utterance", lambda text: unicodedata.normalize("NFD", text)),
    "labels decomposed": lambda w, _: _change_column(w, "label", lambda text: unicodedata.normalize("NFD", text), 2),
    "folds decomposed": lambda w, _: _change_folds(w, 2, lambda text: unicodedata.normalize("NFD", text)),
    "spaces around names": lambda w, _: _change_column(w, "utterance", lambda text: f" {text}\u00a0", 2),
    "spaces around labels": lambda w, _: _change_column(w, "label", lambda text: f"{text} ", 2),
    "spaces around speakers": lambda w, _: _change_column(w, "speaker", lambda text: f" {text}", 2),
    "spaces around names in folds": lambda w, _: _change_folds(w, 2, lambda text: f"{text} "),
    "spaces in the heading": lambda w, _: replace(w, heading=tuple(f" {name} " for name in w.heading)),
    "a label in upper case": lambda w, _: _change_column(w, "label", str.upper, len(w.rows)),
    "names in upper case": lambda w, _: _change_column(w, "utterance", str.upper),
    "sets by other names": _rename_sets,
    "decimals": _as_decimals,
    "blank cells": _blank,
    "a heading twice": _repeat_heading,
    "a row twice": _row_twice,
    "a row of the folds twice": _fold_row_twice,
    "an index": _index_column,
    "transcripts": _transcripts,
    "measurements": _measurements,
    "separator": lambda w, pick: replace(w, separator=";\t|"[pick % 3]),
    "tsv": lambda w, _: replace(w, tsv=True, separator="\t"),
    "encoding with a mark": lambda w, pick: replace(w, encoding=("utf-8-sig", "utf-16", "utf-32")[pick % 3]),
    "encoding": lambda w, pick: replace(w, encoding=("utf-16-le", "latin-1", "gb18030", "shift-jis")[pick % 4]),
    "line ends": lambda w, pick: replace(w, end=("\r\n", "\r")[pick % 2]),
    "empty rows": lambda w, pick: replace(w, tail=(("", "", ""), ("",), ())[pick % 3]),
    "parquet": lambda w, pick: replace(
        w,
        parquet=True,
        kind=(pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string()), pa.binary())[pick % 4],
    ),
    "parquet with numbers": lambda w, _: replace(w, parquet=True, numbers=True),
    "features in parquet": lambda w, _: replace(w, parquet_features=True),
    "both formats": lambda w, _: replace(w, both=True),
    "a missing row": lambda w, pick: replace(w, rows=w.rows[: pick % len(w.rows)] + w.rows[pick % len(w.rows) + 1 :]),
    "a missing file": lambda w, pick: replace(
        w, files=tuple("" if i == pick % len(w.files) else f for i, f in enumerate(w.files))
    ),
    "short names": lambda w, _: _change_column(w, "utterance", lambda text: text.lstrip("0") or text),
}

READ = frozenset(
    [
        *("files decomposed", "names decomposed", "labels decomposed", "folds decomposed", "spaces around names"),
        *("spaces around labels", "spaces around speakers", "spaces around names in folds", "spaces in the heading"),
        *("sets by other names", "decimals", "an index", "transcripts", "measurements", "separator", "tsv"),
        *("encoding with a mark", "line ends", "empty rows", "parquet"),
        *("features in parquet", "parquet with numbers"),
    ]
)
"""What is common enough that it must be read."""

MEANT_OTHERWISE = frozenset(["a missing row", "short names"])
"""Damage after which nobody can know what was meant; only a traceback is wrong."""


def write_files(root: Path, meant: Meant, written: Written) -> None:
    _write_table(root, "utterances", written.heading, written.rows, written)
    if written.folds is not None:
        _write_table(root, "folds", ("fold", "set", "utterance"), written.folds, replace(written, both=False))
    kept = [index for index, file in enumerate(written.files) if file]
    for modality, parts in meant.features.items():
        if written.parquet_features:
            order = kept[::-1] if modality == "v" else kept
            columns = {"utterance": [written.files[i] for i in order], "frames": [parts[i].tolist() for i in order]}
            pa.parquet.write_table(pa.table(columns), root / f"{modality}.parquet", row_group_size=4)
        else:
            (root / modality).mkdir()
            for index in kept:
                np.save(root / modality / f"{written.files[index]}.npy", parts[index])


def _write_table(
    root: Path, name: str, heading: Sequence[str], rows: Sequence[Sequence[str]], written: Written
) -> None:
    if written.parquet or written.both:
        columns = [pa.array([row[index] or None for row in rows], pa.string()) for index in range(len(heading))]
        arrays = [
            _as_floats(column) if written.numbers and name in ("label", "fold") else _encode(column, written.kind)
            for name, column in zip(heading, columns, strict=True)
        ]
        pa.parquet.write_table(pa.table(arrays, names=list(heading)), root / f"{name}.parquet")
    if not written.parquet:
        stream = io.StringIO()
        writer = csv.writer(stream, delimiter=written.separator, lineterminator=written.end)
        writer.writerows([heading, *rows])
        text = stream.getvalue() + (written.separator.join(written.tail) + written.end) * 2
        suffix = "tsv" if written.tsv else "csv"
        (root / f"{name}.{suffix}").write_bytes(_encode_text(text, written.encoding))


def _encode_text(text: str, encoding: str) -> bytes:
    try:
        return text.encode(encoding)
    except UnicodeEncodeError:  # nobody could have saved it so
        return text.encode()


def _as_floats(column: pa.Array) -> pa.Array:
    try:
        return column.cast(pa.float64())
    except pa.ArrowInvalid:  # names
        return column


def _encode(column: pa.Array, kind: pa.DataType) -> pa.Array:
    return column.dictionary_encode() if pa.types.is_dictionary(kind) else column.cast(kind)


def assert_as_meant(corpus: Corpus, meant: Meant) -> None:
    def same(text: str) -> str:
        return unicodedata.normalize("NFC", text)

    assert list(map(same, corpus.names)) == list(map(same, meant.names))
    assert [corpus.classes[label] for label in corpus.labels] == [same(label) for label in meant.labels]
    assert set(corpus.classes) == set(map(same, meant.labels))
    assert corpus.speakers == (None if meant.speakers is None else list(meant.speakers))
    for modality, parts in meant.features.items():
        sequences = corpus.sequences[modality]
        assert [sequences[index].tolist() for index in range(len(corpus))] == [part.tolist() for part in parts]
    folds = {
        number: {word: {same(corpus.names[index]) for index in fold[word]} for word in SETS}
        for number, fold in corpus.folds.items()
    }
    expected = {
        number: {word: set(map(same, members)) for word, members in sets.items()}
        for number, sets in meant.folds.items()
    }
    assert folds == expected


def import_written(meant: Meant, written: Written) -> Corpus:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "tables"
        root.mkdir()
        write_files(root, meant, written)
        corpus, _ = import_table(root, "mine")
        write_corpus(corpus, Path(folder) / "corpus")
        return open_corpus(Path(folder) / "corpus")


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
@given(
    meanings(),
    st.booleans(),
    st.lists(st.tuples(st.sampled_from(sorted(DAMAGES)), st.integers(0, 11)), max_size=4, unique_by=lambda d: d[0]),
)
def test_a_damaged_table_is_imported_as_it_was_meant_or_refused(
    meant: Meant, in_column: bool, damages: list[tuple[str, int]]
) -> None:
    written = write_down(meant, in_column=in_column)
    for name, pick in damages:
        written = DAMAGES[name](written, pick)
    corpus = None
    with suppress(CorpusError):
        corpus = import_written(meant, written)
    if corpus is None:
        assert damages
    elif not MEANT_OTHERWISE.intersection(name for name, _ in damages):
        assert_as_meant(corpus, meant)


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
@given(meanings(), st.booleans(), st.sampled_from(sorted(READ)), st.integers(0, 11))
def test_what_is_common_is_read(meant: Meant, in_column: bool, damage: str, pick: int) -> None:
    written = DAMAGES[damage](write_down(meant, in_column=in_column), pick)
    assert_as_meant(import_written(meant, written), meant)
