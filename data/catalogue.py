"""Corpora by name: those shipped with the program, and those imported into a store."""

import re
from collections.abc import Sequence
from pathlib import Path

from ifmmin.data.audit import Finding
from ifmmin.data.corpus import HEADER, Corpus, open_corpus, write_corpus
from ifmmin.data.errors import CorpusError, nearest
from ifmmin.data.folder import Folder, Location

SHIPPED = Path(__file__).parent / "shipped"
FOLDER = "corpora"


def corpus_names(storage: Location) -> list[str]:
    """The names of all corpora, the shipped ones first."""
    return [*_corpora(Folder(SHIPPED)), *_corpora(Folder(storage, FOLDER))]


def find_corpus(name: str, storage: Location) -> Corpus:
    """Open a corpus by name.

    Raises:
        CorpusError: there is no such corpus, or it is damaged.
    """
    for parent in (Folder(SHIPPED), Folder(storage, FOLDER)):
        if _is_name(name) and parent.present([f"{name}/{HEADER}"]):
            return open_corpus(parent / name)
    hint = f"{nearest(name, corpus_names(storage))} ifmmin data import adds yours."
    raise CorpusError(f"There is no corpus '{name}'; {hint}")


def folder_for(name: str, storage: Location) -> Folder:
    """The folder for a new corpus of that name.

    Raises:
        CorpusError: the name is not valid, or is taken.
    """
    if not _is_name(name):
        raise CorpusError(f"'{name}' is not a valid name for a corpus; use letters, digits, '.', '-' and '_'.")
    if name in corpus_names(storage):
        raise CorpusError(f"A corpus '{name}' already exists; choose another --name.")
    return Folder(storage, FOLDER, name)


def keep_corpus(corpus: Corpus, findings: Sequence[Finding], storage: Location) -> Corpus:
    """Write a corpus that was read from a layout into the store, and return the stored one.

    Args:
        findings: of its audit.

    Raises:
        CorpusError: the audit has found an error, the name is taken, or the store cannot be written.
    """
    stop_at_errors(findings, f"Corpus '{corpus.name}' was not imported", "correct the files and import them again")
    return write_corpus(corpus, folder_for(corpus.name, storage))


def stop_at_errors(findings: Sequence[Finding], what: str, remedy: str) -> None:
    """Refuse a corpus in whose audit there is an error.

    Raises:
        CorpusError: the audit has found an error.
    """
    errors = [finding.message for finding in findings if finding.severity == "error"]
    if errors:
        others = f" (the first of {len(errors)} errors)" if len(errors) > 1 else ""
        raise CorpusError(f"{what}: {errors[0]}{others}; {remedy}.")


def _is_name(name: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) is not None


def _corpora(parent: Folder) -> list[str]:
    headers = parent.present(f"{name}/{HEADER}" for name in parent.names() if _is_name(name))
    return sorted(header.removesuffix(f"/{HEADER}") for header in headers)
