"""Whether a system knows how sure it may be: its confidence beside its accuracy, in each condition."""

from math import nan

import numpy as np
import pandas as pd

from ifmmin.data.conditions import ALL_CONDITIONS
from ifmmin.orchestrator.reporting.drawing import Drawing, panels

BINS = 15


def calibrate(predictions: pd.DataFrame) -> pd.DataFrame:
    """Confidence, the probability of the predicted class, beside accuracy in bins of equal width, all runs pooled.

    Columns: system, condition, bin (its upper edge), utterances, confidence and accuracy (means, from 0 to 1).

    Args:
        predictions: of `analysis.scores.load_predictions`.
    """
    confidence = np.stack(predictions["probabilities"].to_list()).max(1).astype(np.float64)
    edge = np.clip(np.ceil(confidence * BINS), 1, BINS) / BINS
    right = (predictions["prediction"] == predictions["label"]).astype(float)
    frame = predictions[["system", "condition"]].assign(bin=edge, confidence=confidence, accuracy=right)
    bins = frame.groupby(["system", "condition", "bin"], sort=False).agg(
        utterances=("accuracy", "size"), confidence=("confidence", "mean"), accuracy=("accuracy", "mean")
    )
    return bins.sort_index(level="bin", sort_remaining=False).reset_index()


def expected_calibration_error(bins: pd.DataFrame) -> pd.DataFrame:
    """Mean distance of confidence from accuracy over the bins, weighted by utterances (Guo et al., ICML 2017).

    A row for each system, a column for each condition, from 0 to 1.

    Args:
        bins: of `calibrate`.
    """
    gaps = bins.assign(gap=(bins["confidence"] - bins["accuracy"]).abs() * bins["utterances"])
    sums = gaps.groupby(["system", "condition"], sort=False)[["gap", "utterances"]].sum()
    errors = (sums["gap"] / sums["utterances"]).rename("error").reset_index()
    table = errors.pivot_table("error", "system", "condition")
    return table.reindex(index=list(dict.fromkeys(bins["system"])), columns=[str(c) for c in ALL_CONDITIONS])


def reliability_diagrams(bins: pd.DataFrame) -> Drawing:
    """Accuracy over confidence of one system, a panel for each condition.

    Args:
        bins: of `calibrate`, of one system.
    """
    errors = expected_calibration_error(bins).iloc[0]
    most = bins["utterances"].max()
    figure, axes = panels(2, 4, width=2.7, height=2.8)
    for condition, panel in zip(ALL_CONDITIONS, axes, strict=False):
        own = bins[bins["condition"] == condition]
        panel.plot([0, 1], [0, 1], color="0.6", linewidth=1)
        panel.plot(own["confidence"], own["accuracy"], color="#0072b2", linewidth=1)
        sizes = 8 + 90 * own["utterances"] / most
        panel.scatter(own["confidence"], own["accuracy"], s=sizes, color="#0072b2", zorder=3, linewidths=0)
        panel.set(xlim=(0, 1), ylim=(0, 1))
        panel.set_title(f"{condition}: ECE {100 * errors.get(condition, nan):.1f} %", fontsize=11)
        panel.grid(alpha=0.3)
    for panel in axes[len(ALL_CONDITIONS) :]:
        panel.set_axis_off()
    figure.supxlabel("confidence")
    figure.supylabel("accuracy")
    caption = (
        f"{bins['system'].iloc[0]}: how often it is right (accuracy) among the test utterances about which it is as "
        f"sure (confidence: the probability of the class it predicts), in {BINS} bins of equal width, all runs pooled; "
        "larger points have more utterances. Below the diagonal it is too sure. ECE is the expected calibration error."
    )
    return Drawing("reliability_diagrams", figure, caption)
