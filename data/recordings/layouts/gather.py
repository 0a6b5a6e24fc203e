"""What the readers of raw corpora share: rows that become recordings, files by name, and text in doubtful encodings."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ifmmin.data.audit import Finding
from ifmmin.data.errors import CorpusError, listed
from ifmmin.data.recordings.clip import Clip, Recordings

SOUND = (".wav", ".flac", ".mp3", ".m4a", ".ogg", ".opus", ".aac")
PICTURES = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".flv", ".m4v", ".mpg")
"""How files of recordings end; the first is taken where there are several."""

_FEW = 3


@dataclass(frozen=True)
class Row:
    """An utterance, and what is known of it by column; a column may be lacking where nothing is known."""

    clip: Clip
    columns: Mapping[str, str]


def gather(
    folder: Path,
    rows: Sequence[Row],
    about: str,
    *,
    classes: tuple[str, ...] | None = None,
    findings: Iterable[Finding] = (),
) -> Recordings:
    """The recordings of these rows, in their order.

    Raises:
        CorpusError: there are no rows, or two have the same name.
    """
    if not rows:
        raise CorpusError(f"{folder} has no utterance with a label; check that all of the corpus was unpacked.")
    names = [row.clip.utterance for row in rows]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise CorpusError(f"{folder} has {listed(twice, most=_FEW)} more than once; keep one of each.")
    columns = dict.fromkeys(column for row in rows for column in row.columns)
    known = {column: [row.columns.get(column, "") for row in rows] for column in columns}
    clips = tuple(row.clip for row in rows)
    return Recordings(clips, known, classes, about, tuple(findings))


def children(folder: Path, pattern: str = "*") -> list[Path]:
    """What matches a pattern below a folder, sorted, without the forks that macOS writes beside files (`._NAME`)."""
    return sorted(path for path in folder.glob(pattern) if not path.name.startswith("."))


def by_stem(folder: Path, suffixes: Sequence[str], *, deep: bool = False) -> dict[str, Path]:
    """The files in a folder that end so, by their name without that; deep: in the folders below it, too.

    Of files that differ in their suffix alone the first in the order of the suffixes is taken.
    """
    by_name: dict[str, Path] = {}
    files = [path for path in children(folder, "**/*" if deep else "*") if path.suffix.lower() in suffixes]
    for path in sorted(files, key=lambda path: suffixes.index(path.suffix.lower())):
        by_name.setdefault(path.stem, path)
    return by_name


def read_text(file: Path) -> str:
    """Text in UTF-8, or in cp1252 where it is not; characters of the latter that were taken for Latin-1 are restored.

    Raises:
        CorpusError: the file is missing or cannot be read.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise CorpusError(f"{file} cannot be read ({error.strerror}); copy or download it again.") from None
    if content.startswith(b"version https://git-lfs"):
        raise CorpusError(f"{file} is a Git LFS pointer and not the data; fetch the data with `git lfs pull`.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")
    return "".join(_restored(character) if "\x80" <= character <= "\x9f" else character for character in text)


def _restored(character: str) -> str:
    return character.encode("latin-1").decode("cp1252", errors="replace")


def unlabelled(rows: Sequence[Row], why: str) -> list[Finding]:
    """A note on the utterances without a label."""
    names = [row.clip.utterance for row in rows if not row.columns.get("label")]
    if not names:
        return []
    return [Finding("note", "labels", f"{len(names):,} of {len(rows):,} utterances have no label: {why}")]


def without_file(wanted: int, names: Sequence[str], what: str) -> list[Finding]:
    """A warning of utterances that are listed, and have no file."""
    if not names:
        return []
    some = f"{len(names):,} of {wanted:,} utterances in the labels have no {what}: {listed(names, most=_FEW)}"
    return [Finding("warning", "missing files", f"{some}; left out")]
