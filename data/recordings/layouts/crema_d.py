"""CREMA-D: actors who say twelve sentences in six moods.

AudioWAV/ACTOR_SENTENCE_MOOD_LEVEL.wav (or AudioMP3)   the sound
VideoFlash/ACTOR_SENTENCE_MOOD_LEVEL.flv               the pictures
processedResults/summaryTable.csv                      what those chose who heard (VoiceVote), saw or did both
VideoDemographics.csv                                  age, sex, race and ethnicity of the actors

The label is the vote of those who heard and saw, `label_a` and `label_v` are the others, `intended` is the mood that
was acted. A clip whose vote is tied has no label. Sentences are the same in all
moods, so moods cannot be recognised from them.
"""

import csv
import io
import re
from pathlib import Path

from ifmmin.data.audit import Finding
from ifmmin.data.recordings.clip import Clip, Recordings
from ifmmin.data.recordings.layouts.gather import (
    PICTURES,
    SOUND,
    Row,
    by_stem,
    children,
    gather,
    read_text,
    unlabelled,
)

LICENCE = "CREMA-D (Cao et al., 2014), Open Database License"
CLASSES = {"A": "anger", "D": "disgust", "F": "fear", "H": "happy", "N": "neutral", "S": "sad"}

_NAME = re.compile(
    r"^(?P<actor>1\d{3})_(?P<sentence>IEO|TIE|IOM|IWW|TAI|MTI|IWL|ITH|DFA|ITS|TSI|WSI)_"
    r"(?P<mood>ANG|DIS|FEA|HAP|NEU|SAD)_(?P<level>LO|MD|HI|XX|X)$"
)
_VOTES = {"label": "MultiModalVote", "label_a": "VoiceVote", "label_v": "FaceVote"}
_PEOPLE = {"gender": "Sex", "age": "Age", "race": "Race", "ethnicity": "Ethnicity"}


def recognises(folder: Path) -> bool:
    """Whether a folder has the sound or the pictures of this corpus."""
    return any(_NAME.match(name) for name in (*_sound(folder), *_pictures(folder)))


def read(folder: Path) -> Recordings:
    """The clips, in the order of their names.

    Raises:
        CorpusError: there are none.
    """
    sound, pictures = _sound(folder), _pictures(folder)
    votes = {cells.get("FileName", ""): cells for cells in _table(folder, "summaryTable.csv")}
    people = {cells.get("ActorID", ""): cells for cells in _table(folder, "VideoDemographics.csv")}
    rows = []
    for name in sorted({*sound, *pictures}):
        if match := _NAME.match(name):
            intended = CLASSES[match["mood"][0]]
            labels = _labels(votes.get(name, {})) if votes else {"label": intended}
            person = {key: people.get(match["actor"], {}).get(column, "") for key, column in _PEOPLE.items()}
            known = {"speaker": match["actor"], "sentence": match["sentence"], "level": match["level"], **person}
            known |= labels | {"intended": intended, "gender": person["gender"].lower()}
            rows.append(Row(Clip(name, sound.get(name), pictures.get(name)), known))
    findings = unlabelled(rows, "the votes are tied")
    if not votes:
        message = "processedResults/summaryTable.csv is missing, so labels are the moods that were acted"
        findings.append(Finding("warning", "labels", message))
    used = {row.columns["label"] for row in rows} - {""}
    classes = tuple(name for name in CLASSES.values() if name in used)
    return gather(folder, rows, f"CREMA-D from its recordings. {LICENCE}", classes=classes, findings=findings)


def _sound(folder: Path) -> dict[str, Path]:
    return by_stem(folder / "AudioMP3", SOUND) | by_stem(folder / "AudioWAV", SOUND)


def _pictures(folder: Path) -> dict[str, Path]:
    return by_stem(folder / "VideoFlash", PICTURES)


def _labels(votes: dict[str, str]) -> dict[str, str]:
    return {column: CLASSES.get(votes.get(vote, "").strip(), "") for column, vote in _VOTES.items()}


def _table(folder: Path, name: str) -> list[dict[str, str]]:
    files = [*children(folder, name), *children(folder, f"*/{name}")]
    return list(csv.DictReader(io.StringIO(read_text(files[0]), newline=""))) if files else []
