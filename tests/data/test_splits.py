"""Splits keep groups together and test every utterance once."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ifmmin.data.corpus import SETS, Fold
from ifmmin.data.errors import CorpusError
from ifmmin.data.splits import split, take_validation


def table(utterances: int, speakers: int | None, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    columns = {"utterance": [f"u{i}" for i in range(utterances)], "label": np.arange(utterances) % 3}
    if speakers:
        columns["speaker"] = [f"s{i}" for i in np.r_[np.arange(speakers), rng.integers(speakers, size=utterances)]][
            :utterances
        ]
    return pa.table(columns)


def check(folds: dict[int, Fold], utterances: int) -> None:
    tested = np.concatenate([fold.test for fold in folds.values()])
    assert sorted(tested.tolist()) == list(range(utterances))
    for fold in folds.values():
        sets = [set(part.tolist()) for part in (fold.train, fold.validation, fold.test)]
        assert all(sets)
        assert sum(map(len, sets)) == utterances == len(set.union(*sets))


@settings(deadline=None, max_examples=40)
@given(st.integers(3, 25), st.integers(60, 200), st.integers(0, 5), st.sampled_from(["speaker", "stratified:4"]))
def test_no_group_is_in_two_sets_and_each_utterance_is_tested_once(
    speakers: int, utterances: int, seed: int, by: str
) -> None:
    corpus = table(utterances, speakers, seed)
    folds = split(corpus, by, seed)
    check(folds, utterances)
    assert len(folds) == min(speakers, 10 if by == "speaker" else 4)
    names = np.array(corpus["speaker"].to_pylist())
    for fold in folds.values():
        groups = [set(names[part]) for part in (fold.train, fold.validation, fold.test)]
        assert sum(map(len, groups)) == len(set.union(*groups))


def test_strata_have_the_classes_in_equal_shares() -> None:
    folds = split(table(90, None), "stratified:5", 0)
    check(folds, 90)
    for fold in folds.values():
        assert np.bincount(fold.test % 3).tolist() == [6, 6, 6]


def test_a_seed_makes_the_same_folds_again_and_another_makes_others() -> None:
    first, again, other = (split(table(90, None), "stratified:5", seed) for seed in (1, 1, 2))
    assert all(np.array_equal(first[n].test, again[n].test) for n in first)
    assert any(not np.array_equal(first[n].test, other[n].test) for n in first)


@pytest.mark.parametrize("speakers", [None, 12])
@pytest.mark.parametrize("numbers", [(1, 2, 3), (0, 4, 9), (-1, 0, 1)])
def test_labels_that_begin_elsewhere_or_have_gaps_make_the_same_folds(
    numbers: tuple[int, ...], speakers: int | None
) -> None:
    expected, plain = split(table(90, speakers), "stratified:5", 0), table(90, speakers)
    others = plain.set_column(1, "label", pa.array(np.array(numbers)[plain["label"].to_numpy()]))
    folds = split(others, "stratified:5", 0)
    assert all(np.array_equal(folds[n][name], expected[n][name]) for n in expected for name in SETS)


def test_a_missing_value_is_a_group_of_its_own() -> None:
    names = ["s1", None, "s2", None, "s3", None] * 10
    corpus = pa.table({"utterance": list(map(str, range(60))), "label": np.arange(60) % 2, "speaker": names})
    folds = split(corpus, "speaker", 0)
    check(folds, 60)
    assert len(folds) == 10
    tested = [np.count_nonzero(np.arange(1, 60, 2)[:, None] == fold.test) for fold in folds.values()]
    assert sum(tested) == 30
    assert max(tested) < 30


@pytest.mark.parametrize(
    ("by", "message"),
    [
        ("speakr", "--split-by speakr: .*speaker"),
        ("label", "--split-by label"),
        ("stratified:2", "between 3 and 1000"),
        ("stratified:many", "between 3 and 1000"),
    ],
)
def test_an_impossible_split_is_refused(by: str, message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        split(table(60, 5), by, 0)


def test_too_few_groups_or_utterances_are_refused() -> None:
    with pytest.raises(CorpusError, match="2 groups are too few"):
        split(table(60, 2), "speaker", 0)
    with pytest.raises(CorpusError, match="a class has only 4 utterances"):
        split(table(12, None), "stratified:5", 0)


def sessions_of(count: int, utterances: int, seed: int, members: int = 2) -> pa.Table:
    """Utterances of sessions, each of some speakers who are in no other, one utterance of each speaker at least."""
    rng = np.random.default_rng(seed)
    chosen = np.r_[np.arange(count * members), rng.integers(count * members, size=utterances - count * members)]
    return pa.table(
        {
            "utterance": [f"u{index}" for index in range(utterances)],
            "label": rng.permutation(utterances) % 3,
            "speaker": [f"s{speaker:02}" for speaker in chosen],
            "session": [f"{speaker // members}" for speaker in chosen],
        }
    )


@settings(deadline=None, max_examples=40)
@given(st.integers(3, 12), st.integers(2, 3), st.integers(60, 150), st.integers(0, 5), st.sampled_from(["s", "k"]))
def test_each_session_or_speaker_is_tested_once(
    sessions: int, members: int, utterances: int, seed: int, kind: str
) -> None:
    corpus = sessions_of(sessions, utterances, seed, members)
    by = f"sessions-{sessions}" if kind == "s" else f"speakers-{sessions * members}"
    folds = split(corpus, by, seed)
    check(folds, utterances)
    assert len(folds) == sessions * (1 if kind == "s" else members)
    speaker, session = (np.array(corpus[name].to_pylist()) for name in ("speaker", "session"))
    for fold in folds.values():
        parts = [set(speaker[part]) for part in (fold.train, fold.validation, fold.test)]
        assert sum(map(len, parts)) == len(set.union(*parts))
        if kind == "s":
            assert len(set(session[fold.test])) == 1
        else:
            assert len(parts[2]) == 1
            assert set(session[fold.validation]) == set(session[fold.test])
            assert len(parts[1]) == members - 1


@settings(deadline=None, max_examples=25)
@given(st.integers(3, 8), st.integers(60, 150), st.integers(0, 5), st.sampled_from([0.1, 0.2, 0.5]), st.booleans())
def test_a_validation_set_is_taken_from_the_training_set_and_shares_no_speaker(
    sessions: int, utterances: int, seed: int, fraction: float, speakers: bool
) -> None:
    corpus = sessions_of(sessions, utterances, seed)
    corpus = corpus if speakers else corpus.drop_columns(["speaker"])
    none = np.zeros(0, dtype=np.int64)
    before = {
        number: Fold(np.sort(np.r_[fold.train, fold.validation]), none, fold.test)
        for number, fold in split(corpus, f"sessions-{sessions}", seed).items()
    }
    folds = take_validation(corpus, before, fraction, seed)
    check(folds, utterances)
    names = np.array(corpus["speaker"].to_pylist()) if speakers else np.arange(utterances)
    for number, fold in folds.items():
        assert np.array_equal(fold.test, before[number].test)
        assert not set(names[fold.train]) & set(names[fold.validation])
        if not speakers:
            assert abs(len(fold.validation) - fraction * len(before[number].train)) < 2
    again, other = (take_validation(corpus, before, fraction, chosen) for chosen in (seed, seed + 100))
    assert all(np.array_equal(folds[n].validation, again[n].validation) for n in folds)
    assert speakers or any(not np.array_equal(folds[n].validation, other[n].validation) for n in folds)


@pytest.mark.parametrize(
    ("by", "change", "message"),
    [
        ("sessions-4", {}, "has 5 sessions; use --split-by sessions-5"),
        ("speakers-9", {}, "has 10 speakers; use --split-by speakers-10"),
        ("sessions-5", {"session": None}, "has no column session"),
        ("speakers-60", {"speaker": ["s1", None] * 30}, "speaker of 30 utterances is unknown \\(u1 first\\)"),
        ("speakers-10", {"session": ["1", "2"] * 30}, "a speaker is in several sessions"),
    ],
)
def test_sessions_and_speakers_must_be_as_many_as_is_said(by: str, change: dict, message: str) -> None:  # type: ignore[type-arg]
    corpus = sessions_of(5, 60, 0)
    for name, values in change.items():
        corpus = corpus.drop_columns([name])
        corpus = corpus if values is None else corpus.append_column(name, pa.array(values))
    with pytest.raises(CorpusError, match=message):
        split(corpus, by, 0)


def test_a_session_of_one_speaker_has_nobody_to_validate() -> None:
    with pytest.raises(CorpusError, match="session 0 has one speaker"):
        split(sessions_of(5, 60, 0, members=1), "speakers-5", 0)
