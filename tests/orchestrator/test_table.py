import io

import pandas as pd
import pytest
from rich.console import Console

from orchestrator import table
from orchestrator.results import COLUMNS, summarise

TWO_RUNS = {"a": (0.5, 0.7), "v": (0.4, 0.4), "t": (0.25, 0.3), "av": (0.7, 0.9), "at": (0.6, 0.6), "vt": (0.5, 0.5)}
TWO_RUNS |= {"average": (0.5, 0.6), "avt": (0.875, 1.0)}


def scores(systems: tuple[str, ...] = ("if-mmin",), runs: int = 2) -> pd.DataFrame:
    """UA is a tenth of WA, so that the two cannot be mixed up."""
    rows = [
        (system, fold + 1, 0, condition, wa[fold], wa[fold] / 10)
        for system in systems
        for fold in range(runs)
        for condition, wa in TWO_RUNS.items()
    ]
    return pd.DataFrame(rows, columns=["system", "fold", "seed", "condition", "wa", "ua"])


def printed(summary: pd.DataFrame, width: int = 100) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(table.rich_table(summary, title="demo on digits"))
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_markdown_has_means_and_deviations_in_percent() -> None:
    # Of 0.5 and 0.7: mean 0.6, deviation 0.1 * sqrt(2) = 0.1414; of 0.25 and 0.3: 0.275 and 0.0354.
    lines = table.markdown(summarise(scores())).splitlines()
    assert lines[0] == "| system | runs | % | a | v | t | av | at | vt | average | avt |"
    assert lines[2].startswith("| if-mmin | 2 | WA | 60.0 ± 14.1 | 40.0 ± 0.0 | 27.5 ± 3.5 | 80.0 ± 14.1 |")
    assert lines[2].endswith("| 55.0 ± 7.1 | 93.8 ± 8.8 |")
    assert lines[3].startswith("| if-mmin | 2 | UA | 6.0 ± 1.4 | 4.0 ± 0.0 |")
    assert lines[5] == (
        "mean ± standard deviation over 2 runs (2 folds x 1 seed); average over the six missing conditions."
    )


def test_a_single_run_has_no_deviation() -> None:
    text = table.markdown(summarise(scores(runs=1)))
    assert "| WA | 50.0 | 40.0 | 25.0 | 70.0 | 60.0 | 50.0 | 50.0 | 87.5 |" in text
    assert text.endswith("a single run; average over the six missing conditions.")
    assert "±" not in text


def test_csv_has_fractions_in_table_order() -> None:
    read = pd.read_csv(io.StringIO(table.csv(summarise(scores(("mmin", "if-mmin"))))))
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


def test_the_terminal_tells_how_many_runs_each_system_has() -> None:
    missing_one = scores(("if-mmin", "mmin")).query("system != 'mmin' or fold != 2")
    lines = printed(summarise(missing_one))
    assert lines[0] == "demo on digits"
    assert [line[:6] for line in lines if line.startswith(("2 runs", "1 run "))] == ["2 runs", "1 run "]
    assert "mean ± standard deviation over 1 to 2 runs; average over the six" in " ".join(lines)
