"""The layout of tables and arrays."""

import csv
import io
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from typer.testing import CliRunner

from ifmmin.data.corpus import SETS, Corpus, open_corpus
from ifmmin.data.errors import CorpusError
from ifmmin.data.layouts.table import import_table, read_features
from ifmmin.orchestrator.commands.data import app as data_app
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
    features = read_features(root, ["u000", "u001", "new"], "avt")
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


ODD = ("001", "10:30", "12e5", "0x1A", "1.10", "2021-03-05 10:00", "TRUE", "NA", "null", "None", "nan", "a/b")


def write_columns(
    root: Path,
    names: Sequence[str],
    columns: Mapping[str, Sequence[object]],
    *,
    separator: str = ",",
    code: str = "utf-8",
) -> Path:
    """A table of utterances with these columns, and files of features whose first number is the row."""
    root.mkdir(exist_ok=True)
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=separator)
    writer.writerows([["utterance", *columns], *zip(names, *columns.values(), strict=True)])
    (root / "utterances.csv").write_bytes(stream.getvalue().encode(code))
    for modality in "avt":
        for row, name in enumerate(names):
            file = root / modality / f"{name}.npy"
            file.parent.mkdir(parents=True, exist_ok=True)
            np.save(file, np.full((2, 3), row, np.float32))
    return root


