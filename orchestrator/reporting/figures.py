"""Figures of an experiment, made from the data frames of `analysis.scores`; none is shown in a window."""

from collections.abc import Sequence
from itertools import pairwise
from math import ceil, log10

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

from ifmmin.data.conditions import ALL_CONDITIONS, MISSING_CONDITIONS
from ifmmin.model.metrics import weighted_accuracy
from ifmmin.orchestrator.analysis.embeddings import FULL
from ifmmin.orchestrator.analysis.scores import AVERAGE, COLUMNS
from ifmmin.orchestrator.analysis.statistics import cost_of_missing, intervals
from ifmmin.orchestrator.reporting.drawing import COLOURS, LINES, MARKERS, Drawing, panels
from ifmmin.orchestrator.reporting.tables import METRICS, count_of

INVARIANCE = "loss/inv"

_LOSS_NAMES = {
    "cls": "classification, $L_{cls}$",
    "cmd": "moment discrepancy, $L_{cmd}$",
    "img": "imagination, $L_{img}$",
    "inv": "invariance, $L_{inv}$",
    "cycle": "cycle, $L_{cycle}$",
    "trans": "translation, $L_{trans}$",
}
_INTERVALS = "Bars are 95% confidence intervals by the corrected resampled t-test; a single run has none."


def scores_by_condition(scores: pd.DataFrame, share: float) -> Drawing:
    """WA and UA of each system in each condition, with confidence intervals.

    Args:
        scores: of `analysis.scores.score`.
        share: n_test / n_train, see `analysis.statistics`.
    """
    # The average and the full condition stand apart from the six that the average is taken over.
    positions = np.arange(len(COLUMNS)) + 0.5 * np.array([(c == AVERAGE) + 2 * (c == "avt") for c in COLUMNS])
    drawing = _by_condition("scores_by_condition", intervals(scores, share), COLUMNS, positions, "{}, %")
    for panel in drawing.figure.axes:
        panel.set_ylim(0, 100)
    caption = (
        f"Test accuracy by condition: the letters are the modalities at hand (a: acoustic, v: visual, t: textual), the "
        f"average is over the six conditions before it. Means over {_runs(scores)}. {_INTERVALS}"
    )
    return Drawing(drawing.name, drawing.figure, caption)


def cost_of_missing_modalities(scores: pd.DataFrame, share: float) -> Drawing:
    """What each missing condition costs against {avt}, within every run, with confidence intervals.

    Args:
        scores: of `analysis.scores.score`.
        share: n_test / n_train, see `analysis.statistics`.
    """
    costs = cost_of_missing(scores, share)
    columns = COLUMNS[:-1]
    positions = np.arange(len(columns)) + 0.5 * np.array([c == AVERAGE for c in columns])
    drawing = _by_condition("cost_of_missing_modalities", costs, columns, positions, "{} lost, points")
    for panel in drawing.figure.axes:
        panel.axhline(0, color="black", linewidth=0.8)
    caption = (
        f"What a missing modality costs: accuracy with all three modalities minus that in each condition, in points, "
        f"within every run; below zero the system does better without. Means over {_runs(scores)}. {_INTERVALS}"
    )
    return Drawing(drawing.name, drawing.figure, caption)


def loss_curves(history: pd.DataFrame) -> Drawing:
    """Every unweighted loss term over the epochs, one panel for each stage: mean and range of one deviation over runs.

    Args:
        history: of `analysis.scores.load_history`.
    """
    stages = list(history.groupby(["system", "stage"], sort=False))
    columns = min(2, len(stages))
    figure, axes = panels(ceil(len(stages) / columns), columns, width=5.6, height=3.6)
    for panel, ((system, stage), part) in zip(axes, stages, strict=False):
        terms = [name for name in part.columns if name.startswith("loss/") and name != "loss/total"]
        for index, term in enumerate(name for name in terms if part[name].notna().any()):
            prominent = term == INVARIANCE
            label = _LOSS_NAMES.get(term.removeprefix("loss/"), term)
            _curve(panel, part, term, label, 1 if prominent else 2 + index, width=2.6 if prominent else 1.3)
        panel.set(title=f"{system}: {stage}", ylabel="mean training loss", yscale="log")
        _label_logarithmic(panel)
        panel.legend(frameon=False, fontsize=9)
    for panel in axes[len(stages) :]:
        panel.set_axis_off()
    caption = (
        f"Training losses, unweighted, over the epochs of each stage. Lines are means over {_runs(history)}, bands one "
        "standard deviation."
    )
    return Drawing("loss_curves", figure, caption)


