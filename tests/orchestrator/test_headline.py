"""The expected numbers are worked out by hand.

With n = 3 runs and n_test / n_train = 1/6 the variance of a mean is s² / 2: of three differences d - e, d, d + e it is
e² / 2. Student's t with two degrees of freedom has the 0.975-quantile 4.30265 and the two-sided p-value
1 - t / sqrt(2 + t²).
"""

from itertools import product

import pandas as pd

from ifmmin.orchestrator.analysis.headline import Headline, headline

SHARE = 1 / 6
CONDITIONS = {1: ("a", "v", "t"), 2: ("av", "at", "vt"), 3: ("avt",)}
Levels = dict[str, dict[int, list[float]]]
"""By system and number of available modalities the WA of each fold."""


def scores_of(levels: Levels, conditions: dict[int, tuple[str, ...]] = CONDITIONS) -> pd.DataFrame:
    """In the first condition of a number WA is 0.1 lower and in the last 0.1 higher, so that means must be taken."""
    rows = []
    for system, numbers in levels.items():
        for number, values in numbers.items():
            for (fold, wa), name in product(enumerate(values, 1), conditions[number]):
                shift = 0.1 * (name == conditions[number][-1]) - 0.1 * (name == conditions[number][0])
                rows.append((system, fold, 0, name, wa + shift, 0.0))
            rows += [(system, fold, 0, "average", 9.0, 9.0) for fold in range(1, len(values) + 1)]
    return pd.DataFrame(rows, columns=["system", "fold", "seed", "condition", "wa", "ua"])


def with_one(**systems: list[float]) -> Headline:
    """Of a corpus of two modalities, in which systems differ with one of them alone."""
    levels = {name.replace("_", "-"): {1: values, 2: [0.8] * len(values)} for name, values in systems.items()}
    return headline(scores_of(levels, {1: ("x", "y"), 2: ("xy",)}), next(iter(levels)), SHARE)


def test_the_best_system_is_compared_with_the_other_for_every_number_of_modalities() -> None:
    # 0.30, 0.31, 0.29: error 0.01 / sqrt(2), half an interval 0.0304, t = 42.4, p = 0.00055.
    # 0.10 ± 0.01: t = 14.14, p = 1 - 14.142 / sqrt(202) = 0.005.
    # 0.30, 0.20, 0.40: half an interval 0.304, t = 4.243, p = 0.051.
    augmented = {1: [0.5, 0.61, 0.49], 2: [0.6, 0.61, 0.59], 3: [0.5, 0.5, 0.5]}
    fusion = {1: [0.2, 0.3, 0.2], 2: [0.5, 0.5, 0.5], 3: [0.8, 0.7, 0.9]}
    result = headline(scores_of({"fusion": fusion, "augmented": augmented}), "fusion", SHARE)
    assert result.sentences == (
        "With one of three modalities available, augmented (53.3 % WA) is better than fusion by 30.0 points "
        "(95 % interval 27.0 to 33.0, p < 0.001).",
        "With two, augmented (60.0 % WA) is better than fusion by 10.0 points (95 % interval 7.0 to 13.0, p = 0.005).",
        "With all three, no difference was seen between fusion (80.0 % WA) and augmented (30.0 points, 95 % interval "
        "-0.4 to 60.4, p = 0.051).",
    )
    assert result.note == (
        "WA is the mean over the conditions with that many modalities and over 3 runs; corrected resampled t-test"
    )


def test_of_three_systems_the_best_is_compared_with_both_others() -> None:
    # 0.30 ± 0.01: p = 0.00055. 0.05 ± 0.01: t = 7.07, p = 0.0194. mmin less fusion is the same in every run: no test.
    # Holm of the two that are tested: 2 * 0.00055 = 0.0011 and 0.0194.
    result = with_one(mmin=[0.55, 0.55, 0.55], if_mmin=[0.6, 0.61, 0.59], fusion=[0.3, 0.3, 0.3])
    assert result.sentences[0] == (
        "With one of two modalities available, if-mmin (60.0 % WA) is better than mmin by 5.0 points (95 % interval "
        "2.0 to 8.0, p = 0.019) and than fusion by 30.0 points (95 % interval 27.0 to 33.0, p = 0.001)."
    )
    assert result.note.endswith("over 3 runs; corrected resampled t-test, Holm-corrected for 3 pairs of systems")


