"""What is said about a search: its table, its figures, and the configuration that came out best."""

import io
from collections.abc import Sequence

import numpy as np
import pandas as pd
import yaml
from matplotlib.axes import Axes
from rich.console import Console
from rich.table import Table

from ifmmin.orchestrator.execution.pace import in_words
from ifmmin.orchestrator.experiment import Experiment
from ifmmin.orchestrator.planning.configuration import Range
from ifmmin.orchestrator.reporting.drawing import Drawing, panels
from ifmmin.orchestrator.search.trials import SearchRecord, Trial, count_costs, fold_order, search_of, visited_stages

_STYLES = {
    "completed": ("o", "#0072b2"),
    "stopped": ("v", "#999999"),
    "failed": ("x", "#d55e00"),
    "running": ("+", "black"),
}


def describe(trial: Trial) -> str:
    """A trial in a few words: its settings and its score."""
    return f"{_settings(trial)}: validation UA {100 * trial.means[-1]:.1f}%"


def show_search(console: Console, experiment: Experiment, record: SearchRecord, computed: int) -> None:
    """Print the trials, the best first, what they cost, and what to do next.

    Args:
        computed: stages that this call ran.
    """
    folds = len(fold_order(experiment.plan))
    names = list(search_of(record.configuration).space)
    shown = Table(title=f"{record.configuration.name} on {experiment.corpus.name}", title_justify="left")
    for column in ("trial", *names, "folds", "validation UA, %", "state"):
        shown.add_column(column, justify="left" if column == "state" else "right")
    order = sorted(enumerate(record.trials), key=lambda item: (-len(item[1].means), -(item[1].means or (0,))[-1]))
    for number, trial in order:
        mean = f"{100 * trial.means[-1]:.1f}" if trial.means else ""
        values = [f"{trial.settings[name]:.4g}" for name in names]
        state = f"{trial.state}: {trial.reason}" if trial.reason else trial.state
        shown.add_row(str(number + 1), *values, f"{len(trial.means)} of {folds}", mean, state)
    console.print(shown)

    costs = count_costs(record, experiment.corpus)
    run = ", ".join(f"{count} {name}" for name, count in costs.run.items())
    console.print(
        f"Stages: {run}; {computed} of them now. Sharing saved {costs.shared}, stopping {costs.stopped}, of the "
        f"{costs.alone} that every trial by itself would have run.",
        highlight=False,
    )
    spent, alone = _seconds(experiment, record)
    if alone:
        console.print(
            f"Computing time on one worker: {in_words(spent)} instead of {in_words(alone)} ({spent / alone:.0%}).",
            highlight=False,
        )
    if record.best:
        console.print(f"Best: {describe(record.best)}, mean over {folds} folds; no test set was read.", highlight=False)
        console.print(f"Next: ifmmin run paper --best-of {record.configuration.name}", highlight=False)


def search_files(record: SearchRecord) -> dict[str, bytes]:
    """The trials as Parquet, figures of them, and the best configuration, by name."""
    stream = io.BytesIO()
    trials_table(record).to_parquet(stream)
    files = {"trials.parquet": stream.getvalue()}
    visited = [trial for trial in record.trials if trial.means]
    if visited:
        for drawing in (response(record, visited), parallel_coordinates(record, visited)):
            files |= drawing.files
    if record.best:
        content = {
            "name": f"{record.configuration.name}-best",
            "corpus": record.configuration.corpus,
            "systems": list(record.configuration.systems),
            "seeds": list(record.configuration.seeds),
            "hyperparameters": {**record.configuration.hyperparameters, **record.best.settings},
        }
        files["best.yaml"] = yaml.safe_dump(content, sort_keys=False).encode()
    return files


def trials_table(record: SearchRecord) -> pd.DataFrame:
    """A row for each trial and visited fold: trial, the settings, state, folds (visited so far), validation_ua."""
    rows = [
        {"trial": number + 1, **trial.settings, "state": trial.state, "folds": folds, "validation_ua": mean}
        for number, trial in enumerate(record.trials)
        for folds, mean in enumerate(trial.means or (np.nan,), 1)
    ]
    return pd.DataFrame(rows)


