"""The figure of embedded features."""

import re

from ifmmin.orchestrator.analysis.embeddings import EmbeddedFeatures
from ifmmin.orchestrator.analysis.scores import panels_in
from ifmmin.orchestrator.reporting.drawing import COLOURS, MARKERS, Drawing, panels


def embedding(embedded: EmbeddedFeatures) -> Drawing:
    """The t-SNE of features, one panel for each system, a marker for each condition."""
    points = embedded.points
    *missing_conditions, full_condition = panels_in(points)
    systems = list(points.groupby("system", sort=False))
    figure, axes = panels(1, len(systems), width=5.2, height=4.6)
    for panel, (system, part) in zip(axes, systems, strict=True):
        for index, condition in enumerate(missing_conditions):
            missing = part[part["condition"] == condition]
            panel.scatter(
                missing["x"],
                missing["y"],
                s=16,
                color=COLOURS[index % len(COLOURS)],
                marker=MARKERS[index % len(MARKERS)],
                alpha=0.75,
                linewidths=0,
                label=condition,
            )
        full = part[part["condition"] == full_condition]
        panel.scatter(full["x"], full["y"], s=22, color="black", marker="+", linewidths=0.9, label="all modalities")
        panel.set_title(str(system))
        panel.set_xticks([])
        panel.set_yticks([])
        panel.spines[:].set_visible(True)
    axes[0].legend(frameon=False, ncols=4, loc="upper left", bbox_to_anchor=(0, -0.02), fontsize=9, columnspacing=1)
    count = len(points[(points["system"] == points["system"].iloc[0]) & (points["condition"] == full_condition)])
    caption = (
        f"t-SNE of the {embedded.title} of {count} test utterances: {embedded.meaning}, from one run "
        f"(fold {points['fold'].iloc[0]}, seed {points['seed'].iloc[0]}). "
        "Where the markers of an utterance fall together, its features do not depend on what is missing."
    )
    return Drawing(re.sub(r"\W+", "_", embedded.title.lower()), figure, caption)
