"""Splits keep groups together and test every utterance once."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ifmmin.data.corpus import SETS, Fold
from ifmmin.data.errors import CorpusError
from ifmmin.data.splits import split


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
