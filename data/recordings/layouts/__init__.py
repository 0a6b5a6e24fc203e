"""The layouts of raw corpora, one per module; each says whether a folder has it, and reads the folder."""

from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from ifmmin.data.errors import CorpusError, nearest
from ifmmin.data.recordings.clip import Recordings

LAYOUTS = {
    "table": "recordings.csv and files",
    "iemocap": "IEMOCAP, the full release",
    "msp-improv": "MSP-IMPROV",
    "label-csv": "CH-SIMS, and MOSI and MOSEI in the form of the MMSA toolkit",
    "meld": "MELD",
    "crema-d": "CREMA-D",
    "ravdess": "RAVDESS",
    "emodb": "EmoDB",
}
"""By name, the corpora that have them; where a folder fits several, the first is taken."""


class Layout(Protocol):
    """A module that reads a layout."""

    def recognises(self, folder: Path) -> bool:
        """Whether a folder has the layout, by the names of what is in it."""

    def read(self, folder: Path) -> Recordings:
        """Its recordings."""


def layout_of(name: str) -> Layout:
    """The module of a layout.

    Raises:
        CorpusError: there is no such layout.
    """
    if name not in LAYOUTS:
        raise CorpusError(f"No layout '{name}'; {nearest(name, LAYOUTS)}")
    return cast(Layout, import_module(f"{__name__}.{name.replace('-', '_')}"))


def recognise(folder: Path) -> tuple[str, Path] | None:
    """The layout of a folder, and the folder that has it: this one, or the only one in it."""
    for place in (folder, *_only_child(folder)):
        for name in LAYOUTS:
            if layout_of(name).recognises(place):
                return name, place
    return None


def read_recordings(folder: Path, layout: str | None = None) -> Recordings:
    """The recordings of a raw corpus.

    Args:
        layout: one of `LAYOUTS`; by default the one that the folder has.

    Raises:
        CorpusError: the folder is missing, has no known layout, or does not follow it.
    """
    if not folder.is_dir():
        raise CorpusError(f"{folder} is not a folder; name the folder that holds the recordings.")
    if layout is not None:
        reader = layout_of(layout)
        places = [place for place in (folder, *_only_child(folder)) if reader.recognises(place)]
        return reader.read(places[0] if places else folder)
    known = recognise(folder)
    if known is None:
        raise CorpusError(
            f"{folder} has none of the known layouts ({', '.join(LAYOUTS)}); add a table recordings.csv with the "
            "columns utterance and label, or name the folder above or below."
        )
    return layout_of(known[0]).read(known[1])


def _only_child(folder: Path) -> list[Path]:
    folders = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return folders if len(folders) == 1 else []
