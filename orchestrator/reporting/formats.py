"""The comparison table for the terminal, Markdown, LaTeX and other programs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from math import isnan

import pandas as pd
from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from ifmmin.orchestrator.analysis.scores import METRICS, columns_in
from ifmmin.orchestrator.analysis.statistics import CONFIDENCE, Comparison
from ifmmin.orchestrator.reporting.tables import (
    MARK,
    Cell,
    ConditionRow,
    count_of,
    heading,
    is_grouped,
    make_blocks,
    make_condition_blocks,
    notes,
    signed,
    written_counts,
)


def rich_table(
    summary: pd.DataFrame, comparison: Comparison | None = None, *, title: str, remarks: Sequence[str] = ()
) -> RenderableType:
    """The table for a terminal: WA, then UA, of every system in percent, mean and standard deviation.

    Where a terminal is too narrow, deviations stand below their means, or every condition in a line of its own.

    Args:
        summary: of `analysis.scores.summarise`; published accuracies may follow.
        remarks: of `analysis.experiment.Analysis`.
    """

    def make(deviation: str) -> Sequence[Table]:
        wide = [_table(summary, comparison, title, between + deviation) for between in (" ", "\n")]
        return [*wide, _long_table(summary, comparison, title, " " + deviation)]

    return Group(_FirstThatFits(make), _below(notes(summary, comparison, remarks)))


def rich_conditions(summary: pd.DataFrame, comparison: Comparison | None = None) -> RenderableType:
    """The table of each condition in a row, for a terminal, where `rich_table` shows groups of them.

    Where a terminal is too narrow for all systems, it has several tables of some.
    """
    systems, blocks = make_condition_blocks(summary, comparison)

    def make_tables(metric: str, deviation: str) -> Sequence[Group]:
        return [
            Group(*(_conditions_table(blocks[metric], systems[i : i + n], i, metric, deviation) for i in starts))
            for n in range(len(systems), 0, -1)
            if (starts := range(0, len(systems), n))
        ]

    return Group(*(_FirstThatFits(partial(make_tables, metric)) for metric in blocks))


def _conditions_table(
    rows: Sequence[ConditionRow], systems: Sequence[str], first: int, metric: str, deviation: str
) -> Table:
    shown = _plain_table(f"{metric} in each condition, in %")
    shown.add_column("", no_wrap=True)
    if rows[0].count:
        shown.add_column("n", justify="right", no_wrap=True)
    for system in systems:
        shown.add_column(system, justify="right", min_width=9, overflow="fold")
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        cells = [_text(cell, deviation, bold="[bold]{}[/]".format) for cell in row.cells[first : first + len(systems)]]
        ends = following is None or len(following.condition) > len(row.condition)
        shown.add_row(row.condition, *row.count, *cells, end_section=ends)
    return shown


def rich_comparison(comparison: Comparison) -> RenderableType:
    """Differences over all missing conditions and in the full one, with intervals and p-values, for a terminal."""
    shown = _plain_table(f"Differences from {comparison.reference}, in points")
    shown.add_column("system", no_wrap=True)
    columns = list(product(METRICS, columns_in(comparison.frame)[-2:]))
    for metric, condition in columns:
        shown.add_column(f"{metric.upper()} {heading(condition)}", justify="right")
    for system, part in comparison.frame.groupby("system", sort=False):
        by_column = {(row["metric"], row["condition"]): row for _, row in part.iterrows()}
        cells = [by_column[column] for column in columns]
        shown.add_row(str(system), *(f"{_difference(row)}\n[dim]p {_p(float(row['p_holm']))}[/]" for row in cells))
    intervals = f"with {CONFIDENCE:.0%} confidence intervals, each for itself; p as above"
    return Group(shown, _below([intervals, *comparison.cautions]))


def rich_areas(areas: pd.DataFrame) -> RenderableType:
    """Areas under the robustness curves in percent, with their intervals, for a terminal.

    Args:
        areas: of `analysis.robustness.area_table`.
    """
    shown = _plain_table("Mean accuracy over all rates of what is missing, in %")
    shown.add_column("protocol", no_wrap=True)
    shown.add_column("system", no_wrap=True)
    for metric in METRICS:
        shown.add_column(metric.upper(), justify="right")
    for (protocol, system), part in areas.groupby(["protocol", "system"], sort=False):
        by_metric = {row["metric"]: row for _, row in part.iterrows()}
        shown.add_row(str(protocol), str(system), *(_area(by_metric[metric]) for metric in METRICS))
    return Group(shown, _below([f"with {CONFIDENCE:.0%} confidence intervals"]))


def _area(row: pd.Series) -> str:
    interval = "" if isnan(row["low"]) else f" [dim]{100 * row['low']:.1f} to {100 * row['high']:.1f}[/]"
    return f"{100 * row['area']:.1f}{interval}"


def markdown(summary: pd.DataFrame, comparison: Comparison | None = None, remarks: Sequence[str] = ()) -> str:
    """The table in Markdown; where it shows groups of conditions, with a table of each condition below."""
    columns = columns_in(summary)
    lines = [
        f"| % | system | runs | {' | '.join(columns)} |",
        f"| :-- | :-- | --: |{' --: |' * len(columns)}",
    ]
    if counts := _counts_beside(summary, columns):
        lines.append(f"| n |  |  | {' | '.join(counts)} |")
    for name, rows in make_blocks(summary, comparison).items():
        for row in rows:
            cells = " | ".join(_text(cell, " ± {:.1f}", bold="**{}**".format) for cell in row.cells)
            lines.append(f"| {name} | {row.system} | {row.runs or 'published'} | {cells} |")
    below = "\n\n".join(f"{note}." for note in notes(summary, comparison, remarks))
    return "\n".join([*lines, "", below, *_markdown_conditions(summary, comparison)])


def _markdown_conditions(summary: pd.DataFrame, comparison: Comparison | None) -> Iterator[str]:
    if not is_grouped(summary):
        return
    systems, blocks = make_condition_blocks(summary, comparison)
    for metric, rows in blocks.items():
        n = ["n"] * len(rows[0].count)
        yield from ("", f"| {metric}, % | {' | '.join([*n, *systems])} |")
        yield f"| :-- |{' --: |' * (len(n) + len(systems))}"
        for row in rows:
            cells = [_text(cell, " ± {:.1f}", bold="**{}**".format) for cell in row.cells]
            yield f"| {row.condition} | {' | '.join([*row.count, *cells])} |"


def latex(summary: pd.DataFrame, comparison: Comparison | None = None, remarks: Sequence[str] = ()) -> str:
    r"""The table in LaTeX, for `\usepackage{booktabs}`: systems as rows, WA above UA, the best in bold.

    Where it shows groups of conditions, a table of each condition in a row follows.
    """
    columns = columns_in(summary)
    lines = [
        r"\begin{table*}",
        r"  \centering\footnotesize\setlength{\tabcolsep}{3.5pt}",
        rf"  \caption{{Test accuracy in \%: {_escape('. '.join(notes(summary, comparison, remarks)))}.}}",
        rf"  \begin{{tabular}}{{l{'r' * len(columns)}}}",
        r"    \toprule",
        rf"    System & {' & '.join(map(heading, columns))} \\",
    ]
    if counts := _counts_beside(summary, columns):
        lines.append(rf"    $n$ & {' & '.join(counts)} \\")
    for name, rows in make_blocks(summary, comparison).items():
        lines += [r"    \midrule", rf"    \multicolumn{{{len(columns) + 1}}}{{l}}{{\textit{{{name}}}}} \\"]
        for row in rows:
            cells = " & ".join(_latex_cell(cell) for cell in row.cells)
            published = "" if row.runs else " (published)"
            lines.append(rf"    {_escape(row.system + published)} & {cells} \\")
    lines += [r"    \bottomrule", r"  \end{tabular}", r"\end{table*}"]
    return "\n".join([*lines, *_latex_conditions(summary, comparison)])


def _latex_conditions(summary: pd.DataFrame, comparison: Comparison | None) -> Iterator[str]:
    if not is_grouped(summary):
        return
    systems, blocks = make_condition_blocks(summary, comparison)
    for metric, rows in blocks.items():
        n = ["$n$"] * len(rows[0].count)
        yield r"\begin{table*}"
        yield r"  \centering\scriptsize\setlength{\tabcolsep}{3pt}"
        yield rf"  \caption{{{metric} in \% in each condition.}}"
        yield rf"  \begin{{tabular}}{{l{'r' * (len(n) + len(systems))}}}"
        yield r"    \toprule"
        yield rf"    Condition & {' & '.join([*n, *map(_escape, systems)])} \\"
        size = 0
        for row in rows:
            if len(row.condition) > size:
                yield r"    \midrule"
            size = len(row.condition)
            yield rf"    {row.condition} & {' & '.join([*row.count, *map(_latex_cell, row.cells)])} \\"
        yield from (r"    \bottomrule", r"  \end{tabular}", r"\end{table*}")


def csv(summary: pd.DataFrame) -> str:
    """One line for each system and condition, with numbers from 0 to 1; empty where there is no figure."""
    return str(summary.to_csv(index=False, lineterminator="\n"))


@dataclass(frozen=True)
class _FirstThatFits:
    """The first of several tables that is not too wide, or else the last.

    Attributes:
        make: the tables, the widest first, from how a deviation is written after its mean.
    """

    make: Callable[[str], Sequence[RenderableType]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        tables = self.make("({:.1f})" if options.ascii_only else "±{:.1f}")
        unlimited = options.update_width(1000)
        fitting = (table for table in tables if console.measure(table, options=unlimited).maximum <= options.max_width)
        yield next(fitting, tables[-1])


def _plain_table(title: str) -> Table:
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.HORIZONTALS,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )


def _below(lines: Sequence[str]) -> Text:
    """What stands below a table. A caption would be as narrow as the table."""
    return Text("\n".join(lines), style="dim")


def _counts_beside(summary: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """The numbers of utterances for a line of the table; none where it shows groups, whose table has them."""
    return [] if is_grouped(summary) else written_counts(summary, columns)


def _long_table(summary: pd.DataFrame, comparison: Comparison | None, title: str, deviation: str) -> Table:
    """A line for each metric, system and condition, for narrow terminals."""
    shown = _plain_table(title)
    shown.add_column("%", no_wrap=True)
    shown.add_column("system", overflow="fold")
    shown.add_column("", no_wrap=True)
    shown.add_column("", justify="right", no_wrap=True)
    columns = columns_in(summary)
    counts = _counts_beside(summary, columns)
    for condition, count in zip(columns, counts, strict=False):
        shown.add_row("", "", heading(condition), f"n {count}" if count else "", end_section=condition == columns[-1])
    for name, rows in make_blocks(summary, comparison).items():
        for row in rows:
            for index, (condition, cell) in enumerate(zip(columns, row.cells, strict=True)):
                heads = ("", "") if index else (name, row.system if row.runs else f"{row.system} (published)")
                text = _text(cell, deviation, bold="[bold]{}[/]".format)
                shown.add_row(*heads, heading(condition), text, end_section=index == len(columns) - 1)
    return shown


def _table(summary: pd.DataFrame, comparison: Comparison | None, title: str, deviation: str) -> Table:
    shown = _plain_table(title)
    shown.add_column("%", no_wrap=True)
    shown.add_column("system", no_wrap=True)
    for condition in columns_in(summary):
        shown.add_column(heading(condition), justify="right")
    if utterances := _counts_beside(summary, columns_in(summary)):
        shown.add_row("n", "", *utterances, end_section=True)
    counts = summary["runs"].dropna().unique()
    for name, rows in make_blocks(summary, comparison).items():
        for index, row in enumerate(rows):
            runs = "published" if not row.runs else count_of(row.runs, "run") if len(counts) > 1 else ""
            system = f"{row.system} [dim]{runs}[/]" if runs else row.system
            cells = [_text(cell, deviation, bold="[bold]{}[/]".format) for cell in row.cells]
            shown.add_row("" if index else name, system, *cells, end_section=index == len(rows) - 1)
    return shown


def _text(cell: Cell, deviation: str, bold: Callable[[str], str]) -> str:
    if isnan(cell.mean):
        return "–"  # noqa: RUF001  # a dash, as tables have it
    mean = f"{cell.mean:.1f}{MARK if cell.differs else ''}"
    after = "" if isnan(cell.deviation) else deviation.format(cell.deviation)
    return f"{bold(mean) if cell.best else mean}{after}"


def _latex_cell(cell: Cell) -> str:
    if isnan(cell.mean):
        return "--"
    mean = rf"\textbf{{{cell.mean:.1f}}}" if cell.best else f"{cell.mean:.1f}"
    mark = r"$^\dagger$" if cell.differs else ""
    deviation = "" if isnan(cell.deviation) else rf"\,{{\scriptsize$\pm${cell.deviation:.1f}}}"
    return f"{mean}{mark}{deviation}"


def _escape(text: str) -> str:
    special = {"_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "±": r"$\pm$", MARK: r"$^\dagger$", "<": "$<$"}
    return "".join(special.get(letter, letter) for letter in text)


def _difference(row: pd.Series) -> str:
    difference, low, high = (100 * float(row[name]) for name in ("difference", "low", "high"))
    if isnan(difference):
        return "–"  # noqa: RUF001  # a dash, as tables have it
    return signed(difference) if isnan(low) else f"{signed(difference)}\n\\[{signed(low)}, {signed(high)}]"


def _p(value: float) -> str:
    if isnan(value):
        return "–"  # noqa: RUF001  # a dash, as tables have it
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
