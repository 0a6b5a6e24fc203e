"""MELD: dialogues of a television series, in three sets.

train_sent_emo.csv, dev_sent_emo.csv, test_sent_emo.csv         columns Utterance, Speaker, Emotion, Dialogue_ID, …
train_splits, dev_splits_complete, output_repeated_splits_test  dia{D}_utt{U}.mp4 of each

Numbers of dialogues begin again in each set, so names have the set: `train_dia0_utt0`. Of the test set the corrected
`final_videos_testdia{D}_utt{U}.mp4` are preferred. Several people may be in a picture.
"""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

from ifmmin.data.corpus import SetName
from ifmmin.data.errors import CorpusError
from ifmmin.data.recordings.clip import Clip, Recordings
from ifmmin.data.recordings.layouts.gather import Row, children, gather, read_text

LICENCE = "MELD (Poria et al., 2019), GPL-3.0; the pictures and the sound belong to the makers of the series"
CLASSES = ("neutral", "joy", "surprise", "anger", "sadness", "disgust", "fear")

_SETS: dict[SetName, tuple[str, tuple[str, ...]]] = {
    "train": ("train_sent_emo.csv", ("train_splits", "train")),
    "validation": ("dev_sent_emo.csv", ("dev_splits_complete", "dev_splits", "dev")),
    "test": ("test_sent_emo.csv", ("output_repeated_splits_test", "test_splits", "test")),
}
"""The table and the folders of each set."""

_FILE = re.compile(r"^(?P<final>final_videos_test)?(?P<name>dia\d+_utt\d+)\.mp4$")
_COLUMNS = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")
_KEPT = {"Sentiment": "sentiment", "Season": "season", "Episode": "episode"}


def recognises(folder: Path) -> bool:
    """Whether a folder has the table of a set."""
    return any(_find(folder, (table,)) for table, _ in _SETS.values())


def read(folder: Path) -> Recordings:
    """The utterances of the sets that are there, in the order of their tables.

    Raises:
        CorpusError: a table lacks a column.
    """
    rows = [row for set_name in _SETS for row in _rows(folder, set_name)]
    known = {row.columns["label"] for row in rows}
    classes = CLASSES if known <= set(CLASSES) else None
    return gather(folder, rows, f"MELD from its recordings. {LICENCE}", classes=classes)


def _rows(folder: Path, set_name: SetName) -> Iterator[Row]:
    table, folders = _SETS[set_name]
    file = _find(folder, (table,))
    if file is None:
        return
    videos = _find(folder, folders)
    cut = _cuts(videos) if videos else {}
    reader = csv.DictReader(io.StringIO(read_text(file), newline=""))
    lacking = [column for column in _COLUMNS if column not in (reader.fieldnames or ())]
    if lacking:
        raise CorpusError(f"{file} must have the column {lacking[0]}; download it again.")
    prefix = table.split("_")[0]
    for cells in reader:
        name = f"dia{cells['Dialogue_ID']}_utt{cells['Utterance_ID']}"
        video = cut.get(name, videos / f"{name}.mp4") if videos else None
        known = {
            "label": cells["Emotion"].strip().lower(),
            "speaker": cells["Speaker"].strip(),
            "dialogue": f"{prefix}_dia{cells['Dialogue_ID']}",
            "turn": cells["Utterance_ID"],
            "set": set_name,
            **{column: cells[key].strip() for key, column in _KEPT.items() if cells.get(key)},
        }
        yield Row(Clip(f"{prefix}_{name}", video=video, text=cells["Utterance"]), known)


def _find(folder: Path, names: tuple[str, ...]) -> Path | None:
    """The first of these names in the folder or the two levels below it."""
    for name in names:
        for pattern in (name, f"*/{name}", f"*/*/{name}"):
            if paths := children(folder, pattern):
                return paths[0]
    return None


def _cuts(folder: Path) -> dict[str, Path]:
    """The file of each utterance; the corrected one where there are two."""
    matches = [match for path in children(folder, "*.mp4") if (match := _FILE.match(path.name))]
    return {match["name"]: folder / match[0] for match in sorted(matches, key=lambda match: bool(match["final"]))}
