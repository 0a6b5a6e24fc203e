"""Figures of the predictions of one system: confusion matrices and reliability diagrams."""

from collections.abc import Sequence
from math import ceil, nan
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ifmmin.model.metrics import weighted_accuracy
from ifmmin.orchestrator.analysis.calibration import BINS, expected_calibration_error
from ifmmin.orchestrator.analysis.scores import panels_in
from ifmmin.orchestrator.reporting.drawing import Drawing, panels
from ifmmin.orchestrator.reporting.lettering import Labels, label
from ifmmin.orchestrator.reporting.tables import count_runs


def confusion_matrices(predictions: pd.DataFrame, classes: Sequence[str]) -> Drawing:
    """Confusion matrices in percent of the true class, one for each condition, all runs pooled.

    Args:
        predictions: of one system, see `analysis.results.load_predictions`.
        classes: names, in label order.
    """
    labels = label(classes)
    side = max(2.6, 0.36 * len(classes) + 0.9)
    conditions = panels_in(predictions)
    figure, axes = panels(*_grid(len(conditions)), width=side, height=side + 0.1)
    figure.get_layout_engine().set(h_pad=0.07)  # type: ignore[union-attr, call-arg]  # a constrained layout
    for condition, panel in zip(conditions, axes, strict=False):
        part = predictions[predictions["condition"] == condition]
        _draw_matrix(panel, part["label"].to_numpy(), part["prediction"].to_numpy(), labels)
        accuracy = 100 * weighted_accuracy(part["label"], part["prediction"])
        panel.set_title(f"{condition}: WA {accuracy:.1f} %", fontsize=11)
    for panel in axes[len(conditions) :]:
        panel.set_axis_off()
    figure.supylabel("true class")
    caption = (
        f"{predictions['system'].iloc[0]}: predicted classes (columns) of the utterances of each class (rows), in % of "
        f"the class, in each condition; shares below half a percent are left blank; all test utterances of "
        f"{count_runs(predictions)}."
    )
    if not labels.key:
        return Drawing("confusion_matrices", figure, caption)
    numbered = f"{caption} Classes are numbered in the order of the corpus, which the report lists."
    return Drawing("confusion_matrices", figure, numbered, f"They are {labels.key}")


def reliability_diagrams(bins: pd.DataFrame) -> Drawing:
    """Accuracy over confidence of one system, a panel for each condition.

    Args:
        bins: of `analysis.calibration.calibrate`, of one system.
    """
    errors = expected_calibration_error(bins).iloc[0]
    most = bins["utterances"].max()
    conditions = panels_in(bins)
    figure, axes = panels(*_grid(len(conditions)), width=2.7, height=2.8)
    for condition, panel in zip(conditions, axes, strict=False):
        part = bins[bins["condition"] == condition]
        panel.plot([0, 1], [0, 1], color="0.6", linewidth=1)
        panel.plot(part["confidence"], part["accuracy"], color="#0072b2", linewidth=1)
        sizes = 8 + 90 * part["utterances"] / most
        panel.scatter(part["confidence"], part["accuracy"], s=sizes, color="#0072b2", zorder=3, linewidths=0)
        panel.set(xlim=(0, 1), ylim=(0, 1))
        panel.set_title(f"{condition}: ECE {100 * errors.get(condition, nan):.1f} %", fontsize=11)
        panel.grid(alpha=0.3)
    for panel in axes[len(conditions) :]:
        panel.set_axis_off()
    figure.supxlabel("confidence")
    figure.supylabel("accuracy")
    caption = (
        f"{bins['system'].iloc[0]}: accuracy of the test utterances over the confidence of their predictions (the "
        f"probability of the predicted class), in {BINS} bins of equal width, all runs pooled; "
        "larger points have more utterances. Below the diagonal the system is overconfident. ECE is the expected "
        "calibration error."
    )
    return Drawing("reliability_diagrams", figure, caption)


def _grid(panels_in_all: int) -> tuple[int, int]:
    """Rows and columns."""
    columns = min(4, panels_in_all)
    return ceil(panels_in_all / columns), columns


def _draw_matrix(panel: Axes, labels: NDArray[np.int64], predictions: NDArray[np.int64], classes: Labels) -> None:
    count = len(classes.texts)
    shares = _confusion(labels, predictions, count)
    panel.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    for row, column in np.argwhere(shares >= 0.5):
        panel.text(
            column,
            row,
            f"{shares[row, column]:.0f}",
            ha="center",
            va="center",
            color="white" if shares[row, column] > 55 else "black",
            fontsize=9 if count <= 6 else 7.5,
        )
    long = max(map(len, classes.texts)) > 2
    style: dict[str, Any] = {"fontfamily": classes.families, "parse_math": False}
    panel.set_xticks(range(count), classes.texts, rotation=45 if long else 0, ha="right" if long else "center", **style)
    panel.set_yticks(range(count), classes.texts, **style)
    panel.set_xlabel("predicted class", fontsize=8)


def _confusion(labels: NDArray[np.int64], predictions: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """Predicted by true class (rows), in percent of the true class; 0 where a class does not occur."""
    counts = np.bincount(labels * classes + predictions, minlength=classes**2).reshape(classes, classes)
    shares: NDArray[np.float64] = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    return shares
