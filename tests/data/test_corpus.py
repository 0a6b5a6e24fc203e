import errno
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ifmmin.data.corpus import (
    Corpus,
    Fold,
    Provenance,
    Sequences,
    choose_modalities,
    compute_fingerprint,
    open_corpus,
    training_statistics,
    verify_corpus,
    write_corpus,
)
from ifmmin.data.errors import CorpusError
from ifmmin.data.folder import Folder
from ifmmin.data.modalities import AVT
from tests.small import FOUR, LETTERS, ONE, TWO, make_corpus


@st.composite
def corpora(draw: st.DrawFn) -> Corpus:
    """Any number of utterances, classes, dimensions and folds, lengths from 0."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count, classes = draw(st.integers(1, 12)), draw(st.integers(1, 5))
    sequences = {}
    modalities = draw(st.sampled_from([ONE, TWO, AVT, FOUR]))
    for index, modality in enumerate(modalities):
        dimension = draw(st.integers(1, 6))
        lengths = rng.integers(0, 2 if modality.encoder == "linear" else 7, count)
        lengths[index :: len(modalities)] = 1  # each utterance has a modality, and each modality an utterance
        lengths[0] = 1
        sequences[modality.letter] = Sequences.of(
            [rng.normal(size=(length, dimension)).astype(np.float32) for length in lengths]
        )
    columns: dict[str, object] = {
        "utterance": [f"ü{i}" for i in range(count)],
        "label": rng.integers(classes, size=count),
    }
    if draw(st.booleans()):
        columns["speaker"] = [f"s{i % 3}" for i in range(count)]
    folds = {n + 1: Fold(*np.array_split(rng.permutation(count), 3)) for n in range(draw(st.integers(1, 3)))}
    return Corpus("any", tuple(map(str, range(classes))), pa.table(columns), sequences, folds, modalities)


@settings(deadline=None, max_examples=40)
@given(corpora(), st.sampled_from([None, "zstd"]))
def test_a_corpus_that_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, corpus: Corpus, compression: str | None
) -> None:
    folder = tmp_path_factory.mktemp("corpora") / "any"
    written = write_corpus(corpus, folder, compression=compression)  # type: ignore[arg-type]
    read = open_corpus(folder)
    verify_corpus(read)
    assert read.fingerprint == written.fingerprint
    assert (read.names, read.classes, read.speakers) == (corpus.names, corpus.classes, corpus.speakers)
    assert np.array_equal(read.labels, corpus.labels)
    for modality, sequences in corpus.sequences.items():
        assert np.array_equal(read.sequences[modality].offsets, sequences.offsets)
        assert np.array_equal(read.sequences[modality].values, sequences.values)
    for number, fold in corpus.folds.items():
        for name in ("train", "validation", "test"):
            assert np.array_equal(read.folds[number][name], fold[name])


def test_how_features_were_made_is_kept_and_changes_no_results(tmp_path: Path) -> None:
    corpus, how = make_corpus(), Provenance("log-mel", "1", "MIT", '{"name": "log-mel"}')
    made = write_corpus(replace(corpus, extractors={"a": how}), tmp_path / "made")
    assert open_corpus(tmp_path / "made").extractors == {"a": how}
    assert made.fingerprint == compute_fingerprint(corpus)
    assert choose_modalities(made, "vt").extractors == {}


def test_opening_a_corpus_copies_no_features(tmp_path: Path) -> None:
    sequences = {m: Sequences(np.ones((100_000, 8), np.float32), np.arange(0, 100_001, 2_500)) for m in LETTERS}
    write_corpus(replace(make_corpus(40), sequences=sequences), tmp_path / "large")
    before = pa.total_allocated_bytes()
    corpus = open_corpus(tmp_path / "large")
    features = sum(s.values.nbytes for s in corpus.sequences.values())
    assert not any(s.values.flags.owndata or s.values.flags.writeable for s in corpus.sequences.values())
    assert pa.total_allocated_bytes() - before < features / 100


def test_the_fingerprint_depends_on_everything_a_result_depends_on() -> None:
    corpus = make_corpus()
    rows = corpus.utterances
    values = corpus.sequences["v"].values.copy()
    values[5, 1] += 1e-3
    fold = corpus.folds[2]
    changed = [
        replace(corpus, sequences={**corpus.sequences, "v": replace(corpus.sequences["v"], values=values)}),
        replace(corpus, utterances=rows.set_column(1, "label", pa.array(np.roll(corpus.labels, 1)))),
        replace(corpus, utterances=rows.set_column(0, "utterance", pa.array([f"x{n}" for n in corpus.names]))),
        replace(corpus, folds={**corpus.folds, 2: Fold(fold.train, fold.test, fold.validation)}),
        replace(corpus, modalities=tuple(replace(m, standardised=False) for m in corpus.modalities)),
    ]
    fingerprints = {compute_fingerprint(c) for c in [corpus, *changed]}
    assert len(fingerprints) == 6
    assert compute_fingerprint(replace(corpus, name="other", about="x", classes=("p", "q", "r"))) in fingerprints


@st.composite
def parts(draw: st.DrawFn) -> list[np.ndarray]:
    """Sequences of a few utterances, empty ones among them, around any offset in any unit, some features constant."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    lengths = draw(st.lists(st.integers(0, 9), min_size=1, max_size=40).filter(any))
    scale = 10.0 ** draw(st.integers(-8, 8)) * np.array([1, 1, 0])
    offset = scale.max() * rng.choice([0, 1, 1e3, 1e5], 3)
    return [(offset + scale * rng.normal(size=(length, 3))).astype(np.float32) for length in lengths]


