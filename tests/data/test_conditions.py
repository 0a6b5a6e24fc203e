import pytest

from ifmmin.data.conditions import ALL_CONDITIONS, MISSING_CONDITIONS, Condition


def test_conditions_stand_in_the_order_of_the_papers_table() -> None:
    assert [str(c) for c in ALL_CONDITIONS] == ["a", "v", "t", "av", "at", "vt", "avt"]
    assert ALL_CONDITIONS[:6] == MISSING_CONDITIONS


@pytest.mark.parametrize("condition", ALL_CONDITIONS)
def test_available_and_missing_modalities_are_all_there_are(condition: Condition) -> None:
    assert sorted(condition.available + condition.missing) == ["a", "t", "v"]
    assert condition.mask == ("a" in condition, "v" in condition, "t" in condition)