def columns_of(count: int = 12, **others: Sequence[object]) -> dict[str, Sequence[object]]:
    sets = [("train", "train", "validation", "test")[index // 2 % 4] for index in range(count)]
    return {"label": [("ang", "hap")[index % 2] for index in range(count)], "set": sets, **others}


NAMES = [f"u{index:02}" for index in range(12)]


def test_names_are_text_whatever_they_look_like(tmp_path: Path) -> None:
    labels = ["10:30", "0x1A"] * 6
    root = write_columns(tmp_path / "odd", ODD, columns_of(label=labels, speaker=ODD))
    corpus, _ = import_table(root, "mine")
    assert corpus.names == list(ODD) == corpus.speakers
    assert [corpus.classes[label] for label in corpus.labels] == labels
    assert [corpus.sequences["v"][row][0, 0] for row in range(12)] == list(range(12))
    with (root / "folds.csv").open("w") as file:
        rows = [(0, ("train", "train", "validation", "test")[row // 2 % 4], name) for row, name in enumerate(ODD)]
        csv.writer(file).writerows([("fold", "set", "utterance"), *rows])
    again, _ = import_table(root, "mine")
    assert list(again.folds) == [0]
    assert all(np.array_equal(again.folds[0][name], corpus.folds[1][name]) for name in SETS)
    assert [part is None for part in read_features(root, ODD, "avt")["a"]] == [False] * 12


@pytest.mark.parametrize("code", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separators_and_marked_encodings_are_recognised(tmp_path: Path, code: str, separator: str) -> None:
    columns = columns_of(label=["Freude", "Ärger"] * 6, valence=["0,5", "1,0"] * 6)
    root = write_columns(tmp_path / "table", NAMES, columns, separator=separator, code=code)
    corpus, _ = import_table(root, "mine")
    assert corpus.classes == ("Freude", "Ärger")
    assert corpus.utterances["valence"].to_pylist() == [0.5, 1.0] * 6


@pytest.mark.parametrize(
    ("code", "label", "message"),
    [
        ("latin-1", "Ärger", r"not in the encoding UTF-8 \(line 3: .*save it as CSV \(UTF-8\)"),
        ("gb18030", "生气", "not in the encoding UTF-8"),
        ("utf-16-le", "sad", "UTF-16 without a byte-order mark"),
    ],
)
def test_other_encodings_are_refused_with_a_remedy(tmp_path: Path, code: str, label: str, message: str) -> None:
    root = write_columns(tmp_path / "table", NAMES, columns_of(label=["hap", label] * 6), code=code)
    with pytest.raises(CorpusError, match=message):
        import_table(root, "mine")


def test_a_line_break_in_a_cell_of_a_large_table_and_empty_rows_at_its_end_are_read(tmp_path: Path) -> None:
    texts = [("x" * 100_000) + f'\n"{index}", he said' for index in range(12)]  # more than a block of a CSV reader
    root = write_columns(tmp_path / "table", NAMES, columns_of(text=texts))
    with (root / "utterances.csv").open("a") as file:
        file.write(",,,\n\n")
    corpus, _ = import_table(root, "mine")
    assert corpus.utterances["text"].to_pylist() == texts


def test_tables_of_excel_and_of_the_index_of_pandas_are_read(tmp_path: Path) -> None:
    root = write_columns(tmp_path / "table", NAMES, columns_of(speaker=["1.1", "1.2"] * 6), separator=";")
    file = root / "utterances.csv"
    lines = [f"{row};{line}" for row, line in enumerate(file.read_text().splitlines(), -1)]
    file.write_text("\n".join(["sep=;", lines[0].removeprefix("-1"), *lines[1:]]))
    corpus, _ = import_table(root, "mine")
    assert (corpus.names, corpus.speakers) == (NAMES, ["1.1", "1.2"] * 6)
    assert corpus.utterances.column_names == ["utterance", "label", "speaker"]


@pytest.mark.parametrize(
    ("words", "note"),
    [
        (("Train", "dev", "TEST"), "'Train' is train, 'dev' is validation, 'TEST' is test"),
        (("train", "valid", "eval"), "'valid' is validation, 'eval' is test"),
        (("train", "eval", "test"), "'eval' is validation"),
        (("train", "devel", "test"), "'devel' is validation"),
        (("train", "val", "test"), "'val' is validation"),
        (("train", "validation", "test"), ""),
    ],
)
def test_sets_may_be_called_as_is_usual(tmp_path: Path, words: tuple[str, ...], note: str) -> None:
    meant = columns_of()
    sets = [dict(zip(SETS, words, strict=True))[word] for word in meant["set"]]  # type: ignore[index]
    corpus, findings = import_table(write_columns(tmp_path / "table", NAMES, columns_of(set=sets)), "mine")
    assert [len(corpus.folds[1][name]) for name in SETS] == [8, 2, 2]
    assert "".join(finding.message for finding in findings if finding.check == "sets") == note


def test_unknown_speakers_are_no_speaker(tmp_path: Path) -> None:
    speakers = ["s1", "", "s2", " ", "s3", *[""] * 7]
    root = write_columns(tmp_path / "table", NAMES, columns_of(speaker=speakers))
    corpus, findings = import_table(root, "mine", split_by="speaker")
    assert corpus.speakers == ["s1", None, "s2", None, "s3", *[None] * 7]
    assert len(corpus.folds) == 10
    messages = [finding.message for finding in findings if finding.check == "speakers"]
    assert messages == ["unknown for 9 of 12 utterances, so overlaps between sets cannot be detected"]
    root = write_columns(tmp_path / "table", NAMES, columns_of(speaker=[""] * 12))
    assert import_table(root, "mine")[0].speakers is None


def test_speakers_that_look_alike_are_pointed_out(tmp_path: Path) -> None:
    root = write_columns(tmp_path / "table", NAMES, columns_of(speaker=["s1", "S1 ", "s2"] * 4))
    findings = import_table(root, "mine")[1]
    assert "'S1' and 's1' look alike, but count as different speakers" in [finding.message for finding in findings]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary(), pa.dictionary(pa.int8(), pa.string())])
def test_text_of_any_kind_of_parquet_is_text(tmp_path: Path, kind: pa.DataType) -> None:
    root = write_columns(tmp_path / "table", NAMES, columns_of())
    (root / "utterances.csv").unlink()
    table = {name: pa.array(values) for name, values in columns_of(speaker=["m", "f"] * 6).items()}
    table |= {"utterance": pa.array(NAMES), "session": pa.array([1.0, None] * 6), "valence": pa.array([0.5, 1.0] * 6)}
    for name in ("utterance", "label", "speaker"):
        table[name] = table[name].dictionary_encode() if pa.types.is_dictionary(kind) else table[name].cast(kind)
    pa.parquet.write_table(pa.table(table), root / "utterances.parquet")
    corpus, _ = import_table(root, "mine")
    assert (corpus.names, corpus.classes, corpus.speakers) == (NAMES, ("ang", "hap"), ["m", "f"] * 6)
    assert corpus.utterances["session"].to_pylist() == ["1", None] * 6
    assert corpus.utterances.schema.field("speaker").type == pa.string()
    assert corpus.utterances.schema.field("valence").type == pa.float64()


def test_a_file_is_found_however_its_name_is_composed_and_named_if_it_only_looks_alike(
    tmp_path: Path,
) -> None:
    names = [f"Jürgen{index}" for index in range(12)]
    root = write_columns(tmp_path / "table", names, columns_of())
    for file in list(root.rglob("*.npy")):
        file.rename(file.with_name(unicodedata.normalize("NFD", file.name)))
    assert import_table(root, "mine")[0].names == names
    (root / "a" / unicodedata.normalize("NFD", "Jürgen3.npy")).rename(root / "a" / "jürgen3.npy")
    with pytest.raises(CorpusError, match="lacks 'Jürgen3', but has 'jürgen3', which looks like it"):
        import_table(root, "mine")
    with pytest.raises(CorpusError, match="lacks 'Jürgen3', but has 'jürgen3', which looks like it"):
        read_features(root, names, "avt")


def test_features_without_a_row_are_pointed_out(tmp_path: Path) -> None:
    root = write_columns(tmp_path / "table", NAMES, columns_of())
    np.save(root / "v" / "u99.npy", np.ones((2, 3)))
    np.save(root / "v" / "._u01.npy", np.ones((2, 3)))
    (finding,) = [finding for finding in import_table(root, "mine")[1] if finding.check == "extra features"]
    assert finding.message == "v: 1 utterance is not in the table of utterances (u99); left out"


def test_classes_may_be_named_in_another_order(tmp_path: Path) -> None:
    root = write_columns(tmp_path / "table", NAMES, columns_of())
    corpus, _ = import_table(root, "mine", classes=["hap", "ang"])
    assert (corpus.classes, corpus.labels[:2].tolist()) == (("hap", "ang"), [1, 0])
    arguments = ["import", "table", str(root), "--name", "mine", "--storage", str(tmp_path / "store")]
    result = CliRunner().invoke(data_app, [*arguments, "--classes", "hap, ang"])
    assert result.exit_code == 0, result.output
    assert open_corpus(tmp_path / "store" / "corpora" / "mine").classes == ("hap", "ang")


def test_broken_utterances_may_be_left_out(tmp_path: Path) -> None:
    root = write_columns(tmp_path / "table", NAMES, columns_of())
    np.save(root / "t" / "u00.npy", np.full((2, 3), np.nan))
    _, findings = import_table(root, "mine")
    assert [finding.check for finding in findings if finding.severity == "error"] == ["not a number"]
    corpus, _ = import_table(root, "mine", leave_out=["broken"])
    assert corpus.names == NAMES[1:]


def remove_the_folder(root: Path) -> None:
    shutil.rmtree(root)


def write_parquet_too(root: Path) -> None:
    pa.parquet.write_table(pa.csv.read_csv(root / "utterances.csv"), root / "utterances.parquet")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (remove_the_folder, "is not a folder"),
        (write_parquet_too, "contains both utterances.csv and utterances.parquet"),
        (
            lambda root: (root / "utterances.csv").rename(root / "Utterances.CSV"),
            "contains Utterances.CSV, but",
        ),
        (lambda root: (root / "utterances.csv").write_bytes(b""), "utterances.csv is empty"),
        (lambda root: (root / "utterances.csv").write_bytes(b"PK\x03\x04"), "is a ZIP file by its content"),
        (edit("utterances.csv", lambda text: text.replace("set", " label ", 1)), "has the column label twice"),
        (edit("utterances.csv", lambda text: text.replace("u03,", "u03,x,")), "line 5: the row has 4 cells"),
        (edit("utterances.csv", lambda text: text.replace("u04,ang", 'u04,"ang')), "line 6: the quotation marks"),
        (edit("utterances.csv", lambda text: text.replace("u03", "")), "1 of 12 utterances have no name, the 4th"),
        (edit("utterances.csv", lambda text: text.replace("u03", "u04 ")), "'u04 ' differ only in spaces"),
        (edit("utterances.csv", lambda text: text.replace("test", "x", 1)), "has 'x' as the set of 1 utterance;"),
        (edit("utterances.csv", lambda text: text.replace("test", "", 1)), "has an empty cell as the set"),
        (edit("utterances.csv", lambda text: text.replace("ang", "", 2)), r"2 of 12 utterances \(u00, u02\) have no"),
        (edit("utterances.csv", lambda text: text.replace("ang", "HAP", 1)), "'HAP' and 'hap' look alike"),
        (lambda root: (root / "a.parquet").write_bytes(b""), "contains both a.parquet and the folder a"),
    ],
)
def test_damage_is_refused_in_a_sentence(tmp_path: Path, spoil: Callable[[Path], None], message: str) -> None:
    root = write_columns(tmp_path / "table", NAMES, columns_of())
    spoil(root)
    with pytest.raises(CorpusError, match=message):
        import_table(root, "mine")


FOLDS = "fold,set,utterance\n" + "".join(f"2,{('train', 'dev', 'test')[row % 3]},{n}\n" for row, n in enumerate(NAMES))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (FOLDS.replace("2,train,u00", "1.5,train,u00"), "has the fold '1.5'"),
        (FOLDS.replace("2,train,u00", ",train,u00"), "has the fold ''"),
        (FOLDS.replace("2,train,u00", "-1,train,u00"), "has the fold '-1'"),
        (FOLDS + "2,train,u00\n", "fold 2 has utterance u00 more than once in its train set"),
        (FOLDS.replace("u00", "U00"), "the table of utterances lacks 'U00', but has 'u00'"),
        ("fold,set,utterance\n", "folds.csv has no rows"),
    ],
)
def test_damaged_folds_are_refused_in_a_sentence(tmp_path: Path, text: str, message: str) -> None:
    root = write_columns(tmp_path / "table", NAMES, columns_of())
    (root / "folds.csv").write_text(FOLDS)
    assert list(import_table(root, "mine")[0].folds) == [2]
    (root / "folds.csv").write_text(text)
    with pytest.raises(CorpusError, match=message):
        import_table(root, "mine")


