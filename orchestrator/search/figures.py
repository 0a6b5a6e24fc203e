"""The output of a search: its table, its figures, and the best configuration."""

import io
from collections.abc import Sequence
from math import log

import numpy as np
import pandas as pd
import yaml
from matplotlib.axes import Axes

from ifmmin.model.hyperparameters import HyperparameterValue
from ifmmin.orchestrator.planning.configuration import Choices, Range
from ifmmin.orchestrator.reporting.drawing import Drawing, panels
from ifmmin.orchestrator.search.space import search_of
from ifmmin.orchestrator.search.trials import SearchRecord, Trial

_STYLES = {
    "completed": ("o", "#0072b2"),
    "stopped": ("v", "#999999"),
    "failed": ("x", "#d55e00"),
    "running": ("+", "black"),
}


def describe_trial(trial: Trial) -> str:
    """A trial in a few words: its hyperparameters and its score."""
    chosen = ", ".join(f"{name}={format_value(value)}" for name, value in trial.hyperparameters.items())
    return f"{chosen}: validation UA {100 * trial.means[-1]:.1f}%"


def search_files(record: SearchRecord) -> dict[str, bytes]:
    """The trials as Parquet, figures of them, and the best configuration, by name."""
    stream = io.BytesIO()
    trials_table(record).to_parquet(stream)
    files = {"trials.parquet": stream.getvalue()}
    for drawing in draw_search(record):
        files |= drawing.files
    if record.best:
        content = {
            "name": f"{record.configuration.name}-best",
            "corpus": record.configuration.corpus,
            "systems": list(record.configuration.systems),
            "seeds": list(record.configuration.seeds),
            "hyperparameters": {**record.configuration.hyperparameters, **record.best.hyperparameters},
        }
        if record.configuration.train_missing:
            content["train_missing"] = record.configuration.train_missing
        if record.configuration.programs:
            content["programs"] = record.configuration.programs
        files["best.yaml"] = yaml.safe_dump(content, sort_keys=False).encode()
    return files


def draw_search(record: SearchRecord) -> list[Drawing]:
    """The figures of a search; none before a trial has visited a fold."""
    visited = [trial for trial in record.trials if trial.means]
    return [response(record, visited), parallel_coordinates(record, visited)] if visited else []


def trials_table(record: SearchRecord) -> pd.DataFrame:
    """A row for each trial and visited fold: trial, hyperparameters, state, folds (visited so far), validation_ua."""
    rows = [
        {"trial": number + 1, **trial.hyperparameters, "state": trial.state, "folds": folds, "validation_ua": mean}
        for number, trial in enumerate(record.trials)
        for folds, mean in enumerate(trial.means or (np.nan,), 1)
    ]
    return pd.DataFrame(rows)


def response(record: SearchRecord, trials: Sequence[Trial]) -> Drawing:
    """The scores over each searched hyperparameter, and over the first two together."""
    space = search_of(record.configuration).space
    names = list(space)
    figure, axes = panels(1, len(names) + (len(names) > 1), width=4.4, height=3.6)
    for panel, name in zip(axes, names, strict=False):
        for trial in trials:
            marker, colour = _STYLES[trial.state]
            panel.plot(
                _place(space[name], trial.hyperparameters[name]),
                100 * trial.means[-1],
                marker,
                color=colour,
                markersize=6,
            )
        _axis(panel, name, space[name])
        panel.set_ylabel("validation UA, %")
        panel.grid(alpha=0.3)
    if len(names) > 1:
        plane = axes[-1]
        for state, (marker, _) in _STYLES.items():
            of_state = [trial for trial in trials if trial.state == state]
            if of_state:
                x, y = ([_place(space[name], trial.hyperparameters[name]) for trial in of_state] for name in names[:2])
                values = [100 * trial.means[-1] for trial in of_state]
                low, high = (f(100 * trial.means[-1] for trial in trials) for f in (min, max))
                shown = plane.scatter(
                    x, y, c=values, marker=marker, s=60, cmap="viridis", vmin=low, vmax=high, label=state
                )
        _axis(plane, names[0], space[names[0]])
        plane.set_ylabel(names[1])
        domain = space[names[1]]
        if not isinstance(domain, Range):
            plane.set_yticks(range(len(domain)), list(map(format_value, domain)))
        if record.best:
            best = [_place(space[name], record.best.hyperparameters[name]) for name in names[:2]]
            plane.plot(*best, "o", markersize=15, fillstyle="none", color="#d55e00", label="best")
        plane.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=4, borderaxespad=0)
        figure.colorbar(shown, ax=plane, label="validation UA, %")
    caption = (
        "Mean validation UA of each trial over its hyperparameters. Circles visited all folds; triangles were stopped "
        "early, and their means are over fewer folds, so that they compare with others at the same fold only."
    )
    return Drawing("response", figure, caption)


