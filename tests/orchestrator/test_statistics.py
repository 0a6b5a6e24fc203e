from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ifmmin.data.corpus import Fold
from ifmmin.orchestrator.analysis.statistics import (
    compare,
    corrected_t,
    cost_of_missing,
    holm,
    intervals,
    share_tested,
)
from tests.small import make_corpus


def scores_of(systems: dict[str, list[float]], condition: str = "a") -> pd.DataFrame:
    """WA of each system's folds in one condition; UA is half of it."""
    rows = [(s, f, 0, condition, wa, wa / 2) for s, values in systems.items() for f, wa in enumerate(values, 1)]
    return pd.DataFrame(rows, columns=["system", "fold", "seed", "condition", "wa", "ua"])


def test_without_shared_training_data_it_is_the_ordinary_t_test() -> None:
    values = [0.1, -0.05, 0.2, 0.15, 0.02]
    expected = stats.ttest_1samp(values, 0)
    result = corrected_t(values, 0)
    interval = expected.confidence_interval(0.95)
    assert (result.p, result.low, result.high) == pytest.approx((expected.pvalue, interval.low, interval.high))


@pytest.mark.slow
def test_it_gives_what_scikit_learns_worked_example_publishes() -> None:
    """Two support vector machines in ten times ten-fold cross-validation: t = 0.750, one-sided p = 0.227.

    Source: scikit-learn's user guide, "Statistical comparison of models using grid search"; 200 fits, some seconds.
    """
    from sklearn.datasets import make_moons
    from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score
    from sklearn.svm import SVC

    x, y = make_moons(noise=0.352, random_state=1, n_samples=100)
    folds = RepeatedStratifiedKFold(n_splits=10, n_repeats=10, random_state=0)
    rbf, linear = (
        cross_val_score(SVC(kernel=kernel, random_state=0), x, y, scoring="roc_auc", cv=folds)
        for kernel in ("rbf", "linear")
    )
    result = corrected_t(rbf - linear, share=10 / 90)
    assert result.p / 2 == pytest.approx(0.227, abs=0.0005)
    assert stats.t.isf(result.p / 2, 99) == pytest.approx(0.750, abs=0.0005)


def test_the_correction_widens_the_interval_by_its_factor() -> None:
    values = [0.1, -0.05, 0.2, 0.15]
    plain, corrected = corrected_t(values, 0), corrected_t(values, 0.125)
    assert (corrected.high - corrected.low) / (plain.high - plain.low) == pytest.approx(np.sqrt((0.25 + 0.125) / 0.25))
    assert corrected.mean == plain.mean
    assert corrected.p > plain.p


def test_without_variance_there_is_no_p() -> None:
    assert np.isnan(corrected_t([0.3], 0.1).p)
    for same in ([0.0, 0.0], [0.2, 0.2], [0.7 - 0.6, 0.8 - 0.7, 0.9 - 0.8]):
        assert np.isnan(corrected_t(same, 0.1).p)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_keeps_the_order_and_lies_between_no_correction_and_bonferronis(p: list[float]) -> None:
    values, adjusted = np.array(p), holm(p)
    assert (adjusted >= values).all()
    assert (adjusted <= np.minimum(1, values * len(values))).all()
    order = np.argsort(values, kind="stable")
    assert (np.diff(adjusted[order]) >= 0).all()


def test_holm_leaves_out_what_has_no_p() -> None:
    np.testing.assert_allclose(holm([0.04, np.nan, 0.03]), [0.06, np.nan, 0.06])


def test_systems_are_compared_over_the_runs_that_both_have() -> None:
    scores = scores_of({"mmin": [0.5, 0.6, 0.7], "if-mmin": [0.9, 0.7, 0.85]})
    shuffled = scores[(scores["system"] != "mmin") | (scores["fold"] != 1)].iloc[::-1]
    result = compare(shuffled, "if-mmin", 0.1).frame.set_index("metric").loc["wa"]
    expected = corrected_t([0.6 - 0.7, 0.7 - 0.85], 0.1)
    assert (result["system"], result["runs"], result["condition"]) == ("mmin", 2, "a")
    assert tuple(result[["difference", "low", "high", "p"]]) == pytest.approx(
        (expected.mean, expected.low, expected.high, expected.p)
    )
    assert result["p_holm"] == result["p"]


def test_a_difference_that_is_the_same_in_every_run_has_neither_interval_nor_p_and_says_so() -> None:
    comparison = compare(scores_of({"mmin": [0.5, 0.6, 0.7], "if-mmin": [0.59, 0.69, 0.79]}), "if-mmin", 0.1)
    assert comparison.frame["difference"].tolist() == pytest.approx([-0.09, -0.045])
    assert comparison.frame[["low", "high", "p", "p_holm"]].isna().all(axis=None)
    assert comparison.cautions == (
        "a difference that is the same in every run has no variance, and so neither interval nor p",
    )


def test_two_runs_are_compared_with_a_caution_and_more_without() -> None:
    scores = scores_of({"mmin": [0.5, 0.6, 0.3], "if-mmin": [0.9, 0.7, 0.8]})
    two = compare(scores[scores["fold"] < 3], "if-mmin", 0.1)
    assert two.frame["p"].notna().all()
    (caution,) = two.cautions
    assert caution.startswith("two runs of mmin leave one degree of freedom")
    assert compare(scores, "if-mmin", 0.1).cautions == ()
    assert compare(scores[scores["fold"] < 2], "if-mmin", 0.1).cautions == ()


def test_the_correction_counts_the_systems_of_each_condition() -> None:
    rng = np.random.default_rng(0)
    scores = scores_of({name: list(rng.uniform(size=5)) for name in ("x", "y", "z", "reference")})
    comparison = compare(scores, "reference", 0.1)
    for _, part in comparison.frame.groupby(["condition", "metric"]):
        np.testing.assert_allclose(part["p_holm"], holm(part["p"]))
    assert "for 3 systems" in comparison.method


def test_what_a_condition_costs_is_measured_within_runs() -> None:
    full, less = scores_of({"mmin": [0.8, 0.9]}, "avt"), scores_of({"mmin": [0.5, 0.7]}, "a")
    (row,) = cost_of_missing(pd.concat([less, full]), 0.1).query("metric == 'wa'").itertuples()
    assert row.condition == "a"
    assert row.mean == pytest.approx(0.25)
    assert row.low == pytest.approx(corrected_t([0.3, 0.2], 0.1).low)


def test_intervals_are_of_every_system_condition_and_metric() -> None:
    result = intervals(scores_of({"mmin": [0.5, 0.7], "fusion": [0.1, 0.3]}), 0.1)
    assert result["mean"].tolist() == pytest.approx([0.6, 0.3, 0.2, 0.1])
    assert result["low"].iloc[0] == pytest.approx(corrected_t([0.5, 0.7], 0.1).low)


def test_the_share_is_the_mean_over_the_folds_that_ran() -> None:
    folds = {
        1: Fold(np.arange(8), np.arange(8, 10), np.arange(10, 12)),
        2: Fold(np.arange(4), np.arange(4), np.arange(2)),
    }
    corpus = replace(make_corpus(), folds=folds)
    assert share_tested(corpus, [1, 2]) == pytest.approx((0.25 + 0.5) / 2)
