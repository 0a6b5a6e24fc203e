"""Calibration: the confidence of a system beside its accuracy, in each condition."""

import numpy as np
import pandas as pd

from ifmmin.orchestrator.analysis.scores import panels_in

BINS = 15


def calibrate(predictions: pd.DataFrame) -> pd.DataFrame:
    """Confidence, the probability of the predicted class, beside accuracy in bins of equal width, all runs pooled.

    Columns: system, condition, bin (its upper edge), utterances, confidence and accuracy (means, from 0 to 1).

    Args:
        predictions: of `analysis.results.load_predictions`.
    """
    confidence = np.stack(predictions["probabilities"].to_list()).max(1).astype(np.float64)
    edge = np.clip(np.ceil(confidence * BINS), 1, BINS) / BINS
    correct = (predictions["prediction"] == predictions["label"]).astype(float)
    frame = predictions[["system", "condition"]].assign(bin=edge, confidence=confidence, accuracy=correct)
    bins = frame.groupby(["system", "condition", "bin"], sort=False).agg(
        utterances=("accuracy", "size"), confidence=("confidence", "mean"), accuracy=("accuracy", "mean")
    )
    systems = {system: index for index, system in enumerate(dict.fromkeys(predictions["system"]))}
    in_order = bins.sort_index(level="bin", sort_remaining=False).reset_index()
    return in_order.sort_values("system", key=lambda names: names.map(systems), kind="stable", ignore_index=True)


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
    return table.reindex(index=list(dict.fromkeys(bins["system"])), columns=list(panels_in(bins)))