def invariance_curve(history: pd.DataFrame) -> Drawing:
    """The invariance loss L_inv over the epochs, as in the seed paper: mean and range of one deviation over runs.

    Args:
        history: of `analysis.scores.load_history`, with the column `loss/inv`.
    """
    own = history[history[INVARIANCE].notna()]
    figure, (panel, *_) = panels(1, 1, width=6.8, height=4.0)
    for index, (system, part) in enumerate(own.groupby("system", sort=False)):
        _curve(panel, part, INVARIANCE, str(system), index, width=2.0)
    panel.set(ylabel="$L_{inv}$, mean training loss", yscale="log")
    _label_logarithmic(panel)
    panel.legend(frameon=False)
    caption = (
        f"The invariance loss: how far H', the invariant features under a missing condition, are from H, those of the "
        f"complete utterance. Lines are means over {_runs(own)}, bands one standard deviation. Without L_inv in the "
        "training loss it is measured only."
    )
    return Drawing("invariance_curve", figure, caption)


def confusion_matrices(predictions: pd.DataFrame, classes: Sequence[str]) -> Drawing:
    """What the utterances of each class were taken for, in percent, one matrix for each condition, all runs pooled.

    Args:
        predictions: of one system, see `analysis.scores.load_predictions`.
        classes: names, in label order.
    """
    side = max(2.6, 0.36 * len(classes) + 0.9)
    figure, axes = panels(2, 4, width=side, height=side + 0.1)
    figure.get_layout_engine().set(h_pad=0.07)  # type: ignore[union-attr, call-arg]  # a constrained layout
    for condition, panel in zip(ALL_CONDITIONS, axes, strict=False):
        part = predictions[predictions["condition"] == condition]
        _matrix(panel, part["label"].to_numpy(), part["prediction"].to_numpy(), classes)
        accuracy = 100 * weighted_accuracy(part["label"], part["prediction"])
        panel.set_title(f"{condition}: WA {accuracy:.1f} %", fontsize=11)
    for panel in axes[len(ALL_CONDITIONS) :]:
        panel.set_axis_off()
    figure.supylabel("true class")
    system = predictions["system"].iloc[0]
    caption = (
        f"{system}: what the utterances of each class (rows) were taken for (columns), in % of the class, in each "
        f"condition; nothing stands for less than half a percent; all test utterances of {_runs(predictions)}."
    )
    return Drawing("confusion_matrices", figure, caption)


def embedding(points: pd.DataFrame) -> Drawing:
    """t-SNE of invariant features, one panel for each system, a marker for each condition.

    Args:
        points: of `analysis.embeddings.embed_invariant_features`, of one system or more.
    """
    systems = list(points.groupby("system", sort=False))
    figure, axes = panels(1, len(systems), width=5.2, height=4.6)
    for panel, (system, part) in zip(axes, systems, strict=True):
        full = part[part["condition"] == FULL]
        for index, condition in enumerate(MISSING_CONDITIONS):
            own = part[part["condition"] == condition]
            panel.scatter(
                own["x"],
                own["y"],
                s=16,
                color=COLOURS[index],
                marker=MARKERS[index],
                alpha=0.75,
                linewidths=0,
                label=condition,
            )
        panel.scatter(full["x"], full["y"], s=22, color="black", marker="+", linewidths=0.9, label="H, all modalities")
        panel.set_title(str(system))
        panel.set_xticks([])
        panel.set_yticks([])
        panel.spines[:].set_visible(True)
    axes[0].legend(frameon=False, ncols=4, loc="upper left", bbox_to_anchor=(0, -0.02), fontsize=9, columnspacing=1)
    count = len(points[(points["system"] == points["system"].iloc[0]) & (points["condition"] == FULL)])
    caption = (
        f"t-SNE of the invariant features of {count} test utterances: H' in each of the six missing conditions beside "
        f"H of all modalities, from one run (fold {points['fold'].iloc[0]}, seed {points['seed'].iloc[0]}). "
        "Where the markers of an utterance fall together, its features do not depend on what is missing."
    )
    return Drawing("invariant_features", figure, caption)


