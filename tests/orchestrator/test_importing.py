from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av")

import ifmmin
from ifmmin.data.corpus import Corpus, open_corpus
from ifmmin.data.errors import UserError
from ifmmin.data.recordings.clip import Clip
from ifmmin.data.selection import Selection
from ifmmin.orchestrator.execution.cluster import ray_session
from ifmmin.orchestrator.importing import choose_extractors, parse_allowance, parse_extract, prepare
from ifmmin.orchestrator.planning.configuration import Compute
from tests.data.recordings import raw
from tests.data.recordings.media import tone, write_wav

EXTRACTORS = """
import numpy as np
from ifmmin.data.recordings.decoding import RecordingError, read_audio
from ifmmin.data.recordings.extractors import Extractor

class Letters(Extractor):
    name, version, reads, dimension, licence, encoder = "letters", "3", "text", 2, "CC0", "textcnn"

    def extract(self, clip):
        if "unreadable" in clip.text:
            raise RecordingError("is unreadable")
        return np.array([[len(word), ord(word[0])] for word in clip.text.split()], np.float32).reshape(-1, 2)

class Loudness(Extractor):
    name, version, reads, dimension, licence = "loudness", "1", "audio", 1, "MIT"

    def extract(self, clip):
        samples, rate = read_audio(clip)
        return np.abs(samples[: len(samples) // 160 * 160]).reshape(-1, 160).mean(1, keepdims=True)
"""
ROWS = 12


