"""Clips to be predicted: files, folders, and windows of long recordings. Labels are not needed."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from ifmmin.data.errors import CorpusError, listed
from ifmmin.data.recordings.clip import Clip
from ifmmin.data.recordings.decoding import RecordingError, length
from ifmmin.data.recordings.layouts import read_recordings, recognise
from ifmmin.data.recordings.layouts.gather import PICTURES, SOUND, by_stem, read_text


def find_clips(paths: Iterable[Path]) -> list[Clip]:
    """The clips of files of sound or pictures, each with the text beside it (`NAME.txt`), and of folders of them.

    A folder may have the layout of a raw corpus, too.

    Raises:
        CorpusError: a file or folder is missing or has no recordings, or two clips have the same name.
    """
    clips = [clip for path in paths for clip in (_of_folder(path) if path.is_dir() else [_of_file(path)])]
    names = [clip.utterance for clip in clips]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise CorpusError(f"Two recordings are called {listed(twice, 3)}; rename one of them.")
    return clips


def windows(clip: Clip, every_s: float) -> list[Clip]:
    """A clip cut into parts of this many seconds, without its text, which belongs to the whole.

    What is left at its end makes a part of its own or lengthens the last one, whichever is nearer.

    Raises:
        CorpusError: the clip cannot be opened.
    """
    first = clip.start or 0.0
    try:
        last = length(clip) if clip.end is None else clip.end
    except RecordingError as error:
        raise CorpusError(f"{clip.utterance} {error}.") from None
    count = max(1, round((last - first) / every_s))
    edges = [*(first + number * every_s for number in range(count)), last]
    return [
        replace(clip, utterance=f"{clip.utterance}@{start:g}", text=None, start=start, end=end)
        for start, end in pairwise(edges)
    ]


def _of_file(path: Path) -> Clip:
    suffix = path.suffix.lower()
    if not path.is_file():
        raise CorpusError(f"{path} is missing; name a file or folder of recordings.")
    if suffix not in (*SOUND, *PICTURES):
        raise CorpusError(
            f"{path} is not a recording by its name; its kind must be one of {', '.join(SOUND + PICTURES)}."
        )
    words = path.with_suffix(".txt")
    text = read_text(words).strip() if words.is_file() else None
    audio, video = (path, None) if suffix in SOUND else (None, path)
    return Clip(path.stem, audio, video, text)


def _of_folder(folder: Path) -> list[Clip]:
    if recognise(folder):
        return list(read_recordings(folder).clips)
    sound, pictures, texts = (by_stem(folder, suffixes) for suffixes in (SOUND, PICTURES, (".txt",)))
    names = sorted({*sound, *pictures})
    if not names:
        raise CorpusError(f"{folder} holds no recordings; their names end in {', '.join(SOUND + PICTURES)}.")
    return [
        Clip(name, sound.get(name), pictures.get(name), read_text(texts[name]).strip() if name in texts else None)
        for name in names
    ]
