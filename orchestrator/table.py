"""The comparison table: a summary of scores for the terminal, for Markdown and for other programs."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan

import pandas as pd
from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table

from orchestrator.results import AVERAGE, COLUMNS

METRICS = {"WA": "wa", "UA": "ua"}


def rich_table(summary: pd.DataFrame, *, title: str) -> RenderableType:
    """The table for a terminal: WA and UA of every system in percent, mean and standard deviation.

    Where a terminal is too narrow, deviations stand below their means.

    Args:
        summary: of `orchestrator.results.summarise`.
    """
    return _FirstThatFits([_table(summary, title, between) for between in (" ±", "\n±")])


def markdown(summary: pd.DataFrame) -> str:
    """The same table in Markdown.

    Args:
        summary: of `orchestrator.results.summarise`.
    """
    lines = [
        f"| system | runs | % | {' | '.join(COLUMNS)} |",
        f"| :-- | --: | :-- |{' --: |' * len(COLUMNS)}",
    ]
    for system, rows in _by_system(summary):
        for name, metric in METRICS.items():
            lines.append(f"| {system} | {_runs(rows)} | {name} | {' | '.join(_cells(rows, metric, ' ± '))} |")
    return "\n".join([*lines, "", f"{how_made(summary)}."])


def csv(summary: pd.DataFrame) -> str:
    """One line for each system and condition, with numbers from 0 to 1; empty where there is no deviation.

    Args:
        summary: of `orchestrator.results.summarise`.
    """
    return str(summary.to_csv(index=False, lineterminator="\n"))


def how_made(summary: pd.DataFrame) -> str:
    """What the figures of the table are, in one line."""
    counts = sorted({int(runs) for runs in summary["runs"]})
    if counts == [1]:
        figures = "a single run"
    else:
        runs = _count(counts[0], "run") if len(counts) == 1 else f"{counts[0]} to {counts[-1]} runs"
        figures = f"mean ± standard deviation over {runs}{_grid(summary)}"
    return f"{figures}; average over the six missing conditions"


@dataclass(frozen=True)
class _FirstThatFits:
    tables: Sequence[Table]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        unlimited = options.update_width(1000)
        fitting = (
            table for table in self.tables if console.measure(table, options=unlimited).maximum <= options.max_width
        )
        yield next(fitting, self.tables[-1])


def _table(summary: pd.DataFrame, title: str, between: str) -> Table:
    shown = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        caption=how_made(summary),
        caption_justify="left",
        caption_style="dim",
        box=box.HORIZONTALS,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )
    shown.add_column("system", no_wrap=True)
    shown.add_column("%", no_wrap=True)
    for condition in COLUMNS:
        shown.add_column("avg" if condition == AVERAGE else condition, justify="right")
    for system, rows in _by_system(summary):
        shown.add_row(system, "WA", *_cells(rows, "wa", between))
        runs = f"[dim]{_count(_runs(rows), 'run')}[/]"
        shown.add_row(runs, "UA", *_cells(rows, "ua", between), end_section=True)
    return shown


def _grid(summary: pd.DataFrame) -> str:
    """Folds and seeds, where the runs are all of their combinations."""
    grids = {(int(f), int(s)) for f, s in zip(summary["folds"], summary["seeds"], strict=True)}
    folds, seeds = next(iter(grids))
    if len(grids) > 1 or set(summary["runs"]) != {folds * seeds}:
        return ""
    return f" ({_count(folds, 'fold')} x {_count(seeds, 'seed')})"


def _by_system(summary: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [(str(system), rows.set_index("condition")) for system, rows in summary.groupby("system", sort=False)]


def _runs(rows: pd.DataFrame) -> int:
    return int(rows["runs"].iloc[0])


def _cells(rows: pd.DataFrame, metric: str, between: str) -> list[str]:
    ordered = 100 * rows.loc[list(COLUMNS), [metric, f"{metric}_std"]].astype(float)
    return [
        f"{mean:.1f}" if isnan(deviation) else f"{mean:.1f}{between}{deviation:.1f}"
        for mean, deviation in ordered.itertuples(index=False)
    ]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
