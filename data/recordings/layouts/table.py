"""Your recordings: a table and files.

recordings.csv (.tsv, .parquet)   a row for each utterance: utterance, label, and any others, such as speaker or set
audio/UTTERANCE.wav               the sound (.flac, .mp3, .m4a, … too)
video/UTTERANCE.mp4               the pictures (.avi, .mkv, .mov, .webm, … too), with sound where there is no other
text/UTTERANCE.txt                what was said

Instead of these folders, the columns audio and video may name files below the folder, and text or transcript hold what
was said. Where a file has several utterances, the columns start and end say from when to when in seconds, and crop
(left or right) which half of the picture shows the speaker. An empty cell is something that an utterance lacks.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, cast

from ifmmin.data.corpus import SetName
from ifmmin.data.errors import CorpusError
from ifmmin.data.layouts.fold_files import SET_NAMES
from ifmmin.data.layouts.naming import check_names, normalise, text_of
from ifmmin.data.layouts.spreadsheet import find_table, read_table
from ifmmin.data.recordings.clip import Clip, Recordings
from ifmmin.data.recordings.layouts.gather import PICTURES, SOUND, Row, by_stem, gather, read_text

TABLE = "recordings"
WORDS = (".txt",)

_TEXTS = ("text", "transcript")
_OF_CLIPS = ("utterance", "audio", "video", *_TEXTS, "start", "end", "crop")


def recognises(folder: Path) -> bool:
    """Whether a folder has the table."""
    return find_table(folder, TABLE) is not None


def read(folder: Path) -> Recordings:
    """The utterances, in the order of the table.

    Raises:
        CorpusError: the table is missing or not valid, or an utterance has neither files nor text.
    """
    file = find_table(folder, TABLE)
    if file is None:
        raise CorpusError(f"{folder / TABLE}.csv is missing; it must list the utterances.")
    table = read_table(file, ["utterance"])
    columns = {name: [text_of(value) or "" for value in table[name].to_pylist()] for name in table.column_names}
    check_names(columns["utterance"], str(file))
    if all(text in columns for text in _TEXTS):
        raise CorpusError(f"{file} has both a column text and a column transcript; keep the one to use.")
    folders = {
        "audio": by_stem_below(folder / "audio", SOUND),
        "video": by_stem_below(folder / "video", PICTURES),
        "text": by_stem_below(folder / "text", WORDS),
    }
    rows = []
    for cells in (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)):
        known = {name: normalise(cell) for name, cell in cells.items() if name not in _OF_CLIPS}
        if "set" in known:
            known["set"] = _set(file, known["set"])
        rows.append(Row(_clip(folder, file, cells, folders), known))
    return gather(folder, rows, f"the recordings in {folder.resolve().name}")


def by_stem_below(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """The files below a folder by the names of their utterances, which those of folders in it are part of."""
    if not folder.is_dir():
        return {}
    files = dict(by_stem(folder, suffixes))
    for inner in sorted(path for path in folder.rglob("*") if path.is_dir()):
        prefix = inner.relative_to(folder).as_posix()
        files |= {f"{prefix}/{stem}": path for stem, path in by_stem(inner, suffixes).items()}
    return {normalise(name): path for name, path in files.items()}


def _clip(folder: Path, file: Path, cells: Mapping[str, str], folders: Mapping[str, Mapping[str, Path]]) -> Clip:
    name = normalise(cells["utterance"])
    files: dict[str, Path | None] = {}
    for kind in ("audio", "video"):
        named = cells.get(kind, "").strip()
        files[kind] = folder / named if named else None if kind in cells else folders[kind].get(name)
    column = next((column for column in _TEXTS if column in cells), None)
    text = cells[column].strip() or None if column else None
    if column is None and name in folders["text"]:
        text = read_text(folders["text"][name]).strip()
    if text is None and not any(files.values()):
        raise CorpusError(
            f"{file}: utterance '{name}' has neither sound, pictures nor text; name its file in a column audio or "
            f"video, put it into {folder.name}/audio or {folder.name}/video, or leave its row out."
        )
    start, end = (_seconds(file, name, key, cells.get(key, "")) for key in ("start", "end"))
    if end is not None and end <= (start or 0):
        raise CorpusError(f"{file}: utterance '{name}' ends at {end:g} s, which is not after its start; correct it.")
    return Clip(name, files["audio"], files["video"], text, start, end, _crop(file, name, cells.get("crop", "")))


def _seconds(file: Path, name: str, column: str, cell: str) -> float | None:
    if not cell.strip():
        return None
    try:
        value = float(cell.strip().replace(",", "."))
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise CorpusError(f"{file}: utterance '{name}' has the {column} '{cell}'; write seconds, such as 12.5.")
    return value


def _crop(file: Path, name: str, cell: str) -> Literal["left", "right"] | None:
    word = cell.strip().lower()
    if word not in ("", "left", "right"):
        raise CorpusError(f"{file}: utterance '{name}' has the crop '{cell}'; write left, right or nothing.")
    return cast(Literal["left", "right"], word) if word else None


def _set(file: Path, word: str) -> SetName | Literal[""]:
    for name, words in SET_NAMES.items():
        if word.casefold() in words:
            return name
    if word:
        raise CorpusError(f"{file} has the set '{word}'; the sets are {', '.join(SET_NAMES)}.")
    return ""
