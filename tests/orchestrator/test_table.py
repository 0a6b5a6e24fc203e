import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from rich.console import Console

from ifmmin.data.conditions import all_conditions
from ifmmin.data.errors import UserError
from ifmmin.orchestrator.analysis.published import published_summary
from ifmmin.orchestrator.analysis.scores import columns_of, score, summarise
from ifmmin.orchestrator.analysis.statistics import Comparison, compare, corrected_t
from ifmmin.orchestrator.reporting import formats as table_formats
from ifmmin.orchestrator.tracking.metrics import measure_scores
from tests.small import FULL_CONDITION, LETTERS, MISSING_CONDITIONS, make_corpus

TWO_RUNS = {"a": (0.5, 0.7), "v": (0.4, 0.4), "t": (0.25, 0.3), "av": (0.7, 0.9), "at": (0.6, 0.6), "vt": (0.5, 0.5)}
TWO_RUNS |= {"average": (0.5, 0.6), "avt": (0.875, 1.0)}

COLUMNS = columns_of(LETTERS)


def scores(systems: tuple[str, ...] = ("if-mmin",), runs: int = 2) -> pd.DataFrame:
    """UA is a tenth of WA, so that the two cannot be mixed up."""
    rows = [
        (system, fold + 1, 0, condition, 8, wa[fold], wa[fold] / 10)
        for system in systems
        for fold in range(runs)
        for condition, wa in TWO_RUNS.items()
    ]
    return pd.DataFrame(rows, columns=["system", "fold", "seed", "condition", "utterances", "wa", "ua"])


def printed(summary: pd.DataFrame, width: int = 100, comparison: Comparison | None = None) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(table_formats.rich_table(summary, comparison, title="demo on digits"))
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_markdown_has_means_and_deviations_in_percent() -> None:
    # Of 0.5 and 0.7: mean 0.6, deviation 0.1 * sqrt(2) = 0.1414; of 0.25 and 0.3: 0.275 and 0.0354.
    lines = table_formats.markdown(summarise(scores())).splitlines()
    assert lines[0] == "| % | system | runs | a | v | t | av | at | vt | average | avt |"
    assert lines[2].startswith("| WA | if-mmin | 2 | 60.0 ± 14.1 | 40.0 ± 0.0 | 27.5 ± 3.5 | 80.0 ± 14.1 |")
    assert lines[2].endswith("| 55.0 ± 7.1 | 93.8 ± 8.8 |")
    assert lines[3].startswith("| UA | if-mmin | 2 | 6.0 ± 1.4 | 4.0 ± 0.0 |")
    assert lines[5] == (
        "mean ± standard deviation over 2 runs (2 folds x 1 seed); average over the six missing conditions."
    )


def test_a_single_run_has_no_deviation() -> None:
    text = table_formats.markdown(summarise(scores(runs=1)))
    assert "| WA | if-mmin | 1 | 50.0 | 40.0 | 25.0 | 70.0 | 60.0 | 50.0 | 50.0 | 87.5 |" in text
    assert text.endswith("a single run; average over the six missing conditions.")
    assert "±" not in text


def test_csv_has_fractions_in_table_order() -> None:
    read = pd.read_csv(io.StringIO(table_formats.csv(summarise(scores(("mmin", "if-mmin"))))))
    assert list(read["condition"]) == 2 * list(COLUMNS)
    assert list(read["system"].unique()) == ["mmin", "if-mmin"]
    first = read.iloc[0]
    assert (first["runs"], first["wa"], first["ua"]) == (2, pytest.approx(0.6), pytest.approx(0.06))
    assert first["wa_std"] == pytest.approx(0.02**0.5)


@pytest.mark.parametrize("width", [80, 100])
def test_no_figure_is_cut_off_on_a_narrow_terminal(width: int) -> None:
    lines = printed(summarise(scores(("if-mmin", "mmin-without-cycle"))), width)
    assert max(map(len, lines)) <= width
    words = " ".join(lines).split()
    assert "…" not in " ".join(lines)
    for figure in ("60.0", "±14.1", "27.5", "93.8", "±8.8", "9.4"):
        assert words.count(figure) >= 2


def test_the_terminal_shows_how_many_runs_each_system_has() -> None:
    missing_one = scores(("if-mmin", "mmin")).query("system != 'mmin' or fold != 2")
    lines = printed(summarise(missing_one))
    assert lines[0] == "demo on digits"
    words = " ".join(lines)
    assert words.count("if-mmin 2 runs") == words.count(" mmin 1 run") == 2
    assert "mean ± standard deviation over 1 to 2 runs; average over the six" in " ".join(lines)


