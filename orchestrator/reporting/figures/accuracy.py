"""Figures that compare the accuracy of systems."""

from collections.abc import Sequence
from itertools import pairwise, product
from math import ceil

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ifmmin.data.modalities import Modality
from ifmmin.orchestrator.analysis.robustness import curve_intervals
from ifmmin.orchestrator.analysis.scores import AVERAGE, METRICS, columns_in
from ifmmin.orchestrator.analysis.statistics import cost_of_missing, intervals
from ifmmin.orchestrator.planning.catalogue import catalogue
from ifmmin.orchestrator.reporting.drawing import Drawing, panels, style
from ifmmin.orchestrator.reporting.tables import count_runs, is_grouped

_INTERVALS = "Bars are 95% confidence intervals by the corrected resampled t-test; a single run has none."


def scores_by_condition(scores: pd.DataFrame, share: float, modalities: Sequence[Modality]) -> Drawing:
    """The metrics of each system in each condition, with confidence intervals.

    Args:
        scores: of `analysis.scores.score`.
        share: n_test / n_train, see `analysis.statistics`.
        modalities: of the corpus.
    """
    columns = columns_in(scores)
    # The average and the full condition stand apart from those that the average is taken over.
    positions = np.arange(len(columns)) + 0.5 * np.array([(c == AVERAGE) + 2 * (c == columns[-1]) for c in columns])
    drawing = _by_condition("scores_by_condition", intervals(scores, share), columns, positions, "{}, %")
    for panel in drawing.figure.axes:
        panel.set_ylim(0, 100)
    letters = f"the letters are the available modalities ({', '.join(f'{m.letter}: {m.title}' for m in modalities)})"
    if is_grouped(scores):
        letters = f"each mean is over the conditions with as many available modalities; in the last, {letters}"
    average = ", the average is over all conditions that lack a modality" if len(columns) > 1 else ""
    caption = f"Test accuracy by condition: {letters}{average}. Means over {count_runs(scores)}. {_INTERVALS}"
    return Drawing(drawing.name, drawing.figure, caption)


def cost_of_missing_modalities(scores: pd.DataFrame, share: float) -> Drawing:
    """The accuracy lost in each missing condition against the full one, within every run, with confidence intervals.

    Args:
        scores: of `analysis.scores.score`.
        share: n_test / n_train, see `analysis.statistics`.
    """
    costs = cost_of_missing(scores, share)
    columns = columns_in(scores)[:-1]
    positions = np.arange(len(columns)) + 0.5 * np.array([c == AVERAGE for c in columns])
    drawing = _by_condition("cost_of_missing_modalities", costs, columns, positions, "{} lost, points")
    for panel in drawing.figure.axes:
        panel.axhline(0, color="black", linewidth=0.8)
    each = "the conditions with as many available modalities" if is_grouped(scores) else "each condition"
    caption = (
        f"What a missing modality costs: accuracy with all modalities minus that in {each}, in points, within every "
        f"run; below zero the system does better without the modality. Means over {count_runs(scores)}. {_INTERVALS}"
    )
    return Drawing(drawing.name, drawing.figure, caption)


def robustness_curves(curves: pd.DataFrame, share: float) -> Drawing:
    """Accuracy over the missing rate: a row for each metric, a column for each protocol, a line for each system.

    Args:
        curves: of `analysis.robustness.load_curves`.
        share: n_test / n_train, see `analysis.statistics`.
    """
    drawn = set(curves["protocol"])
    summaries = {name: protocol.summary for name, protocol in catalogue().protocols.items() if name in drawn}
    estimates = curve_intervals(curves, share)
    figure, axes = panels(len(METRICS), len(summaries), width=4.4, height=3.0)
    for index, (metric, protocol) in enumerate(product(METRICS, summaries)):
        row, column = divmod(index, len(summaries))
        panel = axes[index]
        _draw_rates(panel, estimates[(estimates["metric"] == metric) & (estimates["protocol"] == protocol)])
        panel.set(ylim=(0, 100), xlabel="rate" if row else "", ylabel="" if column else f"{metric.upper()}, %")
        panel.set_title("" if row else protocol)
        panel.grid(alpha=0.3)
    axes[0].legend(frameon=False, fontsize=9)
    meanings = "; ".join(f"{name}: {summary}" for name, summary in summaries.items())
    caption = (
        f"Test accuracy over the rate of what is missing ({meanings}). Lines are means over the runs, bands 95% "
        "confidence intervals by the corrected resampled t-test; a single run has none. At rate 0 nothing is missing."
    )
    return Drawing("robustness_curves", figure, caption)


def _draw_rates(panel: Axes, estimates: pd.DataFrame) -> None:
    """A line with a band for each system."""
    for index, (system, part) in enumerate(estimates.groupby("system", sort=False)):
        rates, mean, low, high = (part[key].to_numpy(float) for key in ("rate", "mean", "low", "high"))
        colour, marker, line = style(index)
        panel.plot(
            rates,
            100 * mean,
            color=colour,
            linestyle=line,
            marker=marker,
            markersize=4,
            label=str(system),
        )
        if np.isfinite(low).all():
            panel.fill_between(rates, 100 * low, 100 * high, color=colour, alpha=0.15, linewidth=0)


def _by_condition(
    name: str, estimates: pd.DataFrame, columns: Sequence[str], positions: NDArray[np.float64], label: str
) -> Drawing:
    """A panel for each metric: a point with its interval for each system and column."""
    systems = list(dict.fromkeys(estimates["system"]))
    step = min(0.16, 0.8 / len(systems))
    width = min(9.6, max(6.6, 1.2 * len(columns) + 1))  # as long as the legend at least
    figure, axes = panels(len(METRICS), 1, width=width, height=2.9)
    for panel, metric in zip(axes, METRICS, strict=True):
        for index, system in enumerate(systems):
            part = estimates[(estimates["system"] == system) & (estimates["metric"] == metric)]
            values = 100 * part.set_index("condition").reindex(list(columns))[["mean", "low", "high"]]
            colour, marker, _ = style(index)
            shift = (index - (len(systems) - 1) / 2) * step
            below, above = values["mean"] - values["low"], values["high"] - values["mean"]
            panel.errorbar(
                positions + shift,
                values["mean"],
                None if below.isna().all() else [below, above],
                fmt=marker,
                color=colour,
                markersize=5,
                elinewidth=1.1,
                capsize=1.5,
                label=system,
            )
        for left, right in pairwise(positions):
            panel.axvline((left + right) / 2, color="0.9", linewidth=0.8)
        panel.set_ylabel(label.format(metric.upper()))
        panel.set_xticks(positions, columns)
        panel.set_xlim(positions[0] - 0.7, positions[-1] + 0.7)
        panel.grid(axis="y", alpha=0.3)
        panel.set_axisbelow(True)
    most = 5 if width > 8 else 3
    columns_of_legend = ceil(len(systems) / ceil(len(systems) / most))
    axes[0].legend(frameon=False, ncols=columns_of_legend, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0)
    return Drawing(name, figure, "")
