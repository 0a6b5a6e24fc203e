"""Corpora by name: those shipped with the program, and those imported into a store."""

import re
from pathlib import Path

from data.corpus import Corpus, open_corpus
from data.errors import CorpusError, nearest

SHIPPED = Path(__file__).parent / "shipped"
FOLDER = "corpora"


def corpus_names(storage: Path) -> list[str]:
    """Every corpus that can be named, the shipped ones first."""
    own = storage / FOLDER
    return [*_folders(SHIPPED), *(_folders(own) if own.is_dir() else [])]


def find_corpus(name: str, storage: Path) -> Corpus:
    """Open the corpus of that name.

    Raises:
        CorpusError: there is none, or it is damaged.
    """
    for folder in (SHIPPED, storage / FOLDER):
        if _is_name(name) and (folder / name).is_dir():
            return open_corpus(folder / name)
    raise CorpusError(f"There is no corpus '{name}'; {nearest(name, corpus_names(storage))}")


def folder_for(name: str, storage: Path) -> Path:
    """Where a new corpus of that name goes.

    Raises:
        CorpusError: it is no name, or it is taken.
    """
    if not _is_name(name):
        raise CorpusError(f"'{name}' is no name for a corpus; use letters, digits, '.', '-' and '_'.")
    if name in corpus_names(storage):
        raise CorpusError(f"There is a corpus '{name}' already; choose another --name.")
    return storage / FOLDER / name


def _is_name(name: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) is not None


def _folders(parent: Path) -> list[str]:
    return sorted(path.name for path in parent.iterdir() if _is_name(path.name) and path.is_dir())