def two_systems() -> tuple[pd.DataFrame, Comparison]:
    """`low` is 20 points below `high` in both runs, almost exactly; equal in the full condition."""
    high = scores(("high",))
    below = (0.2 + 1e-4 * (high["fold"] - 1.5)) * (high["condition"] != FULL_CONDITION)
    low = high.assign(system="low", wa=high["wa"] - below)
    frame = pd.concat([high, low], ignore_index=True)
    return summarise(frame), compare(frame, "high", 0.1)


def test_the_best_is_bold_and_significant_differences_are_marked_in_every_format() -> None:
    summary, comparison = two_systems()
    markdown = table_formats.markdown(summary, comparison).splitlines()
    assert markdown[2].startswith("| WA | high | 2 | **60.0** ± 14.1 | **40.0** ± 0.0 |")
    assert markdown[3].startswith("| WA | low | 2 | 40.0† ± 14.1 | 20.0† ± 0.0 |")
    assert markdown[2].endswith("| **93.8** ± 8.8 |")
    assert markdown[3].endswith("| **93.8** ± 8.8 |")  # equals
    assert markdown[4].startswith("| UA | high | 2 | **6.0** ± 1.4 |")
    assert markdown[9].startswith("† differs from high, p < 0.05: two-sided corrected resampled t-test (Nadeau")

    latex = table_formats.latex(summary, comparison)
    assert r"high & \textbf{60.0}\,{\scriptsize$\pm$14.1}" in latex
    assert r"low & 40.0$^\dagger$\,{\scriptsize$\pm$14.1}" in latex
    assert latex.count(r"\midrule") == 2
    assert "%" not in latex.replace(r"\%", "")

    terminal = " ".join(printed(summary, 140, comparison))
    assert "40.0† ±14.1" in terminal
    assert "† differs from high" in terminal


def test_every_format_says_what_two_runs_and_equal_differences_are_worth() -> None:
    summary, comparison = two_systems()
    console = Console(file=io.StringIO(), width=400)
    console.print(table_formats.rich_comparison(comparison))
    differences = console.file.getvalue()  # type: ignore[attr-defined]
    for text in (
        table_formats.markdown(summary, comparison),
        table_formats.latex(summary, comparison),
        " ".join(printed(summary, 400, comparison)),
        differences,
    ):
        assert "two runs of low leave one degree of freedom" in text
        assert "neither interval nor p" in text
    assert "+0.0" in differences
    assert "[+0.0, +0.0]" not in differences


def test_differences_are_shown_with_interval_and_p() -> None:
    frame = scores(("high",))
    noisy = frame.assign(system="low", wa=frame["wa"] - 0.2 * frame["fold"])
    comparison = compare(pd.concat([frame, noisy], ignore_index=True), "high", 0.1)
    console = Console(file=io.StringIO(), width=120)
    console.print(table_formats.rich_comparison(comparison))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    estimate = corrected_t([-0.2, -0.4], 0.1)
    assert f"{100 * estimate.mean:+.1f}" in text
    assert f"[{100 * estimate.low:+.1f}, {100 * estimate.high:+.1f}]" in text
    assert f"p {estimate.p:.3f}" in text


def test_published_figures_stand_below_without_being_best() -> None:
    iemocap = replace(
        make_corpus(utterances=24, classes=4),
        utterances=pa.table({"utterance": [f"Ses01F_x{i:02}" for i in range(24)], "label": np.arange(24) % 4}),
    )
    both = pd.concat([summarise(scores(("if-mmin", "mmin"))), published_summary(iemocap)], ignore_index=True)
    lines = table_formats.markdown(both).splitlines()
    assert lines[4].startswith(
        "| WA | MMIN, as repeated in 2026 | published | 56.6 | 52.5 | 66.6 | 64.0 | 72.9 | 71.7 |"
    )
    assert lines[4].endswith("| 64.0 | \N{EN DASH} |")
    assert not any("**" in line for line in lines if "published" in line)
    assert sum("independent re-run" in line for line in lines) == 1  # its WA was not published
    assert "2 runs (2 folds x 1 seed)" in lines[-1]


def test_published_averages_are_those_of_their_conditions() -> None:
    """A slip in copying the figures would show here; they are rounded to two digits, the re-run's to one."""
    summary = published_summary(
        replace(make_corpus(8, 4), utterances=pa.table({"utterance": 8 * ["Ses01F_"], "label": 8 * [0]}))
    )
    for _, part in summary.groupby("system"):
        by_condition = part.set_index("condition")[["wa", "ua"]].astype(float)
        means = by_condition.loc[list(MISSING_CONDITIONS)].mean()
        for metric in ("wa", "ua"):
            assert np.isnan(means[metric]) or abs(means[metric] - by_condition[metric]["average"]) < 0.0006


