"""The importer: what it reads, what it finds, and what it refuses."""

import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from ifmmin.data.audit import IEMOCAP_COUNTS, audit
from ifmmin.data.catalogue import find_corpus
from ifmmin.data.corpus import SETS, training_statistics, write_corpus
from ifmmin.data.errors import UserError
from ifmmin.data.layouts.mmin import import_mmin
from ifmmin.orchestrator.commands.data import app as data_app
from tests.data.layout import DIMENSIONS, SPEAKERS, change_array, change_sequence, names_of, write_layout, write_set

DIGITS = Path(__file__).parents[3] / "shared" / "corpora" / "digits-mmin"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_layout(tmp_path / "layout")


def checks(root: Path, **options: Any) -> dict[str, str]:
    """What the audit says, by severity and check."""
    return {f"{f.severity} {f.check}": f.message for f in import_mmin(root, "small", **options)[1]}


def test_what_is_in_the_files_is_in_the_corpus(root: Path) -> None:
    corpus, findings = import_mmin(root, "small", classes=["calm", "angry"])
    assert len(corpus) == 48
    assert corpus.names == sorted(corpus.names)
    assert corpus.classes == ("calm", "angry")
    assert corpus.dimensions == {"a": 3, "v": 4, "t": 5}
    with h5py.File(root / "V/denseface.h5") as features:
        for index in (0, 17, 47):
            expected = features[corpus.names[index]][()].astype(np.float32)
            assert np.array_equal(corpus.sequences["v"][index], expected)
    tested = {corpus.names[i] for i in corpus.folds[2].test}
    assert tested == set(names_of("Ses02F"))
    assert [corpus.labels[corpus.names.index(name)] for name in names_of("Ses02F")] == [0, 1] * 4
    assert {f.severity for f in findings} <= {"note", "warning"}


def test_a_speaker_is_who_speaks_and_not_whose_motion_is_captured(root: Path) -> None:
    corpus, _ = import_mmin(root, "small")
    assert corpus.speakers is not None
    speaker = dict(zip(corpus.names, corpus.speakers, strict=True))
    assert speaker["Ses01M_impro01_F000"] == speaker["Ses01F_impro01_F001"] == "Ses01F"


def test_names_of_iemocap_show_session_gender_and_scenario(root: Path) -> None:
    row = import_mmin(root, "small")[0].utterances.to_pylist()[0]
    assert {key: row[key] for key in ("utterance", "session", "gender", "scenario")} == {
        "utterance": "Ses01F_impro01_F001",
        "session": "Ses01",
        "gender": "female",
        "scenario": "improvised",
    }


def test_integer_labels_and_raw_features_are_the_same_corpus(root: Path, tmp_path: Path) -> None:
    other = write_layout(tmp_path / "improv", integers=True, raw=True)
    first, second = import_mmin(root, "a")[0], import_mmin(other, "b")[0]
    assert np.array_equal(first.labels, second.labels)
    assert np.array_equal(first.sequences["a"].values, second.sequences["a"].values)


def test_statistics_of_the_training_set_are_compared_with_the_file(root: Path) -> None:
    corpus, findings = import_mmin(root, "small")
    assert any(f.check == "statistics" and f.severity == "note" for f in findings)
    with h5py.File(root / "A/comparE_mean_std.h5", "w") as file:
        for fold in corpus.folds:
            frames = np.concatenate([corpus.sequences["a"][i] for i in corpus.folds[fold].train])
            file[f"{fold}/mean"], file[f"{fold}/std"] = frames.mean(0), frames.std(0)
            ours = training_statistics(corpus, fold, "a")
            assert np.allclose(ours, (frames.mean(0), frames.std(0)), atol=1e-6)
    assert not any("statistics" in check for check in checks(root))
    with h5py.File(root / "A/comparE_mean_std.h5", "r+") as file:
        file["2/mean"][0] += 1
    assert "fold 2; it is not used" in checks(root)["warning statistics"]


