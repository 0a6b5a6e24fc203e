"""The figures of a report, each made from the frames of `analysis`; none is shown in a window."""

from ifmmin.orchestrator.reporting.figures.accuracy import (
    cost_of_missing_modalities,
    robustness_curves,
    scores_by_condition,
)
from ifmmin.orchestrator.reporting.figures.corpus import corpus_figures
from ifmmin.orchestrator.reporting.figures.embeddings import embedding
from ifmmin.orchestrator.reporting.figures.losses import featured_loss_curves, loss_curves
from ifmmin.orchestrator.reporting.figures.predictions import confusion_matrices, reliability_diagrams

__all__ = [
    "confusion_matrices",
    "corpus_figures",
    "cost_of_missing_modalities",
    "embedding",
    "featured_loss_curves",
    "loss_curves",
    "reliability_diagrams",
    "robustness_curves",
    "scores_by_condition",
]