def test_published_figures_are_for_iemocap_only() -> None:
    with pytest.raises(UserError, match="'small' is not that"):
        published_summary(make_corpus())


def many(modalities: int = 4, gaps: bool = False, systems: tuple[str, ...] = ("if-mmin", "mmin")) -> pd.DataFrame:
    """Scores of two runs: right are as many of ten utterances as modalities are at hand, and more in the second."""
    letters = "abcdef"[:modalities]
    frames = []
    for better, system in enumerate(systems):
        for fold in (1, 2):
            rows = [
                {"system": system, "fold": fold, "seed": 0, "utterance": f"u{i}", "condition": condition, "label": 0}
                | {"prediction": int(i >= len(condition) + fold - 1 + better)}
                for condition in all_conditions(letters)
                for i in range(10)
                if not gaps or i + len(condition) < 12
            ]
            frames.append(pd.DataFrame(rows))
    return score(pd.concat(frames, ignore_index=True), letters)


@pytest.mark.parametrize("modalities", [4, 5, 6])
def test_many_conditions_are_grouped_by_how_many_modalities_are_at_hand(modalities: int) -> None:
    summary = summarise(many(modalities))
    names = [f"{n} of {modalities}" for n in range(1, modalities)]
    lines = table_formats.markdown(summary).splitlines()
    assert lines[0] == f"| % | system | runs | {' | '.join(names)} | average | {'abcdef'[:modalities]} |"
    assert lines[2].startswith("| WA | if-mmin | 2 | 15.0 ± 7.1 | 25.0 ± 7.1 |")
    assert f"average over the {2**modalities - 2} missing conditions" in lines[7]
    rich = " ".join(printed(summary, 200))
    assert all(name in rich for name in names)


@pytest.mark.parametrize("modalities", [4, 6])
def test_every_condition_of_many_stands_in_every_format(modalities: int) -> None:
    scored = many(modalities, gaps=True)
    summary, conditions = summarise(scored), all_conditions("abcdef"[:modalities])
    console = Console(file=io.StringIO(), width=100)
    console.print(table_formats.rich_conditions(summary))
    terminal = console.file.getvalue()  # type: ignore[attr-defined]
    markdown, latex = table_formats.markdown(summary), table_formats.latex(summary)
    assert set(conditions) < set(pd.read_csv(io.StringIO(table_formats.csv(summary)))["condition"])
    for condition in conditions:
        assert sum(line.split()[:1] == [condition] for line in terminal.splitlines()) == 2  # WA, UA
        assert markdown.count(f"\n| {condition} | ") == 2
        assert latex.count(f"\n    {condition} & ") == 2
    names = [measurement.name for measurement in measure_scores(summary[summary["system"] == "mmin"], 0)]
    assert names[:2] == ["test/wa/average", f"test/wa/1 of {modalities}"]
    assert {f"test/wa/{condition}" for condition in conditions} < set(names)


def test_the_number_of_utterances_stands_beside_each_condition_where_it_is_not_all() -> None:
    summary = summarise(many(4, gaps=True))
    text = table_formats.markdown(summary)
    assert "each condition on the utterances that have its modalities, n of 20 that are tested" in text
    assert "\n| ab | 20 | " in text
    assert "\n| abc | 18 | " in text
    few = summarise(many(3, gaps=True))
    lines = table_formats.markdown(few).splitlines()
    assert lines[2] == "| n |  |  | 20 | 20 | 20 | 20 | 20 | 20 |  | 18 |"
    assert r"$n$ & 20 & 20 & 20 & 20 & 20 & 20 &  & 18 \\" in table_formats.latex(few)
    for width in (60, 100, 200):
        assert "18" in " ".join(printed(few, width)).split("WA")[0]
    assert "| n |" not in table_formats.markdown(summarise(many(3)))


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_table_of_each_condition_is_not_cut_off_on_a_narrow_terminal(width: int) -> None:
    systems = ("if-mmin-no-cascade", "mmin-without-cycle")
    console = Console(file=io.StringIO(), width=width)
    console.print(table_formats.rich_conditions(summarise(many(4, systems=systems))))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(len, lines)) <= width
    assert "…" not in " ".join(lines)


def test_remarks_stand_below_the_table_in_every_format() -> None:
    remark = ["trained with modalities removed"]
    console = Console(file=io.StringIO(), width=100)
    console.print(table_formats.rich_table(summarise(scores()), title="demo", remarks=remark))
    for text in (
        table_formats.markdown(summarise(scores()), None, remark),
        table_formats.latex(summarise(scores()), None, remark),
        console.file.getvalue(),  # type: ignore[attr-defined]
    ):
        assert remark[0] in text
