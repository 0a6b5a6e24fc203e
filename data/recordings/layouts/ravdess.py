"""RAVDESS: actors who speak, and sing, two sentences in eight moods.

Actor_NN/03-CHANNEL-MOOD-LEVEL-SENTENCE-REPETITION-ACTOR.wav   the sound
Actor_NN/01-….mp4 (with sound), 02-….mp4 (without)             the pictures

Folders may lie in others. What is sung is left out where something is spoken. The sentences are the same in all moods.
"""

import re
from pathlib import Path

from ifmmin.data.audit import Finding
from ifmmin.data.recordings.clip import Clip, Recordings
from ifmmin.data.recordings.layouts.gather import Row, by_stem, children, gather

LICENCE = "RAVDESS (Livingstone and Russo, 2018), CC BY-NC-SA 4.0"
CLASSES = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
SENTENCES = ("kids", "dogs")

_NAME = re.compile(
    r"^0[123]-(?P<name>0(?P<channel>[12])-0(?P<mood>[1-8])-0(?P<level>[12])-0(?P<sentence>[12])-0(?P<repetition>[12])-"
    r"(?P<actor>\d\d))$"
)


def recognises(folder: Path) -> bool:
    """Whether a folder has actors, and files that are called so."""
    actors = [path for pattern in ("Actor_*", "*/Actor_*") for path in children(folder, pattern)]
    return any(_NAME.match(path.stem) for actor in actors[:1] for path in children(actor))


def read(folder: Path) -> Recordings:
    """The clips, in the order of actors and names.

    Raises:
        CorpusError: there are none.
    """
    sound, pictures = (by_stem(folder, (suffix,), deep=True) for suffix in (".wav", ".mp4"))
    clips = {match["name"]: match for stem in (*sound, *pictures) if (match := _NAME.match(stem))}
    rows = [
        Row(_clip(match["name"], sound, pictures), _known(match))
        for match in sorted(clips.values(), key=lambda match: (match["actor"], match["name"]))
    ]
    spoken = [row for row in rows if row.columns["channel"] == "speech"]
    findings = []
    if spoken and len(spoken) < len(rows):
        sung = f"{len(rows) - len(spoken):,} of {len(rows):,} clips are sung, and left out"
        findings.append(Finding("note", "left out", sung))
    rows = spoken or rows
    classes = tuple(name for name in CLASSES if name in {row.columns["label"] for row in rows})
    return gather(folder, rows, f"RAVDESS from its recordings. {LICENCE}", classes=classes, findings=findings)


def _clip(name: str, sound: dict[str, Path], pictures: dict[str, Path]) -> Clip:
    return Clip(name, sound.get(f"03-{name}"), pictures.get(f"01-{name}") or pictures.get(f"02-{name}"))


def _known(match: "re.Match[str]") -> dict[str, str]:
    return {
        "label": CLASSES[int(match["mood"]) - 1],
        "speaker": match["actor"],
        "gender": "male" if int(match["actor"]) % 2 else "female",
        "channel": "speech" if match["channel"] == "1" else "song",
        "level": "strong" if match["level"] == "2" else "normal",
        "sentence": SENTENCES[int(match["sentence"]) - 1],
        "repetition": match["repetition"],
    }
