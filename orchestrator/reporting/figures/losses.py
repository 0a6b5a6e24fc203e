"""Figures of losses over the epochs."""

import re
from collections.abc import Iterator, Mapping
from math import ceil, log10

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ifmmin.orchestrator.planning.catalogue import StageDescription, systems
from ifmmin.orchestrator.reporting.drawing import COLOURS, LINES, Drawing, panels
from ifmmin.orchestrator.reporting.tables import count_runs

_PREFIX = "loss/"


def loss_curves(history: pd.DataFrame) -> Drawing:
    """Every unweighted loss term over the epochs, one panel for each stage: mean and range of one deviation over runs.

    Args:
        history: of `analysis.results.load_history`.
    """
    stages = list(history.groupby(["system", "stage"], sort=False))
    columns = min(2, len(stages))
    figure, axes = panels(ceil(len(stages) / columns), columns, width=5.6, height=3.6)
    for panel, ((system, stage), part) in zip(axes, stages, strict=False):
        _draw_terms(panel, part, _titles(str(system), str(stage)), systems()[str(system)].featured_loss)
        panel.set(title=f"{system}: {stage}", ylabel="mean training loss", yscale="log")
        _label_logarithmic(panel)
        panel.legend(frameon=False, fontsize=9)
    for panel in axes[len(stages) :]:
        panel.set_axis_off()
    caption = (
        f"Training losses, unweighted, over the epochs of each stage. Lines are means over {count_runs(history)}, "
        "bands one standard deviation."
    )
    return Drawing("loss_curves", figure, caption)


def featured_loss_curves(history: pd.DataFrame) -> Iterator[Drawing]:
    """The loss terms that the definitions of systems feature, over the epochs, one figure for each term.

    Lines are means over runs, bands one standard deviation.

    Args:
        history: of `analysis.results.load_history`.
    """
    featured = {str(name): systems()[str(name)].featured_loss for name in history["system"].unique()}
    for term in dict.fromkeys(term for term in featured.values() if term is not None):
        column = _PREFIX + term
        if column in history:
            measured = history[(history["system"].map(featured) == term) & history[column].notna()]
            if len(measured):
                yield _featured_loss_curve(measured, term)


def _featured_loss_curve(history: pd.DataFrame, term: str) -> Drawing:
    """The curve of one term in the last stage that has it, a line for each system."""
    figure, (panel, *_) = panels(1, 1, width=6.8, height=4.0)
    for index, (system, part) in enumerate(history.groupby("system", sort=False)):
        names = [_stage_of(str(system), str(name))[0] for name in part["stage"]]
        last = part[np.array(names) == names[-1]]
        title = _titles(str(system), str(last["stage"].iloc[0])).get(term, term)
        _curve(panel, last, term, str(system), index, width=2.0)
    name, _, symbol = title.rpartition(", ")
    panel.set(ylabel=f"{symbol}, mean training loss", yscale="log")
    _label_logarithmic(panel)
    panel.legend(frameon=False)
    caption = (
        f"The {name or title} loss over the epochs, unweighted. Lines are means over {count_runs(history)}, bands one "
        "standard deviation. Where a system does not minimise it, it is measured only."
    )
    return Drawing(re.sub(r"\W+", "_", (name or title).lower()) + "_curve", figure, caption)


def _draw_terms(panel: Axes, history: pd.DataFrame, titles: Mapping[str, str], featured: str | None) -> None:
    columns = [name for name in history.columns if name.startswith(_PREFIX) and history[name].notna().any()]
    terms = [name.removeprefix(_PREFIX) for name in columns if name != f"{_PREFIX}total"]
    for index, term in enumerate(terms):
        prominent = term == featured
        title = titles.get(term, term)
        _curve(panel, history, term, title, 1 if prominent else 2 + index, width=2.6 if prominent else 1.3)


def _titles(system: str, stage: str) -> Mapping[str, str]:
    return _stage_of(system, stage)[1].losses


def _stage_of(system: str, stage: str) -> tuple[str, StageDescription]:
    """The stage of a system that has this name within a run, with its description."""
    return next(
        (name, description)
        for name, description in systems()[system].stages.items()
        if stage == name or (description.conditions and stage.startswith(f"{name}-"))
    )


def _curve(panel: Axes, history: pd.DataFrame, term: str, label: str, index: int, *, width: float) -> None:
    by_epoch = history.groupby("epoch")[_PREFIX + term].agg(["mean", "std"])
    epochs, mean, deviation = (by_epoch.reset_index()[name].to_numpy() for name in ("epoch", "mean", "std"))
    colour = COLOURS[index % len(COLOURS)]
    panel.plot(epochs, mean, linestyle=LINES[index % len(LINES)], color=colour, linewidth=width, label=label)
    if np.isfinite(deviation).all():
        # A band that reached below zero could not be drawn on a logarithmic axis.
        low = np.maximum(mean - deviation, mean / 10)
        panel.fill_between(epochs, low, mean + deviation, color=colour, alpha=0.2, linewidth=0)
    panel.set_xlabel("epoch")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.grid(alpha=0.3)


def _label_logarithmic(panel: Axes) -> None:
    """As many labels between the powers of ten as have room."""
    low, high = panel.get_ylim()
    decades = log10(high / low)
    shown = "123456" if decades < 1 else "25" if decades < 3 else ""
    panel.yaxis.set_major_formatter("{x:g}")
    panel.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in shown else "")