def training_on(frames: list[np.ndarray], first: float) -> Corpus:
    """A corpus whose first acoustic frame is the one of a test utterance, and which trains on these, (time, 3)."""
    sequences = Sequences.of([np.full((1, 3), first, np.float32), *frames])
    folds = {1: Fold(np.arange(1, len(sequences)), np.arange(0), np.arange(1))}
    return replace(make_corpus(), sequences={**make_corpus().sequences, "a": sequences}, folds=folds)


@settings(deadline=None, max_examples=200)
@given(parts(), st.sampled_from([0.0, 1e6, -1e9]))
def test_statistics_are_those_of_numpy_whatever_the_first_frame_is(frames: list[np.ndarray], far: float) -> None:
    together = np.concatenate(frames).astype(np.longdouble)
    spread = together.std(0)
    mean, deviation = training_statistics(training_on(frames, far * float(spread.max())), 1, "a")
    varies = spread > np.finfo(np.float32).eps * np.abs(together.mean(0))
    np.testing.assert_allclose(mean, together.mean(0), rtol=1e-6, atol=float(1e-6 * spread.max()))
    np.testing.assert_allclose(deviation[varies], spread[varies], rtol=1e-6)
    assert (deviation[~varies] == 1).all()


def test_moments_are_those_of_each_utterance_whatever_the_first_frame_is() -> None:
    frames = [np.full((1, 3), 1e6, np.float32), *np.split(make_corpus().sequences["a"].values[:160], 40)]
    frames[20] = frames[20][:0]
    means, squares = Sequences.of(frames).moments
    for index, part in enumerate(frames):
        expected = part.astype(np.float64) if len(part) else np.zeros((1, 3))
        np.testing.assert_allclose(means[index], expected.mean(0), rtol=1e-14)
        np.testing.assert_allclose(squares[index], ((expected - expected.mean(0)) ** 2).sum(0), rtol=1e-13)


def test_statistics_see_the_training_set_only() -> None:
    corpus = make_corpus()
    values = corpus.sequences["a"].values.copy()
    for index in [*corpus.folds[1].validation, *corpus.folds[1].test]:
        values[slice(*corpus.sequences["a"].offsets[index : index + 2])] = 1e6
    other = replace(corpus, sequences={**corpus.sequences, "a": replace(corpus.sequences["a"], values=values)})
    assert np.array_equal(training_statistics(other, 1, "a"), training_statistics(corpus, 1, "a"))


def test_a_feature_that_never_varies_is_not_divided_by_zero() -> None:
    corpus = make_corpus()
    values = corpus.sequences["a"].values.copy()
    values[:, 1] = 1234.56
    constant = replace(corpus, sequences={**corpus.sequences, "a": replace(corpus.sequences["a"], values=values)})
    assert training_statistics(constant, 1, "a")[1][1] == 1


def spoil_header(**changes: object) -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        header = json.loads((folder / "corpus.json").read_text())
        header.update(changes)
        (folder / "corpus.json").write_text(json.dumps({k: v for k, v in header.items() if v is not None}))

    return spoil


def other_utterances(folder: Path) -> None:
    write_corpus(make_corpus(24), folder / "other")
    (folder / "other" / "v.arrow").rename(folder / "v.arrow")


def other_sets(folder: Path) -> None:
    table = pa.table({"fold": [1, 1], "set": ["train", "trial"], "utterance": [0, 1]})
    with pa.ipc.new_file(folder / "folds.arrow", table.schema) as writer:
        writer.write_table(table)


HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "header truncated": (lambda f: (f / "corpus.json").write_text('{"format": 1, "na'), "damaged"),
    "header without classes": (spoil_header(classes=None), "damaged"),
    "another format": (spoil_header(format=99), "format 99"),
    "header missing": (lambda f: (f / "corpus.json").unlink(), "corpus.json"),
    "features missing": (lambda f: (f / "v.arrow").unlink(), "v.arrow"),
    "features truncated": (lambda f: (f / "a.arrow").write_bytes((f / "a.arrow").read_bytes()[:500]), "damaged"),
    "features that are text": (lambda f: (f / "a.arrow").write_text("text"), "damaged"),
    "tables of other utterances": (other_utterances, "differ in length"),
    "sets of other names": (other_sets, "damaged"),
    "tables exchanged": (lambda f: (f / "folds.arrow").rename(f / "utterances.arrow"), "folds.arrow"),
}


@pytest.mark.parametrize(("spoil", "expected"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_damaged_corpus_is_refused_in_one_sentence(
    tmp_path: Path, spoil: Callable[[Path], object], expected: str
) -> None:
    write_corpus(make_corpus(), tmp_path / "small")
    spoil(tmp_path / "small")
    with pytest.raises(CorpusError) as caught:
        open_corpus(tmp_path / "small")
    assert expected in str(caught.value)
    assert "small" in str(caught.value)
    assert "import" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_features_that_changed_since_the_import_are_noticed(tmp_path: Path) -> None:
    write_corpus(make_corpus(), tmp_path / "small")
    file = tmp_path / "small" / "t.arrow"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(CorpusError, match=r"'small' have changed"):
        verify_corpus(open_corpus(tmp_path / "small"))


def test_a_corpus_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = replace(make_corpus(), about={"not": object()})  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        write_corpus(broken, tmp_path / "corpora" / "small")

    def write(*_: object) -> None:  # of the header, which comes last
        raise OSError(errno.ENOSPC, "write")

    with monkeypatch.context() as patched:
        patched.setattr(Folder, "write", write)
        with pytest.raises(CorpusError, match="No space left on device"):
            write_corpus(make_corpus(), tmp_path / "corpora" / "small")
    assert not (tmp_path / "corpora" / "small").exists()
    write_corpus(make_corpus(), tmp_path / "corpora" / "small")
    with pytest.raises(CorpusError, match="already exists"):
        write_corpus(make_corpus(), tmp_path / "corpora" / "small")