MEASURE = """
import resource, sys
from pathlib import Path
from ifmmin.data.catalogue import keep_corpus
from ifmmin.data.layouts.table import import_table

for name in ("small", "large"):
    keep_corpus(*import_table(Path(name), name, split_by="stratified:3"), "store")
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has another unit")
@pytest.mark.slow  # features must be larger than what the libraries take
def test_an_import_from_parquet_takes_at_most_three_times_its_size_in_memory(tmp_path: Path) -> None:
    for name, count in (("small", 30), ("large", 400)):
        root = write_columns(tmp_path / name, NAMES[:0], {"label": []})
        names = [f"u{index}" for index in range(count)]
        labels = "".join(f"{name},{index % 2}\n" for index, name in enumerate(names))
        (root / "utterances.csv").write_text("utterance,label\n" + labels)
        for modality, features in (("a", 130), ("v", 342), ("t", 512)):
            values = pa.array(np.random.default_rng(0).normal(size=count * 20 * features).astype(np.float32))
            frames = pa.FixedSizeListArray.from_arrays(values, features)
            column = pa.ListArray.from_arrays(pa.array(range(0, 20 * count + 1, 20), pa.int32()), frames)
            pa.parquet.write_table(pa.table({"utterance": names, "frames": column}), root / f"{modality}.parquet")
    done = subprocess.run([sys.executable, "-c", MEASURE], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    before, peak = map(int, done.stdout.split())
    assert peak - before < 3 * sum(file.stat().st_size for file in (tmp_path / "large").glob("*.parquet"))
