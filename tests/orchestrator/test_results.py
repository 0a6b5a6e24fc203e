import numpy as np
import pandas as pd
import pytest

from ifmmin.data.conditions import Condition
from ifmmin.orchestrator.analysis.scores import columns_of, score, summarise
from tests.small import ALL_CONDITIONS, LETTERS

COLUMNS = columns_of(LETTERS)


def predictions(correct: dict[tuple[int, Condition], list[int]]) -> pd.DataFrame:
    """Predictions of one system by fold and condition; the labels are 0, 0, 0, 1."""
    return pd.DataFrame(
        [
            {
                "system": "s",
                "fold": fold,
                "seed": 0,
                "utterance": str(index),
                "condition": condition,
                "label": label,
                "prediction": prediction,
            }
            for (fold, condition), values in correct.items()
            for index, (label, prediction) in enumerate(zip([0, 0, 0, 1], values, strict=True))
        ]
    )


@pytest.fixture
def scores() -> pd.DataFrame:
    perfect, first, none = [0, 0, 0, 1], [0, 0, 0, 0], [1, 1, 1, 0]
    table = {(fold, condition): first for fold in (1, 2) for condition in ALL_CONDITIONS}
    table |= {(1, Condition("a")): perfect, (2, Condition("a")): none, (1, Condition("avt")): perfect}
    return score(predictions(table), LETTERS)


def row(frame: pd.DataFrame, **values: object) -> pd.Series:
    for column, value in values.items():
        frame = frame[frame[column] == value]
    assert len(frame) == 1
    return frame.iloc[0]


def test_wa_counts_utterances_and_ua_averages_recalls(scores: pd.DataFrame) -> None:
    assert tuple(row(scores, fold=1, condition="v")[["wa", "ua"]]) == (0.75, 0.5)
    assert tuple(row(scores, fold=1, condition="a")[["wa", "ua"]]) == (1, 1)
    assert tuple(row(scores, fold=2, condition="a")[["wa", "ua"]]) == (0, 0)


def test_the_average_is_over_the_six_missing_conditions_of_each_run(scores: pd.DataFrame) -> None:
    assert row(scores, fold=1, condition="average")["wa"] == pytest.approx((1 + 5 * 0.75) / 6)
    assert row(scores, fold=2, condition="average")["ua"] == pytest.approx((0 + 5 * 0.5) / 6)


def test_the_summary_is_mean_and_deviation_over_the_runs_in_table_order(scores: pd.DataFrame) -> None:
    summary = summarise(scores)
    assert summary["condition"].tolist() == list(COLUMNS)
    summarised = row(summary, condition="a")
    assert (summarised["runs"], summarised["wa"], summarised["wa_std"]) == (2, 0.5, pytest.approx(np.sqrt(0.5)))
    assert row(summary, condition="v")["ua_std"] == 0


def test_one_run_has_no_deviation(scores: pd.DataFrame) -> None:
    assert summarise(scores[scores["fold"] == 1])["wa_std"].isna().all()
