"""A table of labels and a folder for each video: CH-SIMS, and MOSI and MOSEI in the form of the MMSA toolkit.

label.csv             columns video_id, clip_id, text, label; mode (train, valid, test), label_T, label_A, label_V
Raw/VIDEO/CLIP.mp4    sound and pictures

The label is the sign of the sentiment: negative, neutral or positive. Names are those of the toolkit: VIDEO$_$CLIP.
"""

import csv
import io
from pathlib import Path

from ifmmin.data.audit import Finding
from ifmmin.data.corpus import SetName
from ifmmin.data.errors import CorpusError
from ifmmin.data.recordings.clip import Clip, Recordings
from ifmmin.data.recordings.layouts.gather import PICTURES, Row, gather, read_text

CLASSES = ("negative", "neutral", "positive")
SETS: dict[str, SetName] = {"train": "train", "valid": "validation", "val": "validation", "dev": "validation"}

_COLUMNS = ("video_id", "clip_id", "text", "label")
_OF_MODALITIES = {"label_t": "label_T", "label_a": "label_A", "label_v": "label_V"}
_DIGITS = 4
"""Of clips' names in CH-SIMS, which programs that read them as numbers cut short."""


def recognises(folder: Path) -> bool:
    """Whether a folder has the table and the folders beside it."""
    return (folder / "label.csv").is_file() and (folder / "Raw").is_dir()


def read(folder: Path) -> Recordings:
    """The clips, in the order of the table.

    Raises:
        CorpusError: the table lacks a column, or a label is not a number.
    """
    file = folder / "label.csv"
    reader = csv.DictReader(io.StringIO(read_text(file), newline=""))
    lacking = [column for column in _COLUMNS if column not in (reader.fieldnames or ())]
    if lacking:
        raise CorpusError(f"{file} must have the column {lacking[0]}; download it again.")
    rows = [_row(folder, file, cells) for cells in reader if (cells["video_id"] or "").strip()]
    words = {row.columns["set"] for row in rows}
    findings = [] if words == {""} or "" not in words else [Finding("warning", "sets", "some clips are in no set")]
    about = f"{folder.resolve().name} from its recordings, labels by the sign of the sentiment"
    return gather(folder, rows, about, classes=CLASSES, findings=findings)


def _row(folder: Path, file: Path, cells: dict[str, str]) -> Row:
    video, clip = cells["video_id"].strip(), cells["clip_id"].strip()
    mode = (cells.get("mode") or "").strip().lower()
    known = {
        "label": _sign(file, f"{video}/{clip}", cells["label"]),
        "dialogue": video,
        "turn": clip.lstrip("0") or "0",
        "set": SETS.get(mode, "test" if mode == "test" else ""),
        "sentiment": cells["label"].strip(),
        **{column: (cells[key] or "").strip() for column, key in _OF_MODALITIES.items() if key in cells},
    }
    return Row(Clip(f"{video}$_${clip}", video=_video(folder / "Raw" / video, clip), text=cells["text"]), known)


def _sign(file: Path, name: str, label: str) -> str:
    try:
        value = float(label)
    except ValueError:
        raise CorpusError(f"{file}: {name} has the label '{label}', which is not a number; correct it.") from None
    return CLASSES[1 + (value > 0) - (value < 0)]


def _video(folder: Path, clip: str) -> Path:
    """The file of a clip, or where it should be."""
    names = [clip, clip.zfill(_DIGITS)]
    paths = [folder / f"{name}{suffix}" for name in names for suffix in PICTURES]
    return next((path for path in paths if path.is_file()), paths[0])
