"""Predictions of recordings by trained runs, through the extractors that their corpus was made with."""

import base64
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

import ifmmin
from ifmmin.data.catalogue import folder_for
from ifmmin.data.corpus import Corpus, Fold, Provenance, Sequences, write_corpus
from ifmmin.data.errors import CorpusError, UserError
from ifmmin.data.modalities import Modality
from ifmmin.data.recordings.clip import Clip
from ifmmin.data.recordings.clips import find_clips, windows
from ifmmin.data.recordings.extractors import make_extractor, whole_spec
from ifmmin.orchestrator.analysis.trained_runs import trained_runs
from ifmmin.orchestrator.commands.predict import command as predict
from ifmmin.orchestrator.execution.cluster import ray_session
from ifmmin.orchestrator.experiment import Experiment
from ifmmin.orchestrator.planning.configuration import Compute, load_configuration
from ifmmin.orchestrator.tracking.models import NAME, log_model
from tests.data.recordings.media import RATE, picture, tone, write_media, write_wav
from tests.orchestrator.conftest import run_in_this_process
from tests.small import IF_MMIN

pytest.importorskip("av")

BRIGHTNESS = """
import numpy as np
from ifmmin.data.recordings.decoding import read_frames
from ifmmin.data.recordings.extractors import Extractor

class Brightness(Extractor):
    name, version, reads, dimension, rate, licence = "brightness", "{version}", "video", 2, 5.0, "MIT"

    def extract(self, clip):
        return np.array([(frame.mean(), frame.std()) for _, frame in read_frames(clip, 5)], np.float32)
"""
LENGTHS = """
import numpy as np
from ifmmin.data.recordings.extractors import Extractor

class Lengths(Extractor):
    name, version, reads, dimension, licence, encoder = "lengths", "1", "text", 3, "MIT", "textcnn"

    def extract(self, clip):
        return np.array([(len(word), word.count("a"), 1) for word in clip.text.split()], np.float32).reshape(-1, 3)
"""
UTTERANCES = 12


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Experiment, Path]]:
    """An experiment on a corpus that was made from the recordings in a folder, with Ray."""
    root = tmp_path_factory.mktemp("recorded")
    (root / "brightness.py").write_text(BRIGHTNESS.format(version="1"))
    (root / "lengths.py").write_text(LENGTHS)
    specs = {"a": "log-mel", "v": f"{root}/brightness.py:Brightness", "t": f"{root}/lengths.py:Lengths"}
    made = {letter: make_extractor(spec) for letter, spec in specs.items()}
    (root / "clips").mkdir()
    for number in range(UTTERANCES):
        shown = [picture(number + frame) for frame in range(10)]
        write_media(root / "clips" / f"u{number}.mp4", samples=tone(1, seed=number), pictures=shown)
        (root / "clips" / f"u{number}.txt").write_text("a " * (1 + number % 4))
    clips = find_clips([root / "clips"])
    rows = np.arange(UTTERANCES)
    corpus = Corpus(
        "recorded",
        ("low", "high"),
        pa.table({"utterance": [clip.utterance for clip in clips], "label": rows % 2}),
        {letter: Sequences.of([made[letter].extract(clip) for clip in clips]) for letter in made},
        {1: Fold(rows[:6], rows[6:9], rows[9:])},
        tuple(Modality(letter, each.reads, each.encoder) for letter, each in made.items()),
        extractors={
            letter: Provenance(whole_spec(specs[letter]), each.version, each.licence, each.identity())
            for letter, each in made.items()
        },
    )
    location = str(root / "store")
    write_corpus(corpus, folder_for("recorded", location))
    changes = {"corpus": "recorded", "hyperparameters": {"epochs": 1}, "name": "spoken", "storage": location}
    experiment = Experiment.of(load_configuration(IF_MMIN, changes))
    experiment.record()
    run_in_this_process(experiment.plan, experiment.corpus, experiment.store)
    with ray_session(Compute(workers=2)):
        yield experiment, root


