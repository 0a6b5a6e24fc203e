"""The audit finds what two sets of a fold share, and nothing in corpora that share nothing."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from ifmmin.data.audit import audit
from ifmmin.data.catalogue import SHIPPED
from ifmmin.data.corpus import Corpus, Fold, Sequences, open_corpus
from ifmmin.data.leaks import find_leaks, pooled
from ifmmin.data.synthesis import synthesise
from tests.small import FOUR, ONE, TWO, make_corpus, with_gaps

PLANTED = 10


def clean_corpus() -> Corpus:
    """Speakers, dialogues and transcripts that no two sets share, in one fold."""
    corpus = replace(make_corpus(240, classes=4), folds={1: Fold(*np.split(np.arange(240), [160, 200]))})
    speakers = [f"speaker {row // 20}" for row in range(240)]
    dialogues = [f"dialogue {row // 4}" for row in range(240)]
    texts = [f"What utterance {row} says." for row in range(240)]
    return with_columns(corpus, speaker=speakers, dialogue=dialogues, transcript=texts)


def with_columns(corpus: Corpus, **columns: Sequence[str | None]) -> Corpus:
    table = corpus.utterances
    for name, values in columns.items():
        table = table.drop_columns([name]) if name in table.column_names else table
        table = table.append_column(name, pa.array(values, pa.string()))
    return replace(corpus, utterances=table)


def copied(
    corpus: Corpus, sources: Sequence[int], targets: Sequence[int], *, noise: float = 0, letters: str = "avt"
) -> Corpus:
    """A corpus in which some utterances have the features of others, with noise in units of their deviation."""
    rng, sequences = np.random.default_rng(1), dict(corpus.sequences)
    for letter in letters:
        old = sequences[letter]
        parts = [old[row] for row in range(len(old))]
        deviation = old.values.std(0)
        for source, target in zip(sources, targets, strict=True):
            shape = parts[source].shape
            parts[target] = (old[source] + noise * deviation * rng.standard_normal(shape)).astype(np.float32)
        sequences[letter] = Sequences.of(parts)
    return replace(corpus, sequences=sequences)


def shared(corpus: Corpus, column: str, sources: Sequence[int], targets: Sequence[int]) -> Corpus:
    values = corpus.utterances[column].to_pylist()
    for source, target in zip(sources, targets, strict=True):
        values[target] = values[source]
    return with_columns(corpus, **{column: values})


def test_sixty_planted_leaks_of_six_kinds_are_found() -> None:
    # Ten test utterances are replaced for each kind but the first, whose utterances are in train as well.
    corpus = clean_corpus()
    assert find_leaks(corpus) == []
    rows = [list(range(200 + n, 200 + n + PLANTED)) for n in range(0, 40, PLANTED)]
    corpus = copied(corpus, range(PLANTED), rows[0])
    corpus = copied(corpus, range(20, 20 + PLANTED), rows[1], noise=1e-3)
    corpus = shared(corpus, "transcript", range(40, 40 + PLANTED), rows[2])
    validation = range(160, 160 + PLANTED)
    corpus = shared(corpus, "dialogue", range(0, 4 * PLANTED, 4), validation)
    corpus = with_columns(corpus, speaker=[f"speaker {row // 15 if row < 150 else row}" for row in range(240)])
    corpus = shared(corpus, "speaker", range(0, 15 * PLANTED, 15), rows[3])
    fold = corpus.folds[1]
    twice = np.arange(150, 150 + PLANTED)
    corpus = replace(corpus, folds={1: Fold(fold.train, np.concatenate([fold.validation, twice]), fold.test)})
    counts = Counter[str]()
    for leak in find_leaks(corpus):
        counts[leak.kind] += leak.count
    assert counts == dict.fromkeys(
        ["utterance", "features", "similar features", "transcript", "dialogue", "speaker"], PLANTED
    )


def test_corpora_without_leaks_have_none() -> None:
    digits = open_corpus(SHIPPED / "digits")
    known = {name for leak in find_leaks(digits) for pair in leak.names for name in pair.split(" = ")}
    kept = [row for row, name in enumerate(digits.names) if name not in known]
    for corpus in (_of(digits, kept), synthesise(utterances=400, dimensions={"a": 8, "v": 12, "t": 16})):
        assert find_leaks(corpus) == []


def _of(corpus: Corpus, rows: list[int]) -> Corpus:
    sequences = {m: Sequences.of([s[row] for row in rows]) for m, s in corpus.sequences.items()}
    place = {row: index for index, row in enumerate(rows)}
    folds = {
        number: Fold(
            *(np.array([place[row] for row in part if row in place]) for part in (f.train, f.validation, f.test))
        )
        for number, f in corpus.folds.items()
    }
    return replace(corpus, utterances=corpus.utterances.take(rows), sequences=sequences, folds=folds)


def test_images_that_are_twice_in_the_shipped_digits_are_found() -> None:
    # The original data set has six images twice, and nines that are sixes turned round, which Zernike moments ignore.
    leaks = find_leaks(open_corpus(SHIPPED / "digits"))
    twice = {frozenset(pair.split(" = ")) for leak in leaks if leak.of == "avt" for pair in leak.names}
    turned = [{name[:2] for name in pair.split(" = ")} for leak in leaks if leak.of == "v" for pair in leak.names]
    assert len(twice) == 6
    assert all(digits == {"d6", "d9"} for digits in turned)
    assert {leak.of for leak in leaks} == {"avt", "v"}


@pytest.mark.parametrize("classes", [2, 3, 12])
@pytest.mark.parametrize("utterances", [12, 48, 400])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_clusters_of_few_features_are_not_leaks(utterances: int, classes: int, seed: int) -> None:
    assert find_leaks(make_corpus(utterances, classes, seed)) == []


@pytest.mark.parametrize("modalities", [ONE, TWO, FOUR])
def test_gaps_and_any_modalities_are_not_leaks(modalities: tuple) -> None:  # type: ignore[type-arg]
    corpus = make_corpus(300, 4, modalities=modalities)
    assert find_leaks(corpus) == []
    assert find_leaks(with_gaps(corpus)) == []


def test_features_that_do_not_vary_or_are_ratings_are_not_leaks() -> None:
    rng = np.random.default_rng(0)
    corpus = make_corpus(300, modalities=TWO)
    ratings = np.concatenate([rng.integers(1, 6, size=(300, 3)), np.ones((300, 2))], 1)
    steps = np.arange(301)
    rated = {"p": Sequences(ratings.astype(np.float32), steps), "t": corpus.sequences["t"]}
    assert find_leaks(replace(corpus, sequences=rated)) == []
    constant = {"p": Sequences(np.full((300, 4), 0.3, np.float32), steps), "t": corpus.sequences["t"]}
    assert {leak.of for leak in find_leaks(replace(corpus, sequences=constant))} <= {"p"}


def test_what_is_zero_throughout_is_not_the_same() -> None:
    corpus = make_corpus(60)
    zero = Sequences(np.zeros_like(corpus.sequences["v"].values), corpus.sequences["v"].offsets)
    assert find_leaks(replace(corpus, sequences={**corpus.sequences, "v": zero})) == []


@pytest.mark.parametrize("letter", ["a", "v", "t"])
def test_a_single_modality_that_is_copied_is_found(letter: str) -> None:
    (leak,) = find_leaks(copied(clean_corpus(), [3], [230], letters=letter))
    assert (leak.kind, leak.of, leak.sets, leak.names) == ("features", letter, ("train", "test"), ("u230 = u003",))


def test_transcripts_with_the_same_words_are_the_same() -> None:
    texts = clean_corpus().utterances["transcript"].to_pylist()
    texts[5], texts[210], texts[6], texts[211], texts[7], texts[212] = "Oh, no!", "oh no", "...", "!", None, None
    (leak,) = find_leaks(with_columns(clean_corpus(), transcript=texts))
    assert (leak.kind, leak.names) == ("transcript", ("u210 = u005",))
    (finding,) = audit(with_columns(clean_corpus(), transcript=texts))[:1]
    assert finding.severity == "warning"
    assert finding.message == "1 test utterance of fold 1 has the same transcript as one of train: u210 = u005"


def test_sentences_that_repeat_by_design_are_a_note() -> None:
    repeated = with_columns(clean_corpus(), transcript=[f"sentence {row % 12}" for row in range(240)])
    assert {f.severity for f in audit(repeated) if f.check == "same transcript"} == {"note"}


def test_leaks_of_several_folds_are_one_finding() -> None:
    corpus = shared(clean_corpus(), "speaker", [0], [239])
    folds = dict.fromkeys((1, 2, 3), corpus.folds[1])
    messages = [f.message for f in audit(replace(corpus, folds=folds)) if f.check == "speakers"]
    assert messages == [
        "1 speaker of fold 1 is in both train and test: speaker 0, so results depend on the speaker; likewise in 2 "
        "other folds"
    ]


def test_a_dialogue_shared_by_validation_and_test_alone_is_a_note() -> None:
    corpus = shared(clean_corpus(), "dialogue", [165], [235])
    assert [f.severity for f in audit(corpus) if f.check == "same dialogue"] == ["note"]
    assert [f.severity for f in audit(shared(corpus, "dialogue", [0], [236])) if f.check == "same dialogue"] == [
        "warning",
        "note",
    ]


def test_pooled_features_are_means_of_frames() -> None:
    sequences = with_gaps(make_corpus(100)).sequences["v"]
    expected = [
        sequences.values[start:end].astype(np.float64).mean(0) if end > start else np.zeros(sequences.dimension)
        for start, end in pairwise(sequences.offsets)
    ]
    np.testing.assert_allclose(pooled(sequences), expected, atol=1e-12)
