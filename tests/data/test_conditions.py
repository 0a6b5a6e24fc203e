import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.conditions import ALL_CONDITIONS, MISSING_CONDITIONS, Condition
from data.errors import UserError


def test_conditions_stand_in_the_order_of_the_papers_table() -> None:
    assert [str(c) for c in ALL_CONDITIONS] == ["a", "v", "t", "av", "at", "vt", "avt"]
    assert ALL_CONDITIONS[:6] == MISSING_CONDITIONS


@given(st.sampled_from(ALL_CONDITIONS), st.randoms())
def test_a_condition_is_read_whatever_the_order_of_its_letters(condition: Condition, random: object) -> None:
    letters = list(condition)
    random.shuffle(letters)  # type: ignore[attr-defined]
    assert Condition.parse("".join(letters)) is condition


@given(st.text(alphabet="avtx ", max_size=5))
def test_other_texts_are_no_conditions(text: str) -> None:
    if sorted(text) in [sorted(c) for c in ALL_CONDITIONS]:
        return
    with pytest.raises(UserError, match="is no condition"):
        Condition.parse(text)


@pytest.mark.parametrize("condition", ALL_CONDITIONS)
def test_available_and_missing_modalities_are_all_there_are(condition: Condition) -> None:
    assert sorted(condition.available + condition.missing) == ["a", "t", "v"]
    assert condition.mask == ("a" in condition, "v" in condition, "t" in condition)
