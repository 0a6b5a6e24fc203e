"""The full release of IEMOCAP.

Session[1-5]/dialog/EmoEvaluation/DIALOG.txt    times, label, valence, activation and dominance of each utterance
Session[1-5]/dialog/transcriptions/DIALOG.txt   what was said
Session[1-5]/dialog/avi/DivX/DIALOG.avi         both speakers side by side
Session[1-5]/sentences/wav/DIALOG/UTTERANCE.wav the sound of each utterance; without it, dialog/wav/DIALOG.wav

The one who wears the markers, the letter in the dialogue's name, is on the left. Utterances without a majority (`xxx`)
have no label.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Literal

from ifmmin.data.recordings.clip import Clip, Recordings
from ifmmin.data.recordings.layouts.gather import Row, children, gather, read_text, unlabelled

LICENCE = "IEMOCAP (Busso et al., 2008), under the licence of SAIL, University of Southern California"
NO_MAJORITY = "xxx"

_DIALOGUE = r"Ses0[1-5][FM]_(?:impro\d\d[a-z]?|script\d\d_\d[a-z]?)"
_LABEL = re.compile(
    rf"^\[(?P<start>\d+\.\d+) - (?P<end>\d+\.\d+)\]\s+(?P<name>{_DIALOGUE}_[FM]\d{{3}})\s+(?P<label>[a-z]{{3}})\s+"
    r"\[(?P<valence>[\d.]+), (?P<activation>[\d.]+), (?P<dominance>[\d.]+)\]\s*$",
    re.MULTILINE,
)
_SPOKEN = re.compile(rf"^({_DIALOGUE}_[FM]\d{{3}}) \[\d+\.\d+-\d+\.\d+\]:[ \t]*(.*?)\s*$", re.MULTILINE)


def recognises(folder: Path) -> bool:
    """Whether a folder holds at least one session."""
    return any((session / "dialog" / "EmoEvaluation").is_dir() for session in folder.glob("Session[1-5]"))


def read(folder: Path) -> Recordings:
    """The utterances of all sessions, in the order of dialogues and turns.

    Raises:
        CorpusError: there are none.
    """
    rows = list(chain.from_iterable(_session(session) for session in children(folder, "Session[1-5]")))
    findings = unlabelled(rows, f"those who listened had no majority ({NO_MAJORITY})")
    return gather(folder, rows, f"IEMOCAP from its recordings. {LICENCE}", findings=findings)


def _session(session: Path) -> Iterator[Row]:
    for file in children(session / "dialog" / "EmoEvaluation", "*.txt"):
        transcript = session / "dialog" / "transcriptions" / file.name
        spoken = dict(_SPOKEN.findall(read_text(transcript))) if transcript.is_file() else {}
        labels = sorted(_LABEL.finditer(read_text(file)), key=lambda match: float(match["start"]))
        for turn, match in enumerate(labels, 1):
            yield _row(session, file.stem, turn, match, spoken)


def _row(session: Path, dialogue: str, turn: int, match: "re.Match[str]", spoken: Mapping[str, str]) -> Row:
    name, speaks = match["name"], match["name"][-4]
    crop: Literal["left", "right"] = "left" if dialogue[5] == speaks else "right"
    has_video = (session / "dialog" / "avi" / "DivX").is_dir()
    is_cut = (session / "sentences" / "wav").is_dir()
    sound = session / "sentences" / "wav" / dialogue / f"{name}.wav"
    clip = Clip(
        utterance=name,
        audio=sound if is_cut else session / "dialog" / "wav" / f"{dialogue}.wav",
        video=session / "dialog" / "avi" / "DivX" / f"{dialogue}.avi" if has_video else None,
        text=spoken.get(name),
        start=float(match["start"]),
        end=float(match["end"]),
        crop=crop,
        audio_is_cut=is_cut,
    )
    known = {
        "label": "" if match["label"] == NO_MAJORITY else match["label"],
        "speaker": f"{dialogue[:5]}{speaks}",
        "gender": "female" if speaks == "F" else "male",
        "session": dialogue[4],
        "dialogue": dialogue,
        "turn": str(turn),
        **{scale: match[scale] for scale in ("valence", "activation", "dominance")},
    }
    return Row(clip, known)