def test_a_repeated_fold_is_reported_and_repaired(tmp_path: Path) -> None:
    root = write_layout(tmp_path / "repeated", repeat_last_fold=True)
    shown = checks(root)
    assert shown["warning repeated fold"].startswith("fold 3 repeats fold 2")
    assert "--fix-folds" in shown["warning repeated fold"]
    assert shown["warning tested twice"].startswith("8 utterances")
    corpus, findings = import_mmin(root, "small", fix_folds=True)
    assert set(corpus.folds[3].test) == set(corpus.folds[2].validation)
    assert set(corpus.folds[3].validation) == set(corpus.folds[2].test)
    assert not any(f.check == "tested twice" or (f.severity == "warning" and "repeat" in f.check) for f in findings)
    assert any("swapped" in f.message for f in findings)


def test_without_a_repeated_fold_there_is_nothing_to_fix(root: Path) -> None:
    assert "changed nothing" in checks(root, fix_folds=True)["note repeated fold"]


def test_classes_in_a_wrong_order_are_an_error_where_the_counts_are_known(root: Path) -> None:
    corpus, _ = import_mmin(root, "small")
    labels = np.repeat(np.arange(4), list(IEMOCAP_COUNTS.values()))
    table = {"utterance": [f"Ses01F_impro01_F{i:04}" for i in range(len(labels))], "label": labels}
    import pyarrow as pa

    fold = replace(corpus.folds[1], train=np.arange(len(labels)))
    sequences = {
        m: replace(
            corpus.sequences[m], values=np.ones((len(labels), 2), np.float32), offsets=np.arange(len(labels) + 1)
        )
        for m in corpus.sequences
    }
    iemocap = replace(
        corpus, utterances=pa.table(table), classes=tuple(IEMOCAP_COUNTS), sequences=sequences, folds={1: fold}
    )
    assert not [f for f in audit(iemocap) if f.check == "classes"]
    mixed = replace(iemocap, classes=("happy", "angry", "sad", "neutral"))
    (finding,) = [f for f in audit(mixed) if f.check == "classes"]
    assert finding.severity == "error"
    assert "wrong order" in finding.message
    assert not [f for f in audit(replace(iemocap, classes=("ang", "hap", "neu", "sad"))) if f.check == "classes"]
    (finding,) = [f for f in audit(replace(iemocap, classes=("hap", "ang", "neu", "sad"))) if f.check == "classes"]
    assert finding.severity == "error"
    (finding,) = [f for f in audit(replace(iemocap, classes=("愤怒", "快乐", "中性", "悲伤"))) if f.check == "classes"]
    assert finding.severity == "warning"
    assert "cannot be checked" in finding.message


def test_utterances_outside_the_folds_are_left_out_with_a_warning(root: Path) -> None:
    with h5py.File(root / "V/denseface.h5", "r+") as features:
        features["unused"] = np.ones((2, 4))
    corpus, findings = import_mmin(root, "small")
    assert len(corpus) == 48
    (finding,) = [f for f in findings if f.check == "extra features"]
    assert finding.message == f"{root / 'V/denseface.h5'}: 1 utterances are in no fold; left out"


def test_four_classes_of_iemocap_get_its_names(root: Path) -> None:
    for file in root.glob("target/*/*_label.npy"):
        change_array(file, lambda x: np.eye(4, dtype=np.int64)[np.arange(len(x)) % 4])
    corpus, findings = import_mmin(root, "small")
    assert corpus.classes == tuple(IEMOCAP_COUNTS)
    assert any(f.check == "classes" and "not the usual selection" in f.message for f in findings)


def test_names_of_an_unknown_form_have_no_speakers(root: Path) -> None:
    for file in root.glob("target/*/*_int2name.npy"):
        change_array(file, lambda x: np.array([name.replace(b"Ses", b"clip") for name in x.reshape(-1)]))
    for path in DIMENSIONS:
        with h5py.File(root / path, "r+") as features:
            for name in list(features):
                features.move(name, name.replace("Ses", "clip"))
    corpus, findings = import_mmin(root, "small")
    assert corpus.speakers is None
    assert corpus.utterances.column_names == ["utterance", "label"]
    assert any(f.check == "speakers" and f.severity == "note" for f in findings)


