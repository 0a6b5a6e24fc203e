from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from ifmmin.data.errors import CorpusError
from ifmmin.data.recordings.clip import Clip, Recordings
from ifmmin.data.recordings.layouts import LAYOUTS, layout_of, read_recordings, recognise
from tests.data.recordings import raw

MINIATURES: dict[str, Callable[[Path], Path]] = {
    "iemocap": raw.iemocap,
    "msp-improv": raw.msp_improv,
    "meld": raw.meld,
    "crema-d": raw.crema_d,
    "ravdess": raw.ravdess,
    "emodb": raw.emodb,
    "label-csv": raw.label_csv,
}


def by_name(recordings: Recordings, column: str) -> dict[str, str]:
    return dict(zip((clip.utterance for clip in recordings.clips), recordings.columns[column], strict=True))


def clips_of(recordings: Recordings) -> dict[str, Clip]:
    return {clip.utterance: clip for clip in recordings.clips}


def messages(recordings: Recordings) -> str:
    return "\n".join(finding.message for finding in recordings.findings)


@pytest.mark.parametrize("name", MINIATURES)
def test_a_layout_is_recognised_by_what_is_in_the_folder(name: str, tmp_path: Path) -> None:
    folder = MINIATURES[name](tmp_path / "corpus")
    assert recognise(folder) == (name, folder)
    assert (recognise(tmp_path) or ("",))[0] == name
    assert [other for other in LAYOUTS if layout_of(other).recognises(folder)] == [name]
    assert read_recordings(folder) == read_recordings(tmp_path, name)


@pytest.mark.parametrize("name", MINIATURES)
def test_every_file_of_a_miniature_exists_or_is_one_that_is_known_to_be_missing(name: str, tmp_path: Path) -> None:
    recordings = read_recordings(MINIATURES[name](tmp_path))
    files = [path for clip in recordings.clips for path in (clip.audio, clip.video) if path is not None]
    missing = {path.name for path in files if not path.is_file()}
    assert missing == {"meld": {"dia110_utt7.mp4"}, "label-csv": {"0003.mp4"}}.get(name, set())
    assert not any(path.name.startswith(".") for path in files)


def test_iemocap_has_its_labels_speakers_dialogues_and_turns(tmp_path: Path) -> None:
    recordings = read_recordings(raw.iemocap(tmp_path))
    assert Counter(recordings.columns["label"]) == {"neu": 1, "": 1, "fru": 1, "ang": 1, "exc": 1, "sad": 1, "hap": 1}
    speakers = by_name(recordings, "speaker")
    assert speakers["Ses01F_impro01_M000"] == speakers["Ses01M_script01_1_M000"] == "Ses01M"
    assert sorted(set(speakers.values())) == ["Ses01F", "Ses01M", "Ses05F", "Ses05M"]
    assert Counter(recordings.columns["session"]) == {"1": 5, "5": 2}
    assert by_name(recordings, "dialogue")["Ses05M_script01_1b_M009"] == "Ses05M_script01_1b"
    turns = by_name(recordings, "turn")
    assert (turns["Ses05M_script01_1b_M009"], turns["Ses05M_script01_1b_F010"]) == ("1", "2")
    assert "1 of 7 utterances have no label" in messages(recordings)


def test_iemocap_cuts_pictures_by_time_and_half_and_takes_sound_from_the_sentences(tmp_path: Path) -> None:
    clips = clips_of(read_recordings(raw.iemocap(tmp_path)))
    marked, other = clips["Ses01F_impro01_F000"], clips["Ses01F_impro01_M000"]
    assert (marked.crop, other.crop) == ("left", "right")
    assert clips["Ses05M_script01_1b_M009"].crop == "left"
    assert (marked.start, marked.end) == (6.2901, 8.2901)
    assert (marked.heard().start, marked.heard().end) == (None, None)
    assert marked.audio == tmp_path / "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav"
    assert marked.video == tmp_path / "Session1/dialog/avi/DivX/Ses01F_impro01.avi"
    assert marked.text == "[LAUGHTER] Excuse me: F000."
    assert clips["Ses01F_impro01_F001"].text is None


def test_iemocap_without_its_videos_has_none(tmp_path: Path) -> None:
    raw.iemocap(tmp_path)
    for session in ("Session1", "Session5"):
        (tmp_path / session / "dialog" / "avi" / "DivX").rename(tmp_path / session / "away")
    assert all(clip.video is None for clip in read_recordings(tmp_path).clips)


