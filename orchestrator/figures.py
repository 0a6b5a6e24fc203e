"""Figures of an experiment, made from the data frames of `orchestrator.results`; none is shown in a window."""

from collections.abc import Sequence
from math import ceil

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

from data.conditions import ALL_CONDITIONS
from model.metrics import weighted_accuracy
from orchestrator.results import AVERAGE, COLUMNS

INVARIANCE = "loss/inv"

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#444444")
"""Okabe and Ito's, told apart by colour-blind readers too; lines and hatches tell them apart without colour."""
_LINES = ("-", "--", "-.", ":")
_HATCHES = ("", "///", "...", "xxx", "\\\\\\", "ooo", "+++")
_LOSS_NAMES = {"cls": "classification, $L_{cls}$", "cmd": "moment discrepancy, $L_{cmd}$"} | {
    "img": "imagination, $L_{img}$",
    "inv": "invariance, $L_{inv}$",
}


def loss_curves(history: pd.DataFrame) -> Figure:
    """Every unweighted loss term over the epochs, one panel for each stage: mean and range of one deviation over runs.

    Args:
        history: of `orchestrator.results.load_history`.
    """
    stages = list(history.groupby(["system", "stage"], sort=False))
    columns = min(2, len(stages))
    figure, panels = _grid(ceil(len(stages) / columns), columns, width=5.6, height=3.9)
    for panel, ((system, stage), part) in zip(panels, stages, strict=False):
        terms = [name for name in part.columns if name.startswith("loss/") and name != "loss/total"]
        for index, term in enumerate(name for name in terms if part[name].notna().any()):
            prominent = term == INVARIANCE
            _curve(panel, part, term, _loss_name(term), 1 if prominent else 2 + index, width=2.6 if prominent else 1.3)
        panel.set(title=f"{system}: {stage}", ylabel="mean training loss, unweighted", yscale="log")
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_formatter(_few_minor_labels)
        panel.legend(frameon=False, fontsize=9)
    figure.suptitle(f"Training losses{_over_runs(history)}")
    return figure


def invariance_curve(history: pd.DataFrame) -> Figure:
    """The invariance loss L_inv over the epochs, as in the seed paper: mean and range of one deviation over runs.

    Args:
        history: of `orchestrator.results.load_history`, with the column `loss/inv`.
    """
    own = history[history[INVARIANCE].notna()]
    figure, (panel, *_) = _grid(1, 1, width=6.4, height=4.0)
    for index, (system, part) in enumerate(own.groupby("system", sort=False)):
        _curve(panel, part, INVARIANCE, str(system), index, width=2.0)
    panel.set(ylabel="$L_{inv}$, mean training loss", title=f"Invariance loss{_over_runs(own)}")
    panel.set_ylim(bottom=0)
    panel.legend(frameon=False)
    return figure


def confusion_matrices(predictions: pd.DataFrame, classes: Sequence[str]) -> Figure:
    """What the utterances of each class were taken for, in percent, one matrix for each condition, all runs pooled.

    Args:
        predictions: of one system, see `orchestrator.results.load_predictions`.
        classes: names, in label order.
    """
    side = max(2.6, 0.36 * len(classes) + 0.9)
    figure, panels = _grid(2, 4, width=side, height=side + 0.3)
    figure.get_layout_engine().set(h_pad=0.07)  # type: ignore[union-attr, call-arg]  # a constrained layout, see _grid
    for condition, panel in zip(ALL_CONDITIONS, panels, strict=False):
        part = predictions[predictions["condition"] == condition]
        _matrix(panel, part["label"].to_numpy(), part["prediction"].to_numpy(), classes)
        accuracy = 100 * weighted_accuracy(part["label"], part["prediction"])
        panel.set_title(f"{condition}: WA {accuracy:.1f} %", fontsize=11)
    for panel in panels[len(ALL_CONDITIONS) :]:
        panel.set_axis_off()
    figure.suptitle(f"What the utterances of each class were taken for, in % of the class ({_count(predictions)})")
    figure.supxlabel("predicted class")
    figure.supylabel("true class")
    return figure


