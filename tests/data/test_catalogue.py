"""Corpora by name, and what it costs to list and open them."""

import subprocess
import sys
from pathlib import Path

import pytest

from ifmmin.data.audit import Finding
from ifmmin.data.catalogue import corpus_names, find_corpus, folder_for, keep_corpus
from ifmmin.data.corpus import compute_fingerprint, write_corpus
from ifmmin.data.errors import CorpusError
from tests.small import make_corpus

HEAVY = ("h5py", "matplotlib", "pandas", "scipy", "sklearn", "torch")


def test_corpora_are_found_by_name(tmp_path: Path) -> None:
    assert len(find_corpus("digits", tmp_path)) == 2000
    write_corpus(make_corpus(), folder_for("small", tmp_path))
    assert corpus_names(tmp_path) == ["digits", "small"]
    assert len(find_corpus("small", tmp_path)) == 48
    with pytest.raises(CorpusError, match=r"no corpus 'smal'; did you mean 'small'\? Known: digits, small"):
        find_corpus("smal", tmp_path)


@pytest.mark.parametrize(
    ("name", "message"), [("digits", "'digits' already exists"), ("../outside", "not a valid name for a corpus")]
)
def test_a_new_corpus_needs_a_valid_name_that_is_not_taken(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        folder_for(name, tmp_path)


def test_a_corpus_is_kept_unless_its_audit_has_an_error(tmp_path: Path) -> None:
    warning, error = Finding("warning", "check", "is odd"), Finding("error", "check", "is wrong")
    with pytest.raises(CorpusError, match=r"'small' was not imported: is wrong \(the first of 2 errors\); correct"):
        keep_corpus(make_corpus(), [warning, error, error], tmp_path)
    assert corpus_names(tmp_path) == ["digits"]
    kept = keep_corpus(make_corpus(), [warning], tmp_path)
    assert kept.fingerprint == compute_fingerprint(make_corpus())
    assert find_corpus("small", tmp_path).fingerprint == kept.fingerprint


def test_listing_and_opening_corpora_imports_nothing_heavy(tmp_path: Path) -> None:
    program = f"""
import sys
from ifmmin.data.catalogue import corpus_names, find_corpus
corpora = [find_corpus(name, {str(tmp_path)!r}) for name in corpus_names({str(tmp_path)!r})]
assert [(len(corpus), len(corpus.labels), corpus.speakers is None, len(corpus.folds)) for corpus in corpora]
print([name for name in {HEAVY} if name in sys.modules])
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
