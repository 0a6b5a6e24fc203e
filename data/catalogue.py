"""Corpora by name: those shipped with the program, and those imported into a store."""

import re
from pathlib import Path

from ifmmin.data.corpus import HEADER, Corpus, open_corpus
from ifmmin.data.errors import CorpusError, nearest
from ifmmin.data.folder import Folder, Location

SHIPPED = Path(__file__).parent / "shipped"
FOLDER = "corpora"


def corpus_names(storage: Location) -> list[str]:
    """Every corpus that can be named, the shipped ones first."""
    return [*_corpora(Folder(SHIPPED)), *_corpora(Folder(storage, FOLDER))]


def find_corpus(name: str, storage: Location) -> Corpus:
    """Open the corpus of that name.

    Raises:
        CorpusError: there is none, or it is damaged.
    """
    for parent in (Folder(SHIPPED), Folder(storage, FOLDER)):
        if _is_name(name) and parent.present([f"{name}/{HEADER}"]):
            return open_corpus(parent / name)
    raise CorpusError(f"There is no corpus '{name}'; {nearest(name, corpus_names(storage))}")


def folder_for(name: str, storage: Location) -> Folder:
    """Where a new corpus of that name goes.

    Raises:
        CorpusError: it is no name, or it is taken.
    """
    if not _is_name(name):
        raise CorpusError(f"'{name}' is no name for a corpus; use letters, digits, '.', '-' and '_'.")
    if name in corpus_names(storage):
        raise CorpusError(f"There is a corpus '{name}' already; choose another --name.")
    return Folder(storage, FOLDER, name)


def _is_name(name: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) is not None


def _corpora(parent: Folder) -> list[str]:
    headers = parent.present(f"{name}/{HEADER}" for name in parent.names() if _is_name(name))
    return sorted(header.removesuffix(f"/{HEADER}") for header in headers)
