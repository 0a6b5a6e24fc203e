import pytest

from ifmmin.data.conditions import (
    Condition,
    all_conditions,
    conditions_of,
    full_condition,
    mask_of,
    missing_conditions,
    missing_of,
    parse_condition,
)
from ifmmin.data.errors import CorpusError
from tests.small import ALL_CONDITIONS, LETTERS


def test_conditions_stand_in_the_order_of_the_papers_table() -> None:
    assert all_conditions("avt") == ("a", "v", "t", "av", "at", "vt", "avt")
    assert all_conditions("avt")[:6] == missing_conditions("avt")


@pytest.mark.parametrize("letters", ["a", "pb", "avt", "gbva", "abcdefg"[:5], "fedcba"])
def test_every_set_of_modalities_is_a_condition_once_by_size(letters: str) -> None:
    conditions = all_conditions(letters)
    assert len({frozenset(condition) for condition in conditions}) == len(conditions) == 2 ** len(letters) - 1
    assert [len(condition) for condition in conditions] == sorted(len(condition) for condition in conditions)
    assert conditions[-1] == full_condition(letters) == letters
    assert len(missing_conditions(letters)) == 2 ** len(letters) - 2
    for condition in conditions:
        assert list(condition.available) == [letter for letter in letters if letter in condition]


@pytest.mark.parametrize("condition", ALL_CONDITIONS)
def test_available_and_missing_modalities_are_all_there_are(condition: Condition) -> None:
    assert sorted(condition.available + missing_of(condition, LETTERS)) == ["a", "t", "v"]
    assert mask_of(condition, LETTERS) == ("a" in condition, "v" in condition, "t" in condition)


def test_sets_of_conditions_have_names() -> None:
    assert conditions_of(None, "pb") == ()
    assert conditions_of("single", "pb") == ("p", "b")
    assert conditions_of("missing", "pbx") == ("p", "b", "x", "pb", "px", "bx")
    assert conditions_of("all", "pb") == ("p", "b", "pb")
    assert conditions_of("missing", "p") == ()


@pytest.mark.parametrize("text", ["", "aa", "x", "av t"])
def test_a_condition_that_the_corpus_lacks_is_refused_in_a_sentence(text: str) -> None:
    assert parse_condition("ta", "avt") == "at"
    with pytest.raises(CorpusError, match=r"no condition '.*'; .*avt\.$"):
        parse_condition(text, "avt")