@pytest.fixture(scope="module")
def session() -> Iterator[None]:
    with ray_session(Compute(workers=2)):
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Sound and text of two moods and three speakers; one utterance without a label, one without text."""
    (tmp_path / "extractors.py").write_text(EXTRACTORS)
    root = tmp_path / "recordings"
    (root / "audio").mkdir(parents=True)
    lines = ["utterance,label,speaker,dialogue,turn,arousal,text"]
    for number in range(ROWS):
        label = "" if number == 4 else ("calm", "angry")[number % 2]
        text = "" if number == 5 else f"number {number} said"
        write_wav(root / "audio" / f"u{number:02}.wav", tone(0.4, pitch=150 + 9 * number, seed=number))
        lines.append(f"u{number:02},{label},s{number // 2 % 3},d{number % 2},{number},{number / 8 + 0.01:.3f},{text}")
    (root / "recordings.csv").write_text("\n".join(lines) + "\n")
    return root


def imported(folder: Path, **options: object) -> Corpus:
    place = folder.parent / "extractors.py"
    extract = {"a": f"{place}:Loudness", "t": f"{place}:Letters"}
    chosen = {"extract": extract, "progress": False, "workers": 2, "storage": str(folder.parent / "store"), **options}
    return ifmmin.import_recordings(folder, "mine", **chosen)  # type: ignore[arg-type]


@pytest.mark.usefixtures("session")
def test_recordings_become_a_corpus_with_what_the_extractors_gave(folder: Path) -> None:
    corpus = imported(folder)
    assert len(corpus) == ROWS - 1
    assert "u04" not in corpus.names
    assert corpus.classes == ("angry", "calm")
    assert corpus.dimensions == {"a": 1, "t": 2}
    assert [(m.title, m.encoder, m.standardised) for m in corpus.modalities] == [
        ("acoustic", "lstm", True),
        ("textual", "textcnn", False),
    ]
    assert corpus.sequences["t"][0].tolist() == [[6, ord("n")], [1, ord("0")], [4, ord("s")]]
    without_text = corpus.names.index("u05")
    assert corpus.present[without_text].tolist() == [True, False]
    assert corpus.utterances["arousal"].to_pylist()[1] == 0.135
    assert corpus.utterances["text"].to_pylist()[without_text] is None
    assert len(corpus.folds) == 3  # of three speakers


@pytest.mark.usefixtures("session")
def test_the_corpus_says_how_its_features_were_made(folder: Path) -> None:
    imported(folder)
    stored = open_corpus(folder.parent / "store" / "corpora" / "mine")
    how = stored.extractors["t"]
    assert how.extractor == f"{folder.parent / 'extractors.py'}:Letters"
    assert (how.version, how.licence) == ("3", "CC0")
    assert '"letters"' in how.identity


@pytest.mark.usefixtures("session")
def test_failures_stop_the_import_unless_they_are_allowed(folder: Path) -> None:
    (folder / "audio" / "u01.wav").write_bytes(b"")
    table = folder / "recordings.csv"
    table.write_text(table.read_text().replace("number 2 said", "unreadable"))
    with pytest.raises(UserError, match="2 of 11 clips failed, more than --allow-failures 1"):
        imported(folder, allow_failures=1)
    failures = (folder.parent / "store" / "imports" / "mine" / "failures.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in failures[1:]] == [["u01", "a"], ["u02", "t"]]
    assert "is empty" in failures[1]
    corpus = imported(folder, allow_failures="20%")
    assert corpus.present[corpus.names.index("u01")].tolist() == [False, True]
    assert corpus.present[corpus.names.index("u02")].tolist() == [True, False]


@pytest.mark.usefixtures("session")
def test_a_clip_that_lost_all_its_modalities_is_left_out(folder: Path) -> None:
    (folder / "audio" / "u05.wav").write_bytes(b"")  # and it has no text
    corpus = imported(folder, allow_failures=1)
    assert "u05" not in corpus.names
    assert len(corpus) == ROWS - 2


@pytest.mark.usefixtures("session")
def test_classes_are_chosen_before_anything_is_extracted(folder: Path) -> None:
    table = folder / "recordings.csv"
    text = table.read_text().replace("u06,calm", "u06,bored").replace("number 6 said", "unreadable")
    table.write_text(text)
    corpus = imported(folder, drop="bored")
    assert len(corpus) == ROWS - 2
    assert corpus.classes == ("angry", "calm")


@pytest.mark.usefixtures("session")
def test_sets_of_a_table_make_a_fold_unless_a_split_is_wanted(folder: Path) -> None:
    table = folder / "recordings.csv"
    heading, *rows = table.read_text().splitlines()
    words = ["train"] * 6 + ["dev"] * 3 + ["test"] * 3
    table.write_text("\n".join([f"{heading},set", *(f"{r},{w}" for r, w in zip(rows, words, strict=True))]) + "\n")
    corpus = imported(folder)
    assert list(corpus.folds) == [1]
    assert [len(corpus.folds[1][name]) for name in ("train", "validation", "test")] == [5, 3, 3]
    split = imported(folder, storage=str(folder.parent / "other"), split_by="stratified:3")
    assert len(split.folds) == 3


@pytest.mark.usefixtures("session")
def test_a_second_import_extracts_nothing_anew(folder: Path) -> None:
    first = imported(folder)
    (folder.parent / "store" / "corpora" / "mine" / "corpus.json").unlink()
    features = sorted((folder.parent / "store" / "features").iterdir())
    stamps = [path.stat().st_mtime_ns for path in features]
    again = imported(folder)
    assert again.fingerprint == first.fingerprint
    assert [path.stat().st_mtime_ns for path in sorted((folder.parent / "store" / "features").iterdir())] == stamps


@pytest.mark.usefixtures("session")
def test_a_raw_corpus_is_imported_by_its_layout(tmp_path: Path) -> None:
    root = raw.emodb(tmp_path / "emodb")
    for number, file in enumerate(sorted((root / "wav").glob("[0-9]*.wav"))):
        write_wav(file, tone(0.3, seed=number))
    (tmp_path / "extractors.py").write_text(EXTRACTORS)
    for name in ("08a01Fa", "16a01Wa", "03a02Nc", "03a02Tc", "08a02Fa", "08a02Wa", "08a02Ta", "16a02Fc", "16a02Nc"):
        write_wav(root / "wav" / f"{name}.wav", tone(0.3, seed=hash(name) % 1000))
    options = {"extract": {"a": f"{tmp_path / 'extractors.py'}:Loudness"}, "split_by": "stratified:3"}
    corpus = ifmmin.import_recordings(
        root,
        "emodb",
        storage=str(tmp_path / "store"),
        workers=2,
        progress=False,
        **options,  # type: ignore[arg-type]
    )
    assert corpus.letters == ("a",)
    assert corpus.classes == ("anger", "happiness", "neutral", "sadness")
    assert set(corpus.speakers or ()) == {"03", "08", "16"}
    assert "EmoDB" in corpus.about


def test_extractors_are_chosen_by_what_the_clips_have(tmp_path: Path) -> None:
    sound, pictures = Clip("u1", audio=tmp_path / "u1.wav"), Clip("u2", video=tmp_path / "u2.mp4")
    assert choose_extractors([sound], None) == {"a": "log-mel"}
    assert choose_extractors([pictures, Clip("u3", text="hi")], None) == {
        "a": "log-mel",
        "v": "face",
        "t": "wordllama",
    }
    with pytest.raises(UserError, match="t=wordllama reads text, and no clip has any"):
        choose_extractors([sound], {"a": "log-mel", "t": "wordllama"})


def test_options_that_are_not_valid_are_refused_in_a_sentence() -> None:
    assert parse_extract(["a=log-mel", "s=hf-audio:wavlm=base"]) == {"a": "log-mel", "s": "hf-audio:wavlm=base"}
    assert parse_extract([]) is None
    with pytest.raises(UserError, match="write a letter and an extractor"):
        parse_extract(["log-mel"])
    with pytest.raises(UserError, match="a is log-mel already"):
        parse_extract(["a=log-mel", "a=comparE"])
    for word in ("many", "-1", "2.5", "101%", "nan", "inf"):
        with pytest.raises(UserError, match="--allow-failures"):
            parse_allowance(word, 10)


@pytest.mark.usefixtures("session")
def test_features_are_the_same_whatever_the_order_of_the_table(folder: Path) -> None:
    first = imported(folder)
    table = folder / "recordings.csv"
    heading, *rows = table.read_text().splitlines()
    table.write_text("\n".join([heading, *reversed(rows)]) + "\n")
    again = imported(folder, storage=str(folder.parent / "other"))
    for name in first.names:
        one, other = first.names.index(name), again.names.index(name)
        for letter in first.letters:
            np.testing.assert_array_equal(first.sequences[letter][one], again.sequences[letter][other])


def test_iemocap_is_prepared_with_the_classes_of_the_literature(tmp_path: Path) -> None:
    (tmp_path / "extractors.py").write_text(EXTRACTORS)
    prepared = prepare(
        raw.iemocap(tmp_path / "IEMOCAP"),
        "iemocap",
        storage=str(tmp_path / "store"),
        extract={"t": f"{tmp_path / 'extractors.py'}:Letters"},
        selection=Selection(classes="iemocap-4"),
    )
    assert {clip.utterance for clip in prepared.clips} == {
        "Ses01F_impro01_F000",
        "Ses01M_script01_1_M000",
        "Ses01M_script01_1_F000",
        "Ses05M_script01_1b_F010",
        "Ses05M_script01_1b_M009",
    }
    assert prepared.selection.split_by == "speaker"  # two sessions are too few


def test_what_is_wrong_is_said_before_anything_is_extracted(folder: Path) -> None:
    extract = {"t": f"{folder.parent / 'extractors.py'}:Letters"}
    for options, says in (
        ({"layout": "emodbb"}, "did you mean 'emodb'"),
        ({"selection": Selection(drop="bored")}, "--drop bored"),
        ({"selection": Selection(split_by="age")}, "--split-by age"),
        ({"allow_failures": "some"}, "--allow-failures some"),
        ({"extract": {"t": "worldlama"}}, "did you mean 'wordllama'"),
    ):
        with pytest.raises(UserError, match=says):
            prepare(folder, "mine", **{"storage": "store", "extract": extract, **options})  # type: ignore[arg-type]
