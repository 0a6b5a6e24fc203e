"""The figure of a long recording: how probable each class is over time."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ifmmin.orchestrator.reporting.drawing import COLOURS, LINES, Drawing, panels
from ifmmin.orchestrator.reporting.lettering import label

LEAST_WIDTH, MOST_WIDTH = 7.0, 24.0
WINDOWS_PER_INCH = 12


def timeline(windows: pd.DataFrame, recording: str, classes: Sequence[str]) -> Drawing:
    """Class probabilities of the windows of a recording over time.

    Args:
        windows: columns start and end in seconds, condition, and `p_CLASS` for each class, in the order of time; NaN
            where a window has no modality.
    """
    width = float(np.clip(len(windows) / WINDOWS_PER_INCH, LEAST_WIDTH, MOST_WIDTH))
    figure, (panel,) = panels(1, 1, width=width, height=3.6)
    edges = np.append(windows["start"].to_numpy(float), windows["end"].iloc[-1])
    labels = label(classes)
    for number, name in enumerate(classes):
        panel.stairs(
            windows[f"p_{name}"].to_numpy(float),
            edges,
            baseline=None,
            label=labels.texts[number],
            linewidth=1.8,
            color=COLOURS[number % len(COLOURS)],
            linestyle=LINES[number % len(LINES)],
        )
    panel.set(xlim=(edges[0], edges[-1]), ylim=(0, 1), xlabel="time, s", ylabel="probability")
    panel.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, prop={"family": list(labels.families)})
    conditions = ", ".join(dict.fromkeys(str(name) for name in windows["condition"] if name))
    caption = f"Class probabilities over time, in {len(windows):,} windows, from {conditions or 'no modality'}."
    return Drawing(f"timeline-{recording}", figure, caption, labels.key)