def scores_by_condition(scores: pd.DataFrame) -> Figure:
    """WA and UA of each system in each condition, with standard deviations over runs.

    Args:
        scores: of `orchestrator.results.score`.
    """
    systems = list(dict.fromkeys(scores["system"]))
    # The average and the full condition stand apart from the six that the average is taken over.
    positions = np.arange(len(COLUMNS)) + 0.5 * np.array([(c == AVERAGE) + 2 * (c == "avt") for c in COLUMNS])
    width = 0.8 / len(systems)
    figure, panels = _grid(2, 1, width=8.6, height=2.6)
    for panel, (name, metric) in zip(panels, {"WA": "wa", "UA": "ua"}.items(), strict=True):
        for index, system in enumerate(systems):
            by_condition = 100 * scores[scores["system"] == system].groupby("condition")[metric].agg(["mean", "std"])
            ordered = by_condition.reindex(list(COLUMNS))
            shift = (index - (len(systems) - 1) / 2) * width
            panel.bar(
                positions + shift,
                ordered["mean"],
                width,
                yerr=ordered["std"],
                label=system,
                color=_COLOURS[index % len(_COLOURS)],
                hatch=_HATCHES[index % len(_HATCHES)],
                edgecolor="white",
                error_kw={"capsize": 3, "elinewidth": 1.1},
            )
        panel.set(ylabel=f"{name}, %", ylim=(0, 100))
        panel.set_xticks(positions, COLUMNS)
        panel.grid(axis="y", alpha=0.3)
        panel.set_axisbelow(True)
    panels[-1].set_xlabel("available modalities (a: acoustic, v: visual, t: textual; average: over the six before it)")
    panels[0].legend(frameon=False, ncols=len(systems), loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0)
    figure.suptitle(f"Test accuracy by condition{_over_runs(scores)}")
    return figure


def _grid(rows: int, columns: int, *, width: float, height: float) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
    return figure, panels


def _curve(panel: Axes, history: pd.DataFrame, term: str, label: str, index: int, *, width: float) -> None:
    by_epoch = history.groupby("epoch")[term].agg(["mean", "std"])
    epochs, mean, deviation = (by_epoch.reset_index()[name].to_numpy() for name in ("epoch", "mean", "std"))
    colour = _COLOURS[index % len(_COLOURS)]
    panel.plot(epochs, mean, _LINES[index % len(_LINES)], color=colour, linewidth=width, label=label)
    if np.isfinite(deviation).all():
        panel.fill_between(epochs, mean - deviation, mean + deviation, color=colour, alpha=0.2, linewidth=0)
    panel.set_xlabel("epoch")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.grid(alpha=0.3)


def _matrix(panel: Axes, labels: NDArray[np.int64], predictions: NDArray[np.int64], classes: Sequence[str]) -> None:
    count = len(classes)
    shares = 100 * confusion_matrix(labels, predictions, labels=range(count), normalize="true")
    panel.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    for row, column in np.ndindex(count, count):
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


def _loss_name(column: str) -> str:
    term = column.removeprefix("loss/")
    return _LOSS_NAMES.get(term, term)


def _few_minor_labels(value: float, _: float) -> str:
    """Labels at 2 and 5 between the powers of ten; all nine would overlap."""
    return f"{value:g}" if f"{value:e}"[0] in "25" else ""


def _over_runs(frame: pd.DataFrame) -> str:
    return "" if _count(frame) == "1 run" else f" (mean ± standard deviation over {_count(frame)})"


def _count(frame: pd.DataFrame) -> str:
    counts = frame.drop_duplicates(["system", "fold", "seed"]).groupby("system").size()
    low, high = counts.min(), counts.max()
    return f"{low} run{'s' if low > 1 else ''}" if low == high else f"{low} to {high} runs"