def test_a_class_without_utterances_is_a_warning(root: Path) -> None:
    shown = checks(root, classes=["calm", "angry", "bored"])
    assert shown["warning classes"] == "a class has no utterances: calm 24, angry 24, bored 0"


def test_lost_faces_and_shared_speakers_are_counted(root: Path) -> None:
    change_sequence(root / "V/denseface.h5", np.zeros((5, 4)))
    write_set(root, 1, "val", names_of("Ses03F"), [0, 1] * 4)
    write_set(root, 1, "trn", [n for s in ("Ses02F", "Ses02M", "Ses03M") for n in names_of(s)], [0, 1] * 12)
    shown = checks(root)
    assert shown["warning all zero"].startswith(
        "v: 1 of 48 utterances are zero throughout (no face detected): Ses02M_impro01_F002"
    )
    assert "warning speakers" not in shown
    write_set(root, 2, "trn", [*names_of("Ses01F"), "Ses02M_impro01_F900"], [0, 1] * 4 + [0])
    for path in ("A/comparE.h5", "V/denseface.h5", "L/bert_large.h5"):
        with h5py.File(root / path, "r+") as features:
            features["Ses02M_impro01_F900"] = features["Ses02M_impro01_F000"][()]
    assert "1 speaker of fold 2 is in both train and test: Ses02F" in checks(root)["warning speakers"]