@pytest.mark.parametrize("blank", ["", " "])
def test_msp_improv_has_its_labels_speakers_dialogues_and_turns(blank: str, tmp_path: Path) -> None:
    recordings = read_recordings(raw.msp_improv(tmp_path, blank=blank))
    labels = by_name(recordings, "label")
    assert Counter(labels.values()) == {"angry": 1, "happy": 1, "neutral": 1, "sad": 1, "": 2}
    assert labels["MSP-IMPROV-S02H-F06-R-MF01"] == "neutral"
    assert by_name(recordings, "intended")["MSP-IMPROV-S02H-F06-R-MF01"] == "happy"
    assert by_name(recordings, "speaker")["MSP-IMPROV-S03S-M06-P-MF11"] == "M06"
    assert sorted(set(recordings.columns["session"])) == ["1", "2", "6"]
    dialogues = by_name(recordings, "dialogue")
    assert dialogues["MSP-IMPROV-S01A-F01-S-FM01"] == dialogues["MSP-IMPROV-S01A-M01-T-FM02"] != ""
    assert dialogues["MSP-IMPROV-S02H-F06-R-MF01"] == ""  # read aloud
    assert by_name(recordings, "turn")["MSP-IMPROV-S03S-M06-P-MF11"] == "11"
    assert by_name(recordings, "dominance")["MSP-IMPROV-S01A-M01-T-FM02"] == ""
    assert clips_of(recordings)["MSP-IMPROV-S01A-F01-S-FM01"].text == "how can I not"
    assert "1 of 7 utterances in the labels have no recording: MSP-IMPROV-S04N-M02-P-MF13" in messages(recordings)


@pytest.mark.parametrize(("encoding", "apostrophe"), [("utf-8", "\u2019"), ("utf-8", "\x92"), ("cp1252", "\u2019")])
def test_meld_has_its_labels_speakers_dialogues_sets_and_apostrophes(
    encoding: str, apostrophe: str, tmp_path: Path
) -> None:
    recordings = read_recordings(raw.meld(tmp_path, encoding=encoding, apostrophe=apostrophe))
    names = ["train_dia0_utt0", "train_dia0_utt2", "dev_dia0_utt0", "dev_dia110_utt7", "test_dia0_utt0"]
    assert [clip.utterance for clip in recordings.clips] == names
    assert recordings.columns["label"] == ["neutral", "surprise", "joy", "fear", "anger"]
    assert recordings.columns["set"] == ["train", "train", "validation", "validation", "test"]
    assert recordings.columns["dialogue"] == ["train_dia0", "train_dia0", "dev_dia0", "dev_dia110", "test_dia0"]
    assert recordings.columns["turn"] == ["0", "2", "0", "7", "0"]
    assert recordings.columns["speaker"] == ["Chandler", "Dr. Green, Sr.", "Phoebe", "Joey", "Joey"]
    assert recordings.clips[0].text == "also I was the point person, you know, it\u2019s"
    assert recordings.clips[1].text == 'You "must"'
    assert recordings.clips[4].video == tmp_path / "output_repeated_splits_test" / "final_videos_testdia0_utt0.mp4"
    assert recordings.classes == ("neutral", "joy", "surprise", "anger", "sadness", "disgust", "fear")


def test_crema_d_has_the_votes_of_each_modality(tmp_path: Path) -> None:
    recordings = read_recordings(raw.crema_d(tmp_path))
    assert recordings.columns["label"] == ["anger", "", "sad", "neutral"]
    assert recordings.columns["label_a"] == ["neutral", "neutral", "", "neutral"]
    assert recordings.columns["label_v"] == ["anger", "happy", "sad", "neutral"]
    assert recordings.columns["intended"] == ["anger", "happy", "sad", "neutral"]
    assert recordings.columns["speaker"] == ["1001", "1001", "1002", "1091"]
    assert recordings.columns["gender"] == ["male", "male", "female", ""]
    assert recordings.clips[3].video is None
    assert "1 of 4 utterances have no label: the votes are tied" in messages(recordings)


def test_crema_d_without_votes_has_the_moods_that_were_acted_and_says_so(tmp_path: Path) -> None:
    recordings = read_recordings(raw.crema_d(tmp_path, votes=False))
    assert recordings.columns["label"] == ["anger", "happy", "sad", "neutral"]
    assert "summaryTable.csv is missing" in messages(recordings)


def test_ravdess_pairs_sound_with_pictures_and_leaves_songs_out(tmp_path: Path) -> None:
    recordings = read_recordings(raw.ravdess(tmp_path))
    assert [clip.utterance for clip in recordings.clips] == [
        "01-01-01-02-02-01",
        "01-05-02-01-01-01",
        "01-08-01-02-01-02",
    ]
    assert recordings.columns["label"] == ["neutral", "angry", "surprised"]
    assert recordings.columns["gender"] == ["male", "male", "female"]
    assert [clip.video and clip.video.name for clip in recordings.clips] == [
        None,
        "01-01-05-02-01-01-01.mp4",
        "02-01-08-01-02-01-02.mp4",
    ]
    assert recordings.classes == ("neutral", "angry", "surprised")
    assert "1 of 4 clips are sung" in messages(recordings)


