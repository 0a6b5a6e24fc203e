"""The layout of tables and arrays."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from ifmmin.data.corpus import SETS, Corpus
from ifmmin.data.errors import CorpusError
from ifmmin.data.layouts.table import import_table, read_features
from tests.small import make_corpus


def write_tables(root: Path, corpus: Corpus, *, parquet: bool = False) -> Path:
    """A corpus in the layout, with names of classes as labels, and its folds."""
    root.mkdir()
    utterances = pa.table(
        {
            "utterance": corpus.names,
            "label": [corpus.classes[label] for label in corpus.labels],
            "speaker": [f"s{index % 6}" for index in range(len(corpus))],
        }
    )
    rows = [(n, s, corpus.names[i]) for n, fold in corpus.folds.items() for s in SETS for i in fold[s]]
    folds = pa.table(dict(zip(("fold", "set", "utterance"), map(list, zip(*rows, strict=True)), strict=True)))
    for name, table in (("utterances", utterances), ("folds", folds)):
        if parquet:
            pa.parquet.write_table(table, root / f"{name}.parquet")
        else:
            pa.csv.write_csv(table, root / f"{name}.csv")
    for modality, sequences in corpus.sequences.items():
        if parquet:
            frames = [sequences[index].tolist() for index in range(len(corpus))]
            pa.parquet.write_table(
                pa.table({"utterance": corpus.names[::-1], "frames": frames[::-1]}), root / f"{modality}.parquet"
            )
        else:
            (root / modality).mkdir()
            for index, name in enumerate(corpus.names):
                np.save(root / modality / f"{name}.npy", sequences[index])
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_tables(tmp_path / "tables", make_corpus())


@pytest.mark.parametrize("parquet", [False, True])
def test_what_is_in_the_tables_is_in_the_corpus(tmp_path: Path, *, parquet: bool) -> None:
    expected = make_corpus()
    corpus, findings = import_table(write_tables(tmp_path / "tables", expected, parquet=parquet), "mine")
    assert corpus.names == expected.names
    assert corpus.classes == expected.classes
    assert np.array_equal(corpus.labels, expected.labels)
    for modality, sequences in expected.sequences.items():
        assert np.array_equal(corpus.sequences[modality].values, sequences.values)
        assert np.array_equal(corpus.sequences[modality].offsets, sequences.offsets)
    for number, fold in expected.folds.items():
        assert all(np.array_equal(corpus.folds[number][s], np.sort(fold[s])) for s in SETS)
    assert corpus.speakers is not None
    assert any(finding.check == "speakers" for finding in findings)  # in train and test, in these folds


def test_folds_may_be_made_by_the_importer(root: Path) -> None:
    corpus, findings = import_table(root, "mine", split_by="speaker", seed=1)
    assert len(corpus.folds) == 6
    assert "split by speaker" in corpus.about
    assert not any(finding.check == "speakers" for finding in findings)


def test_a_column_of_sets_is_one_fold(root: Path) -> None:
    (root / "folds.csv").unlink()
    lines = (root / "utterances.csv").read_text().splitlines()
    sets = ["train"] * 24 + ["validation"] * 12 + ["test"] * 12
    (root / "utterances.csv").write_text(
        "\n".join(f"{line},{word}" for line, word in zip(lines, ['"set"', *sets], strict=True)) + "\n"
    )
    corpus, _ = import_table(root, "mine")
    assert [len(corpus.folds[1][name]) for name in SETS] == [24, 12, 12]
    assert "set" not in corpus.utterances.column_names


def test_numbers_are_names_of_classes_in_their_order(root: Path) -> None:
    edit("utterances.csv", lambda text: text.replace("class 1", "10").replace("class ", ""))(root)
    corpus, _ = import_table(root, "mine")
    assert corpus.classes == ("0", "2", "10")
    assert corpus.labels[:3].tolist() == [0, 2, 1]


def test_features_that_are_not_there_are_none(root: Path) -> None:
    (root / "a" / "u001.npy").unlink()
    features = read_features(root, ["u000", "u001", "new"])
    assert [part is None for part in features["a"]] == [False, True, True]
    assert [part is None for part in features["v"]] == [False, False, True]


def edit(file: str, change: Callable[[str], str]) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        (root / file).write_text(change((root / file).read_text()))

    return apply


def with_frames(columns: dict[str, list[object]]) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        shutil.rmtree(root / "v")
        pa.parquet.write_table(pa.table(columns), root / "v.parquet")

    return apply


def damaged_parquet(root: Path) -> None:
    (root / "folds.csv").unlink()
    (root / "folds.parquet").write_bytes(b"nonsense")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: (root / "utterances.csv").unlink(), "utterances.csv is missing"),
        (lambda root: (root / "folds.csv").unlink(), "neither a table of folds nor a column set"),
        (lambda root: (root / "t" / "u003.npy").unlink(), "lacks modality t of 1 of 48 utterances, u003 first"),
        (lambda root: np.save(root / "t" / "u003.npy", np.zeros(4)), r"must hold numbers \(time, features\)"),
        (
            lambda root: np.save(root / "t" / "u003.npy", np.zeros((4, 9))),
            r"9 features of modality t \(u003\) and others 5",
        ),
        (lambda root: (root / "t" / "u003.npy").write_bytes(b"nonsense"), "u003.npy "),
        (edit("utterances.csv", lambda text: text.replace("label", "class")), "must have the column label; .*class"),
        (edit("utterances.csv", lambda text: text.replace("u001", "u000")), "utterance 'u000' appears more than once"),
        (edit("utterances.csv", lambda text: text.replace("utterance", "name")), "must have the column utterance"),
        (
            edit("utterances.csv", lambda text: text.replace('"class 0"', "", 1)),
            r"1 of 48 utterances \(u000\) have no label",
        ),
        (edit("folds.csv", lambda text: text.replace('"set"', '"part"')), "must have the column set"),
        (damaged_parquet, "folds.parquet cannot be read"),
        (with_frames({"name": ["u000"]}), "v.parquet must have the column utterance"),
        (with_frames({"utterance": ["u000"], "frames": [[[1.0, 2.0], [3.0]]]}), "lists of equally many numbers"),
        (edit("folds.csv", lambda text: text.replace("u001", "u999")), "the table of utterances lacks 'u999'"),
        (edit("folds.csv", lambda text: text.replace("validation", "test")), "no utterances in its validation set"),
    ],
)
def test_what_does_not_follow_the_layout_is_refused_in_one_sentence(
    root: Path, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(root)
    with pytest.raises(CorpusError, match=message):
        import_table(root, "mine")