@pytest.mark.skipif(not DIGITS.is_dir(), reason="the original files of the shipped corpus are not here")
def test_the_shipped_digits_are_the_original_files_imported(tmp_path: Path) -> None:
    result = CliRunner().invoke(data_app, ["import", "mmin", str(DIGITS), "--name", "real", "--storage", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert find_corpus("real", tmp_path).fingerprint == find_corpus("digits", tmp_path).fingerprint


def text_into(path: str) -> Callable[[Path], object]:
    return lambda root: (root / path).write_bytes(b"not what you think")


def truncated(path: str, size: int = 300) -> Callable[[Path], object]:
    return lambda root: (root / path).write_bytes((root / path).read_bytes()[:size])


def sequence(value: object, path: str = "V/denseface.h5") -> Callable[[Path], object]:
    return lambda root: change_sequence(root / path, value)


def group(root: Path) -> None:
    change_sequence(root / "L/bert_large.h5", None)
    with h5py.File(root / "L/bert_large.h5", "r+") as features:
        features.create_group("Ses02M_impro01_F002")


def all_without_features(root: Path) -> None:
    for speaker in SPEAKERS:
        for name in names_of(speaker):
            change_sequence(root / "V/denseface.h5", np.ones((3, 0)), name)


def emptied(root: Path) -> None:
    h5py.File(root / "A/comparE.h5", "w").close()


def array(path: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], object]:
    return lambda root: change_array(root / "target" / path, change)


def pickled(root: Path) -> None:
    np.save(root / "target/2/val_int2name.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)


def same_in_train_and_test(root: Path) -> None:
    write_set(root, 1, "tst", names_of("Ses02F"), [0, 1] * 4)


def one_class(root: Path) -> None:
    for file in root.glob("target/*/*_label.npy"):
        change_array(file, lambda x: np.tile([1, 0], (len(x), 1)))


def no_folds(root: Path) -> None:
    for folder in (root / "target").iterdir():
        shutil.rmtree(folder)


def other_label(root: Path) -> None:
    write_set(root, 3, "tst", names_of("Ses03F"), [1] * 8)


NAN = np.array([[1, 2, 3, np.nan]])
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


def content(path: str, value: bytes) -> Callable[[Path], object]:
    return lambda root: (root / path).write_bytes(value)


def folder(path: str) -> Callable[[Path], object]:
    def spoil(root: Path) -> None:
        (root / path).unlink()
        (root / path).mkdir()

    return spoil


def archived(root: Path) -> None:
    with (root / "target/1/trn_label.npy").open("wb") as file:
        np.savez(file, np.ones(3))


def from_zero(root: Path) -> None:
    for number in (1, 2, 3):
        (root / "target" / str(number)).rename(root / "target" / str(number - 1))


def grouped(root: Path) -> None:
    for path in DIMENSIONS:
        with h5py.File(root / path, "r+") as features:
            for name in list(features):
                features.move(name, f"session/{name}")


def damaged(root: Path) -> None:
    file = root / "A/comparE.h5"
    data = bytearray(file.read_bytes())
    data[700:1500] = bytes(800)
    file.write_bytes(data)


def decode(change: Callable[[str], object]) -> Callable[[np.ndarray], np.ndarray]:
    return lambda x: np.array([change(name.decode() if isinstance(name, bytes) else name) for name in x.reshape(-1)])


HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no such folder": (shutil.rmtree, "target is missing"),
    "HDF5 truncated": (truncated("A/comparE.h5"), "comparE.h5"),
    "HDF5 that is text": (text_into("V/denseface.h5"), "denseface.h5"),
    "statistics damaged": (lambda root: (root / "A/comparE_mean_std.h5").write_bytes(b"x"), "comparE_mean_std.h5"),
    "a modality without utterances": (emptied, "has no features of Ses01"),
    "a sequence of one dimension": (sequence(np.ones(4)), "Ses02M_impro01_F002"),
    "a sequence of other width": (sequence(np.ones((3, 9))), "9 features"),
    "a sequence without features": (sequence(np.ones((3, 0))), "0 features"),
    "sequences without features": (all_without_features, "the sequences have no features"),
    "a sequence of text": (sequence(b"words"), "Ses02M_impro01_F002"),
    "a group for a sequence": (group, "a group"),
    "NaN features": (sequence(NAN), "NaN or infinite"),
    "infinite features": (sequence(np.full((2, 4), np.inf)), "NaN or infinite"),
    "features too large for float32": (sequence(np.full((2, 4), 1e300)), "NaN or infinite"),
    "a fold missing": (lambda root: shutil.rmtree(root / "target/2"), "target/2"),
    "no folds": (no_folds, "target/1"),
    "labels missing": (lambda root: (root / "target/1/trn_label.npy").unlink(), "trn_label.npy"),
    "labels truncated": (truncated("target/1/trn_label.npy"), "trn_label.npy"),
    "names pickled": (pickled, "val_int2name.npy"),
    "names that are numbers": (array("1/trn_int2name.npy", lambda x: np.arange(len(x))), "trn_int2name.npy"),
    "names that are not UTF-8": (array("1/trn_int2name.npy", lambda x: np.full(len(x), b"\xff")), "not UTF-8"),
    "an empty set": (array("1/val_int2name.npy", lambda x: x[:0]), "val_int2name.npy"),
    "labels out of range": (array("1/trn_label.npy", lambda x: x.argmax(1) - 1), "the label -1"),
    "labels of a thousand classes": (array("1/trn_label.npy", lambda x: x.argmax(1) + 5000), "label 500"),
    "labels not one-hot": (array("2/tst_label.npy", lambda x: x * 2), "not one-hot"),
    "labels of text": (array("2/tst_label.npy", lambda x: x.astype(str)), "tst_label.npy"),
    "fewer labels than names": (array("3/val_label.npy", lambda x: x[:-1]), "7 labels for 8"),
    "two labels for one utterance": (other_label, "another label"),
    "two utterances with one name": (array("3/val_int2name.npy", lambda x: np.repeat(x[:4], 2, 0)), "more than once"),
    "an utterance in train and test": (same_in_train_and_test, "8 utterances of fold 1 are in both train and test"),
    "a pointer for features": (content("A/comparE.h5", POINTER), "git lfs pull"),
    "a pointer for labels": (content("target/1/trn_label.npy", POINTER), "git lfs pull"),
    "a web page for features": (content("A/comparE.h5", b"<!DOCTYPE html>"), "is a web page"),
    "an empty file of features": (content("A/comparE.h5", b""), "is empty"),
    "NumPy for HDF5": (content("A/comparE.h5", b"\x93NUMPY"), "is a NumPy file by its content"),
    "HDF5 truncated late": (truncated("L/bert_large.h5", 5000), "or another program still writes to it"),
    "HDF5 damaged": (damaged, "is damaged, or another program writes to it"),
    "a folder for features": (folder("A/comparE.h5"), "is a folder"),
    "a folder for labels": (folder("target/1/trn_label.npy"), "is a folder"),
    "an archive of arrays": (archived, "is a ZIP file by its content"),
    "folds from 0": (from_zero, "numbered from 1 without gaps, and there are 0, 1, 2"),
    "features in groups": (grouped, "as session/Ses01F_impro01_F001, in a group"),
    "a null dataset": (sequence(h5py.Empty("f4")), "not None float32"),
    "complex features": (sequence(np.ones((2, 4)) * 1j), "complex128"),
    "one name without a dimension": (
        array("1/trn_int2name.npy", lambda x: x[0, 0]),
        "N > 0, not ()",
    ),
    "names that are not Unicode": (
        array("1/trn_int2name.npy", lambda x: np.full((len(x), 8), 0x110000, np.uint32).view("U8")),
        "text that is not Unicode",
    ),
    "names in a row": (array("1/trn_int2name.npy", lambda x: x.T), "N > 0, not (1, "),
    "names as objects": (array("1/trn_int2name.npy", lambda x: x.astype(object)), "np.save(file, np.array("),
    "labels as objects": (array("1/trn_label.npy", lambda x: x.astype(object)), "np.save(file, np.array("),
    "one label without a dimension": (array("1/trn_label.npy", lambda x: x[0, 0]), "not () int64"),
    "labels that are NaN": (array("1/trn_label.npy", lambda x: x[:, :1] * np.nan), "the label nan"),
    "names in other case": (lambda root: rename_targets(root, str.lower), "'Ses01F_impro01_F001', which looks like it"),
    "names that look alike": (array("3/val_int2name.npy", decode(lambda name: name + " ")), "differ only in spaces"),
    "one class": (one_class, "only one class has utterances"),
}


def snapshot(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def refusal(root: Path, storage: Path, *options: str) -> str:
    """The one sentence in which an import is refused; nothing may be left of it in the store."""
    storage.mkdir(exist_ok=True)
    before = snapshot(storage)
    arguments = ["import", "mmin", str(root), "--name", "hostile", "--storage", str(storage), *options]
    result = CliRunner().invoke(data_app, arguments)
    assert isinstance(result.exception, UserError), result.output
    assert snapshot(storage) == before
    message = str(result.exception)
    assert "\n" not in message
    assert message.endswith(".")
    return message


@pytest.mark.parametrize(("spoil", "expected"), HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_a_hostile_layout_is_refused_in_one_sentence(
    root: Path, tmp_path: Path, spoil: Callable[[Path], object], expected: str
) -> None:
    with np.errstate(all="ignore"):
        spoil(root)
    assert expected in refusal(root, tmp_path / "store")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--classes", "only"), "name at least two classes"),
        (("--classes", "x,x"), "names x twice"),
        (("--name", "../outside"), "not a valid name for a corpus"),
        (("--name", "digits"), "already"),
        (("--speaker-pattern", "("), "not a valid regular expression"),
        (("--speaker-pattern", "nobody(x)"), "matches no group"),
    ],
)
def test_a_hostile_option_is_refused_in_one_sentence(
    root: Path, tmp_path: Path, options: tuple[str, str], expected: str
) -> None:
    assert expected in refusal(root, tmp_path / "store", *options)


def test_a_store_that_cannot_be_written_is_reported(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    arguments = ["import", "mmin", str(root), "--name", "x", "--storage", str(tmp_path / "file" / "store")]
    result = CliRunner().invoke(data_app, arguments)
    assert isinstance(result.exception, UserError)
    assert "cannot be written" in str(result.exception)


def test_a_sequence_without_frames_is_a_modality_that_an_utterance_lacks(root: Path, tmp_path: Path) -> None:
    sequence(np.ones((0, 4)))(root)
    corpus, findings = import_mmin(root, "gaps")
    assert (~corpus.present).sum(0).tolist() == [0, 1, 0]
    assert any(finding.check == "missing" and "Ses02M_impro01_F002" in finding.message for finding in findings)
    assert write_corpus(corpus, tmp_path / "gaps").fingerprint


def rewrite(root: Path, change: Callable[[np.ndarray], np.ndarray], **options: Any) -> None:
    for path in DIMENSIONS:
        with h5py.File(root / path, "r+") as features:
            for name in list(features):
                values = change(features[name][()])
                del features[name]
                features.create_dataset(name, data=values, **options)


def rename(root: Path, change: Callable[[str], str]) -> None:
    """Rename utterances, in the targets and in the files of features."""
    for file in root.glob("target/*/*_int2name.npy"):
        change_array(file, decode(change))
    for path in DIMENSIONS:
        with h5py.File(root / path, "r+") as features:
            for name in list(features):
                features.move(name, change(name))


def rename_targets(root: Path, change: Callable[[str], object]) -> None:
    for file in root.glob("target/*/*_int2name.npy"):
        change_array(file, decode(change))


def relabel(root: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    for file in root.glob("target/*/*_label.npy"):
        change_array(file, lambda x: change(x.argmax(1)))


@pytest.mark.parametrize("kind", ["f2", ">f4", "f4", ">f8", "i1", ">i8", "u2"])
def test_features_of_every_kind_of_number_are_the_same_corpus(root: Path, kind: str) -> None:
    rewrite(root, lambda x: np.abs(np.round(x)).astype("f4"))
    expected, _ = import_mmin(root, "x")
    rewrite(root, lambda x: x.astype(kind))
    corpus, _ = import_mmin(root, "x")
    for modality, sequences in expected.sequences.items():
        assert np.array_equal(corpus.sequences[modality].values, sequences.values)


@pytest.mark.parametrize(
    "options", [{"compression": "gzip", "shuffle": True, "chunks": True}, {"maxshape": (None, None)}]
)
def test_compressed_and_chunked_features_are_the_same_corpus(root: Path, options: dict[str, Any]) -> None:
    expected, _ = import_mmin(root, "x")
    rewrite(root, np.asfortranarray, **options)
    assert np.array_equal(import_mmin(root, "x")[0].sequences["v"].values, expected.sequences["v"].values)


def test_names_with_a_slash_lie_in_groups(root: Path) -> None:
    rename(root, lambda name: name.replace("_", "/"))
    corpus, findings = import_mmin(root, "x")
    assert corpus.names[0] == "Ses01F/impro01/F001"
    assert not any(finding.check == "extra features" for finding in findings)
    with h5py.File(root / "V/denseface.h5", "r+") as features:
        features["Ses01F/impro01/other"] = np.ones((2, 4))
    assert checks(root)["warning extra features"].endswith("1 utterances are in no fold; left out")


def test_features_that_cannot_fit_into_memory_are_refused(root: Path, tmp_path: Path) -> None:
    change_sequence(root / "V/denseface.h5", None)
    with h5py.File(root / "V/denseface.h5", "r+") as features:
        features.create_dataset("Ses02M_impro01_F002", shape=(2**60, 4), dtype="f4", chunks=(1, 4))
    assert "do not fit into memory" in refusal(root, tmp_path / "store")


def test_a_group_that_contains_itself_is_read_once(root: Path) -> None:
    with h5py.File(root / "V/denseface.h5", "r+") as features:
        features["self"] = features["/"]
    assert len(import_mmin(root, "x")[0]) == 48


@pytest.mark.parametrize(
    "change",
    [
        lambda name: unicodedata.normalize("NFD", name),
        lambda name: unicodedata.normalize("NFD", name).encode(),
        lambda name: f"{name} ",
    ],
    ids=["decomposed accents", "decomposed accents in bytes", "a space at the end"],
)
def test_names_that_look_alike_are_the_same(root: Path, change: Callable[[str], object]) -> None:
    rename(root, lambda name: f"Zoë-{name}")
    expected, _ = import_mmin(root, "x")
    rename_targets(root, lambda name: change(name))
    corpus, _ = import_mmin(root, "x")
    assert np.array_equal(corpus.sequences["t"].values, expected.sequences["t"].values)
    assert np.array_equal(corpus.labels, expected.labels)


def test_names_of_features_in_latin_1_are_found(root: Path) -> None:
    rename(root, lambda name: f"Zoë-{name}")
    expected, _ = import_mmin(root, "x")
    with h5py.File(root / "A/comparE.h5", "r+") as features:
        for name in list(features):
            features.id.move(name.encode(), name.encode("latin1"))
    assert np.array_equal(import_mmin(root, "x")[0].sequences["a"].values, expected.sequences["a"].values)


@pytest.mark.parametrize(
    ("change", "classes"),
    [
        (lambda x: x, ("0", "1")),
        (lambda x: x + 1, ("1", "2")),
        (lambda x: 3 * x + 4, ("4", "7")),
        (lambda x: 9 * x + 1, ("1", "10")),
        (lambda x: (x + 1.0)[:, None], ("1", "2")),
    ],
)
def test_labels_from_another_number_or_with_gaps_are_the_same_folds(
    root: Path, change: Callable[[np.ndarray], np.ndarray], classes: tuple[str, ...]
) -> None:
    expected, _ = import_mmin(root, "x")
    relabel(root, change)
    corpus, findings = import_mmin(root, "x")
    assert corpus.classes == classes
    assert np.array_equal(corpus.labels, expected.labels)
    assert not any(finding.check == "classes" and finding.severity != "note" for finding in findings)


def test_labels_from_1_take_the_names_of_the_classes_in_order(root: Path) -> None:
    relabel(root, lambda x: x + 1)
    corpus, findings = import_mmin(root, "x", classes=["calm", "angry"])
    assert corpus.classes == ("calm", "angry")
    assert corpus.labels.tolist() == import_mmin(root, "x")[0].labels.tolist()
    assert any(finding.message == "1 is calm, 2 is angry, as --classes orders them" for finding in findings)


def test_one_hot_labels_are_positions_even_if_classes_are_numbers(root: Path) -> None:
    expected, _ = import_mmin(root, "x")
    assert np.array_equal(import_mmin(root, "x", classes=["1", "0"])[0].labels, expected.labels)


def test_labels_of_iemocap_from_1_get_its_names(root: Path) -> None:
    for file in root.glob("target/*/*_label.npy"):
        change_array(file, lambda x: np.arange(len(x)) % 4 + 1)
    assert import_mmin(root, "x")[0].classes == tuple(IEMOCAP_COUNTS)


def test_broken_utterances_can_be_left_out_of_every_fold(root: Path) -> None:
    expected, _ = import_mmin(root, "x")
    change_sequence(root / "V/denseface.h5", NAN)
    assert "--leave-out broken" in checks(root)["error not a number"]
    corpus, findings = import_mmin(root, "x", leave_out="broken")
    broken = expected.names.index("Ses02M_impro01_F002")
    assert corpus.names == [name for index, name in enumerate(expected.names) if index != broken]
    for number, fold in expected.folds.items():
        for name in SETS:
            kept = [expected.names[index] for index in fold[name] if index != broken]
            assert [corpus.names[index] for index in corpus.folds[number][name]] == kept
    assert any(f.check == "left out" and f.message.startswith("1 of 48 utterances") for f in findings)


HOLD = """
import sys, h5py
with h5py.File(sys.argv[1], "r+") as file:
    print("open", flush=True)
    sys.stdin.read()
"""


def test_a_file_that_another_program_has_open_is_not_called_damaged(root: Path, tmp_path: Path) -> None:
    file = root / "V/denseface.h5"
    command = [sys.executable, "-c", HOLD, str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        assert other.stdout.readline() == "open\n"
        message = refusal(root, tmp_path / "store")
        other.communicate()
    assert f"{file} is open in another program" in message
    assert "HDF5_USE_FILE_LOCKING=FALSE" in message
    assert "export" not in message
    assert len(import_mmin(root, "x")[0]) == 48