def parallel_coordinates(record: SearchRecord, trials: Sequence[Trial]) -> Drawing:
    """Every trial as a line through its hyperparameters, its folds and its score."""
    space = search_of(record.configuration).space
    most = max(len(trial.means) for trial in trials)
    scores = [100 * trial.means[-1] for trial in trials]
    labels, columns = [], []
    for name, domain in space.items():
        ends = (domain.low, domain.high) if isinstance(domain, Range) else (domain[0], domain[-1])
        labels.append(f"{name}\n{format_value(ends[0])} to {format_value(ends[1])}")
        columns.append([_height(domain, trial.hyperparameters[name]) for trial in trials])
    labels += [f"folds visited\n0 to {most}", f"validation UA, %\n{min(scores):.4g} to {max(scores):.4g}"]
    spread = max(scores) - min(scores) or 1.0
    columns += [[len(trial.means) / most for trial in trials], [(score - min(scores)) / spread for score in scores]]
    figure, (panel,) = panels(1, 1, width=8.0, height=4.0)
    for trial, line in zip(trials, zip(*columns, strict=True), strict=True):
        best = trial is record.best
        completed = trial.state == "completed"
        panel.plot(
            line,
            "-" if completed else ":",
            color="#d55e00" if best else "#0072b2" if completed else "#999999",
            linewidth=2.6 if best else 1.3,
            zorder=3 if best else 2,
        )
    panel.set_xticks(range(len(columns)), labels)
    panel.set_yticks([])
    panel.grid(axis="x")
    caption = (
        "Every trial as a line, each axis from its lowest value to its highest (on a logarithmic scale where it was "
        "searched so). Thick: the best; dotted: stopped early."
    )
    return Drawing("parallel_coordinates", figure, caption)


def format_value(value: HyperparameterValue) -> str:
    """A hyperparameter's value for figures and messages.

    >>> format_value(0.123456), format_value("mean"), format_value(True)
    ('0.1235', 'mean', 'true')
    """
    if isinstance(value, bool | str):
        return str(value).lower() if isinstance(value, bool) else value
    return f"{value:.4g}"


def _place(domain: Range | Choices, value: HyperparameterValue) -> float:
    """Where a value stands on its axis: a number at its place, another value at its position among the choices."""
    return float(value) if isinstance(domain, Range) else float(domain.index(value))


def _height(domain: Range | Choices, value: HyperparameterValue) -> float:
    """How far up its axis a value stands, from 0 to 1."""
    if not isinstance(domain, Range):
        return domain.index(value) / (len(domain) - 1)
    low, high, place = domain.low, domain.high, float(value)
    if domain.log:
        low, high, place = log(low), log(high), log(place)
    return (place - low) / (high - low)


def _axis(panel: Axes, name: str, domain: Range | Choices) -> None:
    panel.set_xlabel(name)
    if not isinstance(domain, Range):
        panel.set_xticks(range(len(domain)), list(map(format_value, domain)))
    elif domain.log:
        panel.set_xscale("log")
        panel.xaxis.set_major_formatter("{x:g}")
