"""What all importers share: classes, dialogues, what is left out, folds."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from ifmmin.data.corpus import SETS, Corpus, open_corpus
from ifmmin.data.errors import CorpusError
from ifmmin.data.layouts.fold_files import read_folds
from ifmmin.data.layouts.mmin import import_mmin
from ifmmin.data.layouts.mmsa import import_mmsa
from ifmmin.data.layouts.table import import_table
from ifmmin.data.modalities import AVT, Modality
from ifmmin.data.selection import Selection
from ifmmin.orchestrator.commands.data import app as data_app
from ifmmin.orchestrator.commands.selection import SELECTION
from tests.data.layout import change_sequence, write_layout
from tests.data.test_mmsa import make_content, write

LABELS = ("ang", "hap", "exc", "neu", "sad", "fru", "xxx")


def names_of_iemocap(sessions: int = 5, turns: int = 14) -> list[str]:
    """A dialogue of each session, in which both speak in turn."""
    return [
        f"Ses0{session}F_impro01_{speaker}{turn:03}"
        for session in range(1, sessions + 1)
        for turn in range(turns)
        for speaker in "FM"
    ]


def write_table(root: Path, names: list[str], modalities: str = "avt", **columns: list[Any]) -> Path:
    root.mkdir()
    columns.setdefault("label", [LABELS[index // 2 % len(LABELS)] for index in range(len(names))])
    pa.parquet.write_table(pa.table({"utterance": names, **columns}), root / "utterances.parquet")
    rng = np.random.default_rng(0)
    for letter in modalities:
        for name in names:
            file = root / letter / f"{name}.npy"
            file.parent.mkdir(parents=True, exist_ok=True)
            np.save(file, rng.normal(size=(2, 3)).astype(np.float32))
    return root


@pytest.fixture
def iemocap(tmp_path: Path) -> Path:
    return write_table(tmp_path / "iemocap", names_of_iemocap())


def counts(corpus: Corpus) -> dict[str, int]:
    return dict(zip(corpus.classes, np.bincount(corpus.labels).tolist(), strict=True))


def message_of(findings: list[Any], check: str) -> str:
    return " | ".join(finding.message for finding in findings if finding.check == check)


# Classes


def test_a_preset_merges_and_drops_labels_and_says_how_many(iemocap: Path) -> None:
    corpus, findings = import_table(iemocap, "mine", classes="iemocap-4", split_by="sessions-5")
    assert counts(corpus) == {"angry": 20, "happy": 40, "neutral": 20, "sad": 20}
    rule = "angry 20 (ang 20), happy 40 (exc 20 + hap 20), neutral 20 (neu 20), sad 20; left out: fru 20, xxx 20"
    assert rule in message_of(findings, "classes")
    assert f"Classes iemocap-4: {rule}" in corpus.about
    six, _ = import_table(iemocap, "mine", classes="iemocap-6", split_by="sessions-5")
    assert set(counts(six).values()) == {20}
    assert len(six.classes) == 6


@pytest.mark.parametrize(
    ("preset", "labels", "expected"),
    [
        ("msp-4", "AHNSOX", {"angry": 2, "happy": 2, "neutral": 2, "sad": 2}),
        ("meld-7", ("neutral", "joy", "anger", "sadness", "surprise", "fear", "disgust"), dict.fromkeys("1234567", 2)),
    ],
)
def test_presets_know_the_labels_of_their_corpora(
    tmp_path: Path, preset: str, labels: tuple[str, ...], expected: dict[str, int]
) -> None:
    column = [*labels, *labels]
    names = [f"u{index}" for index in range(len(column))]
    root = write_table(
        tmp_path / "table", names, label=column, set=["train", "dev", "test", *["train"] * (len(names) - 3)]
    )
    corpus, _ = import_table(root, "mine", classes=preset)
    assert sorted(counts(corpus).values()) == sorted(expected.values())


@pytest.mark.parametrize("python", [False, True])
def test_classes_are_merged_and_dropped_by_name(iemocap: Path, *, python: bool) -> None:
    merge, drop = ({"exc": "hap", "fru": "ang"}, ["xxx"]) if python else ("exc=hap, fru=ang", "xxx")
    corpus, _ = import_table(iemocap, "mine", merge=merge, drop=drop, split_by="speakers-10")
    assert counts(corpus) == {"ang": 40, "hap": 40, "neu": 20, "sad": 20}
    ordered, _ = import_table(
        iemocap, "mine", classes="sad,neu,hap,ang", merge=merge, drop=drop, split_by="speakers-10"
    )
    assert ordered.classes == ("sad", "neu", "hap", "ang")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": "iemocap4"}, "did you mean 'iemocap-4'"),
        ({"drop": "xx"}, "--drop xx: there is no such class; did you mean 'xxx'"),
        ({"merge": "exc"}, "write pairs such as"),
        ({"merge": "exc=hap", "drop": "exc"}, "choose one of the two"),
        ({"merge": "exc=hap,hap=joy"}, "hap is itself merged or dropped"),
        ({"drop": ",".join(LABELS)}, "no utterance left"),
        ({"leave_out": "incomplet"}, "did you mean 'incomplete'"),
        ({"folds_from": "x.csv"}, "choose one of them"),
        ({"spl": 1}, "no option spl of an import"),
        ({"validation_from_train": 0.7}, "above 0 and at most 0.5"),
        ({"dialogue_pattern": "(x"}, "not a valid regular expression"),
        ({"dialogue_pattern": r"^(.*)_([FM])\d+$"}, "'F'; it must be a whole number"),
    ],
)
def test_what_cannot_be_selected_is_refused_in_a_sentence(iemocap: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        import_table(iemocap, "mine", **{"split_by": "sessions-5", **options})


def test_a_preset_needs_one_of_its_labels(tmp_path: Path) -> None:
    root = write_table(tmp_path / "table", [f"u{i}" for i in range(9)], label=list("123") * 3)
    with pytest.raises(CorpusError, match="none of the labels 1, 2, 3 is one of ang, anger"):
        import_table(root, "mine", classes="iemocap-4", split_by="stratified:3")


# Dialogues and speakers


def test_names_of_iemocap_give_speaker_session_dialogue_and_turn(iemocap: Path) -> None:
    corpus, _ = import_table(iemocap, "mine", split_by="sessions-5")
    rows = corpus.utterances.to_pylist()
    assert [rows[3][key] for key in ("speaker", "session", "dialogue", "turn")] == [
        "Ses01M",
        "Ses01",
        "Ses01F_impro01",
        3,
    ]
    assert [row["turn"] for row in rows[:28]] == list(range(28))


@pytest.mark.parametrize("prefix", ["", "train_", "dev/"])
def test_names_of_meld_give_dialogue_and_turn(tmp_path: Path, prefix: str) -> None:
    names = [f"{prefix}dia{d}_utt{u}" for d in range(3) for u in (10, 2, 0)]
    root = write_table(tmp_path / "meld", names, label=list("abc") * 3, set=["train", "dev", "test"] * 3)
    corpus, _ = import_table(root, "mine")
    assert corpus.utterances["dialogue"].to_pylist()[:4] == [f"{prefix}dia0"] * 3 + [f"{prefix}dia1"]
    assert corpus.utterances["turn"].to_pylist()[:3] == [2, 1, 0]


def test_dialogues_come_from_columns_or_a_pattern(tmp_path: Path) -> None:
    names = [f"talk{d}-{u}" for d in range(3) for u in range(3)]
    sets = ["train", "dev", "test"] * 3
    root = write_table(tmp_path / "pattern", names, label=list("abc") * 3, set=sets)
    corpus, _ = import_table(root, "mine", dialogue_pattern=r"^(\w+)-(\d+)$")
    assert corpus.utterances["dialogue"].to_pylist() == [name[:5] for name in names]
    turns = ["1.5", "2", None] * 3
    root = write_table(
        tmp_path / "columns", names, label=list("abc") * 3, set=sets, dialogue=list("xyz") * 3, turn=turns
    )
    corpus, _ = import_table(root, "mine")
    assert corpus.utterances["turn"].to_pylist()[:3] == [1.5, 2, None]
    root = write_table(tmp_path / "wrong", names, label=list("abc") * 3, set=sets, turn=["first"] * 9)
    with pytest.raises(CorpusError, match="turn of utterance talk0-0 is 'first'"):
        import_table(root, "mine")


def test_the_description_counts_dialogues(iemocap: Path, tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    arguments = ["import", "table", str(iemocap), "--name", "mine", "--storage", store, "--split-by", "speakers-10"]
    result = CliRunner().invoke(data_app, [*arguments, "--classes", "iemocap-4"])
    assert result.exit_code == 0, result.output
    shown = CliRunner().invoke(data_app, ["describe", "mine", "--storage", store]).output
    assert "5 dialogues of up to 20 utterances" in shown
    facts = json.loads(CliRunner().invoke(data_app, ["describe", "mine", "--storage", store, "--json"]).output)
    assert facts["dialogues"] == {"count": 5, "longest": 20}


# Modalities and gaps


@pytest.mark.parametrize("there", ["a", "at", "vt", "avt", "ap"])
def test_the_modalities_are_those_that_are_there(tmp_path: Path, there: str) -> None:
    root = write_table(tmp_path / "table", names_of_iemocap(), there)
    corpus, findings = import_table(root, "mine", split_by="sessions-5")
    assert "".join(corpus.letters) == there
    assert corpus.modalities == AVT if there == "avt" else "lstm" in message_of(findings, "modalities") or "textcnn"


def test_modalities_may_be_chosen_and_described(tmp_path: Path) -> None:
    root = write_table(tmp_path / "table", names_of_iemocap(), "apx")
    corpus, _ = import_table(root, "mine", modalities="p:physiological:lstm:standardised,a:speech", split_by="session")
    assert corpus.modalities == (
        Modality("p", "physiological", "lstm", standardised=True),
        Modality("a", "speech", "lstm", standardised=True),
    )
    chosen = [Modality("x", "gaze")]
    assert import_table(root, "mine", modalities=chosen, split_by="session")[0].modalities == tuple(chosen)
    for text, message in (
        ("a:x:lstm:yes", "is not a modality"),
        ("a,a", "Two modalities are called a"),
        ("v", "has no utterance with features of modality v; add them"),
        ("A", "cannot name a modality"),
        ("a:x:lst", "did you mean 'lstm'"),
    ):
        with pytest.raises(CorpusError, match=message):
            import_table(root, "mine", modalities=text, split_by="session")


def test_one_vector_an_utterance_is_encoded_as_such(tmp_path: Path) -> None:
    root = write_table(tmp_path / "table", names_of_iemocap(), "a")
    (root / "p").mkdir()
    for name in names_of_iemocap():
        np.save(root / "p" / f"{name}.npy", np.ones((1, 4)))
    corpus, _ = import_table(root, "mine", split_by="session")
    assert corpus.modalities[1] == Modality("p", "p", "linear", standardised=True)


def test_gaps_are_imported_counted_by_set_and_left_out_if_asked(iemocap: Path) -> None:
    names = names_of_iemocap()
    for name in names[:28:2]:
        (iemocap / "v" / f"{name}.npy").unlink()
    np.save(iemocap / "t" / f"{names[1]}.npy", np.zeros((0, 3)))
    corpus, findings = import_table(iemocap, "mine", split_by="sessions-5")
    assert message_of(findings, "missing").startswith(
        "v is missing for 14 of 140 utterances (10.0 %): train 0 to 14, validation 0 to 14, test 0 to 14 (Ses01F"
    )
    assert corpus.present[:3].tolist() == [[True, False, True], [True, True, False], [True, False, True]]
    complete, findings = import_table(iemocap, "mine", split_by="sessions-5", leave_out="incomplete")
    assert len(complete) == 125
    assert complete.present.all()
    assert "15 of 140 utterances lack a modality" in message_of(findings, "left out")


def test_an_utterance_without_any_modality_can_be_left_out(iemocap: Path) -> None:
    name = names_of_iemocap()[0]
    for letter in "avt":
        (iemocap / letter / f"{name}.npy").unlink()
    _, findings = import_table(iemocap, "mine", split_by="sessions-5")
    errors = [finding.message for finding in findings if finding.severity == "error"]
    assert errors == [f"1 utterances lack every modality (--leave-out empty drops them): {name}"]
    assert len(import_table(iemocap, "mine", split_by="sessions-5", leave_out="empty")[0]) == 139


def test_gaps_in_parquet_are_imported(tmp_path: Path) -> None:
    names = names_of_iemocap()
    root = write_table(tmp_path / "table", names, "a")
    frames = [[[float(index), 1.0]] if index % 3 else None for index in range(len(names))]
    pa.parquet.write_table(pa.table({"utterance": names, "frames": frames}), root / "p.parquet")
    corpus, _ = import_table(root, "mine", split_by="session")
    present = corpus.sequences["p"].lengths > 0
    assert present.tolist() == [index % 3 > 0 for index in range(len(names))]
    assert corpus.sequences["p"].values[:, 0].tolist() == np.flatnonzero(present).tolist()


def test_features_of_other_utterances_alone_are_refused(tmp_path: Path) -> None:
    root = write_table(tmp_path / "table", names_of_iemocap())
    for file in (root / "v").iterdir():
        file.rename(file.with_name(f"x{file.name}"))
    with pytest.raises(CorpusError, match="modality v, but with those of xSes01F_impro01_F000"):
        import_table(root, "mine", split_by="session")


def test_the_folders_of_mmin_may_lack_a_modality_or_an_utterance(tmp_path: Path) -> None:
    root = write_layout(tmp_path / "layout")
    whole, _ = import_mmin(root, "x")
    (root / "V" / "denseface.h5").unlink()
    corpus, findings = import_mmin(root, "x", leave_out="incomplete")
    assert corpus.modalities == (AVT[0], AVT[2])
    assert np.array_equal(corpus.sequences["t"].values, whole.sequences["t"].values)
    assert "does not have modality v" in message_of(findings, "modalities")


def test_pickles_of_mmsa_may_lack_a_modality(tmp_path: Path) -> None:
    content = make_content()
    whole, _ = import_mmsa(write(tmp_path / "whole.pkl", content), "x")
    content = make_content()
    for part in content.values():
        for key in list(part):
            if key.startswith("vision"):
                del part[key]
    corpus, findings = import_mmsa(write(tmp_path / "part.pkl", content), "x", classes="bad,mixed,good")
    assert corpus.modalities == (AVT[0], AVT[2])
    assert corpus.classes == ("bad", "mixed", "good")
    assert np.array_equal(corpus.sequences["t"].values, whole.sequences["t"].values)
    assert "no set has 'vision'" in message_of(findings, "modalities")


def test_pickles_of_mmsa_may_lack_a_modality_of_an_utterance(tmp_path: Path) -> None:
    content = make_content()
    part = content["train"]
    part["vision"] = list(part["vision"])
    part["vision"][0] = None
    part["audio_lengths"] = [0, *list(part["audio_lengths"])[1:]]
    corpus, findings = import_mmsa(write(tmp_path / "gaps.pkl", content), "x")
    assert corpus.present[:2].tolist() == [[False, False, True], [True, True, True]]
    assert message_of(findings, "missing").count("is missing for 1 of") == 2


def test_a_layout_without_validation_sets_may_take_them_from_the_training_sets(tmp_path: Path) -> None:
    root = write_layout(tmp_path / "layout")
    for file in root.glob("target/*/val_*.npy"):
        file.unlink()
    with pytest.raises(CorpusError, match="val_int2name"):
        import_mmin(root, "x")
    corpus, _ = import_mmin(root, "x", validation_from_train=0.25)
    assert all(len(fold.validation) == 8 for fold in corpus.folds.values())
    content = make_content()
    del content["valid"]
    corpus, _ = import_mmsa(write(tmp_path / "mosi.pkl", content), "x", validation_from_train=0.5)
    assert len(corpus.folds[1].validation)


def test_the_folders_of_mmin_may_lack_features_of_an_utterance(tmp_path: Path) -> None:
    root = write_layout(tmp_path / "layout")
    change_sequence(root / "V" / "denseface.h5", None)
    change_sequence(root / "L" / "bert_large.h5", np.zeros((0, 5)))
    corpus, findings = import_mmin(root, "x")
    lacking = corpus.present[corpus.names.index("Ses02M_impro01_F002")]
    assert (lacking.tolist(), int((~corpus.present).sum())) == ([True, False, False], 2)
    assert "(Ses02M_impro01_F002)" in message_of(findings, "missing")


# Folds


def members(corpus: Corpus) -> dict[int, dict[str, list[str]]]:
    return {
        number: {name: [corpus.names[index] for index in fold[name]] for name in SETS}
        for number, fold in corpus.folds.items()
    }


def five_folds() -> dict[int, dict[str, list[str]]]:
    names = names_of_iemocap()
    parts = [names[28 * k : 28 * k + 28] for k in range(5)]
    return {
        k + 1: {
            "train": sorted(name for j, part in enumerate(parts) if j not in (k, (k + 1) % 5) for name in part),
            "validation": parts[(k + 1) % 5],
            "test": parts[k],
        }
        for k in range(5)
    }


def write_json(file: Path, content: object) -> Path:
    file.write_text(json.dumps(content))
    return file


def as_records(folder: Path) -> Path:
    """As EmoBox publishes them: a file for each set, the corpus before each name, and no validation set."""
    for number, sets in five_folds().items():
        for word, names in (("train", sets["train"] + sets["validation"]), ("test", sets["test"])):
            path = folder / f"fold_{number}" / f"iemocap_{word}_fold_{number}"
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = [{"key": f"iemocap-{name}", "dataset": "iemocap", "emo": "x"} for name in names]
            path.with_suffix(".jsonl").write_text("\n".join(map(json.dumps, lines)))
            write_json(path.with_suffix(".json"), {line["key"]: {"dataset": "iemocap", "length": 1} for line in lines})
    return folder


def as_mmin(folder: Path) -> Path:
    for number, sets in five_folds().items():
        (folder / str(number)).mkdir(parents=True)
        for prefix, word in (("trn", "train"), ("val", "validation"), ("tst", "test")):
            np.save(folder / str(number) / f"{prefix}_int2name.npy", np.array([[n.encode()] for n in sets[word]]))
            np.save(folder / str(number) / f"{prefix}_label.npy", np.zeros(3))
    return folder


def as_table(file: Path) -> Path:
    rows = [(k, s, n) for k, sets in five_folds().items() for s, names in sets.items() for n in names]
    pa.parquet.write_table(
        pa.table(dict(zip(("fold", "set", "utterance"), map(list, zip(*rows, strict=True)), strict=True))), file
    )
    return file


def as_arrays(file: Path) -> Path:
    arrays = {f"fold{k}_{s}": np.array(names) for k, sets in five_folds().items() for s, names in sets.items()}
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file


FORMS: dict[str, Callable[[Path], Path]] = {
    "table": lambda tmp: as_table(tmp / "folds.parquet"),
    "assignment": lambda tmp: write_json(tmp / "a.json", {n: k for k, s in five_folds().items() for n in s["test"]}),
    "folds of sets": lambda tmp: write_json(tmp / "b.json", {f"fold_{k}": sets for k, sets in five_folds().items()}),
    "list of folds": lambda tmp: write_json(tmp / "c.json", list(five_folds().values())),
    "list of test sets": lambda tmp: write_json(tmp / "d.json", [sets["test"] for sets in five_folds().values()]),
    "lists by fold": lambda tmp: write_json(tmp / "e.json", {k: sets["test"] for k, sets in five_folds().items()}),
    "records": lambda tmp: write_json(
        tmp / "f.json", [{"utterance": n, "fold": k} for k, sets in five_folds().items() for n in sets["test"]]
    ),
    "records of files": lambda tmp: write_json(
        tmp / "h.json",
        {
            "folds": [
                {s: [{"path": f"x/{n}.wav"} for n in names] for s, names in f.items()} for f in five_folds().values()
            ]
        },
    ),
    "arrays": lambda tmp: as_arrays(tmp / "g.npz"),
    "folders of MMIN": lambda tmp: as_mmin(tmp / "target"),
}


@pytest.mark.parametrize("form", FORMS)
def test_folds_are_read_as_they_are_published(iemocap: Path, tmp_path: Path, form: str) -> None:
    corpus, _ = import_table(iemocap, "mine", folds_from=FORMS[form](tmp_path))
    assert {k: {s: sorted(n) for s, n in sets.items()} for k, sets in members(corpus).items()} == {
        k: {s: sorted(n) for s, n in sets.items()} for k, sets in five_folds().items()
    }


def test_folds_of_emobox_get_validation_sets_of_other_speakers(iemocap: Path, tmp_path: Path) -> None:
    folds = as_records(tmp_path / "emobox")
    with pytest.raises(CorpusError, match="take them from the training set with --validation-from-train"):
        import_table(iemocap, "mine", folds_from=folds)
    corpus, _ = import_table(iemocap, "mine", folds_from=folds, validation_from_train=0.1)
    assert [sets["test"] for sets in members(corpus).values()] == [sets["test"] for sets in five_folds().values()]
    for sets in members(corpus).values():
        assert len(sets["validation"]) == 14  # one speaker of eight
        assert not {n[:5] + n[-4] for n in sets["train"]} & {n[:5] + n[-4] for n in sets["validation"]}


def test_folds_may_list_utterances_that_are_not_imported(iemocap: Path, tmp_path: Path) -> None:
    file = tmp_path / "folds.json"
    listed = [[*sets["test"], f"Ses0{k}F_impro09_F000"] for k, sets in five_folds().items()]
    write_json(file, listed)
    corpus, findings = import_table(iemocap, "mine", folds_from=file, classes="iemocap-4")
    assert len(corpus) == 100
    assert "lists 5 utterances that the corpus does not have" in message_of(findings, "folds")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (["u1", "u2"], "lists names without a fold or a set"),
        ({"train": ["x"], "test": ["y"]}, "none of them agree"),
        ({}, "does not have folds in a known form"),
        ({"one": {"two": ["x"]}}, "does not have folds in a known form"),
        (3, "does not have folds in a known form"),
        ([["Ses01F_impro01_F000"], ["Ses01F_impro01_F001"]], "2 folds and no sets, which takes at least 3"),
        ([["Ses01F_impro01_F000"]] * 3, "in several folds, and no sets"),
        ({"train": ["Ses01f_impro01_f000"]}, "which looks like it"),
    ],
)
def test_a_file_without_folds_is_refused_in_a_sentence(
    iemocap: Path, tmp_path: Path, content: object, message: str
) -> None:
    with pytest.raises(CorpusError, match=message):
        import_table(iemocap, "mine", folds_from=write_json(tmp_path / "folds.json", content))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.sampled_from(["u0", "u1", "train", "test"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=2) | st.sampled_from(["train", "dev", "test", "1", "fold2", "key"]), inner)
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(VALUES)
def test_any_json_is_folds_or_is_refused_in_a_sentence(content: object) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = write_json(Path(folder) / "folds.json", content)
        try:
            folds, _ = read_folds(file, ["u0", "u1", "u2", "1", "train"])
        except CorpusError as error:
            message = str(error)
            assert message.endswith(".")
            assert "\n" not in message
        else:
            assert all(len(fold.train) and len(fold.test) for fold in folds.values())


def test_json_that_is_too_deep_is_refused(tmp_path: Path) -> None:
    for depth in (200, 900, 100_000):
        (tmp_path / "deep.json").write_text("[" * depth + "]" * depth)
        with pytest.raises(CorpusError, match=r"known form|not JSON|no names"):
            read_folds(tmp_path / "deep.json", ["u0"])


def test_a_damaged_file_of_folds_is_refused_in_a_sentence(iemocap: Path, tmp_path: Path) -> None:
    for name, content, message in (
        ("none.json", None, "does not exist"),
        ("x.json", b"{", "is not JSON"),
        ("x.npz", b"PK\x03\x04 and nothing", "cannot be read"),
        ("x.pkl", b"\x80\x04.", "is not a file of folds"),
        ("x.csv", b"utterance\nSes01F_impro01_F000\n", "must have a column set or fold"),
    ):
        file = tmp_path / name
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(CorpusError, match=message):
            import_table(iemocap, "mine", folds_from=file)


def test_objects_in_a_file_of_folds_are_not_unpickled(iemocap: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", train=np.array([{"a": 1}], dtype=object))
    with pytest.raises(CorpusError, match="save names as text"):
        import_table(iemocap, "mine", folds_from=tmp_path / "x.npz")


def test_a_validation_set_that_is_there_is_not_replaced(iemocap: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="has a validation set of 28 utterances already"):
        import_table(iemocap, "mine", folds_from=as_table(tmp_path / "f.parquet"), validation_from_train=0.1)


def test_every_option_of_a_selection_is_one_of_the_commands(iemocap: Path, tmp_path: Path) -> None:
    assert list(SELECTION) == [field.name for field in fields(Selection)]
    store = tmp_path / "store"
    arguments = ["import", "table", str(iemocap), "--name", "mine", "--storage", str(store), "--merge", "exc=hap"]
    arguments += ["--drop", "xxx,fru", "--split-by", "sessions-5", "--validation-from-train", "0.1", "--seed", "3"]
    result = CliRunner().invoke(data_app, arguments)
    assert result.exit_code == 0, result.output
    corpus = open_corpus(store / "corpora" / "mine")
    expected, _ = import_table(
        iemocap, "mine", merge="exc=hap", drop="xxx,fru", split_by="sessions-5", validation_from_train=0.1, seed=3
    )
    assert members(corpus) == members(expected)
    assert "seed 3" in corpus.about