def _by_condition(
    name: str, estimates: pd.DataFrame, columns: Sequence[str], positions: NDArray[np.float64], label: str
) -> Drawing:
    """WA above UA: a point with its interval for each system and column."""
    systems = list(dict.fromkeys(estimates["system"]))
    step = min(0.16, 0.8 / len(systems))
    figure, axes = panels(2, 1, width=9.6, height=2.9)
    for panel, (metric_name, metric) in zip(axes, METRICS.items(), strict=True):
        for index, system in enumerate(systems):
            own = estimates[(estimates["system"] == system) & (estimates["metric"] == metric)]
            values = 100 * own.set_index("condition").reindex(list(columns))[["mean", "low", "high"]]
            shift = (index - (len(systems) - 1) / 2) * step
            below, above = values["mean"] - values["low"], values["high"] - values["mean"]
            panel.errorbar(
                positions + shift,
                values["mean"],
                None if below.isna().all() else [below, above],
                fmt=MARKERS[index % len(MARKERS)],
                color=COLOURS[index % len(COLOURS)],
                markersize=5,
                elinewidth=1.1,
                capsize=1.5,
                label=system,
            )
        for left, right in pairwise(positions):
            panel.axvline((left + right) / 2, color="0.9", linewidth=0.8)
        panel.set_ylabel(label.format(metric_name))
        panel.set_xticks(positions, columns)
        panel.grid(axis="y", alpha=0.3)
        panel.set_axisbelow(True)
    columns_of_legend = ceil(len(systems) / ceil(len(systems) / 5))
    axes[0].legend(frameon=False, ncols=columns_of_legend, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0)
    return Drawing(name, figure, "")


def _curve(panel: Axes, history: pd.DataFrame, term: str, label: str, index: int, *, width: float) -> None:
    by_epoch = history.groupby("epoch")[term].agg(["mean", "std"])
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


def _matrix(panel: Axes, labels: NDArray[np.int64], predictions: NDArray[np.int64], classes: Sequence[str]) -> None:
    count = len(classes)
    shares = 100 * confusion_matrix(labels, predictions, labels=range(count), normalize="true")
    panel.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    for row, column in np.argwhere(shares >= 0.5):
        dark = shares[row, column] > 55
        panel.text(
            column,
            row,
            f"{shares[row, column]:.0f}",
            ha="center",
            va="center",
            color="white" if dark else "black",
            fontsize=9 if count <= 6 else 7.5,
        )
    long = max(map(len, classes)) > 2
    panel.set_xticks(range(count), classes, rotation=45 if long else 0, ha="right" if long else "center")
    panel.set_yticks(range(count), classes)
    panel.set_xlabel("predicted class", fontsize=8)


def _label_logarithmic(panel: Axes) -> None:
    """As many labels between the powers of ten as have room."""
    low, high = panel.get_ylim()
    decades = log10(high / low)
    shown = "123456" if decades < 1 else "25" if decades < 3 else ""
    panel.yaxis.set_major_formatter("{x:g}")
    panel.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in shown else "")


def _runs(frame: pd.DataFrame) -> str:
    counts = frame.drop_duplicates(["system", "fold", "seed"]).groupby("system").size()
    low, high = int(counts.min()), int(counts.max())
    return count_of(low, "run") if low == high else f"{low} to {high} runs"
