"""The comparison table as plain values: the numbers of each row, which of them is best, and the notes below.

`reporting.formats` writes it for the terminal, for papers and for other programs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isnan

import pandas as pd

from ifmmin.orchestrator.analysis.scores import AVERAGE, METRICS, RUN, columns_in, conditions_in
from ifmmin.orchestrator.analysis.statistics import SIGNIFICANT, Comparison

MARK = "†"


@dataclass(frozen=True)
class Cell:
    """One number in percent.

    Attributes:
        mean: NaN where there is none.
        deviation: over the runs, NaN for a single one.
        best: no other system of the experiment has a higher mean in this column.
        differs: significantly, from the system that the others are compared with.
    """

    mean: float
    deviation: float = float("nan")
    best: bool = False
    differs: bool = False


@dataclass(frozen=True)
class Row:
    """A system's numbers in one metric, in the order of the table; `runs` is 0 for published ones."""

    system: str
    runs: int
    cells: tuple[Cell, ...]


def make_blocks(summary: pd.DataFrame, comparison: Comparison | None = None) -> dict[str, list[Row]]:
    """The rows of each metric, by its heading.

    Args:
        summary: of `analysis.scores.summarise`; rows of `analysis.published` may follow.
    """
    columns = columns_in(summary)
    return {metric.upper(): _make_rows(summary, metric, comparison, columns) for metric in METRICS}


def _make_rows(summary: pd.DataFrame, metric: str, comparison: Comparison | None, columns: Sequence[str]) -> list[Row]:
    significant = set() if comparison is None else set(_significant(comparison.frame, metric))
    computed = summary[summary["runs"].notna()]
    several = len(computed["system"].unique()) > 1
    highest = computed.groupby("condition")[metric].max()
    rows = []
    for system, part in summary.groupby("system", sort=False):
        runs = part["runs"].iloc[0]
        cells = tuple(
            Cell(
                100 * mean,
                100 * deviation,
                best=several and pd.notna(runs) and mean == highest[condition],
                differs=(system, condition) in significant,
            )
            for condition, mean, deviation in part.set_index("condition")
            .reindex(list(columns))[[metric, f"{metric}_std"]]
            .itertuples()
        )
        if any(not isnan(cell.mean) for cell in cells):
            rows.append(Row(str(system), 0 if pd.isna(runs) else int(runs), cells))
    return rows


def how_made(summary: pd.DataFrame) -> str:
    """What the numbers of the table are, in one line."""
    computed = summary[summary["runs"].notna()]
    counts = sorted({int(runs) for runs in computed["runs"]})
    if counts == [1]:
        figures = "a single run"
    else:
        runs = count_of(counts[0], "run") if len(counts) == 1 else f"{counts[0]} to {counts[-1]} runs"
        figures = f"mean ± standard deviation over {runs}{_grid(computed)}"
    best = "; the best in bold" if len(computed["system"].unique()) > 1 else ""
    return f"{figures}{_averaged(summary)}{best}"


def notes(summary: pd.DataFrame, comparison: Comparison | None, remarks: Sequence[str] = ()) -> list[str]:
    """What a reader of the table must know, in sentences without full stops.

    Args:
        remarks: of `analysis.experiment.Analysis`.
    """
    lines = [how_made(summary), *remarks]
    if counts := count_evaluated(summary):
        lines.append(
            f"each condition on the utterances that have its modalities, n of {max(counts.values()):,} that are tested"
        )
    if comparison:
        lines.append(f"{MARK} differs from {comparison.reference}, p < {SIGNIFICANT}: {comparison.method}")
        lines += comparison.cautions
    return lines


def heading(condition: str) -> str:
    """A column's short heading."""
    return "avg" if condition == AVERAGE else condition