@pytest.mark.slow  # trains, and starts Ray
def test_clips_of_the_corpus_get_their_stored_predictions_to_the_bit(
    recorded: tuple[Experiment, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment, root = recorded
    output, storage = tmp_path / "p.parquet", experiment.store.location
    predict("spoken", output, recordings=[root / "clips"], every_condition=True, storage=storage)
    key = experiment.plan.runs[0].evaluation
    stored = experiment.store.read_table(key, "predictions").to_pandas()
    stored["utterance"] = (
        [experiment.corpus.names[row] for row in stored.pop("utterance")]
        if stored["utterance"].dtype.kind == "i"
        else stored["utterance"]
    )
    probabilities = [name for name in stored if name.startswith("p_")]
    predicted = pd.read_parquet(output).set_index(["utterance", "condition"])[probabilities]
    stored = stored.set_index(["utterance", "condition"])[probabilities]
    assert len(stored)
    pd.testing.assert_frame_equal(predicted.loc[stored.index], stored, check_exact=True)
    assert "36 of 36 features of clips extracted" in capsys.readouterr().out


@pytest.mark.slow  # trains, and starts Ray
def test_what_a_recording_lacks_is_missing_and_what_failed_is_named(
    recorded: tuple[Experiment, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment, _ = recorded
    write_wav(tmp_path / "sound.wav", tone(1))
    (tmp_path / "broken.mp4").write_bytes(b"nothing of use" * 10)
    predict("spoken", tmp_path / "p.csv", recordings=[tmp_path], storage=experiment.store.location)
    frame = pd.read_csv(tmp_path / "p.csv")
    assert frame[["utterance", "condition"]].to_numpy().tolist() == [["sound", "a"]]
    printed = capsys.readouterr().out
    assert "broken (a) cannot be read (Invalid data found when processing input)" in printed
    assert "Left out for lack of any modality: broken." in printed


@pytest.mark.slow  # trains, and starts Ray
def test_a_long_recording_has_a_timeline_and_its_picture(recorded: tuple[Experiment, Path], tmp_path: Path) -> None:
    experiment, _ = recorded
    samples = tone(5.4)
    samples[2 * RATE : 3 * RATE] = 0
    write_wav(tmp_path / "talk.wav", samples)
    output = tmp_path / "timeline.csv"
    predict("spoken", output, recordings=[tmp_path / "talk.wav"], every=1, storage=experiment.store.location)
    frame = pd.read_csv(output, keep_default_na=False)
    assert frame["start"].tolist() == [0, 1, 2, 3, 4]
    assert frame["end"].tolist() == [1, 2, 3, 4, 5.4]
    assert set(frame["recording"]) == {"talk"}
    assert frame["condition"].tolist() == ["a", "a", "", "a", "a"], "a silent window has no modality"
    assert (tmp_path / "timeline-talk.png").read_bytes().startswith(b"\x89PNG")
    called = ifmmin.predict("spoken", recordings=tmp_path / "talk.wav", every=1, storage=experiment.store.location)
    np.testing.assert_allclose(called["p_low"], pd.read_csv(output)["p_low"])


@pytest.mark.slow  # trains, and starts Ray
def test_a_served_model_takes_recordings(recorded: tuple[Experiment, Path], client: MlflowClient) -> None:
    experiment, root = recorded
    run_id = client.create_run(client.create_experiment("recorded")).info.run_id
    runs = list(trained_runs(experiment, experiment.plan.runs))
    log_model(client, run_id, runs, "these", None, experiment.corpus.extractors)
    model = mlflow.pyfunc.load_model(f"runs:/{run_id}/{NAME}")
    content = base64.b64encode((root / "clips" / "u0.mp4").read_bytes()).decode()
    rows = [
        {"utterance": "whole", "video": content, "text": "a "},
        {"utterance": "deaf", "text": "a "},
        {"utterance": "known", "video": content, "a": [[0.5] * 80]},
    ]
    answer = model.predict(pd.DataFrame(rows)).set_index("utterance")
    assert answer["condition"].to_dict() == {"whole": "avt", "deaf": "t", "known": "av"}
    expected = ifmmin.predict("spoken", recordings=root / "clips" / "u0.mp4", storage=experiment.store.location)
    probabilities = ["p_low", "p_high"]
    np.testing.assert_allclose(answer.loc[["whole"], probabilities], expected[probabilities], rtol=1e-4)
    for cell, why in {"no base64": "audio must be the content of a file in base64", "bm90": "cannot be read"}.items():
        with pytest.raises(MlflowException, match=why):
            model.predict(pd.DataFrame([{"utterance": "one", "audio": cell}]))


def test_extractors_that_are_not_those_of_the_corpus_are_refused(
    recorded: tuple[Experiment, Path], tmp_path: Path
) -> None:
    experiment, root = recorded
    output, storage, clips = tmp_path / "p.csv", experiment.store.location, [root / "clips"]
    (tmp_path / "brightness.py").write_text(BRIGHTNESS.format(version="2"))
    with pytest.raises(UserError, match=r"is not the one that v of corpus 'recorded' was made with: its version"):
        predict("spoken", output, recordings=clips, extract=[f"v={tmp_path}/brightness.py:Brightness"], storage=storage)
    with pytest.raises(UserError, match="--extract x=…: known: a, v, t"):
        predict("spoken", output, recordings=clips, extract=["x=log-mel"], storage=storage)
    with pytest.raises(UserError, match="write a letter and an extractor"):
        predict("spoken", output, recordings=clips, extract=["log-mel"], storage=storage)
    with pytest.raises(UserError, match="either --input with a folder of features, or --recordings"):
        predict("spoken", output, storage=storage)
    with pytest.raises(UserError, match="one row for each window"):
        predict("spoken", output, recordings=clips, every=1, every_condition=True, storage=storage)


def test_a_corpus_of_features_has_no_extractors(finished_experiment: Experiment, tmp_path: Path) -> None:
    write_wav(tmp_path / "u.wav", tone(1))
    storage = finished_experiment.store.location
    with pytest.raises(UserError, match="Corpus 'small' was not made from recordings"):
        predict("demo", tmp_path / "p.csv", recordings=[tmp_path / "u.wav"], storage=storage)


def test_files_and_folders_are_clips(tmp_path: Path) -> None:
    for name in ("one.wav", "one.txt", "two.MP4", "notes.pdf"):
        (tmp_path / name).write_text("so it is")
    clips = find_clips([tmp_path])
    assert clips == [
        Clip("one", tmp_path / "one.wav", None, "so it is"),
        Clip("two", None, tmp_path / "two.MP4"),
    ]
    assert find_clips([tmp_path / "two.MP4", tmp_path / "one.wav"]) == clips[::-1]
    for path, why in {
        tmp_path / "none.wav": "is missing",
        tmp_path / "notes.pdf": "is not a recording by its name",
    }.items():
        with pytest.raises(CorpusError, match=why):
            find_clips([path])
    with pytest.raises(CorpusError, match="Two recordings are called one"):
        find_clips([tmp_path, tmp_path / "one.wav"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match="holds no recordings"):
        find_clips([tmp_path / "empty"])


def test_windows_cover_a_recording_without_gaps(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "u.wav", tone(2.4))
    clip = Clip("u", audio=path, text="lost")
    cut = [(part.utterance, part.start, part.end, part.text) for part in windows(clip, 1)]
    assert cut == [("u@0", 0, 1, None), ("u@1", 1, 2.4, None)]
    part = windows(replace(clip, start=0.5, end=2.1), 0.5)
    assert [(each.start, each.end) for each in part] == [(0.5, 1.0), (1.0, 1.5), (1.5, 2.1)]
    assert len(windows(clip, 60)) == 1
    (tmp_path / "empty.wav").touch()
    with pytest.raises(CorpusError, match="u is empty"):
        windows(Clip("u", audio=tmp_path / "empty.wav"), 1)