def test_where_nothing_differs_no_system_is_called_better() -> None:
    # 0.05, 0.10, 0.00: error 0.05 / sqrt(2), half an interval 0.152, t = 1.414, p = 1 - 1.4142 / 2 = 0.293.
    result = with_one(mmin=[0.6, 0.6, 0.6], fusion=[0.55, 0.5, 0.6])
    assert result.sentences == (
        "With one of two modalities available, no difference was seen between mmin (60.0 % WA) and fusion (5.0 points, "
        "95 % interval -10.2 to 20.2, p = 0.293).",
        "With both, no difference was seen between mmin (80.0 % WA) and fusion (0.0 points).",
    )


def test_what_differs_by_rounding_has_no_sign() -> None:
    first = with_one(mmin=[0.1 + 0.2, 0.5], fusion=[0.3, 0.5 + 1e-12]).sentences[0]
    assert "(0.0 points)" in first


def test_a_second_best_that_cannot_be_told_apart_is_not_left_out() -> None:
    result = with_one(mmin=[0.6, 0.61, 0.59], if_mmin=[0.55, 0.5, 0.6], fusion=[0.3, 0.3, 0.3])
    better, unseen = result.sentences[0].split("; ")
    assert better.startswith("With one of two modalities available, mmin (60.0 % WA) is better than fusion by 30.0")
    assert unseen.startswith("no difference was seen between mmin and if-mmin (5.0 points, 95 % interval")


def test_of_many_systems_the_second_best_and_the_reference_are_named_and_the_others_counted() -> None:
    others = {f"other_{number}": [0.2 + number / 100] * 3 for number in range(8)}
    others["other_8"] = [0.2, 0.7, 0.3]
    result = with_one(reference=[0.4] * 3, best=[0.6, 0.6001, 0.5999], second=[0.5] * 3, **others)
    assert result.sentences[0] == (
        "With one of two modalities available, best (60.0 % WA) is better than second by 10.0 points (95 % interval "
        "10.0 to 10.0, p < 0.001), than reference by 20.0 points (95 % interval 20.0 to 20.0, p < 0.001) and than 8 of "
        "the 9 others."
    )


def test_the_reference_itself_may_be_the_best() -> None:
    first = with_one(reference=[0.6, 0.61, 0.59], second=[0.5] * 3, third=[0.4] * 3, fourth=[0.3] * 3).sentences[0]
    assert "reference (60.0 % WA) is better than second by 10.0 points" in first
    assert first.endswith(") and than all 2 others.")


def test_a_single_run_has_differences_but_neither_interval_nor_test() -> None:
    result = with_one(mmin=[0.6], if_mmin=[0.6], fusion=[0.3])
    assert result.sentences[0] == (
        "With one of two modalities available, mmin (60.0 % WA) is 30.0 points above fusion; no difference was seen "
        "between mmin and if-mmin (0.0 points)."
    )
    assert result.note.endswith("; a single run allows neither interval nor test")


def test_a_system_alone_is_described_by_its_scores() -> None:
    # 0.6 ± 0.01: half an interval 0.0304.
    assert with_one(mmin=[0.6, 0.61, 0.59]).sentences[0] == (
        "With one of two modalities available, mmin has 60.0 % WA (95 % interval 57.0 to 63.0)."
    )
    assert with_one(mmin=[0.6, 0.61, 0.59]).note.endswith("; interval of the corrected resampled t-test")
    assert with_one(mmin=[0.6]).sentences[0] == "With one of two modalities available, mmin has 60.0 % WA."


def test_runs_that_a_system_lacks_do_not_count() -> None:
    complete = with_one(mmin=[0.6, 0.61, 0.59], fusion=[0.3, 0.3, 0.3])
    assert with_one(mmin=[0.6, 0.61, 0.59, 0.1], fusion=[0.3, 0.3, 0.3]) == complete


def test_systems_without_a_common_run_are_not_compared() -> None:
    scores = scores_of({"mmin": {1: [0.6]}, "fusion": {1: [0.5]}})
    scores.loc[scores["system"] == "fusion", "fold"] = 2
    assert headline(scores, "mmin", SHARE).sentences == ()


def test_a_corpus_of_one_modality_has_one_sentence() -> None:
    scores = scores_of({"mmin": {1: [0.6]}, "fusion": {1: [0.5]}}, {1: ("x",)})
    (only,) = headline(scores, "mmin", SHARE).sentences
    assert only.startswith("With its one modality, mmin (60.0 % WA) is 10.0 points above fusion")