def count_of(number: int, noun: str) -> str:
    """A number of things.

    >>> count_of(1, "run"), count_of(30, "run")
    ('1 run', '30 runs')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def count_runs(frame: pd.DataFrame) -> str:
    """How many runs of a system a frame is of, such as `2 to 3 runs`."""
    counts = frame.drop_duplicates(RUN).groupby("system").size()
    low, high = int(counts.min()), int(counts.max())
    return count_of(low, "run") if low == high else f"{low} to {high} runs"


def signed(points: float) -> str:
    """A difference in points with its sign; +0.0 for all that rounds to zero.

    >>> signed(-3.14), signed(-0.01)
    ('-3.1', '+0.0')
    """
    return f"{round(points, 1) + 0.0:+.1f}"


def _averaged(summary: pd.DataFrame) -> str:
    *missing, _ = conditions_in(summary)
    if not missing:
        return ""
    average = f"; average over the {count_of_conditions(len(missing))}"
    return f"{average}, before it the means over those with as many modalities" if is_grouped(summary) else average


def count_of_conditions(number: int) -> str:
    """A number of missing conditions, as sentences have it."""
    return f"{ {2: 'two', 6: 'six'}.get(number, number) } missing conditions"


def is_grouped(summary: pd.DataFrame) -> bool:
    """Whether the table shows groups of conditions, and each condition stands in a table by itself."""
    return columns_in(summary)[0] not in conditions_in(summary)


def count_evaluated(summary: pd.DataFrame) -> dict[str, int]:
    """How many utterances each condition is evaluated on, if that is not all in all: those that have its modalities."""
    computed = summary[summary["runs"].notna()]
    first = computed[computed["system"] == computed["system"].iloc[0]].set_index("condition")
    counts = {str(name): round(float(first["utterances"][name] / first["seeds"][name])) for name in first.index}
    return {} if len(set(counts.values())) == 1 else counts


def written_counts(summary: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """The number of utterances of each column, empty where that is a mean over conditions; none if all have all."""
    counts, conditions = count_evaluated(summary), conditions_in(summary)
    return [f"{counts[name]:,}" if name in conditions else "" for name in columns] if counts else []


@dataclass(frozen=True)
class ConditionRow:
    """One condition's numbers in one metric, a cell for each system; its utterances in `count`, if not all."""

    condition: str
    count: tuple[str, ...]
    cells: tuple[Cell, ...]


def make_condition_blocks(
    summary: pd.DataFrame, comparison: Comparison | None = None
) -> tuple[list[str], dict[str, list[ConditionRow]]]:
    """The systems, and the rows of each metric by its heading: a row for each condition, by number of modalities.

    Args:
        summary: of `analysis.scores.summarise`, without published accuracies.
    """
    conditions = conditions_in(summary)
    counts: list[tuple[str, ...]] = [(count,) for count in written_counts(summary, conditions)] or [()] * len(
        conditions
    )
    blocks: dict[str, list[ConditionRow]] = {}
    systems: list[str] = []
    for metric in METRICS:
        rows = _make_rows(summary, metric, comparison, conditions)
        systems = [row.system for row in rows]
        cells = zip(*(row.cells for row in rows), strict=True)
        blocks[metric.upper()] = [ConditionRow(*row) for row in zip(conditions, counts, cells, strict=True)]
    return systems, blocks


def _significant(comparison: pd.DataFrame, metric: str) -> Iterator[tuple[str, str]]:
    rows = comparison[(comparison["metric"] == metric) & (comparison["p_holm"] < SIGNIFICANT)]
    return zip(rows["system"], rows["condition"], strict=True)


def _grid(summary: pd.DataFrame) -> str:
    """Folds and seeds, where the runs are all of their combinations."""
    grids = {(int(f), int(s)) for f, s in zip(summary["folds"], summary["seeds"], strict=True)}
    folds, seeds = next(iter(grids))
    if len(grids) > 1 or set(summary["runs"]) != {folds * seeds}:
        return ""
    return f" ({count_of(folds, 'fold')} x {count_of(seeds, 'seed')})"