def response(record: SearchRecord, trials: Sequence[Trial]) -> Drawing:
    """What came out over each searched hyperparameter, and over the first two together."""
    space = search_of(record.configuration).space
    names = list(space)
    figure, axes = panels(1, len(names) + (len(names) > 1), width=4.4, height=3.6)
    for panel, name in zip(axes, names, strict=False):
        for trial in trials:
            marker, colour = _STYLES[trial.state]
            panel.plot(trial.settings[name], 100 * trial.means[-1], marker, color=colour, markersize=6)
        _axis(panel, name, space[name])
        panel.set_ylabel("validation UA, %")
        panel.grid(alpha=0.3)
    if len(names) > 1:
        plane = axes[-1]
        for state, (marker, _) in _STYLES.items():
            own = [trial for trial in trials if trial.state == state]
            if own:
                x, y = ([trial.settings[name] for trial in own] for name in names[:2])
                values = [100 * trial.means[-1] for trial in own]
                low, high = (f(100 * trial.means[-1] for trial in trials) for f in (min, max))
                shown = plane.scatter(
                    x, y, c=values, marker=marker, s=60, cmap="viridis", vmin=low, vmax=high, label=state
                )
        _axis(plane, names[0], space[names[0]])
        plane.set_ylabel(names[1])
        if record.best:
            best = [record.best.settings[name] for name in names[:2]]
            plane.plot(*best, "o", markersize=15, fillstyle="none", color="#d55e00", label="best")
        plane.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=4, borderaxespad=0)
        figure.colorbar(shown, ax=plane, label="validation UA, %")
    caption = (
        "Mean validation UA of each trial against what it tried. Circles visited all folds; triangles were stopped "
        "early, and their means are over fewer folds, so that they compare with others at the same fold only."
    )
    return Drawing("response", figure, caption)


def parallel_coordinates(record: SearchRecord, trials: Sequence[Trial]) -> Drawing:
    """Every trial as a line through its settings, its folds and its score."""
    space = search_of(record.configuration).space
    columns: list[tuple[str, list[float], float, float, bool]] = [
        *(
            (name, [t.settings[name] for t in trials], bounds.low, bounds.high, bounds.log)
            for name, bounds in space.items()
        ),
        ("folds visited", [len(t.means) for t in trials], 0, max(len(t.means) for t in trials), False),
    ]
    scores = [100 * trial.means[-1] for trial in trials]
    columns.append(("validation UA, %", scores, min(scores), max(scores) + 1e-9, False))
    scaled = np.array([_scale(values, low, high, log) for _, values, low, high, log in columns]).T
    figure, (panel,) = panels(1, 1, width=8.0, height=4.0)
    for trial, line in zip(trials, scaled, strict=True):
        best = trial is record.best
        completed = trial.state == "completed"
        panel.plot(
            line,
            "-" if completed else ":",
            color="#d55e00" if best else "#0072b2" if completed else "#999999",
            linewidth=2.6 if best else 1.3,
            zorder=3 if best else 2,
        )
    panel.set_xticks(range(len(columns)), [f"{name}\n{low:.4g} to {high:.4g}" for name, _, low, high, _ in columns])
    panel.set_yticks([])
    panel.grid(axis="x")
    caption = (
        "Every trial as a line, each axis from its lowest value to its highest (on a logarithmic scale where it was "
        "searched so). Thick: the best; dotted: stopped early."
    )
    return Drawing("parallel_coordinates", figure, caption)


def _settings(trial: Trial) -> str:
    return ", ".join(f"{name}={value:.4g}" for name, value in trial.settings.items())


def _axis(panel: Axes, name: str, bounds: Range) -> None:
    panel.set_xlabel(name)
    if bounds.log:
        panel.set_xscale("log")
        panel.xaxis.set_major_formatter("{x:g}")


def _scale(values: Sequence[float], low: float, high: float, log: bool) -> np.ndarray:
    ends = np.array([low, high], dtype=float)
    points = np.array(values, dtype=float)
    if log:
        ends, points = np.log(ends), np.log(points)
    scaled: np.ndarray = (points - ends[0]) / (ends[1] - ends[0])
    return scaled


def _seconds(experiment: Experiment, record: SearchRecord) -> tuple[float, float]:
    """Seconds of the stages that were run, and what every trial by itself would have taken at the mean of each kind."""
    stages = {stage.key: stage for stage in visited_stages(record, experiment.corpus)}
    seconds = {key: experiment.store.read_record(key)["seconds"] for key in stages}
    runs_of_a_trial = len(experiment.plan.runs)
    alone = 0.0
    for name in {stage.name for stage in stages.values()}:
        own = [seconds[key] for key, stage in stages.items() if stage.name == name]
        alone += sum(own) / len(own) * runs_of_a_trial * len(record.trials)
    return sum(seconds.values()), alone