def test_emodb_has_its_labels_and_speakers_and_no_pictures(tmp_path: Path) -> None:
    recordings = read_recordings(raw.emodb(tmp_path))
    assert recordings.columns["label"] == ["happiness", "anger", "neutral", "sadness"]
    assert recordings.columns["speaker"] == ["03", "03", "08", "16"]
    assert recordings.columns["gender"] == ["male", "male", "female", "female"]
    assert all(clip.video is None and clip.text is None for clip in recordings.clips)


def test_ch_sims_has_names_as_text_signs_of_sentiment_and_labels_of_modalities(tmp_path: Path) -> None:
    recordings = read_recordings(raw.label_csv(tmp_path))
    names = ["video_0001$_$0001", "video_0001$_$2", "aqgy3_0001$_$0012", "007$_$0003"]
    assert [clip.utterance for clip in recordings.clips] == names
    assert recordings.columns["label"] == ["negative", "neutral", "positive", "positive"]
    assert recordings.columns["set"] == ["train", "validation", "test", "test"]
    assert recordings.columns["label_t"] == ["-0.6", "0.2", "1.0", "1.0"]
    assert recordings.columns["turn"] == ["1", "2", "12", "3"]
    assert recordings.clips[1].video == tmp_path / "Raw" / "video_0001" / "0002.mp4"
    assert [clip.text for clip in recordings.clips] == ["我不想嫁给李茶", "走", "好,好", "0012"]


def test_a_folder_of_recordings_has_conventional_places(tmp_path: Path) -> None:
    raw.touch(tmp_path, "audio/u1.wav", "audio/u1.mp3", "audio/._u1.wav", "video/day/u 2.MP4", "text/u1.txt")
    raw.write(tmp_path / "text" / "u1.txt", " hello\n")
    raw.write(tmp_path / "recordings.csv", "utterance;label;set\nu1;sad;Dev\nday/u 2;glad;train\n")
    recordings = read_recordings(tmp_path)
    first, second = recordings.clips
    assert (first.audio, first.video, first.text) == (tmp_path / "audio" / "u1.wav", None, "hello")
    assert (second.audio, second.video, second.text) == (None, tmp_path / "video" / "day" / "u 2.MP4", None)
    assert recordings.columns == {"label": ["sad", "glad"], "set": ["validation", "train"]}


def test_columns_name_files_parts_of_them_and_what_was_said(tmp_path: Path) -> None:
    raw.touch(tmp_path, "day.avi", "audio/u2.wav")
    heading = "utterance,label,video,audio,start,end,crop,transcript,speaker\n"
    rows = "u1,sad,day.avi,,1.5,3.25,left,Oh dear,7\nu2,glad,day.avi,audio/u2.wav,4,5,,,8\n"
    raw.write(tmp_path / "recordings.csv", heading + rows)
    first, second = read_recordings(tmp_path).clips
    assert first == Clip("u1", None, tmp_path / "day.avi", "Oh dear", 1.5, 3.25, "left")
    assert second == Clip("u2", tmp_path / "audio" / "u2.wav", tmp_path / "day.avi", None, 4.0, 5.0)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("utterance,label\nu1,sad\n", "neither sound, pictures nor text"),
        ("utterance,text,start\nu1,hi,soon\n", "has the start 'soon'"),
        ("utterance,text,start,end\nu1,hi,2.5,1.5\n", "ends at 1.5 s"),
        ("utterance,text,crop\nu1,hi,top\n", "has the crop 'top'"),
        ("utterance,text,transcript\nu1,hi,hi\n", "both a column text and a column transcript"),
        ("utterance,text\nu1,hi\nu1,ho\n", "more than once"),
        ("utterance,text,set\nu1,hi,exam\n", "has the set 'exam'"),
        ("name,text\nu1,hi\n", "must have the column utterance"),
    ],
)
def test_a_table_that_is_not_valid_is_refused_in_a_sentence(table: str, says: str, tmp_path: Path) -> None:
    raw.write(tmp_path / "recordings.csv", table)
    with pytest.raises(CorpusError, match=says):
        read_recordings(tmp_path)


def test_a_folder_without_a_layout_and_an_unknown_layout_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="none of the known layouts"):
        read_recordings(tmp_path)
    with pytest.raises(CorpusError, match="did you mean 'ravdess'"):
        read_recordings(tmp_path, "ravdes")
    with pytest.raises(CorpusError, match="is not a folder"):
        read_recordings(tmp_path / "nowhere")
